"""What is wrong with images is told before one is read: no images, other columns, no labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.data.datasets import check_file, load_images
from harness.data.pixels.image_checks import is_labelled
from harness.data.pixels.sources import split_pixels
from harness.errors import HarnessError

ENCODED = {"bytes": b"no image is decoded", "path": None}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touched(*paths: str) -> None:
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def records(**columns: Any) -> None:
    pq.write_table(pa.table(columns), "r.parquet")


@pytest.fixture
def table() -> None:
    records(
        image=[ENCODED],
        raw=[b"the same"],
        label=[1],
        kind=pa.array(["cat"]).dictionary_encode(),
        path=["a.png"],
        **{"true": [True], "deep": [{"image": ENCODED, "y": 2}]},
    )


@pytest.mark.parametrize(
    "name",
    ["#image", "#raw", "#deep.image", "#image?label=label", "#raw?label=deep.y"],
)
def test_columns_that_fit_are_nothing_to_tell(name: str, table: None) -> None:
    check_file(f"file:r.parquet{name}{'&' if '?' in name else '?'}size=8", "train", "image")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("#img", r"no such field(.|\n)*'img'(.|\n)*did you mean 'image'"),
        ("#deep.img", r"no such field(.|\n)*did you mean 'image'"),
        ("#label.x", r"no such field\n  given: 'x'$"),
        ("#path", r"holds string, not encoded images(.|\n)*allowed: image, raw\n"),
        ("#deep", r"not encoded images"),
        ("#image?label=lable", r"no such field(.|\n)*did you mean 'label'"),
        ("#image?label=path", r"numbers of classes(.|\n)*holds string(.|\n)*allowed: label\n"),
        ("#image?label=kind", r"numbers of classes(.|\n)*ClassLabel"),
        ("#image?label=true", r"numbers of classes(.|\n)*holds bool"),
    ],
)
def test_columns_that_do_not_fit_are_told(name: str, said: str, table: None) -> None:
    with pytest.raises(HarnessError, match=said) as caught:
        check_file(f"file:r.parquet{name}{'&' if '?' in name else '?'}size=8", "train", "image")
    assert caught.value.where == "r.parquet"
    assert "(nothing)" not in str(caught.value)


def test_a_file_that_is_not_parquet_is_told() -> None:
    touched("r.parquet")
    with pytest.raises(HarnessError, match="cannot be read"):
        check_file("file:r.parquet#image?size=8", "train", "image")


def test_a_folder_without_an_image_is_told_with_what_it_may_be() -> None:
    touched("videos/a/1.MP4", "empty/notes.txt", "good/deep/er/1.jpg")
    check_file("file:good?size=8", "train", "image")
    for look in (
        lambda name: check_file(name, "train", "image"),
        lambda name: load_images(name, "train", cache=Path("c")),
    ):
        with pytest.raises(HarnessError, match=r"file:videos\?size=8&frames=16"):
            look("file:videos?size=8")
        with pytest.raises(HarnessError, match=r"not one image in the folder(.|\n)*\.png"):
            look("file:empty?size=8")


def test_a_holdout_that_leaves_nothing_says_what_else_to_give() -> None:
    touched("v/a/1.png")
    for split, other in (("train", "a smaller"), ("validation", "a larger")):
        for name, read in (("v?size=8&frames=2", "video"), ("v?size=8", "image")):
            found = split_pixels(f"file:{name}&holdout=0.5", split)
            message = str(found.nothing())
            assert f"each {read} is drawn" in message
            assert f"give {other} holdout" in message


def test_whether_images_are_labelled_is_seen_by_their_folders() -> None:
    touched("flat/1.png", "flat/2.png", "two/cat/1.png", "two/dog/2.png")
    touched("a-images-idx3-ubyte", "b-images-idx3-ubyte", "b-labels-idx1-ubyte")
    expected = {
        "flat?": False,
        "two?": True,
        "a-images-idx3-ubyte?": False,
        "b-images-idx3-ubyte?": True,
    }
    for name, labelled in expected.items():
        assert is_labelled(split_pixels(f"file:{name}size=8", "train")) is labelled
    assert is_labelled(split_pixels("hub:o/n#image?size=8&label=y", "train"))
    assert not is_labelled(split_pixels("hub:o/n#image?size=8", "train"))
