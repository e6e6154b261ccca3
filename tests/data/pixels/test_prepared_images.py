"""The user's own images: every layout against a reading of our own, and what may go wrong."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from harness.data import measured
from harness.data.datasets import dataset_digest, find_dataset, load_images
from harness.data.effort import Effort
from harness.data.images import ImageRows, Images
from harness.data.measured import LOCK, Measured, write_lock
from harness.data.pixels import prepared_images, preparing, recipes
from harness.data.pixels.array_shards import ArrayShards
from harness.data.pixels.prepared_images import prepare_images
from harness.data.pixels.preparing import PixelProgress
from harness.errors import HarnessError

ROOT = Path(preparing.__file__).parents[3]
SHARED = ROOT / os.environ.get("HARNESS_SHARED", "../shared") / "data"
shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="no shared data: HARNESS_SHARED is not there"
)


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were just written are taken for old, and parts hold a few small images."""
    monkeypatch.setattr(measured, "_SETTLED_SECONDS", 0.0)
    monkeypatch.setattr(recipes, "CHUNK_BYTES", 7 * 3 * 8 * 8)


def noise(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape or (8, 8, 3)).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """30 images of 8 x 8 in `a`, read as four parts and a bit."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "a"
    place.mkdir()
    for index in range(30):
        (place / f"{index:02}.png").write_bytes(png(noise(index)))
    return place


NAME = "file:a?size=8"
EXPECTED = np.stack([noise(index).transpose(2, 0, 1) for index in range(30)])


def pixels(images: Images) -> NDArray[Any]:
    assert isinstance(images.pixels, ArrayShards)
    return images.pixels[:]


def index_of(images: Images) -> dict[str, Any]:
    assert isinstance(images.pixels, ArrayShards)
    return images.pixels.index


# --- layouts -------------------------------------------------------------------------------------


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


def classed(root: Path, *names: str) -> None:
    """An image at each name below the root."""
    for name in names:
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(noise(len(list(root.rglob("*.png"))))))


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


FEATURES = {"y": {"names": ["no", "yes"], "_type": "ClassLabel"}, "picture": {"_type": "Image"}}


def records(path: Path, *, rows: int = 9, labels: list[Any] | None = None) -> Path:
    """A file as Hugging Face writes one: encoded images beside their paths, classes by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = [{"bytes": png(noise(index)), "path": f"{index}.png"} for index in range(rows)]
    table = pa.table(
        {"picture": content, "y": [i % 2 for i in range(rows)] if labels is None else labels}
    )
    described = json.dumps({"info": {"features": FEATURES}})
    pq.write_table(
        table.replace_schema_metadata({"huggingface": described}), path, row_group_size=4
    )
    return path


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
    with pytest.raises(HarnessError, match=r"r\.parquet: it cannot be read"):
        load_images("file:r.parquet#picture?size=8", "train", cache=tmp_path / "c")
    packed = tmp_path / "images-idx3-ubyte.gz"
    packed.write_bytes(gzip.compress(bytes(500))[:-9])
    with pytest.raises(HarnessError, match=r"images-idx3-ubyte\.gz"):
        load_images("file:images-idx3-ubyte.gz?size=8", "train", cache=tmp_path / "c")


# --- splits and digests --------------------------------------------------------------------------


def test_held_out_images_are_the_others(folder: Path, tmp_path: Path) -> None:
    name = f"{NAME}&holdout=0.3"
    splits = [load_images(name, split, cache=tmp_path / "c") for split in ("train", "validation")]
    rows = [sorted(each.tobytes() for each in pixels(images)) for images in splits]
    assert len(rows[0]) > len(rows[1]) > 0
    assert sorted(rows[0] + rows[1]) == sorted(each.tobytes() for each in EXPECTED)
    held = [
        int.from_bytes(hashlib.sha256(path.read_bytes()).digest()[:8], "big") / 2**64 < 0.3
        for path in sorted(folder.iterdir())
    ]
    np.testing.assert_array_equal(pixels(splits[1]), EXPECTED[held])
    with pytest.raises(HarnessError, match="each is drawn by its hash"):
        load_images(f"{NAME}&holdout=0.000001", "validation", cache=tmp_path / "c")


def test_the_first_images_alone(folder: Path, tmp_path: Path) -> None:
    images = load_images(f"{NAME}&images=11", "train", cache=tmp_path / "c")
    np.testing.assert_array_equal(pixels(images), EXPECTED[:11])


