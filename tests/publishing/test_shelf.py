"""Published runs appear whole, whoever is killed, writes at the same time, or has a full disk."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.publishing import shelf as shelves
from harness.publishing.layout import published_runs
from harness.publishing.shelf import put, read_folder, shelf
from tests.publishing.trained import files_below

ROOT = Path(__file__).parents[2]
OLD = {"spec.json": b"old", "evals/a/done.json": b"old", "evals/a/x.npz": b"old"}
NEW = {"spec.json": b"new", "evals/b/done.json": b"new"}
#: Puts one and another record in turn, and tells of each.
PUTS = """
import json, sys
from pathlib import Path
from harness.publishing.shelf import put
path, *records = Path(sys.argv[1]), *map(json.loads, sys.argv[2:])
while True:
    for record in records:
        put(path, {name: text.encode() for name, text in record.items()})
        print("put", flush=True)
"""
#: Holds the shelf until its input ends.
HOLDS = """
import sys
from contextlib import suppress
from pathlib import Path
from harness.publishing.shelf import shelf
with shelf(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def _place(results: Path) -> Path:
    return results / "published" / "cpu" / "run-1"


def _found(results: Path) -> dict[str, bytes]:
    """What a reader finds of the run."""
    (runs,) = published_runs(results).values()
    (run,) = runs
    return files_below(run.path)


def _started(script: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path), *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_folder_becomes_what_was_put(tmp_path: Path) -> None:
    place = _place(tmp_path)
    for files in (OLD, NEW):
        put(place, files)
        assert files_below(place) == read_folder(place) == files
        assert [path.name for path in place.parent.iterdir()] == ["run-1"], "nothing is left over"
    assert place.stat().st_mode & 0o777 == 0o755
    assert read_folder(place.with_name("other")) == {}


class Killed(BaseException):
    """What no code handles, since there is none left to run."""


def _ending_at(call: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nothing changes in the file system from the n-th change on; returns the changes so far."""
    changes: list[str] = []

    def until_then(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def change(*arguments: Any, **options: Any) -> Any:
            if len(changes) + 1 >= call:
                if name == "rmtree":
                    next(path for path in arguments[0].rglob("*") if path.is_file()).unlink()
                raise Killed
            changes.append(name)
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, change)

    for name in ("mkdir", "write_bytes", "rename", "chmod"):
        until_then(Path, name)
    until_then(shelves.shutil, "rmtree")
    return changes


#: How often one record in place of another changes the file system.
CHANGES = 12


@pytest.mark.parametrize("call", range(1, CHANGES + 2))
def test_cut_off_anywhere_a_reader_finds_the_old_or_the_new(
    call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _place(tmp_path)
    put(place, OLD)
    with monkeypatch.context() as patch:
        changes = _ending_at(call, patch)
        with suppress(Killed, StopIteration):
            put(place, NEW)
    swapped = changes.count("rename") >= 2
    assert len(changes) == min(call - 1, CHANGES), "each of its changes was the last once"
    assert _found(tmp_path) == (NEW if swapped else OLD)
    with shelf(tmp_path):
        pass
    assert files_below(place) == (NEW if swapped else OLD), "settled as it was to be seen"
    assert [path.name for path in place.parent.iterdir()] == ["run-1"], "and nothing is left over"


@pytest.mark.parametrize("umask", [0o002, 0o022])
def test_a_group_may_replace_what_a_member_of_it_published(umask: int, tmp_path: Path) -> None:
    place, before = _place(tmp_path), os.umask(umask)
    try:
        put(place, OLD)
    finally:
        os.umask(before)
    for folder in (place, *(path for path in place.rglob("*") if path.is_dir()), place.parent):
        assert folder.stat().st_mode & 0o777 == 0o777 & ~umask, folder
    assert (place / "spec.json").stat().st_mode & 0o777 == 0o666 & ~umask


def test_what_cannot_be_removed_is_said_and_stands_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _place(tmp_path)
    put(place, OLD)
    with monkeypatch.context() as patch:
        patch.setattr(shelves.shutil, "rmtree", lambda *_, **__: None)
        left = put(place, NEW)
        assert left is not None
        assert files_below(left) == OLD, "it is another's"
        assert put(place, OLD) not in (None, left)
    assert _found(tmp_path) == OLD
    shutil.rmtree(place)
    assert published_runs(tmp_path) == {}, "what was left is no run"
    put(place, NEW)
    with shelf(tmp_path):
        pass
    assert os.listdir(place.parent) == ["run-1"]


def test_half_of_what_was_replaced_is_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it removes what was there before; later the run is removed."""
    place = _place(tmp_path)
    put(place, OLD)

    def killed(path: Path, **_: Any) -> None:
        (path / "spec.json").unlink()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shelves.shutil, "rmtree", killed)
        with pytest.raises((Killed, FileNotFoundError)):
            put(place, NEW)
    assert _found(tmp_path) == NEW
    shutil.rmtree(place)
    assert published_runs(tmp_path) == {}


def test_two_that_wait_for_one_run_are_one_run(tmp_path: Path) -> None:
    for name in (".run-1.before", ".run-1.before-0a"):
        put(_place(tmp_path).with_name(name), OLD)
    assert _found(tmp_path) == OLD


def test_what_is_put_is_on_the_disk_before_the_old_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, order = _place(tmp_path), []
    put(place, OLD)
    sync, rename, rmtree = os.fsync, Path.rename, shutil.rmtree

    def synced(descriptor: int) -> None:
        order.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        sync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        order.append("rename")
        return rename(self, target)

    def removed(path: Path, **how: Any) -> None:
        order.append("remove")
        rmtree(path, **how)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(shelves.shutil, "rmtree", removed)
    put(place, NEW)
    draft = next(name for name in order if ".draft-" in name)
    assert set(order[:5]) == {"spec.json", "evals", "b", "done.json", draft}
    assert order[5:] == ["rename", "rename", "cpu", "rename", "remove", "remove"]


def test_killed_at_any_moment_a_run_is_whole(tmp_path: Path) -> None:
    place = _place(tmp_path)
    put(place, OLD)
    both = [json.dumps({name: text.decode() for name, text in each.items()}) for each in (NEW, OLD)]
    for told in range(1, 7):
        process = _started(PUTS, place, *both)
        assert process.stdout is not None
        for _ in range(told):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        found = _found(tmp_path)
        assert found in (OLD, NEW)
        with shelf(tmp_path):
            assert files_below(place) == found


def test_one_publishes_at_a_time(tmp_path: Path) -> None:
    process = _started(HOLDS, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    held_by_another = pytest.raises(HarnessError, match="another process is publishing")
    with held_by_another, shelf(tmp_path, wait_seconds=0.0):
        pass
    process.communicate(input="")
    with shelf(tmp_path, wait_seconds=0.0):
        pass


def test_what_is_no_draft_stays(tmp_path: Path) -> None:
    mine = tmp_path / "published" / "cpu" / ".mine"
    mine.mkdir(parents=True)
    (mine.parent / ".gitkeep").write_text("")
    (tmp_path / "published" / ".device" / "run-1").mkdir(parents=True)
    with shelf(tmp_path):
        pass
    assert sorted(path.name for path in mine.parent.iterdir()) == [".gitkeep", ".mine"]
    assert published_runs(tmp_path) == {}


@pytest.mark.parametrize("after", range(4))
def test_a_full_disk_leaves_what_was_there(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, real, written = _place(tmp_path), Path.write_bytes, [0]
    if after % 2:
        put(place, OLD)

    def full(self: Path, content: bytes) -> int:
        written[0] += 1
        if written[0] > after // 2:
            real(self, content[:1])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(HarnessError, match="cannot publish here: No space left"):
            put(place, NEW)
    assert read_folder(place) == (OLD if after % 2 else {})
    assert [p.name for p in place.parent.iterdir()] == (["run-1"] if after % 2 else [])


def test_the_kernels_refusal_is_one_error(tmp_path: Path) -> None:
    """The same by the kernel: no file may grow beyond 4 KiB."""
    place = _place(tmp_path)
    put(place, OLD)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**12, hard))
    try:
        with pytest.raises(HarnessError, match="cannot publish here: File too large"):
            put(place, NEW | {"big": b"0" * 2**13})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert files_below(place) == OLD


def test_a_rename_that_fails_brings_the_old_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, real = _place(tmp_path), Path.rename
    put(place, OLD)

    def refused(self: Path, target: Path) -> Path:
        if target == place and ".draft-" in self.name:
            raise OSError(errno.EIO, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(HarnessError, match="Input/output error"):
        put(place, NEW)
    assert files_below(place) == OLD
    assert os.listdir(place.parent) == ["run-1"]
