"""What the disclosure of a suite is answered from: its plan, its runs and its measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from harness.analysis.exhibits.scaling import ScalingExhibit
from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.report.runs import ReportedRun
from harness.analysis.run_records import EvalRecord
from harness.planning.planned import PlannedRun

Given = Literal["yes", "partly", "no", "not recorded", "not applicable"]


@dataclass(frozen=True)
class Answer:
    """Whether something is disclosed, and the numbers that disclose it, or what is lacking."""

    given: Given
    evidence: str


@dataclass(frozen=True)
class Question:
    """One thing that a reader of scaling results should be told."""

    topic: str
    asks: str
    answer: Callable[[SuiteFacts], Answer]


@dataclass(frozen=True, eq=False)
class SuiteFacts:
    """One suite's `runs` are those of all suites that it uses; `tuned` are suites of this report
    that try learning rates, `results` the folder of the records.
    """

    shown: SuiteExhibits
    runs: Sequence[ReportedRun]
    tuned: Sequence[str]
    results: Path

    @cached_property
    def planned(self) -> list[PlannedRun]:
        """Each run once, as the suite first names it."""
        return list({run.run_id: run for run in self.shown.suite.runs}.values())

    @cached_property
    def trained(self) -> list[ReportedRun]:
        return [run for run in self.runs if run.record is not None]

    @cached_property
    def scaling(self) -> list[ScalingExhibit]:
        exhibits = (gathered.exhibit for gathered in self.shown.gathered)
        return [exhibit for exhibit in exhibits if isinstance(exhibit, ScalingExhibit)]

    @property
    def asked(self) -> int:
        """Evaluations that the suite asks for, each of each run once."""
        return len(self._evaluations)

    @property
    def lacking(self) -> int:
        """Those that have no result."""
        return sum(record is None for record in self._evaluations)

    @cached_property
    def _evaluations(self) -> list[EvalRecord | None]:
        known = {run.run_id: run.evaluations for run in self.runs}
        asked = dict.fromkeys(
            (run.run_id, evaluation.eval_id)
            for run in self.shown.suite.runs
            for evaluation in run.evaluations
        )
        return [known[run_id][eval_id][1] for run_id, eval_id in asked]

    def points(self) -> Mapping[tuple[str, ...], Mapping[str, Sequence[PlannedRun]]]:
        """Experiment and axis labels -> model -> its runs there, one a seed."""
        found: dict[tuple[str, ...], dict[str, list[PlannedRun]]] = {}
        for run in self.shown.suite.runs:
            at = run.experiment, *run.labels.values()
            found.setdefault(at, {}).setdefault(run.adapter_label, []).append(run)
        return found


def spread(values: Iterable[float], show: Callable[[float], str]) -> str:
    """`8`, or `4 to 24`: the lowest and the highest, as they are shown."""
    kept = list(values)
    low, high = show(min(kept)), show(max(kept))
    return low if low == high else f"{low} to {high}"


def listed(names: Iterable[str], most: int = 6) -> str:
    """Each name once, the first ones where there are many."""
    distinct = list(dict.fromkeys(names))
    more = len(distinct) - most
    return ", ".join(distinct[:most]) + (f" and {more} more" if more > 0 else "")


def as_percent(share: float) -> str:
    return f"{100 * share:.3g} %"
