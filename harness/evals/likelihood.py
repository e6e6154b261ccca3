"""Token-weighted loss over a whole text set, perplexity, bits per byte, and n-gram lines."""

from __future__ import annotations

from math import exp, log
from pathlib import Path

import torch.nn.functional as F

from harness.evals.context import EvalContext
from harness.evals.probe_cost import prediction_cost
from harness.evals.text_sets import ORDER_NAMES, reference_losses, text_set
from harness.planning.eval_spec import LikelihoodEval
from harness.protocol import TextShape
from harness.records import Measurement


def evaluate_likelihood(
    spec: LikelihoodEval, context: EvalContext, folder: Path
) -> list[Measurement]:
    """Loss (nats per token), perplexity (exponentiated once) and bits per byte per noise seed.

    The n-gram reference lines cover exactly the same targets.
    """
    covered = text_set(spec, context)
    cost = _cost(spec, context)
    tags = {"data": spec.data, "split": spec.split}
    found: list[Measurement] = []
    for seed in spec.noise_seeds:
        total, n = _loss(spec, context, seed)
        found += _losses(context, "", total, n, covered.bytes, seed, tags, cost)
    for name, (total, n) in reference_losses(spec, covered, context).items():
        found += _losses(context, f"{name}_", total, n, covered.bytes, None, tags, {})
    assert set(ORDER_NAMES.values()) <= {m.name.removesuffix("_loss") for m in found}
    return found


def _loss(spec: LikelihoodEval, context: EvalContext, seed: int) -> tuple[float, int]:
    total, n = 0.0, 0
    noise = context.noise(seed, f"{spec.data}/{spec.split}")
    with context.inference():
        for batch, _ in text_set(spec, context).batches(spec.batch_size, context.device):
            logits = context.adapter.predict(batch, spec.thinking, noise).value.float()
            nats = F.cross_entropy(
                logits.flatten(0, 1), batch.tokens[:, 1:].flatten(), reduction="none"
            ).view(batch.mask.shape)  # (B, S)
            total += float(nats[batch.mask].double().sum())
            n += int(batch.mask.sum())
    return total, n


def _losses(
    context: EvalContext,
    prefix: str,
    total: float,
    n: int,
    target_bytes: int,
    seed: int | None,
    tags: dict[str, str],
    cost: dict[str, float | int | None],
) -> list[Measurement]:
    values: dict[str, tuple[float | None, str]] = {
        "loss": (total / n, "nats/token"),
        "perplexity": (exp(total / n) if total / n < 700 else None, "per token"),
        "bits_per_byte": (total / log(2) / target_bytes, "bits/byte"),
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


def _cost(spec: LikelihoodEval, context: EvalContext) -> dict[str, float | int | None]:
    """Cost per predicted token, on the set's first batch."""
    assert isinstance(context.shape, TextShape)
    first, _ = next(text_set(spec, context).batches(min(spec.batch_size, 8), context.device))
    noise = context.noise(spec.noise_seeds[0], f"{spec.data}/{spec.split}")
    return prediction_cost(
        context,
        lambda: context.adapter.predict(first, spec.thinking, noise),
        predictions=first.mask.numel(),
        repeats=1,
        vocab_size=context.shape.vocab_size,
    )
