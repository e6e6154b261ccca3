"""The paper's growing gains beside ours: with distance from training, and with training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log2

from harness.analysis.exhibits.thinking_scale import ScaledGain, ThinkingScaleExhibit
from harness.analysis.exhibits.thinking_shift import ShiftTrend, ThinkingShiftExhibit
from harness.analysis.paper.beside import NOT_MEASURED, Beside, absent_row, or_absent
from harness.analysis.paper.gains import GAIN, THINKS, percents
from harness.analysis.paper.numbers import PaperNumber
from harness.analysis.tables.trends import model_words, setting_words
from harness.quantities import si

_RATIO = "perplexity ratio"
_SHARE = "share of training"
_PER_DOUBLING = "gain per doubling of that ratio, in points"


def shift_rows(exhibit: ThinkingShiftExhibit, numbers: Sequence[PaperNumber]) -> list[Beside]:
    """Our trend where the paper's figure begins and ends, and both slopes."""
    ends = sorted((n for n in numbers if n.x_unit == _RATIO and n.x), key=lambda n: n.x or 0.0)
    drawn = {(row.adapter, row.label, row.setting) for row in exhibit.drawn()}
    trends = [
        trend
        for trend in exhibit.trends
        if trend.measure == "perplexity"
        and trend.magnitude == "perplexity_ratio"
        and trend.of.family == THINKS
        and (trend.of.adapter, trend.of.label, trend.of.setting) in drawn
    ]
    why = "no model that thinks has a perplexity ratio" if exhibit.rows else NOT_MEASURED
    ratios = [s.perplexity_ratio for s in exhibit.shifts if s.perplexity_ratio is not None]
    rows: list[Beside] = []
    for number in ends:
        quantity = f"gain at {number.x:g} × the perplexity of training"
        found = [_fitted(trend, number, quantity, ratios) for trend in trends]
        rows += or_absent(number, quantity, found, why)
    if (slope := papers_slope(ends)) is not None:
        found = [_slope(trend, slope) for trend in trends]
        rows += or_absent(slope, _PER_DOUBLING, found, why)
    return rows


def papers_slope(ends: Sequence[PaperNumber]) -> PaperNumber | None:
    """The line through the first and last of the paper's points, per doubling of the ratio."""
    if len(ends) < 2 or not ends[0].x or not ends[-1].x:
        return None
    first, last = ends[0], ends[-1]
    if first.value is None or last.value is None or first.x is None or last.x is None:
        return None
    slope = (last.value - first.value) / log2(last.x / first.x)
    note = f"from its points at {first.x:g} and {last.x:g}"
    worked_out = replace(first, quantity=_PER_DOUBLING, value=slope, written=f"{slope:.1f}")
    return replace(worked_out, x=None, x_unit="", note=note)


def _fitted(
    trend: ShiftTrend, number: PaperNumber, quantity: str, ratios: Sequence[float]
) -> Beside:
    line, x = trend.trend, number.x
    assert x is not None
    name = f"{model_words(trend.of)}, {setting_words(trend.of)}"
    if line.slope is None or line.intercept is None:
        return absent_row(number, f"{quantity}, {name}", line.reason)
    if not min(ratios) <= x <= max(ratios):
        reach = f"our sets lie at {min(ratios):.2f} to {max(ratios):.2f}"
        return absent_row(number, f"{quantity}, {name}", f"{reach}: not extrapolated")
    value = 100 * (line.intercept + line.slope * log2(x))
    return Beside(
        number,
        quantity,
        name,
        value,
        n=line.points,
        counted="sets",
        seeds=trend.of.seeds,
        note="on our fitted line; its slope has the interval",
    )


def _slope(trend: ShiftTrend, number: PaperNumber) -> Beside:
    line = trend.trend
    name = f"{model_words(trend.of)}, {setting_words(trend.of)}"
    if line.slope is None:
        return absent_row(number, f"{_PER_DOUBLING}, {name}", line.reason)
    return Beside(
        number,
        _PER_DOUBLING,
        name,
        100 * line.slope,
        percents(line.interval),
        n=line.points,
        counted="sets",
        seeds=trend.of.seeds,
        note=f"{line.reading}: {line.reason}",
        derived=True,
    )


def scale_rows(exhibit: ThinkingScaleExhibit, numbers: Sequence[PaperNumber]) -> list[Beside]:
    """Gains at the least and the most training."""
    drawn = {(row.adapter, row.setting) for row in exhibit.drawn()}
    lines: dict[tuple[str, str, str], list[ScaledGain]] = {}
    for point in exhibit.points:
        row = point.row
        if row.family == THINKS and (row.adapter, row.setting) in drawn:
            lines.setdefault((row.adapter, row.setting, row.data), []).append(point)
    rows: list[Beside] = []
    for number in (n for n in numbers if n.quantity == GAIN and n.x_unit == _SHARE):
        late = number.x == 1
        quantity = f"gain {'late' if late else 'early'} in training, {number.setting}"
        several = {key: line for key, line in lines.items() if (line[0].row.samples or 1) > 1}
        same = {key: line for key, line in several.items() if number.data in key[2].lower()}
        chosen = (same or several).values()
        found = [_at_end(line, number, quantity, late=late) for line in chosen if len(line) > 1]
        why = "fewer than two points" if several else "no setting of several samples"
        why = why if lines else NOT_MEASURED
        rows += or_absent(number, quantity, found, why)
    return rows


def _at_end(
    line: Sequence[ScaledGain], number: PaperNumber, quantity: str, *, late: bool
) -> Beside:
    point = (max if late else min)(line, key=lambda p: p.x)
    row = point.row
    return Beside(
        number,
        f"{quantity}, {row.data}",
        f"{row.adapter}, {setting_words(row)}",
        None if row.perplexity_gain is None else 100 * row.perplexity_gain,
        percents(row.perplexity_interval),
        said="" if row.perplexity_gain is not None else "beyond a float",
        n=row.n,
        seeds=row.seeds,
        note=f"at {si(point.x).strip()}, {'most' if late else 'least'} of {len(line)} points",
    )
