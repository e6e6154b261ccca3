"""Folders of published runs, each of which appears, and is replaced, whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.errors import HarnessError
from harness.publishing.layout import (
    before,
    draft_prefix,
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
            shutil.rmtree(path, ignore_errors=True)


def read_folder(path: Path) -> dict[str, bytes]:
    """Every file below a folder by its name from there; nothing where there is no folder."""
    try:
        below = sorted(path.rglob("*")) if path.exists() else []
        files = [file for file in below if file.is_file()]
        return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}
    except OSError as error:
        raise HarnessError(f"cannot read: {error.strerror or error}", where=str(path)) from error


def put(path: Path, files: Mapping[str, bytes]) -> None:
    """Make `path` the folder of these files, in place of what it was.

    Killed at any point, it leaves the one or the other, which `published_runs` finds. HarnessError
    where it cannot be written; it is then what it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=path.parent, prefix=draft_prefix(path)))
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        _fill(draft, files)
        _swap(draft, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _fill(draft: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        target = draft / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    draft.chmod(0o755)  # a temporary folder is its maker's alone


def _swap(draft: Path, path: Path) -> None:
    aside = before(path)
    if not path.exists():
        draft.rename(path)
        return
    path.rename(aside)
    try:
        draft.rename(path)
    except BaseException:
        aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _cannot_write(path: Path, error: OSError) -> HarnessError:
    return HarnessError(
        f"cannot publish here: {error.strerror or error}",
        where=str(path),
        hint="nothing of this run changed; run the same command again to go on",
    )