def test_the_digest_is_of_the_encoded_bytes_and_their_labels(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = load_images(NAME, "train", cache=tmp_path / "c")
    other = load_images("file:a?size=4&channels=1", "train", cache=tmp_path / "c")
    assert images.digest == other.digest
    assert index_of(images)["pixel_digest"] != index_of(other)["pixel_digest"]
    monkeypatch.setattr(prepared_images, "decode_image", lambda *_, **__: pytest.fail("decoded"))
    assert dataset_digest(NAME, "train", cache=None) == images.digest
    (folder / "07.png").write_bytes(png(noise(99)))
    assert dataset_digest(NAME, "train", cache=tmp_path / "c") != images.digest
    (folder / "sub").mkdir()
    (folder / "other").mkdir()
    for index, path in enumerate(sorted(folder.glob("*.png"))):
        path.rename(folder / ("sub" if index % 2 else "other") / path.name)
    labelled = dataset_digest(NAME, "train", cache=tmp_path / "c")
    (folder / "sub").rename(folder / "renamed")
    assert dataset_digest(NAME, "train", cache=tmp_path / "c") != labelled


def test_an_image_of_another_class_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, cache = "file:r.parquet#picture?size=8&label=y", tmp_path / "c"
    records(tmp_path / "r.parquet", rows=21)
    before = load_images(name, "train", cache=tmp_path / "whole")

    def interrupt(progress: PixelProgress) -> None:
        if progress.items == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_images(name, "train", cache=cache, effort=Effort(1, interrupt))
    records(tmp_path / "r.parquet", rows=21, labels=[1, 1, *(i % 2 for i in range(2, 21))])
    kept: list[int] = []
    effort = Effort(1, lambda progress: kept.append(progress.kept))
    relabelled = prepare_images(name, "train", cache=cache, effort=effort)
    assert kept[-1] >= 1, "what was made of other images goes on"
    assert kept[0] == 0, "and what was made of the relabelled one is made again"
    assert relabelled.labels is not None
    assert relabelled.labels[:3].tolist() == [1, 1, 0]
    assert relabelled.digest != before.digest
    assert dataset_digest(name, "train", cache=None) == relabelled.digest


def test_nothing_at_all_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(HarnessError, match="there is not one image"):
        load_images(f"file:{tmp_path}/a?size=8", "train", cache=tmp_path / "c")


# --- what is broken ------------------------------------------------------------------------------


def test_a_broken_image_is_named_or_left_out(folder: Path, tmp_path: Path) -> None:
    (folder / "03.png").write_bytes(b"")
    (folder / "20.png").write_bytes(png(noise(20))[:60])
    refused = r"03\.png: the image cannot be decoded: it is empty(.|\n)*size=8&broken=skip"
    with pytest.raises(HarnessError, match=refused):
        load_images(NAME, "train", cache=tmp_path / "c")
    images = load_images(f"{NAME}&broken=skip", "train", cache=tmp_path / "c")
    np.testing.assert_array_equal(pixels(images), np.delete(EXPECTED, [3, 20], 0))
    assert [name for name, _ in index_of(images)["skipped"]] == ["03.png", "20.png"]
    with pytest.raises(HarnessError, match=refused):
        load_images(NAME, "train", cache=tmp_path / "c")
    for path in folder.iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(HarnessError, match="there is not one image"):
        load_images(f"{NAME}&broken=skip", "train", cache=tmp_path / "c")


def test_a_broken_row_is_named(tmp_path: Path) -> None:
    content = [png(noise(0)), b"junk"]
    pq.write_table(pa.table({"image": content, "label": [4, 7]}), tmp_path / "r.parquet")
    with pytest.raises(HarnessError, match=r"r\.parquet:2: the image cannot be decoded"):
        load_images(f"file:{tmp_path}/r.parquet#image?size=8", "train", cache=tmp_path / "c")
    name = f"file:{tmp_path}/r.parquet#image?size=8&label=label&broken=skip"
    images = load_images(name, "train", cache=tmp_path / "c")
    assert images.labels is not None
    assert images.labels.tolist() == [4]


def test_a_record_without_image_or_label_is_named_or_left_out(tmp_path: Path) -> None:
    content = [{"bytes": png(noise(index)), "path": None} for index in range(5)]
    content[1] = {"bytes": None, "path": None}
    table = pa.table({"image": [*content[:2], None, *content[3:]], "label": [4, 7, 1, None, 2]})
    pq.write_table(table, tmp_path / "r.parquet")
    name = f"file:{tmp_path}/r.parquet#image?size=8&label=label"
    with pytest.raises(
        HarnessError, match=r"r\.parquet:2: (.|\n)*its image is null(.|\n)*broken=skip"
    ):
        load_images(name, "train", cache=tmp_path / "c")
    images = load_images(f"{name}&broken=skip", "train", cache=tmp_path / "c")
    np.testing.assert_array_equal(pixels(images), EXPECTED[[0, 4]])
    assert images.labels is not None
    assert images.labels.tolist() == [4, 2]
    assert index_of(images)["skipped"] == [
        ["r.parquet:2", "its image is null"],
        ["r.parquet:3", "its image is null"],
        ["r.parquet:4", "its label is null"],
    ]


def test_a_link_to_nothing_is_named_or_left_out(folder: Path, tmp_path: Path) -> None:
    (folder / "03.png").unlink()
    (folder / "03.png").symlink_to("gone.png")
    with pytest.raises(
        HarnessError, match=r"03\.png: (.|\n)*it is a link to a file that is not th"
    ):
        load_images(NAME, "train", cache=tmp_path / "c")
    images = load_images(f"{NAME}&broken=skip", "train", cache=tmp_path / "c")
    np.testing.assert_array_equal(pixels(images), np.delete(EXPECTED, 3, 0))
    (folder / "gone.png").write_bytes(png(noise(3)))
    assert len(pixels(load_images(NAME, "train", cache=tmp_path / "c"))) == 31


@pytest.mark.parametrize("link", ["a/up", "a/x.png"])
def test_a_link_into_itself_is_told(link: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / link).symlink_to(tmp_path / "a" if link == "a/up" else "x.png")
    for option in ("", "&broken=skip"):
        with pytest.raises(HarnessError, match=r"a link in the folder leads into itself(.|\n)*a/"):
            load_images(NAME + option, "train", cache=tmp_path / "c")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_never_left_out(folder: Path, tmp_path: Path) -> None:
    (folder / "03.png").chmod(0)
    with pytest.raises(HarnessError, match=r"03\.png: the file cannot be read: Permission"):
        load_images(f"{NAME}&broken=skip", "train", cache=tmp_path / "c")


# --- prepared once, whole, and resumed -----------------------------------------------------------


def test_what_is_prepared_is_found_without_reading(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_images(NAME, "train", cache=tmp_path / "c")
    with monkeypatch.context() as patched:
        patched.setattr(prepared_images, "_load", lambda _: pytest.fail("read again"))
        again = load_images(NAME, "train", cache=tmp_path / "c")
        assert dataset_digest(NAME, "train", cache=tmp_path / "c") == first.digest
    np.testing.assert_array_equal(pixels(again), EXPECTED)
    assert not list((tmp_path / "c").glob(".*"))
    (folder / "07.png").write_bytes(png(noise(99)))
    changed = load_images(NAME, "train", cache=tmp_path / "c")
    assert changed.digest != first.digest
    np.testing.assert_array_equal(pixels(changed)[7], noise(99).transpose(2, 0, 1))


def test_no_byte_depends_on_the_number_of_workers(folder: Path, tmp_path: Path) -> None:
    found = [
        prepare_images(NAME, "train", cache=tmp_path / str(n), effort=Effort(n)) for n in (1, 3)
    ]
    folders = [images.pixels.folder for images in found if isinstance(images.pixels, ArrayShards)]
    files = [{p.name: p.read_bytes() for p in place.iterdir()} for place in folders]
    assert folders[0].name == folders[1].name
    assert files[0] == files[1]


SCRIPT = """
import sys
import tarfile
from pathlib import Path
from harness.data import measured
from harness.data.pixels import recipes
from harness.data.effort import Effort
from harness.data.pixels.prepared_images import prepare_images
measured._SETTLED_SECONDS = 0.0
recipes.CHUNK_BYTES = 7 * 3 * 8 * 8
def tell(progress):
    print(progress.kept, progress.items, flush=True)
images = prepare_images("file:a?size=8", "train", cache=Path(sys.argv[1]), effort=Effort(1, tell))
print(images.pixels.index["pixel_digest"], flush=True)
"""


def started(place: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_midway_it_goes_on_to_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for index in range(30, 400):
        (folder / f"{index:02}.png").write_bytes(png(noise(index)))
    process = started(tmp_path, str(tmp_path / "c"))
    assert process.stdout is not None
    for _ in range(4):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    (left,) = (tmp_path / "c").glob(".parts-*")
    finished = sorted(path for path in left.iterdir() if not path.name.startswith("."))
    assert 4 <= len(finished) < 58
    # One of them is cut short, as a machine that lost its power may leave it.
    finished[1].write_bytes(finished[1].read_bytes()[:-3])
    kept: list[int] = []
    effort = Effort(2, lambda progress: kept.append(progress.kept))
    again = prepare_images(NAME, "train", cache=tmp_path / "c", effort=effort)
    whole = prepare_images(NAME, "train", cache=tmp_path / "whole")
    assert len(finished) - 1 <= kept[-1] < len(kept)
    assert index_of(again) == index_of(whole)
    np.testing.assert_array_equal(pixels(again), pixels(whole))
    assert not list((tmp_path / "c").glob(".*"))


def test_two_at_once_make_it_once(folder: Path, tmp_path: Path) -> None:
    both = [started(tmp_path, str(tmp_path / "c")) for _ in range(2)]
    ended = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    told = sorted((out.splitlines() for out, _ in ended), key=len)
    assert len(told[0]) == 1, "one waited and found it made"
    assert told[0][-1] == told[1][-1]
    assert len([p for p in (tmp_path / "c").iterdir() if p.name != "measured"]) == 1


def test_ctrl_c_keeps_what_is_finished_and_an_old_part_is_not_taken_for_new(
    folder: Path, tmp_path: Path
) -> None:

    def interrupt(progress: PixelProgress) -> None:
        if progress.items >= 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_images(NAME, "train", cache=tmp_path / "c", effort=Effort(1, interrupt))
    (left,) = (tmp_path / "c").glob(".parts-*")
    assert len(list(left.iterdir())) >= 2
    (folder / "02.png").write_bytes(png(noise(99)))
    images = load_images(NAME, "train", cache=tmp_path / "c")
    np.testing.assert_array_equal(pixels(images)[2], noise(99).transpose(2, 0, 1))
    np.testing.assert_array_equal(pixels(images)[3:], EXPECTED[3:])


def test_broken_images_are_left_out_from_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    (folder / "25.png").write_bytes(b"")
    with pytest.raises(HarnessError, match=r"25\.png"):
        prepare_images(NAME, "train", cache=tmp_path / "c", effort=Effort(1))
    told: list[PixelProgress] = []
    effort = Effort(1, lambda progress: told.append(progress))
    prepare_images(f"{NAME}&broken=skip", "train", cache=tmp_path / "c", effort=effort)
    assert told[-1].kept >= 3
    assert told[-1].skipped == 1


def test_a_full_disk_leaves_nothing_half_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, count = Path.replace, [0]

    def full(self: Path, target: Path) -> Path:
        count[0] += 1
        if count[0] > 3 and ".parts-" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(HarnessError, match=r"No space left(.|\n)*make room"):
            prepare_images(NAME, "train", cache=tmp_path / "c", effort=Effort(1))
    (left,) = (tmp_path / "c").glob(".parts-*")
    assert sorted(path.name for path in left.iterdir()) == ["00000000", "00000001", "00000002"]
    np.testing.assert_array_equal(
        pixels(load_images(NAME, "train", cache=tmp_path / "c")), EXPECTED
    )


def test_a_file_that_changes_meanwhile_is_noticed(folder: Path, tmp_path: Path) -> None:

    def change(progress: PixelProgress) -> None:
        (folder / "29.png").write_bytes(png(noise(progress.items)))

    with pytest.raises(HarnessError, match="a file changed while it was read"):
        prepare_images(NAME, "train", cache=tmp_path / "c", effort=Effort(1, change))


def test_damaged_shards_are_made_again(folder: Path, tmp_path: Path) -> None:
    images = load_images(NAME, "train", cache=tmp_path / "c")
    assert isinstance(images.pixels, ArrayShards)
    part = images.pixels.folder / "00000001"
    content = bytearray(part.read_bytes())
    content[-5] ^= 0xFF
    part.write_bytes(bytes(content))
    again = load_images(NAME, "train", cache=tmp_path / "c")
    np.testing.assert_array_equal(pixels(again), EXPECTED)
    shutil.rmtree(images.pixels.folder)
    np.testing.assert_array_equal(
        pixels(load_images(NAME, "train", cache=tmp_path / "c")), EXPECTED
    )


def test_a_name_that_stands_for_other_images_now_is_refused(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "results" / "data"
    images = load_images(NAME, "train", cache=cache)
    write_lock(cache, NAME, "train", Measured(images.digest, 30, 1))
    before = (folder / "03.png").read_bytes()
    (folder / "03.png").write_bytes(png(noise(77)))
    with pytest.raises(HarnessError, match=f"the data changed(.|\n)*{images.digest[:12]}"):
        load_images(NAME, "train", cache=cache)
    (folder / "03.png").write_bytes(before)
    assert load_images(NAME, "train", cache=cache).digest == images.digest
    (folder / "03.png").write_bytes(png(noise(77)))
    (cache.parent / LOCK).write_text("{}")
    assert load_images(NAME, "train", cache=cache).digest != images.digest


def test_progress_ends_with_everything(folder: Path, tmp_path: Path) -> None:
    told: list[PixelProgress] = []
    effort = Effort(2, lambda progress: told.append(PixelProgress(**vars(progress))))
    prepare_images(NAME, "train", cache=tmp_path / "c", effort=effort)
    size = sum(path.stat().st_size for path in folder.iterdir())
    last = told[-1]
    assert (last.items, last.made_items, last.bytes, last.made_bytes) == (30, 30, size, size)
    assert last.fraction == 1.0
    assert all(each.fraction is not None and 0 < each.fraction <= 1 for each in told)
