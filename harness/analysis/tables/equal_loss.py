"""Tables beside a scaling rate: what equal loss costs, where curves cross, losses at equal cost."""

from __future__ import annotations

from harness.analysis.exhibits.equal_budget import BudgetDifference, Spent, budget_differences
from harness.analysis.exhibits.scaling import NATS, ScalingExhibit
from harness.analysis.rates.equal_loss import Crossover, EqualLoss, crossover, equal_loss
from harness.analysis.rates.points import Estimate
from harness.analysis.tables.scaling import axis_name
from harness.analysis.tables.table import Cell, Table, minus
from harness.planning.sections import Axis
from harness.quantities import duration, si

#: What the candidate has a gain of at equal loss, by axis: `compute-equivalent gain`.
_EQUIVALENT: dict[Axis, str] = {
    "flops": "compute",
    "seconds": "time",
    "data": "data",
    "parameters": "parameter",
    "depth": "depth",
    "width": "width",
    "batch": "batch",
}
_DIGITS = 5


def gain_name(axis: Axis) -> str:
    return f"{_EQUIVALENT[axis]}-equivalent gain"


def equal_loss_tables(exhibit: ScalingExhibit, stem: str) -> list[Table]:
    """What equal loss costs where there is a rate, and losses at an equal x where there are."""
    tables = []
    if exhibit.rate is not None:
        tables.append(_equal_loss(exhibit, f"{stem}-equal-loss"))
    if differences := budget_differences(exhibit):
        tables.append(_differences(exhibit, differences, f"{stem}-differences"))
    return tables


# --- at equal loss -----------------------------------------------------------------------------


def _equal_loss(exhibit: ScalingExhibit, name: str) -> Table:
    section, rate = exhibit.section, exhibit.rate
    assert rate is not None
    at, crossed = equal_loss(rate), crossover(rate)
    gain = gain_name(section.x)
    header = ("quantity", "value", "95 % interval", "points", "seeds", "at or reason")
    return Table(
        name,
        f"{section.title}: {section.candidate} against {section.baseline} at equal loss, in "
        f"{axis_name(exhibit)}",
        header,
        rows=[
            [Cell(gain), *_ratio_cells(at.ratio), Cell(gain_reason(at, exhibit))],
            [
                Cell("crossover"),
                *_budget_cells(crossed.budget, section.x),
                Cell(crossover_reason(crossed, exhibit)),
            ],
        ],
        data=[
            {"quantity": gain, **_estimate_data(at.ratio)}
            | {"loss": at.loss, "x_candidate": at.x_candidate, "x_baseline": at.x_baseline},
            {"quantity": "crossover", **_estimate_data(crossed.budget)}
            | {"lower_beyond": crossed.above, "share": crossed.share},
        ],
        notes=[
            f"{gain[0].upper()}{gain[1:]}: {axis_name(exhibit)} that {section.baseline} needs for "
            f"the lowest loss both fitted curves reach within their points, over what "
            f"{section.candidate} needs; above 1 {section.candidate} needs less. Crossover: the "
            "last place, within the points of both, where the fitted curves cross.",
            "Intervals are percentiles of the rate's own resamples, not adjusted for several "
            "axes; in planted experiments 95 % ones cover 90 to 93 %.",
        ],
        text_columns=1,
    )


def _ratio_cells(ratio: Estimate) -> list[Cell]:
    return [Cell(ratio_text(ratio) or "not known"), Cell(ratio_range(ratio)), *_stands_on(ratio)]


def ratio_text(ratio: Estimate) -> str:
    return "" if ratio.value is None else f"{ratio.value:.3g}×"


def ratio_range(ratio: Estimate) -> str:
    between = ratio.interval
    return "" if between is None else f"[{between.low:.3g}, {between.high:.3g}]"


def _budget_cells(budget: Estimate, axis: Axis) -> list[Cell]:
    between = budget.interval
    shown = "" if budget.value is None else amount(budget.value, axis)
    ends = "" if between is None else f"[{amount(between.low, axis)}, {amount(between.high, axis)}]"
    return [Cell(shown or "none"), Cell(ends), *_stands_on(budget)]


def _stands_on(estimate: Estimate) -> list[Cell]:
    return [Cell(str(estimate.points)), Cell(str(estimate.seeds))]


def amount(x: float, axis: Axis) -> str:
    """A budget on its axis: `1.2 G`, `3 min 20 s`, `12.5`."""
    if axis == "seconds":
        return duration(x)
    return si(x).strip() if axis in ("data", "parameters", "flops") else f"{x:.3g}"


