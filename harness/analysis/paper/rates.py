"""The paper's scaling rates beside ours: of text, of video, and of EBT's two variants."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from math import exp, log

import numpy as np

from harness.analysis.exhibits.next_frame import NextFrameExhibit
from harness.analysis.exhibits.scaling import ScalingExhibit
from harness.analysis.intervals import over_seeds
from harness.analysis.paper.beside import NOT_MEASURED, Beside, absent_row, once, or_absent
from harness.analysis.paper.numbers import PaperNumber
from harness.analysis.rates.equal_loss import Crossover, crossover
from harness.analysis.rates.points import Interval as RateInterval
from harness.analysis.tables.table import percent, percent_range
from harness.quantities import si

_RATE = "scaling rate"
#: Axes along which runs of equal settings lie apart: one family spends more than the other.
_SPENT = ("flops", "seconds")


def papers_rates(exhibit: ScalingExhibit, numbers: Sequence[PaperNumber]) -> list[PaperNumber]:
    """The paper's scaling rates of the section's axis and two models."""
    return [n for n in _own(exhibit, numbers) if n.quantity == _RATE]


def _own(exhibit: ScalingExhibit, numbers: Sequence[PaperNumber]) -> list[PaperNumber]:
    models = list(zip_longest(exhibit.families, exhibit.variants, fillvalue=""))
    return [
        number
        for number in numbers
        if number.setting in ("", exhibit.section.x)
        and len(models) == 2
        and all(_is(*names) for names in zip((number.against, number.model), models, strict=True))
    ]


def _is(papers: str, model: tuple[str, str]) -> bool:
    """`ebt` is any EBT, `ebt s2` that variant alone."""
    family, variant = model
    return papers in (family, f"{family} {variant}")


def scaling_rows(exhibit: ScalingExhibit, numbers: Sequence[PaperNumber]) -> list[Beside]:
    """Rates beside the paper's kind of rate, crossovers, and at how many points EBT is worse."""
    rows = []
    for number in _own(exhibit, numbers):
        quantity = f"{number.quantity}, along {exhibit.section.x}"
        if number.quantity == _RATE:
            rows.append(_rate(exhibit, number, quantity))
        elif number.quantity == "crossover":
            rows.append(_crossover(exhibit, number, quantity))
        elif number.quantity == "worse at each point":
            rows.append(_points(exhibit, number, quantity))
        elif number.quantity == "scaling rate on the tail":
            rows.append(absent_row(number, quantity, number.note))
        elif number.quantity == "higher intercept":
            why = "an intercept is a loss at one unit of an axis, which the paper does not name"
            rows.append(absent_row(number, quantity, why))
    return rows


def _model(exhibit: ScalingExhibit) -> str:
    return f"{exhibit.section.candidate} over {exhibit.section.baseline}"


def _rate(exhibit: ScalingExhibit, number: PaperNumber, quantity: str) -> Beside:
    rate = exhibit.rate
    if rate is None or rate.apparent.value is None:
        why = exhibit.no_rate if rate is None else rate.apparent.reason
        return absent_row(number, quantity, f"no rate: {why}" if exhibit.rows else NOT_MEASURED)
    rho = rate.rho.interval
    defined = percent(rate.rho.value) or "not identified"
    if rho is not None:
        defined += f" {percent_range((rho.low, rho.high)).removesuffix(' %')}"
    return Beside(
        number,
        quantity,
        _model(exhibit),
        100 * rate.apparent.value,
        _percent(rate.apparent.interval),
        n=rate.apparent.points,
        counted="points",
        seeds=rate.apparent.seeds,
        note=f"both of raw log-log slopes; as defined here: {defined}, {rate.verdict.text}",
    )


def _percent(interval: RateInterval | None) -> tuple[float, float] | None:
    return None if interval is None else (100 * interval.low, 100 * interval.high)


def _crossover(exhibit: ScalingExhibit, number: PaperNumber, quantity: str) -> Beside:
    if exhibit.rate is None:
        return absent_row(number, quantity, exhibit.no_rate if exhibit.rows else NOT_MEASURED)
    crossed = crossover(exhibit.rate)
    found, interval = crossed.budget, crossed.budget.interval
    if crossed.above is None:
        return absent_row(number, quantity, found.reason)
    if crossed.above != "candidate" or found.value is None:
        value, interval, said, note = None, None, _other_way(exhibit, crossed), ""
    else:
        value, said, note = found.value, "", found.reason
    return Beside(
        number,
        quantity,
        _model(exhibit),
        value,
        None if interval is None else (interval.low, interval.high),
        said=said,
        n=found.points,
        counted="points",
        seeds=found.seeds,
        note=note,
    )


