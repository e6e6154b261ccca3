"""Energy of every prediction over the optimization steps: does it tell how uncertain the model is?

An energy is read under the landscape of its prediction's last step, without noise (State.energy).
A model with several landscapes has one per trained step, so up to the trained number of steps
successive energies lie under different ones; the steps beyond repeat the last landscape. Final
energies, which the rank statistics use, are all read under one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import HarnessError
from harness.evals.context import EvalContext
from harness.evals.prediction_cost import prediction_cost
from harness.evals.subjects import CONTENTS, Example, Subject, subject_of
from harness.planning.eval_spec import EnergyEval
from harness.protocol import Descent, State
from harness.ranks import auroc, correlations_within, finite, spearman
from harness.records import Measurement, write_json

ENERGIES, EXAMPLES = "energies.npz", "examples.json"
#: Predictions whose own energies and losses are kept for rank statistics, over all noise seeds.
KEPT_PREDICTIONS = 50_000
#: Rows in the batch whose cost is measured, and times it is timed.
TIMED_ROWS, TIMED_REPEATS = 8, 3

Floats = NDArray[np.float64]


def evaluate_energy(spec: EnergyEval, context: EvalContext, folder: Path) -> list[Measurement]:
    """Energy and loss at every step, on the set and its counterparts; rank statistics at the last.

    `energies.npz` in `folder` keeps sums `energy`, `loss` (noise seeds, contents, steps + 1,
    documents), `n` (documents,), `trained_steps` (0 where training has no descent), and of the
    first predictions `kept_energy`, `kept_loss` and `kept_entropy` (noise seeds, contents, kept)
    after the last step, with `kept_document` and `kept_position` (kept,). `examples.json` keeps
    texts or clips whole. HarnessError where the adapter gives no energy.
    """
    subject = subject_of(spec, context)
    seeds = [_Sums(subject, spec, seed) for seed in spec.noise_seeds]
    with context.inference():
        for sums in seeds:
            sums.cover(context)
        examples = [_example(one, subject, spec, context) for one in subject.examples()]
    trained = context.record.trained_thinking(context.config)
    folder.mkdir(parents=True, exist_ok=True)
    stored: dict[str, Any] = {
        "contents": np.array(CONTENTS),
        "unit": np.array(subject.unit),
        "trained_steps": np.array(trained.steps if isinstance(trained, Descent) else 0),
        "n": seeds[0].n,
        "energy": np.stack([s.energy for s in seeds]),
        "loss": np.stack([s.loss for s in seeds]),
        **_kept(seeds),
    }
    np.savez_compressed(folder / ENERGIES, **stored)
    write_json(folder / EXAMPLES, {"unit": subject.unit, "examples": examples})
    cost = _cost(subject, spec, context)
    say = _Says(spec, context, cost, subject.unit)
    return [m for sums in seeds for m in [*_means(sums, say), *_statistics(sums, say)]]


# --- courses ---------------------------------------------------------------------------------


class Course(NamedTuple):
    """The chosen sample's energies and losses (steps + 1, B, S), and final entropies (B, S)."""

    energies: Floats
    losses: Floats
    entropies: Floats | None


class _States:
    """Reducer: keeps each state's energy and loss per prediction, and nothing as wide as one."""

    def __init__(self, subject: Subject, batch: Any, thinking: Descent) -> None:
        self.subject, self.batch, self.thinking = subject, batch, thinking
        self.energies: dict[tuple[int, int], Tensor] = {}
        self.losses: dict[tuple[int, int], Tensor] = {}
        self.entropies: dict[int, Tensor] = {}

    def __call__(self, state: State) -> None:
        if state.energy is None:
            raise HarnessError("the adapter gives no energy with its predictions")
        for offset, sample in enumerate(state.samples):
            value = state.value[:, offset]
            self.energies[state.step, sample] = state.energy[:, offset].float()
            self.losses[state.step, sample] = self.subject.losses(value, self.batch)
            if state.step == self.thinking.steps:
                entropy = self.subject.entropies(value)
                if entropy is not None:
                    self.entropies[sample] = entropy

    def course(self) -> Course:
        """That of the sample which the thinking selects for each prediction."""
        final = self._stacked(self.energies, self.thinking.steps)
        score = final
        if self.thinking.select == "largest_drop":
            score = final - self._stacked(self.energies, 0)
        chosen = score.argmin(0, keepdim=True)

        def along(found: dict[tuple[int, int], Tensor]) -> Floats:
            steps = range(self.thinking.steps + 1)
            return np.stack([_numbers(self._stacked(found, k).gather(0, chosen)[0]) for k in steps])

        entropies = None
        if self.entropies:
            stacked = torch.stack([self.entropies[m] for m in range(self.thinking.samples)])
            entropies = _numbers(stacked.gather(0, chosen)[0])
        return Course(along(self.energies), along(self.losses), entropies)

    def _stacked(self, found: dict[tuple[int, int], Tensor], step: int) -> Tensor:
        return torch.stack([found[step, m] for m in range(self.thinking.samples)])


