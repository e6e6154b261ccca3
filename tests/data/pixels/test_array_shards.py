"""Arrays in parts: addressed as one, whole or not there, and made again where they are damaged."""

from __future__ import annotations

import builtins
import errno
import io
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import checked
from harness.data.pixels import array_shards
from harness.data.pixels.array_shards import (
    ArrayShards,
    open_shards,
    publish,
    read_part,
    write_part,
)
from harness.errors import HarnessError

ITEMS = np.random.default_rng(0).integers(0, 256, (23, 2, 3)).astype(np.uint8)


def published(folder: Path, cuts: tuple[int, ...] = (5, 5, 11), **beside: Any) -> ArrayShards:
    building = folder.with_name("building")
    building.mkdir(parents=True)
    paths = []
    for index, items in enumerate(np.split(ITEMS, cuts)):
        paths.append(building / f"{index}")
        write_part(paths[-1], items, made_of="x", extra={})
    (building / "stray").touch()
    publish(building, folder, paths, {"name": "n"}, beside)
    found = open_shards(folder)
    assert found is not None
    return found


@settings(max_examples=30)
@given(ids=st.lists(st.integers(0, 22), max_size=40))
def test_they_are_read_as_one_array(
    ids: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("s") / "shards"
    shards = published(folder)
    assert shards.shape == ITEMS.shape
    assert len(shards) == 23
    assert shards.dtype == np.uint8
    wanted = np.array(ids, np.int64)
    np.testing.assert_array_equal(shards[wanted], ITEMS[wanted])
    np.testing.assert_array_equal(shards[wanted[:, None]], ITEMS[wanted[:, None]])
    np.testing.assert_array_equal(shards[4:19:3], ITEMS[4:19:3])
    np.testing.assert_array_equal(shards[7], ITEMS[7])
    for bad in (-1, 23):
        with pytest.raises(IndexError):
            shards[bad]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are not listed here")
def test_few_parts_of_all_sets_are_open_at_a_time(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    sets = [published(tmp_path / f"{n}" / "shards", tuple(range(1, 23))) for n in range(6)]
    for shards in sets:
        np.testing.assert_array_equal(shards[:], ITEMS)
    assert len(os.listdir("/proc/self/fd")) <= before + array_shards.MAPPED


@pytest.mark.parametrize("missing", ["0", "index.json"])
def test_what_cannot_be_opened_is_told_and_stays(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shards"
    published(folder)
    opened = io.open

    def open_(file: Any, *arguments: Any, **options: Any) -> Any:
        if str(file) == str(folder / missing):
            raise OSError(errno.EMFILE, "Too many open files")
        return opened(file, *arguments, **options)

    with monkeypatch.context() as patched:
        for place in (io, builtins):
            patched.setattr(place, "open", open_)
        for again in (open_shards, published):
            with pytest.raises(HarnessError, match=r"Too many open files"):
                again(folder)
    assert [path.name for path in tmp_path.glob(".damaged*")] == []
    found = open_shards(folder)
    assert found is not None
    np.testing.assert_array_equal(found[:], ITEMS)


def test_a_part_that_cannot_be_opened_is_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "part"
    write_part(path, ITEMS, made_of="x", extra={})

    def refused(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(HarnessError, match=r"part: (.|\n)*Input/output error"):
        read_part(path)


def test_what_is_published_beside_is_kept_and_strays_are_not(tmp_path: Path) -> None:
    shards = published(tmp_path / "shards", labels=np.arange(23))
    labels = shards.beside("labels")
    assert labels is not None
    assert labels.tolist() == list(range(23))
    assert shards.beside("other") is None
    assert shards.index["name"] == "n"
    assert not (tmp_path / "shards" / "stray").exists()


@pytest.mark.parametrize("name", ["0", "2", "labels.npy", "index.json"])
@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
def test_damage_is_noticed_and_mended(name: str, how: str, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    published(folder, labels=np.arange(23))
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(content[:-2])
    elif how == "changed":
        path.write_bytes(content[:-3] + b"\x00\x07\x00")
    assert open_shards(folder) is None
    np.testing.assert_array_equal(published(folder, labels=np.arange(23))[:], ITEMS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["shards"]


def test_large_ones_are_read_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked, "LARGE_BYTES", 1)
    monkeypatch.setattr(checked, "SETTLED_SECONDS", 0.0)
    folder = tmp_path / "shards"
    published(folder)
    with monkeypatch.context() as patched:
        patched.setattr(array_shards, "_crc", lambda _: pytest.fail("it is read again"))
        assert open_shards(folder) is not None
    path, stat = folder / "2", (folder / "2").stat()
    content = path.read_bytes()
    path.write_bytes(content)
    assert open_shards(folder) is not None, "the same bytes, read again"
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert open_shards(folder) is None


def test_who_wrote_large_ones_need_not_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked, "LARGE_BYTES", 1)
    building, folder = tmp_path / "building", tmp_path / "shards"
    building.mkdir()
    paths = [building / f"{index}" for index in range(3)]
    for path, items in zip(paths, np.split(ITEMS, (5, 11)), strict=True):
        write_part(path, items, made_of="x", extra={})
        first = paths[0].stat().st_ctime_ns
        while path is not paths[0] and path.stat().st_ctime_ns == first:
            path.touch()
    clock = [first + round(checked.SETTLED_SECONDS * 1e9) + 1]
    monkeypatch.setattr(time, "time_ns", lambda: clock[0])
    read: list[int] = []
    crc = array_shards._crc
    monkeypatch.setattr(array_shards, "_crc", lambda items: read.append(len(items)) or crc(items))
    publish(building, folder, paths, {}, {"labels": np.arange(23)})
    assert read == []
    assert open_shards(folder) is not None
    assert read == [6, 12], "those that may change within the tick in which they were written"
    clock[0] += 10**12
    for expected in ([6, 12], []):
        read.clear()
        assert open_shards(folder) is not None
        assert read == expected


def test_who_is_second_leaves_what_is_there(tmp_path: Path) -> None:
    first = published(tmp_path / "shards")
    state = (first.folder / "0").stat().st_ino
    again = published(tmp_path / "shards")
    assert (again.folder / "0").stat().st_ino == state


def test_a_part_is_whole_or_none(tmp_path: Path) -> None:
    path = tmp_path / "part"
    header = write_part(path, ITEMS.astype(">f4"), made_of="these", extra={"labels": [1]})
    found = read_part(path)
    assert found is not None
    assert found[0] == header
    assert (header.made_of, header.extra) == ("these", {"labels": [1]})
    np.testing.assert_array_equal(found[1], ITEMS)
    content = path.read_bytes()
    for damaged in (content[:-1], content[:-1] + b"\x07", content[:30], content[3:], b""):
        path.write_bytes(damaged)
        assert read_part(path) is None
    write_part(path, ITEMS[:0], made_of="none", extra={})
    empty = read_part(path)
    assert empty is not None
    assert empty[1].shape == (0, 2, 3)
