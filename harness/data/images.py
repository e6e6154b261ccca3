"""Rows of images: what the loop and the evaluators read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.data.builtin import Images


class ImageRows:
    """The images of one split, addressed by row id; `labels` int64[N], or None without labels."""

    def __init__(self, images: Images) -> None:
        self.images = images
        self.labels = images.labels

    def __len__(self) -> int:
        return len(self.images.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.images.pixels.shape[1:]
        return channels, height, width

    def get(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return a copy float32[B, C, H, W] in [-1, 1] of the rows `ids` int64[B].

        Raises IndexError for an id out of range.
        """
        ids = np.asarray(ids, np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= len(self)):
            raise IndexError(f"row ids must be in [0, {len(self)})")
        return self.images.pixels[ids]
