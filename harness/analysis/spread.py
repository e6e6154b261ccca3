"""Several suites, or sections of them, at once: in forked processes where there are cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from harness.analysis.exhibits.suites import SuiteExhibits, suite_exhibits
from harness.planning.planned import Suite

Item = TypeVar("Item")
Result = TypeVar("Result")

#: More processes than this need memory more than they save time.
_MOST = 4


def every_suite(suites: Sequence[Suite], results: Path) -> Iterator[SuiteExhibits]:
    """What each suite shows, in order."""
    return spread(partial(suite_exhibits, results=results), suites)


def spread(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """`work` of every item, in order; both, and the results, must be picklable.

    Processes are forked, so that they need not import again what this one has; elsewhere than on
    Linux, or on one core, this process does all.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    processes = min(cores, len(items), _MOST)
    if processes < 2:
        yield from map(work, items)
        return
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, context, initializer=_leave_interrupts) as pool:
        yield from pool.map(work, items)


def _leave_interrupts() -> None:
    """Ctrl-C reaches all processes of a terminal; one message is enough."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
