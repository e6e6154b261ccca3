"""The user's own images as they lie: every layout against a reading of our own, and mistakes."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from harness.data.datasets import dataset_digest, find_dataset, load_images
from harness.data.images import ImageRows
from harness.data.pixels import preparing
from harness.errors import HarnessError
from tests.data.pixels.made_images import (
    EXPECTED,
    NAME,
    classed,
    index_of,
    noise,
    pixels,
    png,
    records,
    small_parts,
    thirty,
)

ROOT = Path(preparing.__file__).parents[3]
SHARED = ROOT / os.environ.get("HARNESS_SHARED", "../shared") / "data"
shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="no shared data: HARNESS_SHARED is not there"
)


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    small_parts(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work where `a` holds thirty images."""
    monkeypatch.chdir(tmp_path)
    return thirty(tmp_path / "a")


def middle(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """By cutting first and scaling the square alone, which differs at its rim."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = image.convert("RGB").crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC)).transpose(2, 0, 1)


@shared
def test_records_are_decoded_with_their_labels(tmp_path: Path) -> None:
    name = f"file:{SHARED}/cifar10_subset/{{split}}.parquet#image?size=32&label=label&images=200"
    images = load_images(name, "test", cache=tmp_path)
    table = pq.read_table(SHARED / "cifar10_subset" / "test.parquet").slice(0, 200)
    expected = [
        np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1)
        for content in table["image"].to_pylist()
    ]
    np.testing.assert_array_equal(pixels(images), np.stack(expected))
    assert images.labels is not None
    assert images.labels.tolist() == table["label"].to_pylist()
    assert images.classes is None
    assert find_dataset(name).labelled
    batch = ImageRows(images).get(np.array([3, 199]))
    np.testing.assert_allclose(batch, np.stack([expected[3], expected[199]]) / 127.5 - 1, atol=1e-6)


@shared
@pytest.mark.parametrize(
    ("data", "split", "found"),
    [
        ("tiny_coco/{split}2017", "validation", "tiny_coco/val2017"),
        ("bsds500_val50", "test", "bsds500_val50/images"),
    ],
)
def test_a_folders_images_come_by_name(data: str, split: str, found: str, tmp_path: Path) -> None:
    images = load_images(f"file:{SHARED}/{data}?size=48&images=9", split, cache=tmp_path)
    paths = sorted((SHARED / found).glob("*.jpg"))[:9]
    expected = np.stack([middle(Image.open(path), 48) for path in paths]).astype(int)
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    assert np.abs(pixels(images)[inside] - expected[inside]).max() <= 1
    assert images.labels is None


@shared
def test_mnists_files_are_read(tmp_path: Path) -> None:
    name = f"file:{SHARED}/mnist_t10k/{{split}}-images-idx3-ubyte.gz?size=28&channels=1&images=200"
    images = load_images(name, "test", cache=tmp_path)
    folder = SHARED / "mnist_t10k"
    numbers = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    expected = np.frombuffer(numbers, np.uint8).reshape(-1, 1, 28, 28)[:200]
    np.testing.assert_array_equal(pixels(images), expected)
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    assert images.labels is not None
    assert bytes(images.labels.astype(np.uint8)) == labels[:200]


def test_png_files_are_kept_exactly(folder: Path, tmp_path: Path) -> None:
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no image")
    images = load_images(NAME, "train", cache=tmp_path / "c")
    np.testing.assert_array_equal(pixels(images), EXPECTED)
    assert images.labels is None
    kept = index_of(images)
    assert len(kept["parts"]) == 5
    assert kept["decoder"]["pillow"]
    hashes = b"".join(hashlib.sha256(each.tobytes()).digest() for each in EXPECTED)
    assert kept["pixel_digest"] == hashlib.sha256(hashes).hexdigest()


def test_subfolders_are_classes_with_one_number_in_every_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for split, names in (("train", ["cat/x", "dog/deep/er", "dog/a"]), ("val", ["ant/y", "dog/z"])):
        for index, name in enumerate(names):
            path = tmp_path / split / f"{name}.PNG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(noise(index)))
    train = load_images("file:{split}?size=8", "train", cache=tmp_path / "c")
    validation = load_images("file:{split}?size=8", "validation", cache=tmp_path / "c")
    assert train.classes == validation.classes == ("ant", "cat", "dog")
    assert train.labels is not None
    assert validation.labels is not None
    assert train.labels.tolist() == [1, 2, 2]
    assert validation.labels.tolist() == [0, 2]
    (tmp_path / "train" / "beside.png").write_bytes(png(noise(9)))
    assert load_images("file:{split}?size=8", "train", cache=tmp_path / "c").labels is None


def test_a_class_that_comes_with_another_split_is_numbered_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, cache = "file:{split}?size=8", tmp_path / "c"
    classed(tmp_path / "train", "n2/a", "n3/a")
    before = load_images(name, "train", cache=cache)
    assert before.classes == ("n2", "n3")
    classed(tmp_path / "val", "n1/b", "n2/b", "n3/b")
    validation = load_images(name, "validation", cache=cache)
    train = load_images(name, "train", cache=cache)
    assert train.classes == validation.classes == ("n1", "n2", "n3")
    assert train.labels is not None
    assert train.labels.tolist() == [1, 2]
    assert dataset_digest(name, "train", cache=cache) == train.digest != before.digest


@pytest.mark.parametrize("lone", ["images", "n1"])
def test_a_splits_only_folder_is_a_class_if_another_split_has_it(
    lone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As tiny-imagenet lies: train/n1/images/…, val/images/…"""
    monkeypatch.chdir(tmp_path)
    classed(tmp_path / "train", "n1/images/a", "n2/images/b", "n3/images/c")
    classed(tmp_path / "val", f"{lone}/d", f"{lone}/e")
    name, cache = "file:{split}?size=8", tmp_path / "c"
    train, validation = (load_images(name, s, cache=cache) for s in ("train", "validation"))
    assert train.classes == ("n1", "n2", "n3")
    assert train.labels is not None
    assert train.labels.tolist() == [0, 1, 2]
    if lone == "images":
        assert validation.labels is validation.classes is None
    else:
        assert validation.labels is not None
        assert validation.labels.tolist() == [0, 0]
        assert validation.classes == train.classes


@pytest.mark.parametrize("kind", ["file", "hub"])
def test_hugging_faces_records_are_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    records(tmp_path / "set" / "data" / "train-00000-of-00001.parquet")
    place = "./set" if kind == "hub" else "set/data/{split}-*.parquet"
    images = load_images(f"{kind}:{place}#picture?size=8&label=y", "train", cache=tmp_path / "c")
    np.testing.assert_array_equal(pixels(images), EXPECTED[:9])
    assert images.labels is not None
    assert images.labels.tolist() == [0, 1] * 4 + [0]
    assert images.classes == ("no", "yes")


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_other_formats_of_hugging_face_give_encoded_images(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files in folders of their classes, or beside them in an archive: PNG is kept exactly."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    (tmp_path / "set").mkdir()
    if kind == "folder":
        classed(tmp_path / "set" / "train", *(f"{'no' if i < 3 else 'yes'}/{i}" for i in range(6)))
    else:
        with tarfile.open(tmp_path / "set" / "train-0.tar", "w") as archive:
            for index in range(6):
                for suffix, content in (("png", png(noise(index))), ("cls", b"000111"[index:])):
                    member = tarfile.TarInfo(f"{index:03}.{suffix}")
                    member.size = 1 if suffix == "cls" else len(content)
                    archive.addfile(member, io.BytesIO(content))
    fields = "image?size=8&label=label" if kind == "folder" else "png?size=8&label=cls"
    images = load_images(f"hub:./set#{fields}", "train", cache=tmp_path / "c")
    np.testing.assert_array_equal(pixels(images), EXPECTED[:6])
    assert images.labels is not None
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.classes == (("no", "yes") if kind == "folder" else None)


def test_the_hub_is_read_by_prepare_alone(tmp_path: Path) -> None:
    name = "hub:owner/name#image?size=8"
    for ask in (load_images, dataset_digest):
        with pytest.raises(
            HarnessError, match=r"not prepared here(.|\n)*harness prepare 'hub:owner"
        ):
            ask(name, "train", cache=tmp_path)
    with pytest.raises(HarnessError, match="--split validation; or `split: test`"):
        load_images(name, "validation", cache=tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("#picutre?size=8", r"no such field(.|\n)*did you mean 'picture'"),
        ("#y?size=8", r"r\.parquet: the field holds int64, not encoded images"),
        ("#picture.path?size=8", "holds string, not encoded"),
        ("#picture?size=8&label=z", "no such field"),
        ("#picture?size=8&label=y", r"r\.parquet:3: a label is the number(.|\n)*-1 is how"),
        ("#picture?size=8&label=picture", "labels are numbers of classes"),
    ],
)
def test_what_records_lack_is_said(
    options: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    records(tmp_path / "r.parquet", labels=[0, 1, -1, 0, 0, 0, 0, 0, 0])
    with pytest.raises(HarnessError, match=said):
        load_images(f"file:r.parquet{options}", "train", cache=tmp_path / "c")


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (
            b"\0\0\x08\x03" + bytes([0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2]) + b"1234567",
            None,
            "image 2 of 2",
        ),
        (b"\0\0\x08\x01\0\0\0\1\7", None, "not an idx file of images"),
        (b"", None, "not an idx file of images"),
        (
            b"\0\0\x08\x03" + bytes([0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]) + b"12",
            None,
            "goes on after",
        ),
        (
            b"\0\0\x08\x03" + bytes([0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]) + b"1",
            b"\0\0\x08\x01\0\0\0\2\1\1",
            "2 labels for 1 images",
        ),
    ],
)
def test_damaged_idx_files_are_refused(
    images: bytes, labels: bytes | None, said: str, tmp_path: Path
) -> None:
    (tmp_path / "images-idx3-ubyte").write_bytes(images)
    if labels is not None:
        (tmp_path / "labels-idx1-ubyte").write_bytes(labels)
    with pytest.raises(HarnessError, match=said):
        load_images(f"file:{tmp_path}/images-idx3-ubyte?size=1", "train", cache=tmp_path / "c")


def test_cut_off_files_are_named(folder: Path, tmp_path: Path) -> None:
    path = records(tmp_path / "r.parquet")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(HarnessError, match=r"r\.parquet: the file cannot be read"):
        load_images("file:r.parquet#picture?size=8", "train", cache=tmp_path / "c")
    packed = tmp_path / "images-idx3-ubyte.gz"
    packed.write_bytes(gzip.compress(bytes(500))[:-9])
    with pytest.raises(HarnessError, match=r"images-idx3-ubyte\.gz"):
        load_images("file:images-idx3-ubyte.gz?size=8", "train", cache=tmp_path / "c")
