"""What a plan costs, and whether it can decide anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.errors import HarnessError
from harness.planning.planned import PlannedRun, RunCost, Suite
from harness.planning.sections import (
    Axis,
    DenoisingSection,
    ScalingSection,
    ThinkingScaleSection,
    TuningSection,
)
from harness.planning.spec import NextFrameTask


def axis_value(run: PlannedRun, axis: Axis) -> float | None:
    """A run's nominal budget on a report's axis, equal for all its seeds; None where it has none.

    Parameters are non-embedding; FLOPs are the formula's; data are tokens, or predicted frames.
    """
    cost = run.cost
    values: dict[str, Any] = {
        "parameters": cost.non_embedding,
        "flops": cost.flops,
        "data": _data(run),
        "seconds": run.spec.budget.seconds,
        "depth": run.spec.config.get("depth"),
        "width": run.spec.config.get("width"),
        "batch": run.spec.batch_size,
    }
    return None if values[axis] is None else float(values[axis])


def _data(run: PlannedRun) -> int | None:
    """Tokens, or frames of video, that training predicts; None where seconds decide."""
    task, cost = run.spec.task, run.cost
    if isinstance(task, NextFrameTask) and cost.steps is not None:
        return cost.steps * run.spec.batch_size * task.context
    return cost.tokens


def section_runs(section: ScalingSection | ThinkingScaleSection, suite: Suite) -> list[PlannedRun]:
    """The runs along a section's axis: of both families that it compares, or of every adapter."""
    compared = None
    if isinstance(section, ScalingSection):
        compared = (section.baseline, section.candidate)
    return [
        run
        for run in suite.of(section.experiment)
        if (compared is None or run.adapter_label in compared)
        and all(
            run.labels.get(axis) in [str(label) for label in kept]
            for axis, kept in section.only.items()
        )
    ]


@dataclass(frozen=True)
class Design:
    """The points and seeds of a scaling section: what its interval depends on."""

    title: str
    axis: Axis
    xs: tuple[float, ...]
    seeds: int


def scaling_designs(suite: Suite) -> list[tuple[ScalingSection, Design]]:
    """One design per scaling section of the report."""
    designs = []
    for section in suite.report:
        if not isinstance(section, ScalingSection):
            continue
        runs = [r for r in section_runs(section, suite) if r.adapter_label == section.baseline]
        xs = sorted({x for r in runs if (x := _x(r, section)) is not None})
        seeds = len({r.spec.seed for r in runs})
        designs.append((section, Design(section.title, section.x, tuple(xs), seeds)))
    return designs


def _x(run: PlannedRun, section: ScalingSection | ThinkingScaleSection) -> float | None:
    return axis_value(run, section.x)


def check_report(suite: Suite) -> None:
    """Some sections have one data set, and along an axis lies one run per model, x and seed.

    HarnessError where an average would mix what should be apart.
    """
    for index, section in enumerate(suite.report):
        where = f"{suite.path} report[{index}]"
        if isinstance(section, ThinkingScaleSection):
            _check_points(section, suite, where)
        if not isinstance(section, ScalingSection | DenoisingSection | TuningSection):
            continue
        sets = {
            f"{e.spec.data} ({e.spec.split})"
            for run in suite.of(section.experiment)
            for e in run.evaluations
            if e.name == section.evaluation
        }
        if len(sets) > 1:
            raise HarnessError(
                f"a {section.kind} section shows one data set, and its evaluation covers "
                f"{', '.join(sorted(sets))}",
                where=f"{where}.evaluation",
                given=section.evaluation,
                hint="give each data set an evaluation and a section of its own",
            )
        if isinstance(section, ScalingSection):
            _check_points(section, suite, where)


def _check_points(section: ScalingSection | ThinkingScaleSection, suite: Suite, where: str) -> None:
    seen: dict[tuple[str, float | None, int], PlannedRun] = {}
    for run in section_runs(section, suite):
        key = run.adapter_label, _x(run, section), run.spec.seed
        other = seen.setdefault(key, run)
        if other.run_id != run.run_id:
            raise HarnessError(
                f"{other.name} and {run.name} have the same {section.x}: the experiment varies "
                "more than the section's x",
                where=f"{where}.x",
                given=section.x,
                hint="hold the other axes: `only: {AXIS: [LABEL]}`",
            )


def total_flops(costs: Iterable[RunCost]) -> float:
    """Expected training FLOPs of all runs whose budget says so."""
    return sum(cost.flops or 0.0 for cost in costs)
