"""Names of images and clips: what they mean, what is wrong with them, which files they are of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.data.datasets import find_dataset
from harness.data.pixels.sources import (
    PixelSource,
    idx_labels,
    names_pixels,
    parse_pixels,
    split_pixels,
)
from harness.errors import HarnessError

COUNTS = st.integers(1, 10**6)
WORDS = st.text("abcXYZ019_-. ä", min_size=1).map(str.strip).filter(bool)


@st.composite
def folders(draw: st.DrawFn) -> PixelSource:
    """Any source that a folder may be."""
    place = draw(st.sampled_from(["a", "a/b c", "/x/{split}", "~/d.e", "a?b", "ü/x"]))
    frames = draw(st.none() | COUNTS)
    options = {
        "channels": draw(st.sampled_from([1, 3])),
        "broken": draw(st.sampled_from([None, "skip"])),
        "images": draw(st.none() | COUNTS) if frames is None else None,
        "seconds": draw(st.none() | st.floats(1e-6, 1e6)) if frames else None,
        "fps": draw(st.none() | st.floats(1e-6, 1e6)) if frames else None,
        "clips": draw(st.none() | COUNTS) if frames else None,
        "holdout": draw(st.none() | st.floats(1e-9, 0.999)) if "{" not in place else None,
    }
    return PixelSource("file", place, size=draw(COUNTS), frames=frames, **options)


@st.composite
def records(draw: st.DrawFn) -> PixelSource:
    """Any source of records."""
    fields = {"field": draw(WORDS), "label": draw(st.none() | WORDS)}
    size, images = draw(COUNTS), draw(st.none() | COUNTS)
    if draw(st.booleans()):
        return PixelSource("file", "a?/*.parquet", size=size, images=images, **fields)
    return PixelSource(
        "hub",
        draw(st.sampled_from(["a/b", "b", "./f", "/x/y"])),
        size=size,
        revision=draw(st.none() | st.sampled_from(["main", "refs/pr/1", "abc123"])),
        config=draw(st.none() | st.sampled_from(["default", "c-1.0"])),
        images=images,
        **fields,
    )


@given(folders() | records())
def test_a_source_is_what_its_name_is_read_as(source: PixelSource) -> None:
    assume("=" not in source.field)
    assert parse_pixels(str(source)) == source
    assert names_pixels(str(source))
    record = find_dataset(str(source))
    assert record.modality == ("image" if source.frames is None else "video")
    assert record.image_shape == (source.channels, source.size, source.size)


@given(st.text("?#&=size32:/.{}hbframeslabel -", max_size=40))
def test_whatever_is_given_is_read_or_explained(rubbish: str) -> None:
    for name in (f"file:{rubbish}", f"hub:{rubbish}", f"file:a?size=8&{rubbish}"):
        try:
            found = parse_pixels(name)
        except HarnessError:
            continue
        assert parse_pixels(str(found)) == found


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("file:photos", r"need the size(.|\n)*write file:photos\?size=32"),
        ("file:photos?channels=1", r"need the size(.|\n)*write file:photos\?channels=1&size=32"),
        ("file:photos?sise=32", "did you mean 'size'"),
        ("file:a.parquet#image?sise=32", "did you mean 'size'"),
        ("file:photos?size=0", "a whole number from 1"),
        ("file:photos?size=3.5", "a whole number from 1"),
        ("file:photos?size=8&size=9", "given twice"),
        ("file:photos?size=8&channels=4", "allowed: 1, 3"),
        ("file:photos?size=8&holdout=1", "a number between 0 and 1"),
        ("file:photos?size=8&broken=keep", "allowed: skip"),
        ("file:photos?size=8&images=all", "how many images"),
        ("file:photos?size=8&seconds=0.5", r"seconds is for clips(.|\n)*frames=N"),
        ("file:photos?size=8&frames=4&seconds=nan", "above 0"),
        ("file:photos?size=8&frames=4&images=3", "images is for images"),
        ("file:photos?size=8&label=y", "only records have a field of labels"),
        ("file:photos#image?size=8", "only records have fields"),
        ("file:a.parquet?size=8", "field that holds the image"),
        ("file:a.parquet#image?size=8&frames=2", "clips are read from folders"),
        ("file:a.parquet#image?size=8&label=", "a field's name"),
        ("hub:owner/name?size=8", "field that holds the image"),
        ("hub:owner/name/x#image?size=8", "not the name of a Hub dataset"),
        ("file:{split}?size=8&holdout=0.1", r"leave out either \{split\} or holdout"),
    ],
)
def test_wrong_names_are_explained(name: str, said: str) -> None:
    assert names_pixels(name)
    with pytest.raises(HarnessError, match=said):
        parse_pixels(name)


@pytest.mark.parametrize(
    "name",
    [
        "builtin/photos",
        "file:a.txt",
        "file:docs/*.txt",
        "file:a.jsonl.gz#text?holdout=0.1",
        "file:a.parquet#text",
        "file:a.parquet#text?documents=3",
        "hub:owner/name#text",
        "file:clips.npz#latents",
        "file:",
    ],
)
def test_other_data_keep_their_meaning(name: str) -> None:
    assert not names_pixels(name)


def touched(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("word", ["validation", "val", "valid"])
def test_a_split_lies_under_the_first_of_its_names(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touched(Path("coco/train2014/1.jpg"), Path(f"coco/{word}2014/2.jpg"))
    found = split_pixels("file:coco/{split}2014?size=8", "validation")
    assert found.source.files("validation") == [Path(f"coco/{word}2014")]
    looked = r"no such folder(.|\n)*looked for coco/test2014, coco/t10k2014"
    with pytest.raises(HarnessError, match=looked):
        split_pixels("file:coco/{split}2014?size=8", "test")


def test_files_are_found_or_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touched(*(Path(f"d/{split}-{i}.parquet") for split in ("train", "val") for i in (1, 0)))
    source = parse_pixels("file:d/{split}-*.parquet#image?size=8")
    assert source.files("validation") == [Path("d/val-0.parquet"), Path("d/val-1.parquet")]
    with pytest.raises(HarnessError, match="no such file"):
        source.files("test")
    touched(Path("picture.jpg"))
    with pytest.raises(HarnessError, match="it is a file, of none of the kinds"):
        split_pixels("file:picture.jpg?size=8", "train")
    with pytest.raises(HarnessError, match="no such split"):
        split_pixels("file:d?size=8&holdout=0.1", "test")


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
    ],
)
def test_mnists_labels_lie_beside_its_images(images: str, labels: str, tmp_path: Path) -> None:
    touched(tmp_path / images)
    source = parse_pixels(f"file:{tmp_path}/{images}?size=28&channels=1")
    assert source.files("test") == [tmp_path / images]
    touched(tmp_path / labels)
    assert idx_labels(tmp_path / images) == tmp_path / labels
    assert source.files("test") == [tmp_path / images, tmp_path / labels]
    assert re.search("idx", source.layout)
