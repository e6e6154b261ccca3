"""A set of images, and its rows: what the loop and the evaluators read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.array_shards import ArrayShards


@dataclass(frozen=True, eq=False)
class Images:
    """The images of one split: pixels [N, C, H, W], labels int64[N] or None, both read-only.

    Pixels are float32 in [-1, 1], or uint8 from 0 to 255 in memory or in shards. digest: sha256 of
    the content. `classes` are the labels' names, where they have some.
    """

    name: str
    split: str
    pixels: NDArray[Any] | ArrayShards
    labels: NDArray[np.int64] | None
    digest: str
    source: str
    licence: str
    classes: tuple[str, ...] | None = None


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
        return scaled(self.images.pixels[ids])


def scaled(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Pixels as float32: those of type uint8 brought to [-1, 1], others as they are."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)
    return pixels.astype(np.float32)
