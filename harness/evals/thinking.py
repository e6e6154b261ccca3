"""Loss over a grid of thinking, with per-document sums so that gains are paired by document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import HarnessError
from harness.evals.context import EvalContext
from harness.evals.prediction_cost import prediction_cost
from harness.evals.stopping import StoppingCost
from harness.evals.text_sets import TextSet, reference_losses, text_set
from harness.planning.eval_spec import ThinkingEval
from harness.planning.spec import thinking_label
from harness.protocol import Descent, State, TextBatch, TextShape
from harness.ranks import finite
from harness.records import Measurement

BY_DOCUMENT = "by_document.npz"


def evaluate_thinking(spec: ThinkingEval, context: EvalContext, folder: Path) -> list[Measurement]:
    """Token-weighted loss of every thinking setting, the trained one always among them.

    Where answers' tokens count alone, rows without one are left out. Costs are counted on the
    first rows; where predictions stop by themselves, on all but for time, and `steps_used` is of
    those alone whose loss counts.

    `by_document.npz` in `folder` keeps `sums` (settings, noise seeds, documents) in nats, `n`
    (documents,) and `settings` by their labels; the trained setting comes first.
    """
    covered = _counted(spec, context)
    trained = context.record.trained_thinking(context.config)
    settings = list(dict.fromkeys([trained, *spec.thinking]))
    stopping = _stopping(settings, context)
    sums: NDArray[np.float64] | None = None
    for index, seed in enumerate(spec.noise_seeds):
        of_seed, n = _document_sums(settings, stopping, spec, covered, context, seed)
        if sums is None:
            sums = np.zeros((len(settings), len(spec.noise_seeds), of_seed.shape[1]))
        sums[:, index] = of_seed
    assert sums is not None
    labels = np.array([thinking_label(s) for s in settings])
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / BY_DOCUMENT, sums=sums, n=n, settings=labels)
    costs = [_cost(setting, covered, spec, context) for setting in settings]
    costs = [c | stopping[i].cost if i in stopping else c for i, c in enumerate(costs)]
    return [
        *_measurements(list(zip(settings, costs, strict=True)), sums, n, spec, covered, context),
        *_references(spec, covered, context),
    ]


def _counted(spec: ThinkingEval, context: EvalContext) -> TextSet:
    """The rows whose losses are measured; HarnessError where no answer is in one."""
    covered = text_set(spec, context)
    if spec.tokens == "all":
        return covered
    answers = covered.answer_set
    assert answers is not None, "planning refuses answers of plain text"
    answers = answers.counting
    if len(answers.ids) == 0:
        raise HarnessError(
            "no row reaches an answer's tokens",
            where=f"{spec.data} ({spec.split})",
            hint="use `windows: rolling`, which cover every token, or tasks of longer context",
        )
    return answers


def _tags(spec: ThinkingEval, covered: TextSet) -> dict[str, Any]:
    tags = {"data": spec.data, "split": spec.split, "windows": spec.windows, "tokens": spec.tokens}
    return tags | covered.left_out


def _stopping(settings: Sequence[Any], context: EvalContext) -> dict[int, StoppingCost]:
    """By index, the settings whose predictions stop by themselves."""
    assert isinstance(context.shape, TextShape)
    return {
        index: StoppingCost(vocab_size=context.shape.vocab_size)
        for index, setting in enumerate(settings)
        if isinstance(setting, Descent) and setting.tolerance is not None
    }


def _document_sums(
    settings: Sequence[Any],
    stopping: Mapping[int, StoppingCost],
    spec: ThinkingEval,
    covered: TextSet,
    context: EvalContext,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Nats summed per setting and document, and targets per document."""
    documents = len(covered.rows.shards)
    sums = np.zeros((len(settings), documents))
    n = np.zeros(documents, np.int64)
    noise = context.noise(seed, f"{spec.data}/{spec.split}")
    with context.inference():
        for batch, owners in covered.batches(spec.batch_size, context.device):
            mask = batch.mask.cpu().numpy()
            n += np.bincount(owners[mask], minlength=documents)
            for index, nats in _losses(settings, stopping, batch, context, noise):
                sums[index] += np.bincount(owners[mask], nats[mask], minlength=documents)
    return sums, n


def _losses(
    settings: Sequence[Any],
    stopping: Mapping[int, StoppingCost],
    batch: TextBatch,
    context: EvalContext,
    noise: Any,
) -> list[tuple[int, NDArray[np.float64]]]:
    """(setting index, nats (B, S)) of every setting, with one pass per family of settings."""
    found: list[tuple[int, NDArray[np.float64]]] = []
    for family in _families(settings):
        widest = _widest([settings[i] for i in family])
        if family[0] in stopping:
            made = stopping[family[0]].predict(
                partial(context.adapter.predict, batch, widest, noise), batch.mask
            )
            nats = _nats(made.value, batch).cpu().numpy().astype(np.float64)
            found.append((family[0], nats))
        elif isinstance(widest, Descent):
            grid = _Grid(batch)
            context.adapter.predict(batch, widest, noise, grid)
            found += [(i, grid.nats(settings[i])) for i in family]
        else:
            logits = context.adapter.predict(batch, widest, noise).value
            found.append((family[0], _nats(logits, batch).cpu().numpy().astype(np.float64)))
    return found


