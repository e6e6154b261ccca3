"""Error of predicted next frames over a whole set, beside that of repeating the last frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from harness.data.clips import Clips, shared_clip
from harness.data.datasets import load_clips
from harness.data.tensors import video_batch
from harness.data.video import ClipRows
from harness.errors import HarnessError
from harness.evals.context import EvalContext
from harness.evals.prediction_cost import prediction_cost
from harness.planning.eval_spec import EvalBase, NextFrameEval
from harness.protocol import VideoBatch, VideoShape
from harness.records import Measurement

COPY_LAST = "copy_last_"
#: Rows in the batch whose cost is measured.
TIMED_ROWS = 8

_Cost = dict[str, float | int | None]


class _Errors:
    """Sums over predicted frames of errors averaged over the numbers of a frame."""

    def __init__(self) -> None:
        self.loss, self.mse, self.n = 0.0, 0.0, 0

    def add(self, predicted: Tensor, frames: Tensor) -> None:
        """Count predictions (B, S, C, H, W) of `frames`."""
        predicted, frames = predicted.double(), frames.double()
        self.loss += _sum(F.smooth_l1_loss(predicted, frames, reduction="none"))
        self.mse += _sum((predicted - frames).square())
        self.n += predicted.shape[0] * predicted.shape[1]


def _sum(errors: Tensor) -> float:
    return float(errors.flatten(2).mean(2).sum())


def evaluate_next_frame(spec: NextFrameEval, context: EvalContext) -> list[Measurement]:
    """Smooth-L1 (beta 1, the loss of training) and MSE, means over frames, per noise seed.

    `copy_last_...` are the same for predictions that repeat the last observed frame. HarnessError
    where a clip of the set is one of the training split.
    """
    rows = clip_rows(spec, context)
    cost = _cost(spec, rows, context)
    copied = _Errors()
    for batch in _batches(spec, rows, context):
        copied.add(batch.frames[:, :-1], batch.frames[:, 1:])
    found: list[Measurement] = []
    for seed in spec.noise_seeds:
        errors = _Errors()
        noise = context.noise(seed, f"{spec.data}/{spec.split}")
        with context.inference():
            for batch in _batches(spec, rows, context):
                predicted = context.adapter.predict(batch, spec.thinking, noise).value
                errors.add(predicted, batch.frames[:, 1:])
        found += _measurements(spec, context, "", errors, seed, cost)
    return found + _measurements(spec, context, COPY_LAST, copied, None, {})


def clip_rows(spec: EvalBase, context: EvalContext) -> ClipRows:
    """The rows of the set, apart from training's; HarnessError where a clip is shared."""
    task = context.spec.task
    assert isinstance(context.shape, VideoShape)
    key = ("clips", spec.data, spec.split)
    if key not in context.shared:
        clips = load_clips(spec.data, spec.split)
        if (spec.data, spec.split) != (task.data, "train"):
            _check_apart(clips, task.data)
        context.shared[key] = ClipRows(clips, context=context.shape.context)
    rows: ClipRows = context.shared[key]
    return rows


def _check_apart(clips: Clips, training: str) -> None:
    shared = shared_clip(load_clips(training, "train"), clips)
    if shared is not None:
        raise HarnessError(
            f"clip {shared} of {clips.name} ({clips.split}) is in the training split too",
            hint="keep clips apart: write {split} in the path, and a file for each",
        )


def _batches(spec: NextFrameEval, rows: ClipRows, context: EvalContext) -> Iterator[VideoBatch]:
    count = len(rows) if spec.limit is None else min(spec.limit, len(rows))
    for start in range(0, count, spec.batch_size):
        ids = np.arange(start, min(start + spec.batch_size, count))
        yield video_batch(rows, ids, context.device)


def _measurements(
    spec: NextFrameEval,
    context: EvalContext,
    prefix: str,
    errors: _Errors,
    seed: int | None,
    cost: _Cost,
) -> list[Measurement]:
    tags = {"data": spec.data, "split": spec.split}
    values = {
        "loss": (errors.loss / errors.n, "smooth L1"),
        "mse": (errors.mse / errors.n, "squared"),
    }
    return [
        context.measurement(
            prefix + name,
            value,
            n=errors.n,
            unit=unit,
            higher_is_better=False,
            noise_seed=seed,
            tags=tags,
            cost=cost,
        )
        for name, (value, unit) in values.items()
    ]


def _cost(spec: NextFrameEval, rows: ClipRows, context: EvalContext) -> _Cost:
    """Cost per predicted frame, on the set's first rows."""
    ids = np.arange(min(len(rows), spec.batch_size, TIMED_ROWS))
    batch = video_batch(rows, ids, context.device)
    noise = context.noise(spec.noise_seeds[0], f"{spec.data}/{spec.split}")
    return prediction_cost(
        context,
        lambda: context.adapter.predict(batch, spec.thinking, noise),
        predictions=len(ids) * rows.context,
        repeats=spec.timing_repeats,
    )
