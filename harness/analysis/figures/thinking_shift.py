"""Figure of a thinking_shift section: gain against OOD magnitude, with the line of its trend."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from harness.analysis.exhibits.gain_draws import MEASURES, Measure
from harness.analysis.exhibits.magnitudes import ShiftRow
from harness.analysis.exhibits.thinking import ThinkingRow
from harness.analysis.exhibits.thinking_shift import (
    MAGNITUDES,
    Magnitude,
    ShiftTrend,
    ThinkingShiftExhibit,
)
from harness.analysis.figures.axes import padded
from harness.analysis.figures.cuts import Floor
from harness.analysis.figures.followed import (
    Followed,
    draw_gains,
    followed_marks,
    limits_of,
    mark_cut_gains,
)
from harness.analysis.figures.page import DataRow, Drawing, Frame, panels, surround
from harness.analysis.figures.style import REFERENCE, TEXT, Line, signed, theme
from harness.analysis.figures.ticks import gain_tick
from harness.analysis.resampling import resampled
from harness.analysis.tables.thinking_shift import resampling_note
from harness.analysis.tables.trends import gain_data, row_data, trend_data
from harness.analysis.trends.trend import shown_p

_LABELS = {
    "perplexity_ratio": "perplexity over that of held-out training data",
    "bigram_loss": "cross-entropy under bigrams (nats)",
}
_HEIGHT = 1.75
_NAMES_HEIGHT = 0.95
_NAME_POINTS = 6.5
_WITHOUT_FARTHEST: Line = (0, (1, 1.5))


def thinking_shift_figure(exhibit: ThinkingShiftExhibit, *, missing: str = "") -> Drawing | None:
    """Loss and perplexity gain of the followed settings over both magnitudes; None without rows."""
    drawn = followed_marks(exhibit.drawn())
    magnitudes = [m for m in MAGNITUDES if any(t.magnitude == m for t in exhibit.trends)]
    if not drawn or not magnitudes:
        return None
    title = f"{exhibit.section.title}: gain against OOD magnitude"
    clipped = False
    with theme():
        figure, grid = panels(len(MEASURES), len(magnitudes), share_y="row")
        for row, measure in zip(grid, MEASURES, strict=True):
            shown = [r for r in exhibit.rows if any(one.holds(r) for one in drawn)]
            limits, floor = limits_of(shown, measure)
            clipped |= limits.clipped
            for axes, magnitude in zip(row, magnitudes, strict=True):
                _magnitude_axis(axes, exhibit.shifts, magnitude)
                _panel(axes, exhibit, drawn, (measure, magnitude), floor)
                axes.set_ylim(*padded(limits))
                axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
                axes.yaxis.set_major_formatter(FuncFormatter(gain_tick))
            row[0].set_ylabel(f"{measure} gain (%)")
        for axes in grid[0]:
            axes.set_xlabel("")
        for axes, magnitude in zip(grid[0], magnitudes, strict=True):
            _name_sets(axes, exhibit.shifts, magnitude)
        frame = Frame(
            title,
            _finding(exhibit, drawn),
            [*(one.handle for one in drawn), _without_handle()],
            _notes(exhibit, clipped, missing),
        )
        surround(figure, frame, height=_HEIGHT * len(MEASURES) + _NAMES_HEIGHT)
    return Drawing("thinking_shift", title, figure, (*_gains(exhibit), *_trends(exhibit)))


def _x(shift: ShiftRow, magnitude: Magnitude) -> float | None:
    """Doublings of the ratio, or nats."""
    if magnitude == "bigram_loss":
        return shift.bigram_loss
    return None if shift.perplexity_ratio is None else log2(shift.perplexity_ratio)


def _places(shifts: Sequence[ShiftRow], magnitude: Magnitude) -> dict[str, float]:
    return {s.data: x for s in shifts if (x := _x(s, magnitude)) is not None}


def _magnitude_axis(axes: Axes, shifts: Sequence[ShiftRow], magnitude: Magnitude) -> None:
    xs = list(_places(shifts, magnitude).values())
    room = 0.05 * max(max(xs) - min(xs), 0.1)
    axes.set_xlim(min(xs) - room, max(xs) + room)
    axes.set_xlabel(_LABELS[magnitude])
    if magnitude == "perplexity_ratio":
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{2**value:.3g}"))


def _panel(
    axes: Axes,
    exhibit: ThinkingShiftExhibit,
    drawn: Sequence[Followed],
    what: tuple[Measure, Magnitude],
    floor: Floor | None,
) -> None:
    measure, magnitude = what
    places = _places(exhibit.shifts, magnitude)
    axes.axhline(0, color=REFERENCE, linewidth=0.8, zorder=1)
    points: list[tuple[float, ThinkingRow, Followed]] = []
    for one in drawn:
        own = [(places[r.data], r) for r in exhibit.rows if one.holds(r) and r.data in places]
        draw_gains(axes, own, one, measure, floor=floor, joined=False)
        points += [(x, row, one) for x, row in own]
        found = _trend_of(exhibit, one, what)
        if found is None or found.trend.slope is None or found.trend.intercept is None:
            continue
        ends = [min(x for x, _ in own), max(x for x, _ in own)]
        fits = [((found.trend.slope, found.trend.intercept), one.line, 1.0)]
        if found.trend.rest is not None:
            fits.append((found.trend.rest, _WITHOUT_FARTHEST, 0.8))
        for (slope, intercept), line, width in fits:
            axes.plot(
                ends,
                [100 * (intercept + slope * x) for x in ends],
                color=one.color,
                linestyle=line,
                linewidth=width,
                zorder=2,
            )
    mark_cut_gains(axes, points, measure, floor)


def _without_handle() -> Artist:
    return Line2D(
        [],
        [],
        color="#555555",
        linestyle=_WITHOUT_FARTHEST,
        linewidth=0.8,
        label="least squares without the farthest set",
    )


def _trend_of(
    exhibit: ThinkingShiftExhibit, one: Followed, what: tuple[Measure, Magnitude]
) -> ShiftTrend | None:
    return next(
        (t for t in exhibit.trends if (t.measure, t.magnitude) == what and one.holds(t.of)), None
    )


def _name_sets(axes: Axes, shifts: Sequence[ShiftRow], magnitude: Magnitude) -> None:
    """The sets' names upright above the panel, pushed apart, each with a line to its place."""
    places = sorted(_places(shifts, magnitude).items(), key=lambda item: item[1])
    low, high = axes.get_xlim()
    shares = [(x - low) / (high - low) for _, x in places]
    figure = axes.get_figure(root=True)
    assert figure is not None
    gap = 1.25 * _NAME_POINTS / 72 / (axes.get_position().width * figure.get_figwidth())
    aside = list(shares)
    for index in range(1, len(aside)):
        aside[index] = max(aside[index], aside[index - 1] + gap)
    for index in range(len(aside) - 1, -1, -1):
        aside[index] = min(aside[index], 1 - (len(aside) - 1 - index) * gap)
    for (data, _), share, place in zip(places, shares, aside, strict=True):
        axes.plot(
            [share, place],
            [1.01, 1.09],
            transform=axes.transAxes,
            color=REFERENCE,
            linewidth=0.5,
            clip_on=False,
        )
        axes.text(
            place,
            1.11,
            data.removeprefix("builtin/"),
            transform=axes.transAxes,
            rotation=90,
            ha="center",
            va="bottom",
            size=_NAME_POINTS,
            color=TEXT,
        )