class _Grid:
    """Reducer: keeps each state's loss and energy per position, and nothing of vocabulary size."""

    def __init__(self, batch: TextBatch) -> None:
        self.batch = batch
        self.states: dict[tuple[int, int], tuple[Tensor, Tensor | None]] = {}

    def __call__(self, state: State) -> None:
        for offset, sample in enumerate(state.samples):
            energy = None if state.energy is None else state.energy[:, offset]
            loss = _nats(state.value[:, offset], self.batch)
            self.states[state.step, sample] = (loss, energy)

    def nats(self, thinking: Descent) -> NDArray[np.float64]:
        """Loss (B, S) after `thinking.steps`, of the sample that `thinking` keeps at each place."""
        steps, samples = thinking.steps, thinking.samples
        losses = [self.states[steps, m][0] for m in range(samples)]
        if samples == 1:
            return losses[0].cpu().numpy().astype(np.float64)
        energies = self._energies(steps, samples)
        if thinking.select == "largest_drop":
            energies = energies - self._energies(0, samples)
        chosen = energies.argmin(0, keepdim=True)
        return torch.stack(losses).gather(0, chosen)[0].cpu().numpy().astype(np.float64)

    def _energies(self, step: int, samples: int) -> Tensor:
        energies = [self.states[step, m][1] for m in range(samples)]
        stacked = torch.stack([e for e in energies if e is not None])  # (M, B, S)
        assert len(stacked) == samples, "selection needs every sample's energy"
        return stacked


def _nats(logits: Tensor, batch: TextBatch) -> Tensor:
    targets = batch.tokens[:, 1:]
    flat = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return flat.view(targets.shape)


def _families(settings: Sequence[Any]) -> list[list[int]]:
    """Settings that one pass serves: they differ in samples, and in steps where state k of a longer
    descent is the end of one of k steps, which it is unless every landscape is repeated. Those that
    stop by themselves have a pass each, whose cost is theirs.
    """
    families: dict[Any, list[int]] = {}
    for index, setting in enumerate(settings):
        if isinstance(setting, Descent) and setting.tolerance is None:
            alone = setting.steps if setting.extra_steps == "every" else 1
            key: Any = setting.model_copy(update={"steps": alone, "samples": 1})
        else:
            key = ("other", index)
        families.setdefault(key, []).append(index)
    return list(families.values())


def _widest(settings: Sequence[Any]) -> Any:
    if not isinstance(settings[0], Descent):
        return settings[0]
    return settings[0].model_copy(
        update={
            "steps": max(s.steps for s in settings),
            "samples": max(s.samples for s in settings),
        }
    )


def _measurements(
    settings: Sequence[tuple[Any, dict[str, float | int | None]]],
    sums: NDArray[np.float64],
    n: NDArray[np.int64],
    spec: ThinkingEval,
    covered: TextSet,
    context: EvalContext,
) -> list[Measurement]:
    """Losses of the settings, each with its cost, of which the first is the trained one; None where
    one of a prediction is not finite.
    """
    found, total, common = [], int(n.sum()), _tags(spec, covered)
    for index, (setting, cost) in enumerate(settings):
        tags = {**common, "trained": index == 0, **setting.model_dump(mode="json")}
        for seed_index, seed in enumerate(spec.noise_seeds):
            found.append(
                context.measurement(
                    "loss",
                    finite(float(sums[index, seed_index].sum()) / total),
                    n=total,
                    unit="nats/token",
                    higher_is_better=False,
                    noise_seed=seed,
                    tags=tags,
                    cost=cost,
                )
            )
    return found


def _references(spec: ThinkingEval, covered: TextSet, context: EvalContext) -> list[Measurement]:
    return [
        context.measurement(
            f"{name}_loss",
            nats / count,
            n=count,
            unit="nats/token",
            higher_is_better=False,
            tags=_tags(spec, covered),
        )
        for name, (nats, count) in reference_losses(covered, context).items()
    ]


def _cost(
    setting: Any, covered: TextSet, spec: ThinkingEval, context: EvalContext
) -> dict[str, float | int | None]:
    assert isinstance(context.shape, TextShape)
    first, _ = next(covered.batches(min(spec.batch_size, 8), context.device))
    noise = context.noise(spec.noise_seeds[0], f"{spec.data}/{spec.split}")
    return prediction_cost(
        context,
        lambda: context.adapter.predict(first, setting, noise),
        predictions=first.mask.numel(),
        repeats=spec.timing_repeats,
        vocab_size=context.shape.vocab_size,
    )