def gain_reason(at: EqualLoss, exhibit: ScalingExhibit) -> str:
    """Where a gain is taken, or why there is none."""
    said = [at.ratio.reason] if at.ratio.reason else []
    if at.ratio.value is not None and at.loss is not None:
        said.insert(0, f"at a loss of {at.loss:.4g} {exhibit.unit.name}")
    if "extrapolated" in at.ratio.label:
        said.append(at.ratio.label.split(", ", 1)[1])
    return "; ".join(said)


def crossover_reason(crossed: Crossover, exhibit: ScalingExhibit) -> str:
    """Whose loss is lower from there on, or why there is no crossover."""
    names = {"candidate": exhibit.section.candidate, "baseline": exhibit.section.baseline}
    if crossed.budget.value is None:
        said = crossed.budget.reason
        for side, name in names.items():
            said = said.replace(f"{side} lower", f"{name} lower")
        return said
    assert crossed.above is not None
    said = f"{names[crossed.above]} lower beyond"
    if crossed.share is not None:
        said += f", in {100 * crossed.share:.0f} % of resamples"
    return f"{said}; {crossed.budget.reason}" if crossed.budget.reason else said


def _estimate_data(estimate: Estimate) -> dict[str, object]:
    between = estimate.interval
    return {
        "value": estimate.value,
        "low": None if between is None else between.low,
        "high": None if between is None else between.high,
        "level": None if between is None else between.level,
        "points": estimate.points,
        "seeds": estimate.seeds,
        "label": estimate.label,
        "reason": estimate.reason,
    }


# --- at equal cost -----------------------------------------------------------------------------


def _differences(exhibit: ScalingExhibit, differences: list[BudgetDifference], name: str) -> Table:
    section, unit = exhibit.section, exhibit.unit
    digits = 3 if unit is NATS else _DIGITS
    several = len({one.budget for one in differences}) < len(differences)
    labels = ["point"] if several else []
    header = (
        *(axis_name(exhibit), *labels),
        *(section.baseline, section.candidate, "difference", "95 % interval", "seeds", "lower"),
        *(f"{unit.seen}: {section.baseline}", section.candidate),
    )
    return Table(
        name,
        f"{section.title}: {section.candidate} minus {section.baseline} at equal "
        f"{axis_name(exhibit)}",
        header,
        rows=[_difference_cells(one, exhibit, digits, several=several) for one in differences],
        data=[_difference_data(one, exhibit) for one in differences],
        notes=[
            f"Validation loss in {unit.full}; difference: mean over pairs of runs with the same "
            "training seed, ± Student's t."
            + (
                " A whole training step may go beyond a budget by a hair."
                if section.x in ("data", "flops")
                else ""
            ),
            *_lost(exhibit),
        ],
        text_columns=1 + several,
    )


def _difference_cells(
    one: BudgetDifference, exhibit: ScalingExhibit, digits: int, *, several: bool
) -> list[Cell]:
    low, high = one.difference.low, one.difference.high
    names = {"candidate": exhibit.section.candidate, "baseline": exhibit.section.baseline}
    lower = names.get(one.lower, one.lower)
    between = (
        "" if low is None or high is None else minus(f"[{low:+.{digits}f}, {high:+.{digits}f}]")
    )
    return [
        Cell(amount(one.budget, exhibit.section.x)),
        *([Cell(one.label)] if several else []),
        Cell(f"{one.baseline:.{digits}f}", bold=one.lower == "baseline"),
        Cell(f"{one.candidate:.{digits}f}", bold=one.lower == "candidate"),
        Cell(minus(f"{one.difference.value:+.{digits}f}")),
        Cell(between),
        Cell(str(len(one.seeds))),
        Cell(lower if between else "one seed: no interval"),
        Cell(si(one.of_baseline.seen).strip()),
        Cell(si(one.of_candidate.seen).strip()),
    ]


def _difference_data(one: BudgetDifference, exhibit: ScalingExhibit) -> dict[str, object]:
    return {
        "x": exhibit.section.x,
        "budget": one.budget,
        "label": one.label,
        "baseline": one.baseline,
        "candidate": one.candidate,
        "difference": one.difference.value,
        "low": one.difference.low,
        "high": one.difference.high,
        "seeds": " ".join(map(str, one.seeds)),
        "lower": one.lower,
        **_spent_data("baseline", one.of_baseline, exhibit),
        **_spent_data("candidate", one.of_candidate, exhibit),
    }


def _spent_data(side: str, spent: Spent, exhibit: ScalingExhibit) -> dict[str, object]:
    return {
        f"{side}_{exhibit.unit.seen}": spent.seen,
        f"{side}_training_flops": spent.flops,
        f"{side}_training_seconds": spent.seconds,
    }


def _lost(exhibit: ScalingExhibit) -> list[str]:
    if not exhibit.lost:
        return []
    return [f"Left out, for a loss that is 0 or not finite: {', '.join(exhibit.lost)}."]
