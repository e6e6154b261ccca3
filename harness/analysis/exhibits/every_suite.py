"""Several suites gathered side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from harness.analysis.exhibits.gather import effort_of
from harness.analysis.exhibits.suites import SuiteExhibits, suite_exhibits
from harness.analysis.spread import spread
from harness.planning.planned import Suite


def every_suite(suites: Sequence[Suite], results: Path) -> Iterator[SuiteExhibits]:
    """What each suite shows, in order."""
    return spread(partial(suite_exhibits, results=results), suites, effort=_of_suite)


def _of_suite(suite: Suite) -> float:
    return sum(map(effort_of, suite.report)) + len(suite.runs) / 1000