def _finding(exhibit: ThinkingShiftExhibit, drawn: Sequence[Followed]) -> str:
    """The reading of the first followed setting's loss gain, on both magnitudes."""
    said = []
    for magnitude in MAGNITUDES:
        found = _trend_of(exhibit, drawn[0], ("loss", magnitude))
        if found is None or found.trend.slope is None:
            continue
        trend = found.trend
        per = "doubling of the ratio" if magnitude == "perplexity_ratio" else "nat of bigrams"
        text = f"{signed(100 * found.trend.slope, 2)} points per {per}"
        if trend.interval is not None:
            low, high = (signed(100 * bound, 2) for bound in trend.interval)
            text += f" [{low}, {high}]"
        if trend.ranks.rho is not None and trend.ranks.p is not None:
            text += f", ρ = {signed(trend.ranks.rho, 2)} (p {shown_p(trend.ranks.p)})"
        said.append(f"{text}: {trend.reading}")
    return f"Loss gain of {drawn[0].label}: " + "; ".join(said) + "." if said else ""


def _notes(exhibit: ThinkingShiftExhibit, clipped: bool, missing: str) -> list[str]:
    text = (
        "Lines: least squares. Error bars: 95 % bootstrap over "
        f"{resampled(r.seeds for r in exhibit.rows)}. "
        + resampling_note(exhibit).replace("Interval", "Slopes' intervals")
    )
    if clipped:
        text += " Gains below the axis: ▼ with their value or range; error bars may be cut off."
    reasons = dict.fromkeys(
        t.trend.reason for t in exhibit.trends if t.trend.reading == "descriptive"
    )
    if reasons:
        text += f" Descriptive, no verdict: {'; '.join(reasons)}."
    return [text, *([missing] if missing else [])]


def _gains(exhibit: ThinkingShiftExhibit) -> list[DataRow]:
    shifts = {s.data: s for s in exhibit.shifts}
    return [
        {
            "part": "gain",
            "data": r.data,
            "ood_perplexity_ratio": shifts[r.data].perplexity_ratio,
            "ood_bigram_loss": shifts[r.data].bigram_loss,
            **row_data(r),
            **gain_data(r),
        }
        for r in exhibit.rows
    ]


def _trends(exhibit: ThinkingShiftExhibit) -> list[DataRow]:
    return [
        {
            "part": "trend",
            "measure": t.measure,
            "magnitude": t.magnitude,
            **row_data(t.of),
            **trend_data(t.trend),
            "seeds": t.of.seeds,
        }
        for t in exhibit.trends
    ]
