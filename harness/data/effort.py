"""How data are prepared, which changes no byte of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Effort:
    """Processes or threads at a time (default: one a core), and who is told how far it is."""

    workers: int | None = None
    on_progress: Callable[[Any], None] = lambda progress: None
    on_wait: Callable[[], None] = lambda: None


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
