"""A set of images, its rows (what the loop and the evaluators read), and what two sets share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.pixels.array_shards import ArrayShards

_CHUNK = 1024
#: Less than a thousandth of a level.
_ROUNDING = 1e-6


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


# --- what two sets share ---------------------------------------------------------------------


def shared_images(training: Images, evaluation: Images) -> NDArray[np.int64]:
    """The rows of `evaluation` whose pixels are those of an image of `training`, in order."""
    known, found = image_hashes(training), image_hashes(evaluation)
    # Of millions of hashes, a first look at eight bytes of each.
    likely = np.flatnonzero(np.isin(_beginnings(found), _beginnings(known)))
    wanted = set(_beginnings(found[likely]).tolist())
    among = known[np.isin(_beginnings(known), np.array(sorted(wanted), np.uint64))]
    whole = {bytes(each) for each in among}
    return np.array([row for row in likely if bytes(found[row]) in whole], np.int64)


def image_hashes(images: Images) -> NDArray[np.uint8]:
    """sha256 of each image's pixels [N, 32], as uint8 where they are levels of 0 to 255."""
    pixels = images.pixels
    if isinstance(pixels, ArrayShards) and (kept := pixels.beside("hashes")) is not None:
        return kept
    found = [
        hashlib.sha256(_as_levels(each).tobytes()).digest()
        for start in range(0, len(pixels), _CHUNK)
        for each in pixels[start : start + _CHUNK]
    ]
    return np.frombuffer(b"".join(found), np.uint8).reshape(-1, 32)


def _beginnings(hashes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(hashes[:, :8]).view(np.uint64).reshape(-1)


def _as_levels(pixels: NDArray[Any]) -> NDArray[Any]:
    """An image as uint8 where it is that, or was before it was scaled; else as it is."""
    if pixels.dtype == np.uint8:
        return pixels
    levels = np.clip(np.rint((pixels + 1) * 127.5), 0, 255).astype(np.uint8)
    return levels if np.abs(scaled(levels) - pixels).max(initial=0) < _ROUNDING else pixels
