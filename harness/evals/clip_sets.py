"""Evaluation rows of a set of clips, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from harness.data.apart import rows_apart
from harness.data.datasets import load_clips
from harness.data.tensors import video_batch
from harness.data.video import ClipRows
from harness.evals.context import EvalContext
from harness.planning.eval_spec import EvalBase, drops
from harness.planning.spec import NextFrameTask
from harness.protocol import VideoBatch, VideoShape


@dataclass(frozen=True, eq=False)
class ClipSet:
    """The rows `ids` (n,) that an evaluation covers, in order.

    `dropped` clips were left out because they are trained on; None where those are refused.
    """

    rows: ClipRows
    ids: NDArray[np.int64]
    dropped: int | None

    @property
    def left_out(self) -> dict[str, int]:
        """`dropped` where it was asked for, as a tag."""
        return {} if self.dropped is None else {"dropped": self.dropped}

    @property
    def frames(self) -> NDArray[np.int64]:
        """How many frames of each clip are predicted, up to the last that is covered."""
        return np.bincount(self.clips_of(self.ids)) * self.rows.context

    def clips_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The clips (B,) that the rows `ids` (B,) are of."""
        return ids // self.rows.windows

    def batches(
        self, size: int, device: torch.device
    ) -> Iterator[tuple[NDArray[np.int64], VideoBatch]]:
        for start in range(0, len(self.ids), size):
            ids = self.ids[start : start + size]
            yield ids, video_batch(self.rows, ids, device)


def clip_set(spec: EvalBase, context: EvalContext) -> ClipSet:
    """The evaluation's rows; HarnessError where a clip of the set is in the training split too,
    unless the evaluation drops such clips and others are left.
    """
    key = ("clips", spec.data, spec.split, drops(spec))
    if key not in context.shared:
        context.shared[key] = _whole_set(spec, context)
    whole: ClipSet = context.shared[key]
    return replace(whole, ids=whole.ids[: spec.limit])


def _whole_set(spec: EvalBase, context: EvalContext) -> ClipSet:
    """Every row of the set."""
    task, cache = context.spec.task, context.cache
    assert isinstance(context.shape, VideoShape)
    assert isinstance(task, NextFrameTask)
    clips = load_clips(spec.data, spec.split, cache=cache, autoencoder=task.autoencoder)
    trained = []
    if (spec.data, spec.split) != (task.data, "train"):
        trained = [load_clips(task.data, "train", cache=cache, autoencoder=task.autoencoder)]
    kept = rows_apart(clips, trained=trained, drop=drops(spec))
    rows = ClipRows(clips, context=context.shape.context)
    ids = (kept[:, None] * rows.windows + np.arange(rows.windows)).reshape(-1)
    return ClipSet(rows, ids, len(clips.pixels) - len(kept) if drops(spec) else None)
