"""The runs of a tuning section: one grid of learning rates per model and point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import HarnessError
from harness.planning.located import Located
from harness.planning.planned import PlannedRun, Suite
from harness.planning.sections import TuningSection


@dataclass(frozen=True)
class Place:
    """A model at one point of the axes other than the one that is tried."""

    adapter: str
    labels: tuple[tuple[str, str], ...]

    @property
    def point(self) -> str:
        """`large`, or `depth=4 data=1B`."""
        if len(self.labels) == 1:
            return self.labels[0][1]
        return " ".join(f"{axis}={label}" for axis, label in self.labels)


Grids = Mapping[Place, Mapping[str, list[PlannedRun]]]


def tuned_grids(section: TuningSection, suite: Suite) -> Grids:
    """Place -> label of the tried axis -> its runs, one per seed; lowest learning rate first.

    Without the runs that the evaluation leaves out.
    """
    grids: dict[Place, dict[str, list[PlannedRun]]] = {}
    for run in suite.of(section.experiment):
        evaluated = any(each.name == section.evaluation for each in run.evaluations)
        if evaluated and section.over in run.labels:
            others = tuple((k, v) for k, v in run.labels.items() if k != section.over)
            tried = grids.setdefault(Place(run.adapter_label, others), {})
            tried.setdefault(run.labels[section.over], []).append(run)
    return {place: dict(sorted(tried.items(), key=_rate)) for place, tried in grids.items()}


def _rate(tried: tuple[str, list[PlannedRun]]) -> float:
    return tried[1][0].spec.optimizer.lr


def check_tuned(suite: Suite, document: Located) -> None:
    """What a section tries is an axis of its experiment, and changes the learning rate."""
    for index, section in enumerate(suite.report):
        if not isinstance(section, TuningSection):
            continue
        where = document.at("report", index).where(("over",))
        axes = dict.fromkeys(axis for run in suite.of(section.experiment) for axis in run.labels)
        if section.over not in axes:
            raise HarnessError(
                f"the experiment {section.experiment!r} has no such axis",
                where=where,
                given=section.over,
                allowed=list(axes),
                hint=None if axes else "give it one: axes: {lr: {path: optimizer.lr, values: …}}",
            )
        for place, tried in tuned_grids(section, suite).items():
            _check_rates(section, place, tried, where)


def _check_rates(
    section: TuningSection, place: Place, tried: Mapping[str, list[PlannedRun]], where: str
) -> None:
    by_rate: dict[float, str] = {}
    for label, runs in tried.items():
        other = by_rate.setdefault(runs[0].spec.optimizer.lr, label)
        if other != label:
            named = f"{place.adapter} {place.point}".strip()
            raise HarnessError(
                f"the axis does not change the learning rate of {named}: it is "
                f"{runs[0].spec.optimizer.lr:g} at {other} and at {label}",
                where=where,
                given=section.over,
                hint="`over` is the axis whose values set optimizer.lr",
            )
