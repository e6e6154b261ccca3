"""How data are prepared, which changes no byte of them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from harness.data.disk import writable
from harness.records import locked

T = TypeVar("T")


@dataclass(frozen=True)
class Effort:
    """Processes or threads at a time (default: one a core), and who is told how far it is."""

    workers: int | None = None
    on_progress: Callable[[Any], None] = lambda progress: None
    on_wait: Callable[[], None] = lambda: None


@dataclass
class Meter:
    """How far reading is: `done` of `total` bytes on disk, or rows; total is None if unknown."""

    done: int = 0
    total: int | None = None


@dataclass(frozen=True)
class Workplace:
    """Where a split is prepared in `cache`: finished `parts`, and the lock of who prepares it."""

    cache: Path
    key: str

    @classmethod
    def of(cls, cache: Path, what: Sequence[Any]) -> Workplace:
        """That of the data that `what`, of JSON, says."""
        return cls(cache, hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32])

    @property
    def parts(self) -> Path:
        return self.cache / f".parts-{self.key}"

    @property
    def lock(self) -> Path:
        return self.cache / "measured" / f"{self.key}.lock"

    @contextmanager
    def open(self) -> Iterator[None]:
        """With a folder for parts, which stays where it holds one. HarnessError for a full disk."""
        try:
            with writable(self.cache):
                self.parts.mkdir(parents=True, exist_ok=True)
                yield
        finally:
            with suppress(OSError):
                self.parts.rmdir()

    def clear(self) -> None:
        """Without the parts."""
        shutil.rmtree(self.parts, ignore_errors=True)


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def made_by_one(
    lock: Path, ready: Callable[[], T | None], make: Callable[[], T], on_wait: Callable[[], None]
) -> T:
    """What is `ready`, or else is made: by one process, while others that need it too wait."""
    found = ready()
    if found is not None:
        return found
    lock.parent.mkdir(parents=True, exist_ok=True)
    with locked(lock) as held:
        if held:
            return _ready_or_made(ready, make)
    on_wait()
    with locked(lock, wait_seconds=math.inf):
        return _ready_or_made(ready, make)


def _ready_or_made(ready: Callable[[], T | None], make: Callable[[], T]) -> T:
    found = ready()
    return make() if found is None else found
