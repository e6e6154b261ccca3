"""What a plan costs, and whether it can decide anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.planning.document import Axis, ScalingSection
from harness.planning.suite import PlannedRun, Suite


@dataclass(frozen=True)
class RunCost:
    """What one run will train, by the adapter's formulas."""

    parameters: int
    non_embedding: int
    steps: int | None
    tokens: int | None
    flops: float | None


def run_cost(run: PlannedRun) -> RunCost:
    """Parameters, steps, tokens and expected training FLOPs; None where seconds decide."""
    record, config, shape = run.record, run.config, run.shape
    counted = record.parameters(config, shape)
    per_row = record.training_flops(config, shape).total
    steps = run.spec.total_steps(per_row)
    per_step = run.spec.tokens_per_step
    return RunCost(
        parameters=counted.total,
        non_embedding=counted.non_embedding,
        steps=steps,
        tokens=None if steps is None or per_step is None else steps * per_step,
        flops=None if steps is None else steps * run.spec.batch_size * per_row,
    )


def axis_value(run: PlannedRun, cost: RunCost, axis: Axis) -> float | None:
    """A run's nominal budget on a report's axis, equal for all its seeds; None where it has none.

    Parameters are non-embedding; FLOPs are the formula's; data are tokens.
    """
    values: dict[str, Any] = {
        "parameters": cost.non_embedding,
        "flops": cost.flops,
        "data": cost.tokens,
        "seconds": run.spec.budget.seconds,
        "depth": run.spec.config.get("depth"),
        "width": run.spec.config.get("width"),
        "batch": run.spec.batch_size,
    }
    return None if values[axis] is None else float(values[axis])


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
        runs = [r for r in suite.of(section.experiment) if r.adapter_label == section.baseline]
        xs = sorted({x for r in runs if (x := _x(r, section)) is not None})
        seeds = len({r.spec.seed for r in runs})
        designs.append((section, Design(section.title, section.x, tuple(xs), seeds)))
    return designs


def _x(run: PlannedRun, section: ScalingSection) -> float | None:
    return axis_value(run, run_cost(run), section.x)


def total_flops(costs: Iterable[RunCost]) -> float:
    """Expected training FLOPs of all runs whose budget says so."""
    return sum(cost.flops or 0.0 for cost in costs)
