"""Rows of images, and what two sets share."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.data.datasets import load_images
from harness.data.images import ImageRows, Images, scaled, shared_images
from harness.data.pixels.array_shards import ArrayShards, open_shards, publish, write_part


def test_rows_are_the_images_and_may_be_written_to() -> None:
    images = load_images("builtin/digits", "validation")
    rows = ImageRows(images)
    batch = rows.get(np.array([5, 0]))
    np.testing.assert_array_equal(batch, images.pixels[[5, 0]])
    batch[:] = 0
    assert images.pixels[5].any(), "a batch is a copy"
    assert rows.shape == (1, 8, 8)
    for bad in (-1, len(rows)):
        with pytest.raises(IndexError):
            rows.get(np.array([bad]))


def of(pixels: NDArray[Any], split: str = "train") -> Images:
    return Images("made", split, pixels, None, "", "", "")


def levels(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def shards(folder: Path, pixels: NDArray[np.uint8], *, hashes: bool) -> ArrayShards:
    building = folder / "building"
    building.mkdir(parents=True)
    paths = [building / str(i) for i in range(3)]
    for path, part in zip(paths, np.array_split(pixels, 3), strict=True):
        write_part(path, part, made_of="", extra={})
    found = [hashlib.sha256(each.tobytes()).digest() for each in pixels]
    kept = {"hashes": np.frombuffer(b"".join(found), np.uint8).reshape(-1, 32)}
    publish(building, folder / "shards", paths, {}, kept if hashes else {})
    opened = open_shards(folder / "shards")
    assert opened is not None
    return opened


@pytest.mark.parametrize("hashes", [True, False])
def test_rows_of_shards_are_scaled(hashes: bool, tmp_path: Path) -> None:
    pixels = levels(10, 3, 4, 4)
    rows = ImageRows(of(shards(tmp_path, pixels, hashes=hashes)))
    assert len(rows) == 10
    assert rows.shape == (3, 4, 4)
    ids = np.array([9, 0, 3])
    np.testing.assert_allclose(rows.get(ids), pixels[ids] / 127.5 - 1, atol=1e-6)
    assert rows.get(ids).dtype == np.float32
    with pytest.raises(IndexError):
        rows.get(np.array([10]))


def test_shared_images_are_found_however_they_are_kept(tmp_path: Path) -> None:
    train, others = levels(9, 3, 4, 4), levels(7, 3, 4, 4, seed=1)
    others[[2, 5]] = train[[8, 0]]
    forms = {
        "uint8": (of(train), of(others, "test")),
        "floats": (of(scaled(train)), of(scaled(others), "test")),
        "float64": (of(train / 127.5 - 1), of(others, "test")),
        "shards": (
            of(shards(tmp_path / "a", train, hashes=True)),
            of(shards(tmp_path / "b", others, hashes=True), "test"),
        ),
        "mixed": (of(scaled(train)), of(shards(tmp_path / "c", others, hashes=False), "test")),
    }
    for name, (training, evaluation) in forms.items():
        assert shared_images(training, evaluation).tolist() == [2, 5], name
    one_level = train.copy()
    one_level[:, 0, 0, 0] ^= 1
    assert not shared_images(of(train), of(one_level)).size
    assert not shared_images(of(scaled(train)), of(scaled(one_level))).size


def test_embedded_sets_are_apart() -> None:
    for name in ("builtin/digits", "builtin/photos", "builtin/photos-32"):
        assert not shared_images(load_images(name, "train"), load_images(name, "validation")).size
