"""Several suites gathered side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from harness.analysis.exhibits.suites import SuiteExhibits, suite_exhibits
from harness.analysis.spread import spread
from harness.planning.planned import Suite
from harness.planning.sections import Section

#: Kinds of sections that take longer than others, to gather or to draw.
_EFFORT = {"uncertainty": 8.0, "thinking": 3.0, "denoising": 3.0, "downstream": 2.0}


def every_suite(suites: Sequence[Suite], results: Path) -> Iterator[SuiteExhibits]:
    """What each suite shows, in order."""
    return spread(partial(suite_exhibits, results=results), suites, effort=_of_suite)


def effort_of(section: Section) -> float:
    """How long a section takes, over one that takes little."""
    return _EFFORT.get(section.kind, 1.0)


def _of_suite(suite: Suite) -> float:
    return sum(map(effort_of, suite.report)) + len(suite.runs) / 1000
