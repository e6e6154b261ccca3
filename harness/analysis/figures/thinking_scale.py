"""Figure of a thinking_scale section: gain along an axis of training, one column per data set."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.analysis.exhibits.gain_draws import MEASURES, Measure
from harness.analysis.exhibits.thinking import ThinkingRow
from harness.analysis.exhibits.thinking_scale import ThinkingScaleExhibit
from harness.analysis.figures.axes import log_cost, padded
from harness.analysis.figures.cuts import Floor
from harness.analysis.figures.followed import (
    Followed,
    draw_gains,
    followed_marks,
    limits_of,
    mark_cut_gains,
)
from harness.analysis.figures.page import DataRow, Drawing, Frame, panels, surround
from harness.analysis.figures.scaling import AXES
from harness.analysis.figures.style import REFERENCE, signed, theme
from harness.analysis.figures.ticks import gain_tick
from harness.analysis.resampling import resampled
from harness.analysis.tables.trends import gain_data, row_data, trend_data
from harness.analysis.trends.trend import Trend

_PER_PAGE = 4
_ROW_HEIGHT = 1.6


def thinking_scale_figures(exhibit: ThinkingScaleExhibit, *, missing: str = "") -> list[Drawing]:
    """Gains of the followed settings, four sets to a figure; empty without points."""
    sets = list(dict.fromkeys(p.row.data for p in exhibit.points))
    pages = [sets[i : i + _PER_PAGE] for i in range(0, len(sets), _PER_PAGE)]
    drawn = followed_marks(exhibit.drawn(), places=False)
    found = []
    for number, page in enumerate(pages, start=1):
        several = len(pages) > 1
        suffix = f" ({number} of {len(pages)})" if several else ""
        title = f"{exhibit.section.title}: gain against {AXES[exhibit.section.x][0]}{suffix}"
        name = f"thinking_scale-{number}" if several else "thinking_scale"
        found.append(_page(exhibit, page, drawn, (name, title), missing))
    return found


def _page(
    exhibit: ThinkingScaleExhibit,
    sets: Sequence[str],
    drawn: Sequence[Followed],
    named: tuple[str, str],
    missing: str,
) -> Drawing:
    name, title = named
    label, kind = AXES[exhibit.section.x]
    shown = [p.row for p in exhibit.points if _is_drawn(p.row, drawn)]
    clipped = False
    with theme():
        figure, grid = panels(len(MEASURES), len(sets), share_y="row")
        for row, measure in zip(grid, MEASURES, strict=True):
            limits, floor = limits_of(shown, measure)
            clipped |= limits.clipped
            for axes, data in zip(row, sets, strict=True):
                log_cost(axes, [p.x for p in exhibit.points], label, kind=kind)
                _panel(axes, exhibit, drawn, (data, measure), floor)
                axes.set_ylim(*padded(limits))
                axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
                axes.yaxis.set_major_formatter(FuncFormatter(gain_tick))
            row[0].set_ylabel(f"{measure} gain (%)")
        for axes, data in zip(grid[0], sets, strict=True):
            axes.set_title(data)
            axes.set_xlabel("")
        frame = Frame(
            title,
            _finding(exhibit, drawn, sets),
            [one.handle for one in drawn],
            _notes(exhibit, clipped, missing),
        )
        surround(figure, frame, height=_ROW_HEIGHT * len(MEASURES) + 0.25)
    return Drawing(name, title, figure, (*_gains(exhibit, sets), *_trends(exhibit, sets)))


def _is_drawn(row: ThinkingRow, drawn: Sequence[Followed]) -> bool:
    return any(one.holds(row, anywhere=True) for one in drawn)


def _panel(
    axes: Axes,
    exhibit: ThinkingScaleExhibit,
    drawn: Sequence[Followed],
    what: tuple[str, Measure],
    floor: Floor | None,
) -> None:
    data, measure = what
    axes.axhline(0, color=REFERENCE, linewidth=0.8, zorder=1)
    points: list[tuple[float, ThinkingRow, Followed]] = []
    for one in drawn:
        own = [
            (p.x, p.row)
            for p in exhibit.points
            if p.row.data == data and one.holds(p.row, anywhere=True)
        ]
        draw_gains(axes, own, one, measure, floor=floor, joined=False)
        points += [(x, row, one) for x, row in own]
        trend = _trend_of(exhibit, one, what)
        if trend is None or trend.slope is None or trend.intercept is None:
            continue
        ends = [min(x for x, _ in own), max(x for x, _ in own)]
        axes.plot(
            ends,
            [100 * (trend.intercept + trend.slope * log2(x)) for x in ends],
            color=one.color,
            linestyle=one.line,
            linewidth=1,
            zorder=2,
        )
    mark_cut_gains(axes, points, measure, floor)


def _trend_of(
    exhibit: ThinkingScaleExhibit, one: Followed, what: tuple[str, Measure]
) -> Trend | None:
    return next(
        (
            t.trend
            for t in exhibit.trends
            if (t.of.data, t.measure) == what and one.holds(t.of, anywhere=True)
        ),
        None,
    )


def _finding(exhibit: ThinkingScaleExhibit, drawn: Sequence[Followed], sets: Sequence[str]) -> str:
    """Loss gain's slope of the first followed setting on each set."""
    said = []
    for data in sets:
        trend = _trend_of(exhibit, drawn[0], (data, "loss"))
        if trend is None or trend.slope is None:
            continue
        text = f"{data} {signed(100 * trend.slope, 2)}"
        if trend.interval is not None:
            low, high = (signed(100 * bound, 2) for bound in trend.interval)
            text += f" [{low}, {high}]"
        said.append(f"{text} ({trend.reading})")
    if not said:
        return ""
    return f"Points of loss gain per doubling, {drawn[0].label}: " + "; ".join(said) + "."


def _notes(exhibit: ThinkingScaleExhibit, clipped: bool, missing: str) -> list[str]:
    text = (
        "Each point is a run of its own with its own complete schedule. Lines: least squares over "
        "the log of the axis. Error bars: 95 % bootstrap over "
        f"{resampled(p.row.seeds for p in exhibit.points)}."
    )
    if clipped:
        text += " Gains below the axis: ▼ with their value or range; error bars may be cut off."
    reasons = dict.fromkeys(
        t.trend.reason for t in exhibit.trends if t.trend.reading == "descriptive"
    )
    if reasons:
        text += f" Descriptive, no verdict: {'; '.join(reasons)}."
    return [text, *([missing] if missing else [])]


def _gains(exhibit: ThinkingScaleExhibit, sets: Sequence[str]) -> list[DataRow]:
    return [
        {
            "part": "gain",
            "data": p.row.data,
            "axis": exhibit.section.x,
            "x": p.x,
            "tokens": p.tokens,
            "training_flops": p.training_flops,
            "training_seconds": p.training_seconds,
            **row_data(p.row),
            **gain_data(p.row),
        }
        for p in exhibit.points
        if p.row.data in sets
    ]


def _trends(exhibit: ThinkingScaleExhibit, sets: Sequence[str]) -> list[DataRow]:
    return [
        {
            "part": "trend",
            "data": t.of.data,
            "measure": t.measure,
            **row_data(t.of),
            **trend_data(t.trend),
            "seeds": t.of.seeds,
        }
        for t in exhibit.trends
        if t.of.data in sets
    ]
