"""Folders of published runs, each of which appears, and is replaced, whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.errors import HarnessError
from harness.publishing.layout import (
    before,
    draft,
    is_draft,
    published_folder,
    run_of_before,
)
from harness.records import locked

_WAIT_SECONDS = 60.0


@contextmanager
def shelf(results: Path, *, wait_seconds: float = _WAIT_SECONDS) -> Iterator[None]:
    """Hold what is published for this process, with what an earlier one left half done settled.

    HarnessError where another process publishes, or the folder cannot be written.
    """
    folder = published_folder(results)
    with locked(folder / ".lock", wait_seconds=wait_seconds) as held:
        if not held:
            raise HarnessError(
                "another process is publishing",
                where=str(folder),
                hint="run the same command again once it is done",
            )
        for device in folder.iterdir():
            if device.is_dir():
                _settle(device)
        yield


def _settle(device: Path) -> None:
    """Every run that waits for another takes its place, unless the other did; drafts are dropped.

    Nobody else is at it: the shelf is held.
    """
    for path in list(device.iterdir()):
        run_id = run_of_before(path.name)
        if run_id is not None and not (device / run_id).exists():
            path.rename(device / run_id)
        elif run_id is not None or is_draft(path.name):
            _removed(path)


def read_folder(path: Path) -> dict[str, bytes]:
    """Every file below a folder by its name from there; nothing where there is no folder."""
    try:
        below = sorted(path.rglob("*")) if path.exists() else []
        files = [file for file in below if file.is_file()]
        return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}
    except OSError as error:
        raise HarnessError(f"cannot read: {error.strerror or error}", where=str(path)) from error


def put(path: Path, files: Mapping[str, bytes]) -> Path | None:
    """Make `path` the folder of these files, in place of what it was.

    Killed at any point, it leaves the one or the other, which `published_runs` finds, also after a
    crash of the machine. Returns the hidden folder of what was there before where that could not be
    removed whole. HarnessError where nothing can be written; `path` is then what it was.
    """
    new = draft(path)
    try:
        new.mkdir(parents=True)
        _fill(new, files)
        return _swap(new, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _fill(new: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        target = new / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    for written in (*new.rglob("*"), new):
        _sync(written)


def _swap(new: Path, path: Path) -> Path | None:
    aside = before(path) if path.exists() else None
    if aside is not None:
        path.rename(aside)
    try:
        new.rename(path)
        _sync(path.parent)
    except BaseException:
        if path.exists():
            path.rename(new)
        if aside is not None:
            aside.rename(path)
        raise
    return None if aside is None else _removed(aside)


def _removed(path: Path) -> Path | None:
    """Remove a folder under a name that no reader takes for a run; returns what is left of it."""
    gone = path
    if not is_draft(path.name):
        gone = draft(path)
        try:
            path.rename(gone)
        except OSError:
            return path
    shutil.rmtree(gone, ignore_errors=True)
    return gone if gone.exists() else None


def _sync(path: Path) -> None:
    """Have it on the disk; not every file system can do so with a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> HarnessError:
    return HarnessError(
        f"cannot publish here: {error.strerror or error}",
        where=str(path),
        hint="nothing of this run changed; run the same command again to go on",
    )
