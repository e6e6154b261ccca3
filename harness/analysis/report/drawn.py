"""Suites gathered, then their sections drawn, side by side in processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.suites import SuiteExhibits, suite_exhibits
from harness.analysis.report.pictures import Picture, resolution, section_pictures
from harness.analysis.spread import whole
from harness.planning.planned import Suite

#: Applies a function to each item, in order, as `map` does.
Mapped: TypeAlias = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]


@dataclass(frozen=True)
class DrawnSuite:
    """A suite's exhibits, and each section's pictures by its stem."""

    shown: SuiteExhibits
    pictures: Mapping[str, Sequence[Picture]]


def drawn_suites(suites: Sequence[Suite], results: Path) -> list[DrawnSuite]:
    """Every suite in order, as much at once as there are cores."""
    with _side_by_side(_cores()) as mapped:
        shown: list[SuiteExhibits] = mapped(partial(suite_exhibits, results=results), suites)
        sections = [gathered for each in shown for gathered in each.gathered]
        measured = [gathered for gathered in sections if _is_measured(gathered)]
        draw = partial(section_pictures, dpi=resolution(len(measured)))
        drawn = dict(zip(map(id, measured), mapped(draw, measured), strict=True))
    return [
        DrawnSuite(each, {g.stem: drawn.get(id(g), ()) for g in each.gathered}) for each in shown
    ]


def _is_measured(gathered: Gathered) -> bool:
    return gathered.missing.count < gathered.missing.planned


@contextmanager
def _side_by_side(workers: int) -> Iterator[Mapped]:
    """What applies a function to items in so many processes; here where there is one of either."""
    pool = ProcessPoolExecutor(workers, initializer=_end_at_an_interrupt) if workers > 1 else None

    def mapped(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        if pool is None or len(items) < 2:
            return [function(item) for item in items]
        return list(pool.map(function, items))

    try:
        with whole():
            yield mapped
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_at_an_interrupt() -> None:
    """Ctrl-C ends these processes at once: what they would say of it helps nobody."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