def _numbers(values: Tensor) -> Floats:
    return values.detach().cpu().numpy().astype(np.float64)


def course_of(
    batch: Any, subject: Subject, thinking: Descent, noise: Any, context: EvalContext
) -> Course:
    """Predict a batch and keep what its energies and losses do on the way."""
    states = _States(subject, batch, thinking)
    context.adapter.predict(batch, thinking, noise, states)
    return states.course()


def _example(
    example: Example, subject: Subject, spec: EnergyEval, context: EvalContext
) -> dict[str, Any]:
    """Its pieces, the window of each, and by noise seed its energies by step, and its losses."""
    rows = example.rows
    courses = [
        course_of(rows.batch, subject, spec.thinking, context.noise(seed, example.noise), context)
        for seed in spec.noise_seeds
    ]
    windows = np.broadcast_to(np.arange(len(rows.counts))[:, None], rows.counts.shape)
    return {
        "name": example.name,
        "content": example.content,
        "in_training": example.in_training,
        "pieces": list(example.pieces),
        "windows": windows[rows.counts].tolist(),
        "energies": _plain(np.stack([c.energies[:, rows.counts] for c in courses])),
        "losses": _plain(np.stack([c.losses[-1][rows.counts] for c in courses])),
    }


def _plain(values: Any) -> Any:
    """Nested lists of float32's digits, None for what is not finite."""
    if isinstance(values, np.ndarray):
        return [_plain(value) for value in values]
    return None if finite(float(values)) is None else float(f"{float(values):.7g}")


# --- sums over the set -----------------------------------------------------------------------


class _Sums:
    """What one noise seed gives: sums by content, step and document, and predictions kept."""

    def __init__(self, subject: Subject, spec: EnergyEval, seed: int) -> None:
        self.subject, self.spec, self.seed = subject, spec, seed
        self.room = KEPT_PREDICTIONS // len(spec.noise_seeds)
        shape = len(CONTENTS), spec.thinking.steps + 1, subject.documents
        self.energy, self.loss = np.zeros(shape), np.zeros(shape)
        self.n = np.zeros(subject.documents, np.int64)
        self.parts: dict[str, list[Any]] = {}

    def cover(self, context: EvalContext) -> None:
        """Predict the whole set and its counterparts."""
        spec, noise = self.spec, context.noise(self.seed, f"{self.spec.data}/{self.spec.split}")
        for rows in self.subject.batches(spec.batch_size):
            owners = rows.owners[rows.counts]
            self.n += np.bincount(owners, minlength=len(self.n))
            courses = []
            for index, content in enumerate(CONTENTS):
                batch = self.subject.counterpart(rows.batch, content, self.seed)
                course = course_of(batch, self.subject, spec.thinking, noise, context)
                courses.append(course)
                for sums, values in (
                    (self.energy[index], course.energies),
                    (self.loss[index], course.losses),
                ):
                    for step, at_step in enumerate(values):
                        sums[step] += np.bincount(owners, at_step[rows.counts], len(self.n))
            self._keep(rows.counts, owners, courses)

    def _keep(
        self, counts: NDArray[np.bool_], owners: NDArray[np.int64], courses: Sequence[Course]
    ) -> None:
        size = min(self.room, len(owners))
        self.room -= size
        kept = {
            "energy": [c.energies[-1][counts][:size] for c in courses],
            "loss": [c.losses[-1][counts][:size] for c in courses],
            "document": owners[:size],
            "position": np.nonzero(counts)[1][:size],
        }
        if courses[0].entropies is not None:
            kept["entropy"] = [
                c.entropies[counts][:size] for c in courses if c.entropies is not None
            ]
        for name, part in kept.items():
            self.parts.setdefault(name, []).append(np.asarray(part))

    def kept(self, name: str) -> NDArray[Any] | None:
        """(contents, kept), or (kept,) for documents and positions; None where there is none."""
        return np.concatenate(self.parts[name], axis=-1) if name in self.parts else None


def _kept(seeds: Sequence[_Sums]) -> dict[str, NDArray[Any]]:
    """Predictions kept, as arrays to store."""
    found: dict[str, NDArray[Any]] = {}
    for name in ("energy", "loss", "entropy"):
        of_seeds = [k for k in (s.kept(name) for s in seeds) if k is not None]
        if of_seeds:
            found[f"kept_{name}"] = np.stack(of_seeds).astype(np.float32)
    for name in ("document", "position"):
        found[f"kept_{name}"] = np.asarray(seeds[0].kept(name), np.int32)
    return found


