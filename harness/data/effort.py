"""How data are prepared, which changes no byte of them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

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
