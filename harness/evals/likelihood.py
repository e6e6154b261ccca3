"""Token-weighted loss over a whole text set, perplexity, bits per byte, and n-gram lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from harness.evals.context import EvalContext
from harness.evals.prediction_cost import prediction_cost
from harness.evals.text_sets import (
    ORDER_NAMES,
    TextSet,
    reference_losses,
    reference_tags,
    text_set,
)
from harness.evals.thinking import BY_DOCUMENT
from harness.planning.eval_spec import LikelihoodEval
from harness.protocol import TextShape
from harness.ranks import finite
from harness.records import Measurement

_Tags = Mapping[str, str | int]


@dataclass(frozen=True)
class _Sums:
    """Nats in all, and per document with its targets: `by_document`, `n_by_document` (D,)."""

    total: float
    by_document: NDArray[np.float64]
    n_by_document: NDArray[np.int64]

    @property
    def n(self) -> int:
        return int(self.n_by_document.sum())


def evaluate_likelihood(
    spec: LikelihoodEval, context: EvalContext, folder: Path
) -> list[Measurement]:
    """Loss (nats per token), perplexity (exponentiated once) and bits per byte per noise seed.

    Where the set has answers, `answer_…` are the same over the answers' tokens alone. The n-gram
    reference lines cover exactly the same targets. `by_document.npz` in `folder` keeps `sums`
    (noise seeds, documents) in nats, `n` and `bytes` (documents,), and `answer_sums` and so on.
    """
    covered = text_set(spec, context)
    sets = {"": covered} | ({} if (own := covered.answer_set) is None else {"answer_": own})
    sums = [_sums(sets, spec, context, seed) for seed in spec.noise_seeds]
    _keep(sets, sums, folder)
    cost = _cost(spec, covered, context)
    found: list[Measurement] = []
    for name, chosen in sets.items():
        tags = _tags(name, sums[0][name], covered, spec)
        text_bytes = chosen.bytes
        for seed, of_seed in zip(spec.noise_seeds, sums, strict=True):
            total, n = of_seed[name].total, of_seed[name].n
            found += _losses(context, name, total, n, text_bytes, tags, seed, cost)
        for order, (total, n) in reference_losses(chosen, context).items():
            fitted = {**tags, **reference_tags(context)}
            found += _losses(context, f"{order}_{name}", total, n, text_bytes, fitted)
    assert set(ORDER_NAMES.values()) <= {m.name.removesuffix("_loss") for m in found}
    return found


def _sums(
    sets: Mapping[str, TextSet], spec: LikelihoodEval, context: EvalContext, seed: int
) -> dict[str, _Sums]:
    """Of one noise seed: a prediction is made once, whichever targets are counted."""
    covered = sets[""]
    documents = len(covered.rows.shards)
    totals = dict.fromkeys(sets, 0.0)
    sums = {name: np.zeros(documents) for name in sets}
    n = {name: np.zeros(documents, np.int64) for name in sets}
    noise = context.noise(seed, f"{spec.data}/{spec.split}")
    with context.inference():
        for batch, owners in covered.batches(spec.batch_size, context.device):
            logits = context.adapter.predict(batch, spec.thinking, noise).value.float()
            nats = F.cross_entropy(
                logits.flatten(0, 1), batch.tokens[:, 1:].flatten(), reduction="none"
            ).view(batch.mask.shape)  # (B, S)
            values = nats.cpu().double()
            for name, chosen in sets.items():
                mask = chosen.rows.get(batch.rows.cpu().numpy())[1]
                totals[name] += float(values[mask].sum())
                n[name] += np.bincount(owners[mask], minlength=documents)
                counted = values.numpy()[mask]
                sums[name] += np.bincount(owners[mask], counted, minlength=documents)
    return {name: _Sums(totals[name], sums[name], n[name]) for name in sets}


def _keep(sets: Mapping[str, TextSet], sums: list[dict[str, _Sums]], folder: Path) -> None:
    kept: dict[str, Any] = {}
    for name, chosen in sets.items():
        kept[f"{name}sums"] = np.stack([of_seed[name].by_document for of_seed in sums])
        kept[f"{name}n"] = sums[0][name].n_by_document
        kept[f"{name}bytes"] = chosen.bytes_by_document
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / BY_DOCUMENT, **kept)


def _tags(name: str, sums: _Sums, covered: TextSet, spec: LikelihoodEval) -> _Tags:
    tags: dict[str, str | int] = {
        "data": spec.data,
        "split": spec.split,
        "windows": spec.windows,
        "tokens": "answer" if name else "all",
        "documents": int((sums.n_by_document > 0).sum()),
    }
    return tags | covered.left_out


def _losses(
    context: EvalContext,
    prefix: str,
    total: float,
    n: int,
    text_bytes: int,
    tags: _Tags,
    seed: int | None = None,
    cost: Mapping[str, float | int | None] | None = None,
) -> list[Measurement]:
    """None where nothing was counted (rows that end before the answers begin), or a loss is not
    finite.
    """
    mean = finite(total / n) if n else None
    bits = None if mean is None or not text_bytes else total / log(2) / text_bytes
    values: dict[str, tuple[float | None, str]] = {
        "loss": (mean, "nats/token"),
        "perplexity": (exp(mean) if mean is not None and mean < 700 else None, "per token"),
        "bits_per_byte": (bits, "bits/byte"),
    }
    return [
        context.measurement(
            prefix + name,
            value,
            n=n,
            unit=unit,
            higher_is_better=False,
            noise_seed=seed,
            tags=tags,
            cost=cost,
        )
        for name, (value, unit) in values.items()
    ]


def _cost(
    spec: LikelihoodEval, covered: TextSet, context: EvalContext
) -> dict[str, float | int | None]:
    """Cost per predicted token, on the set's first batch."""
    assert isinstance(context.shape, TextShape)
    first, _ = next(covered.batches(min(spec.batch_size, 8), context.device))
    noise = context.noise(spec.noise_seeds[0], f"{spec.data}/{spec.split}")
    return prediction_cost(
        context,
        lambda: context.adapter.predict(first, spec.thinking, noise),
        predictions=first.mask.numel(),
        repeats=1,
        vocab_size=context.shape.vocab_size,
        counted=first.mask,
    )
