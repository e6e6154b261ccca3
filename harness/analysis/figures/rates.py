"""Figure over several suites: every scaling rate with its interval, beside the paper's."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.figures.axes import Span, padded
from harness.analysis.figures.page import DataRow, Drawing, Frame, panels, surround
from harness.analysis.figures.style import (
    REFERENCE,
    TEXT,
    family_color,
    family_marker,
    signed,
    theme,
)
from harness.analysis.figures.ticks import gain_tick
from harness.analysis.overview.rates import NAME, RateRow, rate_rows
from harness.analysis.rates.points import Estimate
from harness.analysis.tables.scaling import axis_name
from harness.quantities import counted

_ROW_INCHES = 0.27
_PER_PAGE = 30
#: Percent either way that are always shown, and the most that are.
_LEAST, _MOST = 40.0, 150.0
#: Where in a row the rate, the slope ratio and the paper's number lie.
_RATE, _SLOPE = -0.14, 0.22


def rates_figures(shown: Sequence[SuiteExhibits]) -> list[Drawing]:
    """A row per scaling section that has a rate or a ratio, suites in order; empty without any."""
    found = rate_rows(shown)
    rows = [row for row in found if _values(row)]
    pages = [rows[i : i + _PER_PAGE] for i in range(0, len(rows), _PER_PAGE)]
    left_out = len(found) - len(rows)
    return [
        _page(page, f"-{number}" if len(pages) > 1 else "", left_out)
        for number, page in enumerate(pages, start=1)
    ]


def _page(rows: Sequence[RateRow], part: str, left_out: int) -> Drawing:
    limits = _limits(rows)
    with theme():
        figure, grid = panels(1, 1, share_y="all")
        axes: Axes = grid[0][0]
        axes.axvline(0, color=REFERENCE, linewidth=0.8, zorder=1)
        for place, row in enumerate(rows):
            _draw(axes, place, row, limits)
        axes.set_xlim(*padded(limits))
        axes.set_ylim(len(rows) - 0.45, -0.55)
        axes.set_yticks(range(len(rows)), [_name(row, rows) for row in rows])
        axes.tick_params(axis="y", length=0, pad=7)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(gain_tick))
        axes.set_xlabel("how much faster the candidate's loss falls (%)")
        title = "Scaling rates along every axis"
        frame = Frame(title, _finding(rows), _handles(rows), _notes(rows, left_out, limits))
        surround(figure, frame, height=_ROW_INCHES * len(rows) + 0.45)
    return Drawing(f"{NAME}{part}", title, figure, tuple(_data(row) for row in rows))


def _estimates(row: RateRow) -> tuple[Estimate | None, Estimate | None]:
    rate = row.exhibit.rate
    return (None, None) if rate is None else (rate.rho, rate.apparent)


def _values(row: RateRow) -> list[float]:
    """The rate and the slope ratio, in percent, as far as they are known."""
    return [100 * e.value for e in _estimates(row) if e is not None and e.value is not None]


def _papers(row: RateRow) -> list[float]:
    return [number.value for number in row.paper if number.value is not None]


def _limits(rows: Sequence[RateRow]) -> Span:
    """Of slope ratios, the paper's numbers and rates that may decide; others may lie beyond."""
    values = [-_LEAST, _LEAST, *(value for row in rows for value in _papers(row))]
    for row in rows:
        rho, apparent = _estimates(row)
        trusted = rho if row.exhibit.rate is not None and row.exhibit.rate.gate.passed else None
        for estimate in (trusted, apparent):
            if estimate is not None and estimate.value is not None:
                values.append(100 * estimate.value)
                if estimate.interval is not None:
                    values += [100 * estimate.interval.low, 100 * estimate.interval.high]
    low, high = max(min(values), -_MOST), min(max(values), _MOST)
    return Span(low, high, clipped=any(_is_beyond(row, low, high) for row in rows))


def _is_beyond(row: RateRow, low: float, high: float) -> bool:
    ends = [
        100 * end
        for estimate in _estimates(row)
        if estimate is not None and estimate.value is not None
        for end in (
            estimate.value,
            *((estimate.interval.low, estimate.interval.high) if estimate.interval else ()),
        )
    ]
    return any(not low <= end <= high for end in ends)


def _draw(axes: Axes, place: int, row: RateRow, limits: Span) -> None:
    rate = row.exhibit.rate
    assert rate is not None
    family = row.exhibit.families[1]
    color = family_color(family)
    _estimate(axes, place + _SLOPE, rate.apparent, limits, ("#9a9a9a", "d", "#9a9a9a", 3.2))
    face = color if rate.gate.passed else "white"
    _estimate(axes, place + _RATE, rate.rho, limits, (color, family_marker(family), face, 5.0))
    for value in _papers(row):
        axes.plot([value, value], [place - 0.36, place + 0.36], color=TEXT, linewidth=1.4, zorder=4)
    said = rate.verdict.status if rate.rho.value is not None else "rate not identified"
    axes.text(
        1.03,
        place,
        said,
        transform=axes.get_yaxis_transform(),
        va="center",
        size=7,
        weight="bold" if rate.gate.passed else "normal",
    )


