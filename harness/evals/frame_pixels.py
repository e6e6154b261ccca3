"""Frames of a set as pixels in [-1, 1]: as they are, or decoded where they are latents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.data.clips import Clips
from harness.data.datasets import load_clips
from harness.data.pixels.latents import load_autoencoder
from harness.data.video import ClipRows
from harness.evals.context import EvalContext
from harness.planning.eval_spec import EvalBase
from harness.planning.spec import NextFrameTask

_GREY, _COLOUR = 1, 3
#: Clips that are looked at together.
_CLIPS = 64


class FramePixels:
    """The true frames of a set's rows as pixels, and how frames like its rows' become pixels.

    `decodes` says that these are latents, which lose something on the way.
    """

    def __init__(self, truth: ClipRows, decode: Callable[[Tensor], Tensor] | None) -> None:
        self._truth, self._decode = truth, decode

    @property
    def decodes(self) -> bool:
        return self._decode is not None

    def true(self, ids: NDArray[np.int64], device: torch.device) -> Tensor:
        """Pixels (B, context + 1, C, H, W) of the rows `ids`."""
        return torch.from_numpy(self._truth.get(ids)).to(device)

    def shown(self, frames: Tensor) -> Tensor:
        """Pixels (B, S, C, H, W) of frames or latents (B, S, c, h, w)."""
        if self._decode is None:
            return frames
        decoded = self._decode(frames.flatten(0, 1))
        return decoded.reshape(*frames.shape[:2], *decoded.shape[1:])


def frame_pixels(spec: EvalBase, context: EvalContext, rows: ClipRows) -> FramePixels | None:
    """How the frames of `rows` are seen; None for latents whose autoencoder is not known."""
    task = context.spec.task
    assert isinstance(task, NextFrameTask)
    if task.autoencoder is not None:
        pixels = load_clips(spec.data, spec.split, cache=context.cache)
        decode = load_autoencoder(task.autoencoder, context.device).decode
        return FramePixels(ClipRows(pixels, context=rows.context), decode)
    return FramePixels(rows, None) if _are_pixels(rows.clips) else None


def _are_pixels(clips: Clips) -> bool:
    """Whether clips look like pictures: grey or in colour, every number in [-1, 1].

    A file of numbers does not say whether they are latents.
    """
    if clips.pixels.dtype == np.uint8:
        return True
    if clips.pixels.shape[2] not in (_GREY, _COLOUR):
        return False
    starts = range(0, len(clips.pixels), _CLIPS)
    return all(bool((np.abs(clips.pixels[i : i + _CLIPS]) <= 1).all()) for i in starts)
