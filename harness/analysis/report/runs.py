"""Every run of the suites once: where it is used, where it stands, and what it recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.report.curves import Curve, training_curve
from harness.analysis.run_records import EvalRecord, RunRecord, taken
from harness.planning.evaluations import PlannedEval
from harness.planning.planned import PlannedRun, RunCost
from harness.planning.sections import evaluations_of
from harness.publishing.layout import PublishedRun
from harness.records import RunFolder, Status, read_json


@dataclass(frozen=True)
class Place:
    """Where a suite uses a run: its experiment, model and axis labels there."""

    suite: str
    run: PlannedRun

    @property
    def labels(self) -> str:
        """`size large, lr 0.01`."""
        return ", ".join(f"{axis} {label}" for axis, label in self.run.labels.items())


@dataclass(frozen=True)
class ReportedRun:
    """One run. `record` is what is read of it, None where it is not done; `counted` are sizes and
    costs by the adapter's formulas; `exhibits` are the anchors of the exhibits that read it.
    """

    run_id: str
    places: tuple[Place, ...]
    status: Status
    counted: RunCost
    record: RunRecord | None
    provenance: Mapping[str, Any]
    curve: Curve | None
    exhibits: tuple[str, ...]
    diverged: bool

    @property
    def planned(self) -> PlannedRun:
        return self.places[0].run

    @property
    def suites(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(place.suite for place in self.places))

    @property
    def training(self) -> Mapping[str, Any]:
        """What training cost; empty where it is not done."""
        return {} if self.record is None else self.record.training

    @property
    def evaluations(self) -> dict[str, tuple[PlannedEval, EvalRecord | None]]:
        """By id, every evaluation that a suite asks of it, and its record where it is done."""
        known = {} if self.record is None else self.record.evaluations
        return {
            planned.eval_id: (planned, known.get(planned.eval_id))
            for place in self.places
            for planned in place.run.evaluations
        }

    @property
    def state(self) -> str:
        """`done`, `published` or `changed` where it is read; else where it stands."""
        if self.record is None:
            if self.diverged:
                return "diverged"
            return "outdated" if self.status.state == "done" else self.status.state
        if self.record.changed:
            return "changed"
        return "done" if self.record.published is None else "published"


def anchor_of(suite: str, stem: str) -> str:
    """Where a suite's section lies on the page."""
    return f"{suite}--{stem}"


def reported_runs(
    shown: Sequence[SuiteExhibits], results: Path, *, curve_points: int
) -> list[ReportedRun]:
    """Every run of the suites, in their order."""
    places: dict[str, list[Place]] = {}
    exhibits: dict[str, dict[str, None]] = {}
    records: dict[str, RunRecord] = {}
    ended = {run_id: at for each in shown for run_id, at in each.frame.ended.items()}
    for each in shown:
        suite = each.suite
        for run_id, record in each.frame.records.items():
            known = records.get(run_id)
            records[run_id] = record if known is None else taken([known, record])
        for run in suite.runs:
            places.setdefault(run.run_id, []).append(Place(suite.name, run))
        for gathered in each.gathered:
            drawn = {name for _, name in evaluations_of(gathered.section)}
            for run in gathered.runs:
                if any(evaluation.name in drawn for evaluation in run.evaluations):
                    anchor = anchor_of(suite.name, gathered.stem)
                    exhibits.setdefault(run.run_id, {})[anchor] = None
    return [
        _run(
            ended.get(run_id) or RunFolder(results, run_id),
            tuple(used),
            records.get(run_id),
            tuple(exhibits.get(run_id, ())),
            curve_points,
            diverged=run_id in ended,
        )
        for run_id, used in places.items()
    ]


def _run(
    folder: RunFolder | PublishedRun,
    places: tuple[Place, ...],
    record: RunRecord | None,
    exhibits: tuple[str, ...],
    curve_points: int,
    *,
    diverged: bool,
) -> ReportedRun:
    path = folder.path if record is None else record.path
    log = folder.train_log if record is None else record.train_log
    provenance = path / folder.provenance.name
    return ReportedRun(
        run_id=folder.run_id,
        places=places,
        status=folder.status() if record is None else Status("done"),
        counted=places[0].run.cost,
        record=record,
        provenance=read_json(provenance) if provenance.exists() else {},
        curve=training_curve(log, curve_points),
        exhibits=exhibits,
        diverged=diverged,
    )
