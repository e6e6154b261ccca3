"""What a section of a report still misses, in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from harness.analysis.frame import SuiteFrame
from harness.planning.budget import section_runs
from harness.planning.compared import compared_runs
from harness.planning.planned import PlannedRun, Suite
from harness.planning.sections import (
    DownstreamSection,
    ScalingSection,
    Section,
    ThinkingScaleSection,
    evaluations_of,
)

_LISTED = 2


@dataclass(frozen=True)
class Absent:
    """A section's evaluations without a result and how many they are of how many.

    `names` holds each once, though several noise levels may be missing of one.
    """

    names: tuple[str, ...]
    count: int
    planned: int
    command: str

    @property
    def text(self) -> str:
        """`2 of 12 evaluations missing: …; run: harness run SUITE`; empty where none is."""
        if not self.names:
            return ""
        more = len(self.names) - _LISTED
        listed = "; ".join([*self.names[:_LISTED], *([f"and {more} more"] if more > 0 else [])])
        return f"{self.count} of {self.planned} evaluations missing: {listed}; run: {self.command}"


def drawn_runs(section: Section, suite: Suite) -> list[PlannedRun]:
    """The runs that this section reads."""
    if isinstance(section, DownstreamSection):
        return compared_runs(section, suite)
    if isinstance(section, ScalingSection | ThinkingScaleSection):
        return section_runs(section, suite)
    return suite.of(section.experiment)


def absent(section: Section, suite: Suite, frame: SuiteFrame) -> Absent:
    """What this section would read and is not there."""
    runs = drawn_runs(section, suite)
    drawn = {name for _, name in evaluations_of(section)}
    planned = [
        f"{run.name}: {evaluation.label}"
        for run in runs
        for evaluation in run.evaluations
        if evaluation.name in drawn
    ]
    missing = Counter(frame.missing)
    names = tuple(name for name in dict.fromkeys(planned) if name in missing)
    return Absent(names, sum(missing[name] for name in names), len(planned), suite.command("run"))
