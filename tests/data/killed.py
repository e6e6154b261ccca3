"""Data prepared by processes that are killed midway, and on disks that are full."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def started(script: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A process in `folder` that runs a script and tells each part on a line."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def killed(process: subprocess.Popen[str], cache: Path, *, after: int) -> list[Path]:
    """The parts in `cache` once the process was killed that had told of so many."""
    assert process.stdout is not None
    for _ in range(after):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    (left,) = cache.glob(".parts-*")
    return sorted(path for path in left.iterdir() if not path.name.startswith("."))


def cut_short(part: Path) -> None:
    """As a machine that lost its power may leave it."""
    part.write_bytes(part.read_bytes()[:-3])


def assert_made_once(both: Sequence[subprocess.Popen[str]], cache: Path) -> None:
    """Of two processes that prepare the same, one makes it, and the other waits and finds it."""
    ended = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    told = sorted((out.splitlines() for out, _ in ended), key=len)
    assert len(told[0]) == 1, "one waited and found it made"
    assert told[0][-1] == told[1][-1]
    assert len([path for path in cache.iterdir() if path.name != "measured"]) == 1


def fill_disk(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """No further part can be written, once there are so many."""
    written, count = Path.replace, [0]

    def full(self: Path, target: Path) -> Path:
        count[0] += 1
        if count[0] > after and ".parts-" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(self, target)

    monkeypatch.setattr(Path, "replace", full)