def _estimate(
    axes: Axes, y: float, estimate: Estimate, limits: Span, looks: tuple[str, str, str, float]
) -> None:
    """A marker with its interval; an arrow head where that goes beyond the axis."""
    if estimate.value is None:
        return
    color, marker, face, size = looks
    low, high = padded(limits)
    value, between = 100 * estimate.value, estimate.interval
    ends = (value, value) if between is None else (100 * between.low, 100 * between.high)
    kept = min(max(ends[0], low), high), max(min(ends[1], high), low)
    axes.plot(kept, [y, y], color=color, linewidth=1.0, zorder=2, clip_on=False)
    for beyond, at, head in ((ends[0] < low, low, "<"), (ends[1] > high, high, ">")):
        if beyond:
            axes.plot([at], [y], color=color, marker=head, markersize=3.4, clip_on=False)
    if not low <= value <= high:
        at, side = (low, "left") if value < low else (high, "right")
        said = f"{signed(value)} " if side == "right" else f" {signed(value)}"
        axes.text(at, y - 0.02, said, ha=side, va="bottom", size=6, color=color)
        return
    axes.plot(
        [value],
        [y],
        linestyle="",
        color=color,
        marker=marker,
        markersize=size,
        markerfacecolor=face,
        zorder=3,
    )


def _name(row: RateRow, rows: Sequence[RateRow]) -> str:
    """`text_params: parameters, 5 × 3`."""
    alike = [r for r in rows if (r.suite, r.along) == (row.suite, row.along)]
    what = row.title if len(alike) > 1 else axis_name(row.exhibit).removeprefix("non-embedding ")
    return f"{row.suite}: {what}, {row.points} × {row.seeds}"


def _finding(rows: Sequence[RateRow]) -> str:
    decided = [r.exhibit.rate for r in rows if r.exhibit.rate and r.exhibit.rate.gate.passed]
    exploratory = len(rows) - len(decided)
    if not decided:
        return (
            "No design here is large enough for a verdict: at least 5 points, 3 seeds and, for "
            "data, parameters and FLOPs, 2 decades."
        )
    counts = ", ".join(
        f"{number} {status}"
        for status in ("faster", "not faster", "undecided")
        if (number := sum(rate.verdict.status == status for rate in decided))
    )
    may = f"{counted(len(decided), 'design')} may decide: {counts}"
    return f"{may}; {exploratory} exploratory." if exploratory else f"{may}."


def _handles(rows: Sequence[RateRow]) -> list[Artist]:
    """The legend: what is filled, open, gray and a bar."""
    families = list(dict.fromkeys(row.exhibit.families[1] for row in rows))
    handles: list[Artist] = []
    for family in families:
        passed = {
            r.exhibit.rate.gate.passed
            for r in rows
            if r.exhibit.rate is not None
            and r.exhibit.families[1] == family
            and r.exhibit.rate.rho.value is not None
        }
        for filled, word in ((True, "may decide"), (False, "exploratory")):
            if filled in passed:
                color = family_color(family)
                handles.append(
                    Line2D(
                        [],
                        [],
                        color=color,
                        marker=family_marker(family),
                        markerfacecolor=color if filled else "white",
                        linewidth=1,
                        label=f"scaling rate of {family}, {word}",
                    )
                )
    handles.append(
        Line2D(
            [], [], color="#9a9a9a", marker="d", markersize=3.2, linewidth=1, label="slope ratio"
        )
    )
    if any(_papers(row) for row in rows):
        handles.append(
            Line2D([], [], color=TEXT, marker="|", markersize=9, linestyle="", label="paper")
        )
    return handles


def _notes(rows: Sequence[RateRow], left_out: int, limits: Span) -> list[str]:
    compared = ", ".join(dict.fromkeys(row.comparison for row in rows))
    devices = ", ".join(sorted({device for row in rows for device in row.exhibit.device}))
    text = (
        f"{compared}; points × seeds after each axis. Rate: a(candidate) / a(baseline) − 1 of "
        "L(x) = E + A·x^(−a), with its interval adjusted (Holm) over the axes of its suite; slope "
        "ratio: the same of raw log-log slopes, the paper's kind of number, biased by E and A. "
        f"Trained on {devices}."
    )
    if limits.clipped:
        text += " Arrow heads: rates (with their value) or intervals beyond the axis."
    if left_out:
        text += f" {counted(left_out, 'section')} without a rate or a ratio."
    return [text]


def _data(row: RateRow) -> DataRow:
    rho, apparent = _estimates(row)
    rate = row.exhibit.rate
    assert rate is not None
    return {
        "suite": row.suite,
        "section": row.title,
        "axis": row.exhibit.section.x,
        "candidate": row.exhibit.section.candidate,
        "baseline": row.exhibit.section.baseline,
        "points": row.points,
        "seeds": row.seeds,
        **_numbers("rate", rho),
        **_numbers("apparent", apparent),
        "verdict": rate.verdict.status,
        "reason": rate.verdict.reason,
        "may_decide": rate.gate.passed,
        "paper": " ".join(f"{value:g}" for value in _papers(row)),
    }


def _numbers(name: str, estimate: Estimate | None) -> dict[str, object]:
    between = None if estimate is None else estimate.interval
    return {
        name: None if estimate is None else estimate.value,
        f"{name}_low": None if between is None else between.low,
        f"{name}_high": None if between is None else between.high,
    }
