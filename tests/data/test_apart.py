"""Images and clips that are trained on: refused with their number, or left out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness.data.apart import rows_apart
from harness.data.clips import Clips
from harness.data.datasets import load_images
from harness.data.images import Images
from harness.errors import HarnessError

SHARED = Path(__file__).parents[2] / os.environ.get("HARNESS_SHARED", "../shared") / "data"
LEVELS = np.random.default_rng(0).integers(0, 256, (9, 2, 1, 4, 4)).astype(np.uint8)


def images(places: list[int], split: str = "train") -> Images:
    return Images(f"made-{len(places)}", split, LEVELS[places, 0], None, "", "", "")


def clips(places: list[int], split: str = "train") -> Clips:
    return Clips(f"made-{len(places)}", split, LEVELS[places], "", "", "")


@pytest.mark.parametrize(("of", "noun"), [(images, "image"), (clips, "clip")])
def test_they_are_refused_or_left_out(of: Any, noun: str) -> None:
    evaluation, trained = of([3, 0, 5, 1, 2], "test"), [of([0, 7, 8, 6]), of([7, 2, 0])]
    assert rows_apart(evaluation, trained=trained, drop=True).tolist() == [0, 2, 3]
    assert rows_apart(evaluation, trained=[of([8, 7])], drop=False).tolist() == [0, 1, 2, 3, 4]
    assert rows_apart(evaluation, trained=[], drop=True).tolist() == [0, 1, 2, 3, 4]
    said = rf"1 of 5 {noun}s of made-5 \(test\) are in made-4 \(train\) too(.|\n)*is {noun} 2"
    with pytest.raises(HarnessError, match=said + r"(.|\n)*overlap: drop"):
        rows_apart(evaluation, trained=trained, drop=False)


@pytest.mark.parametrize(("of", "noun"), [(images, "image"), (clips, "clip")])
def test_a_set_of_which_nothing_is_left_is_refused(of: Any, noun: str) -> None:
    with pytest.raises(HarnessError, match=rf"every {noun} is in the data that are trained on"):
        rows_apart(of([2, 0], "test"), trained=[of([0, 1]), of([2])], drop=True)


def test_cifars_images_with_some_of_training_among_them(tmp_path: Path) -> None:
    folder = SHARED / "cifar10_subset"
    if not folder.is_dir():
        pytest.skip("no shared data: HARNESS_SHARED is not there")
    own, train = (
        pq.read_table(folder / f"{split}.parquet").slice(0, 60) for split in ("test", "train")
    )
    pq.write_table(train, tmp_path / "train.parquet")
    mixed = [*own.to_pylist()[:30], *train.to_pylist()[40:43], *own.to_pylist()[30:]]
    pq.write_table(own.from_pylist(mixed, schema=own.schema), tmp_path / "test.parquet")
    options = "#image?size=32&label=label"
    found = {
        split: load_images(f"file:{tmp_path}/{{split}}.parquet{options}", split, cache=tmp_path)
        for split in ("train", "test")
    }
    kept = rows_apart(found["test"], trained=[found["train"]], drop=True)
    assert kept.tolist() == [*range(30), *range(33, 63)]
