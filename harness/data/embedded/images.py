"""The embedded images and clips: scikit-learn's digits and photographs, and digits that move.

The photographs are JPEG, so their digest may depend on the decoder's version.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np
from numpy.typing import NDArray

from harness.data.clips import Clips, clips_digest
from harness.data.embedded.generated import moving_digits
from harness.data.images import Images
from harness.data.keyed import keyed_fraction

DIGITS_VALIDATION = 0.15
#: The right part of each photograph that `builtin/photos-32` keeps to validate.
PHOTOS_VALIDATION = 0.25
CLIPS = {"train": 1024, "validation": 128}
CLIP_FRAMES = 16
#: Side of the patches of each set of photographs.
_SIDES = {"builtin/photos": 16, "builtin/photos-32": 32}
#: The set of which one photograph trains and the other validates.
_APART = "builtin/photos"
#: Training patches are this far apart, and so overlap, for variety; validation patches never do.
_STRIDE = 8


def embedded_images(name: str, split: str) -> Images:
    """The images of an embedded set, which `name` and `split` are of."""
    return _digits(split) if name == "builtin/digits" else _photos(name, split)


def embedded_clips(split: str, *, frames: int = CLIP_FRAMES) -> Clips:
    """The moving digits, `frames` of each clip."""
    return _moving_digits(split, frames)


def _array_digest(*arrays: NDArray[np.float32] | NDArray[np.int64]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        array.flags.writeable = False
        little = array.astype(array.dtype.newbyteorder("<"))
        digest.update(f"{little.dtype.str}{array.shape}".encode())
        digest.update(little.tobytes())
    return digest.hexdigest()


@functools.lru_cache(maxsize=2)
def _digits(split: str) -> Images:
    from sklearn.datasets import load_digits  # imported here: it takes a second

    loaded = load_digits()
    held_out = np.array(
        [keyed_fraction("builtin/digits", i) < DIGITS_VALIDATION for i in range(len(loaded.target))]
    )
    chosen = held_out if split == "validation" else ~held_out
    pixels = (loaded.images[chosen, None] / 8.0 - 1.0).astype(np.float32)
    labels = loaded.target[chosen].astype(np.int64)
    digest = _array_digest(pixels, labels)
    source = "scikit-learn load_digits (UCI optical recognition of handwritten digits, test set)"
    return Images("builtin/digits", split, pixels, labels, digest, source, "CC-BY-4.0")


@functools.lru_cache(maxsize=4)
def _photos(name: str, split: str) -> Images:
    side, stride = _SIDES[name], _STRIDE if split == "train" else _SIDES[name]
    pixels = np.concatenate(
        [_patches(area, side, stride) for area in _areas(split, apart=name == _APART)]
    )
    source = "scikit-learn load_sample_image (china.jpg, flower.jpg)"
    digest = _array_digest(pixels)
    return Images(name, split, pixels, None, digest, source, "CC-BY-2.0")


def _areas(split: str, *, apart: bool) -> list[NDArray[np.uint8]]:
    """The parts of the photographs that a split is cut from: one of each, or one of the two."""
    from sklearn.datasets import load_sample_image  # imported here: it takes a second

    if apart:
        return [load_sample_image({"train": "china.jpg", "validation": "flower.jpg"}[split])]
    photos = [load_sample_image(file) for file in ("china.jpg", "flower.jpg")]
    border = round(photos[0].shape[1] * (1 - PHOTOS_VALIDATION))
    columns = slice(0, border) if split == "train" else slice(border, None)
    return [photo[:, columns] for photo in photos]


def _patches(area: NDArray[np.uint8], side: int, stride: int) -> NDArray[np.float32]:
    windows = np.lib.stride_tricks.sliding_window_view(area, (side, side), axis=(0, 1))
    patches = windows[::stride, ::stride].reshape(-1, 3, side, side)
    return (patches / 127.5 - 1.0).astype(np.float32)


@functools.lru_cache(maxsize=4)
def _moving_digits(split: str, frames: int) -> Clips:
    digits = _digits(split)
    assert isinstance(digits.pixels, np.ndarray)
    pixels = moving_digits(digits.pixels, key=split, clips=CLIPS[split], frames=frames)
    pixels.flags.writeable = False
    digest = clips_digest(pixels)
    source = f"generated from {digits.source}"
    return Clips("builtin/moving-digits", split, pixels, digest, source, digits.licence)