# --- measurements ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Says:
    """How a measurement of one evaluation is worded."""

    spec: EnergyEval
    context: EvalContext
    cost: dict[str, float | int | None]
    unit: str

    def __call__(
        self, name: str, value: float | None, n: int, seed: int, **given: Any
    ) -> Measurement:
        unit, better = given.pop("unit", "1"), given.pop("higher_is_better", None)
        spec = self.spec
        thinking = spec.thinking.model_dump(mode="json")
        return self.context.measurement(
            name,
            value,
            n=n,
            unit=unit,
            higher_is_better=better,
            noise_seed=seed,
            tags={"data": spec.data, "split": spec.split, **thinking, **given},
            cost=self.cost,
        )


def _means(sums: _Sums, say: _Says) -> list[Measurement]:
    """Mean energy and loss by content and optimization step, and how far the energy drops."""
    total, seed = int(sums.n.sum()), sums.seed
    found = []
    for index, content in enumerate(CONTENTS):
        energy, loss = (part[index].sum(1) / total for part in (sums.energy, sums.loss))
        for step in range(len(energy)):
            at: dict[str, Any] = {"content": content, "optimization_step": step}
            found.append(say("energy", finite(energy[step]), total, seed, unit="energy", **at))
            found.append(
                say(
                    "loss",
                    finite(loss[step]),
                    total,
                    seed,
                    unit=say.unit,
                    higher_is_better=False,
                    **at,
                )
            )
        drop = finite(energy[0] - energy[-1])
        found.append(say("energy_drop", drop, total, seed, unit="energy", content=content))
    return found


def _statistics(sums: _Sums, say: _Says) -> list[Measurement]:
    """Rank statistics of final energies, over the predictions kept.

    `energy_loss_rank_correlation`, over all predictions, is the headline: whoever spends thought
    where energy is high compares different texts too. Within documents and within positions it
    says how much is left once neither can drive it. `entropy_...` is the same of the predicted
    distribution's own entropy, which costs no energy: the line to beat.
    """
    energy, loss = sums.kept("energy"), sums.kept("loss")
    document, position = sums.kept("document"), sums.kept("position")
    assert energy is not None
    assert loss is not None
    assert document is not None
    assert position is not None
    n, seed = len(document), sums.seed

    def said(name: str, value: float | None, **tags: Any) -> Measurement:
        return say(name, value, n, seed, higher_is_better=True, **tags)

    name = "energy_loss_rank_correlation"
    real: dict[str, Any] = {"content": "real"}
    found = [said(name, spearman(energy[0], loss[0]), **real)]
    for within, groups in (("documents", document), ("positions", position)):
        value = _weighted(*correlations_within(energy[0], loss[0], groups))
        found.append(said(f"{name}_within_{within}", value, **real))
    entropy = sums.kept("entropy")
    if entropy is not None:
        value = spearman(entropy[0], loss[0])
        found.append(said("entropy_loss_rank_correlation", value, **real))
    means = _document_means(energy, document)
    for index, content in list(enumerate(CONTENTS))[1:]:
        found.append(said("energy_auroc", auroc(energy[0], energy[index]), content=content))
        by_document = auroc(means[0], means[index])
        found.append(
            say(
                "energy_auroc_of_documents",
                by_document,
                means.shape[1],
                seed,
                higher_is_better=True,
                content=content,
            )
        )
    return found


def _weighted(values: Floats, weights: Floats) -> float | None:
    return finite(float(values @ weights / weights.sum())) if weights.sum() > 0 else None


def _document_means(energy: Floats, document: NDArray[np.int64]) -> Floats:
    """(contents, documents that have predictions) mean final energy."""
    n = np.bincount(document)
    sums = np.stack([np.bincount(document, own) for own in energy])
    return np.asarray(sums[:, n > 0] / n[n > 0])


def _cost(
    subject: Subject, spec: EnergyEval, context: EvalContext
) -> dict[str, float | int | None]:
    """Cost per prediction on the set's first rows, without the energies read to be looked at."""
    rows = next(subject.batches(min(spec.batch_size, TIMED_ROWS)))
    noise = context.noise(spec.noise_seeds[0], f"{spec.data}/{spec.split}")
    return prediction_cost(
        context,
        lambda: context.adapter.predict(rows.batch, spec.thinking, noise),
        predictions=rows.counts.size,
        repeats=TIMED_REPEATS,
        vocab_size=subject.vocab_size,
    )
