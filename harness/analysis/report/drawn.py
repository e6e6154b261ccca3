"""Suites gathered and drawn side by side, in a process each."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from harness.analysis.exhibits.suites import SuiteExhibits, suite_exhibits
from harness.analysis.report.pictures import Picture, resolution, section_pictures
from harness.errors import HarnessError
from harness.planning.planned import Suite


@dataclass(frozen=True)
class DrawnSuite:
    """A suite's exhibits, and each section's pictures by its stem."""

    shown: SuiteExhibits
    pictures: Mapping[str, tuple[Picture, ...]]


def drawn_suites(suites: Sequence[Suite], results: Path) -> list[DrawnSuite]:
    """Every suite in order, as many at once as there are cores."""
    dpi = resolution(sum(len(suite.report) for suite in suites))
    workers = min(len(suites), _cores())
    if workers < 2:
        return [_drawn(suite, results, dpi) for suite in suites]
    pool = ProcessPoolExecutor(workers, initializer=_end_at_an_interrupt)
    try:
        # The largest first, so that none is left alone at the end.
        order = sorted(suites, key=lambda suite: -len(suite.runs))
        waiting = {suite.name: pool.submit(_drawn, suite, results, dpi) for suite in order}
        return [waiting[suite.name].result() for suite in suites]
    except BrokenProcessPool as error:
        raise HarnessError(
            "a process that draws exhibits ended unexpectedly",
            hint="often it is a lack of memory: report fewer suites at a time",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _drawn(suite: Suite, results: Path, dpi: int) -> DrawnSuite:
    shown = suite_exhibits(suite, results)
    pictures = {
        gathered.stem: tuple(section_pictures(gathered, dpi=dpi)) for gathered in shown.gathered
    }
    return DrawnSuite(shown, pictures)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_at_an_interrupt() -> None:
    """Ctrl-C ends these processes at once: what they would say of it helps nobody."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