def _other_way(exhibit: ScalingExhibit, crossed: Crossover) -> str:
    """Where the baseline becomes the lower one, or which is lower where the curves do not cross."""
    assert crossed.above is not None
    lower, x = getattr(exhibit.section, crossed.above), crossed.budget.value
    if x is None:
        return f"none: {lower} lower throughout"
    return f"the other way: {lower} lower beyond {si(x).strip()}"


def _points(exhibit: ScalingExhibit, number: PaperNumber, quantity: str) -> Beside:
    """At how many points the candidate's loss is higher, paired by training seed."""
    given = any(run.budget is not None for run in exhibit.runs)
    spent = exhibit.section.x in _SPENT and not given
    differences = _at_equal_x(exhibit) if spent else _at_equal_settings(exhibit)
    if not differences:
        why = "no seed and point in common" if exhibit.rows else NOT_MEASURED
        return absent_row(number, quantity, why)
    means = [over_seeds(values) for values in differences.values()]
    decided = [(mean.low, mean.high) for mean in means if mean.low is not None]
    worse = sum(low is not None and low > 0 for low, _ in decided)
    better = sum(high is not None and high < 0 for _, high in decided)
    note = f"paired seeds; {worse} worse and {better} better by the whole 95 % interval"
    if spent:
        note += f"; {exhibit.section.baseline} between its points, where both have some"
    return Beside(
        number,
        quantity,
        _model(exhibit),
        said=f"worse at {sum(mean.value > 0 for mean in means)} of {len(means)}",
        n=len(means),
        counted="points",
        seeds=min(mean.seeds for mean in means),
        note=note,
    )


def _at_equal_settings(exhibit: ScalingExhibit) -> dict[str, list[float]]:
    """Place on the axes -> differences of equal seeds."""
    section = exhibit.section
    other = {(r.label, r.seed): r.loss for r in exhibit.runs if r.adapter == section.baseline}
    found: dict[str, list[float]] = {}
    for run in exhibit.runs:
        if run.adapter == section.candidate and (run.label, run.seed) in other:
            difference = run.loss - other[run.label, run.seed]
            found.setdefault(run.label, []).append(difference)
    return found


def _at_equal_x(exhibit: ScalingExhibit) -> dict[str, list[float]]:
    """The candidate's places -> differences of equal seeds from the baseline's line between its
    neighbours, straight in log x and log loss; none beyond its points.
    """
    section = exhibit.section
    lines: dict[int, list[tuple[float, float]]] = {}
    for run in sorted(exhibit.runs, key=lambda run: run.x):
        if run.adapter == section.baseline:
            lines.setdefault(run.seed, []).append((log(run.x), log(run.loss)))
    found: dict[str, list[float]] = {}
    for run in exhibit.runs:
        line = np.array(lines.get(run.seed, []), np.float64).reshape(-1, 2)
        inside = len(line) > 0 and line[0, 0] <= log(run.x) <= line[-1, 0]
        if run.adapter == section.candidate and inside:
            there = exp(np.interp(log(run.x), line[:, 0], line[:, 1]))
            found.setdefault(run.label, []).append(run.loss - there)
    return found


def next_frame_rows(exhibit: NextFrameExhibit, numbers: Sequence[PaperNumber]) -> list[Beside]:
    """Whether EBT's next frames are worse at each size."""
    rows: list[Beside] = []
    stated = [n for n in numbers if n.quantity == "worse at each point"]
    # The paper says it along width and along parameters; a next frame has no axis.
    for number in once(stated, lambda n: n.exhibit):
        quantity = "next frames, worse at each size"
        found = []
        for data, split in exhibit.sets:
            compared = [
                row
                for row in exhibit.of(data, split)
                if row.family == number.model and row.comparison is not None
            ]
            verdicts = [row.comparison.verdict for row in compared if row.comparison]
            if compared:
                said = f"worse at {verdicts.count('worse')} of {len(verdicts)}"
                better = f"better at {verdicts.count('better')}, by the whole 95 % interval"
                seeds = min(row.seeds for row in compared)
                name = f"{compared[0].adapter} on {data}"
                found.append(
                    Beside(
                        number,
                        quantity,
                        name,
                        said=said,
                        n=len(compared),
                        counted="models",
                        seeds=seeds,
                        note=better,
                    )
                )
        why = "no baseline is named" if exhibit.rows else NOT_MEASURED
        rows += or_absent(number, quantity, found, why)
    return rows
