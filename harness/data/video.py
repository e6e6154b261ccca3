"""Rows of clips: what the loop and the evaluators read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.data.clips import Clips
from harness.data.images import scaled
from harness.errors import HarnessError


class ClipRows:
    """Windows of `context` + 1 frames of the clips of one split, addressed by row id.

    The windows of a clip overlap by one frame, so that each frame but its first is a target once;
    frames that fill no window are left out. Raises HarnessError where clips are too short.
    """

    def __init__(self, clips: Clips, *, context: int) -> None:
        frames = clips.pixels.shape[1]
        if not 1 <= context < frames:
            raise HarnessError(
                f"{clips.name} ({clips.split}) has clips of {frames} frames, too few for a "
                f"context of {context}",
                hint="a row is the context and one frame more",
            )
        self.clips, self.context = clips, context
        self.windows: int = (frames - 1) // context

    def __len__(self) -> int:
        return len(self.clips.pixels) * self.windows

    def get(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return a copy float32[B, context + 1, C, H, W] of the rows `ids` int64[B].

        Raises IndexError for an id out of range.
        """
        ids = np.asarray(ids, np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= len(self)):
            raise IndexError(f"row ids must be in [0, {len(self)})")
        clips, windows = np.divmod(ids, self.windows)
        frames = windows[:, None] * self.context + np.arange(self.context + 1)
        pixels = self.clips.pixels
        if isinstance(pixels, np.ndarray):
            return scaled(pixels[clips[:, None], frames])
        # Shards are read a clip at a time, and of a clip all.
        return scaled(np.stack([pixels[clip][f] for clip, f in zip(clips, frames, strict=True)]))
