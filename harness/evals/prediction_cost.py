"""What one prediction costs: FLOPs counted on a small batch, seconds as the median of repeats."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from harness.cost import FlopCounter, peak_memory_bytes, reset_peak_memory, seconds_median
from harness.evals.context import EvalContext, passes_cost
from harness.protocol import Prediction


def prediction_cost(
    context: EvalContext,
    predict: Callable[[], Prediction],
    *,
    predictions: int,
    repeats: int,
    vocab_size: int | None = None,
    counted: Tensor | None = None,
) -> dict[str, float | int | None]:
    """NFE, passes, FLOPs and seconds per prediction of `predict`, which makes `predictions`.

    `steps_used` is the mean over predictions that may stop by themselves (those that the mask
    `counted` holds, if given), None where they may not.
    The peak is of the whole batch: CUDA's allocator, or the process's resident memory so far.
    """
    reset_peak_memory(context.device)
    with context.inference():
        with FlopCounter(vocab_size=vocab_size) as counter:
            prediction = predict()
        seconds = seconds_median(predict, repeats, context.device, warmup=0)
    vocabulary, steps = counter.vocabulary, prediction.steps
    if steps is not None and counted is not None:
        steps = steps[counted]
    return {
        **passes_cost(prediction.passes),
        "steps_used": None if steps is None else float(steps.double().mean()),
        "flops": counter.total / predictions,
        "flops_vocabulary": None if vocabulary is None else vocabulary / predictions,
        "seconds": seconds / predictions,
        "peak_memory_bytes": peak_memory_bytes(context.device),
    }
