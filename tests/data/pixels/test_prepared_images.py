"""The user's own images, prepared: their digests, what may be broken, and what is resumed."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.data.datasets import dataset_digest, load_images
from harness.data.effort import Effort
from harness.data.measured import LOCK, Measured, write_lock
from harness.data.pixels import prepared_images
from harness.data.pixels.array_shards import ArrayShards
from harness.data.pixels.prepared_images import prepare_images
from harness.data.pixels.preparing import PixelProgress
from harness.errors import HarnessError
from tests.data.killed import assert_made_once, cut_short, fill_disk, killed, started
from tests.data.pixels.made_images import (
    EXPECTED,
    NAME,
    index_of,
    noise,
    pixels,
    png,
    records,
    small_parts,
    thirty,
)


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    small_parts(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work where `a` holds thirty images."""
    monkeypatch.chdir(tmp_path)
    return thirty(tmp_path / "a")


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
    with pytest.raises(HarnessError, match="each image is drawn by its hash"):
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


def test_killed_midway_it_goes_on_to_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for index in range(30, 400):
        (folder / f"{index:02}.png").write_bytes(png(noise(index)))
    process = started(SCRIPT, tmp_path, str(tmp_path / "c"))
    finished = killed(process, tmp_path / "c", after=4)
    assert 4 <= len(finished) < 58
    cut_short(finished[1])
    kept: list[int] = []
    effort = Effort(2, lambda progress: kept.append(progress.kept))
    again = prepare_images(NAME, "train", cache=tmp_path / "c", effort=effort)
    whole = prepare_images(NAME, "train", cache=tmp_path / "whole")
    assert len(finished) - 1 <= kept[-1] < len(kept)
    assert index_of(again) == index_of(whole)
    np.testing.assert_array_equal(pixels(again), pixels(whole))
    assert not list((tmp_path / "c").glob(".*"))


def test_two_at_once_make_it_once(folder: Path, tmp_path: Path) -> None:
    both = [started(SCRIPT, tmp_path, str(tmp_path / "c")) for _ in range(2)]
    assert_made_once(both, tmp_path / "c")


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


def test_what_is_cut_off_in_another_folder_stays_for_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One name in two folders is two sets, and the cache is one."""

    def cut_off(progress: PixelProgress) -> None:
        if progress.items >= 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_images(NAME, "train", cache=tmp_path / "c", effort=Effort(1, cut_off))
    other = tmp_path / "other" / "a"
    other.mkdir(parents=True)
    for index in range(30):
        (other / f"{index:02}.png").write_bytes(png(noise(100 + index)))
    with monkeypatch.context() as patched:
        patched.chdir(other.parent)
        prepare_images(NAME, "train", cache=tmp_path / "c")
    told: list[int] = []
    effort = Effort(1, lambda progress: told.append(progress.kept))
    prepare_images(NAME, "train", cache=tmp_path / "c", effort=effort)
    assert told[-1] > 0


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
    with monkeypatch.context() as patched:
        fill_disk(patched, after=3)
        with pytest.raises(HarnessError, match=r"No space left(.|\n)*make room"):
            prepare_images(NAME, "train", cache=tmp_path / "c", effort=Effort(1))
    (left,) = (tmp_path / "c").glob(".parts-*")
    assert sorted(path.name for path in left.iterdir()) == ["00000000", "00000001", "00000002"]
    np.testing.assert_array_equal(
        pixels(load_images(NAME, "train", cache=tmp_path / "c")), EXPECTED
    )


def test_a_file_that_changes_meanwhile_is_noticed(folder: Path, tmp_path: Path) -> None:

    def change(progress: PixelProgress) -> None:
        (tmp_path / "new.png").write_bytes(png(noise(progress.items)))
        (tmp_path / "new.png").replace(folder / "29.png")  # whole, as it may be read just now

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
