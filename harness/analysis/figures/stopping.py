"""Figures of adaptive stopping: gain against the mean steps that predictions used, beside fixed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.analysis.exhibits.thinking import ThinkingExhibit, ThinkingRow
from harness.analysis.figures.axes import log_cost, padded
from harness.analysis.figures.cuts import Floor
from harness.analysis.figures.followed import Followed, draw_gains, limits_of, mark_cut_gains
from harness.analysis.figures.page import DataRow, Drawing, Frame, panels, surround
from harness.analysis.figures.style import LINES, REFERENCE, family_color, theme, tint
from harness.analysis.figures.ticks import gain_tick
from harness.analysis.tables.trends import gain_data, model_words, row_data
from harness.quantities import counted

_PER_PAGE = 4
_ROW_HEIGHT = 1.6
_TOLERANCE = re.compile(r"\s*tolerance \S+")
_MARKERS = ("^", "D", "P", "X", "v", "<", ">", "*")


@dataclass(frozen=True)
class _Line:
    """Adaptive settings that differ in tolerance alone, or the fixed ones beside them."""

    looks: Followed
    rows: tuple[ThinkingRow, ...]
    adaptive: bool


def joined_by_tolerance(rows: Sequence[ThinkingRow]) -> list[ThinkingRow]:
    """The rows, where settings that differ in tolerance alone are one variant: one line."""
    tolerances: dict[tuple[object, ...], set[float | None]] = {}
    for row in rows:
        tolerances.setdefault(_way(row), set()).add(row.tolerance)
    return [
        replace(row, variant=_rest(row, f"stopping within {row.steps} steps"))
        if row.tolerance is not None and len(tolerances[_way(row)]) > 1
        else row
        for row in rows
    ]


def _way(row: ThinkingRow) -> tuple[object, ...]:
    stops = row.tolerance is not None
    return row.adapter, row.label, row.steps, row.samples, stops, _rest(row)


def _rest(row: ThinkingRow, also: str = "") -> str:
    """The variant but for its tolerance."""
    return f"{_TOLERANCE.sub('', row.variant)} {also}".strip()


def stopping_figures(exhibit: ThinkingExhibit, *, missing: str = "") -> list[Drawing]:
    """Four sets to a figure; empty where no prediction may stop by itself."""
    sets = [s.data for s in exhibit.shifts if any(_stops(r, s.data) for r in exhibit.rows)]
    pages = [sets[i : i + _PER_PAGE] for i in range(0, len(sets), _PER_PAGE)]
    found = []
    for number, page in enumerate(pages, start=1):
        several = len(pages) > 1
        name = f"thinking-stopping-{number}" if several else "thinking-stopping"
        suffix = f" ({number} of {len(pages)})" if several else ""
        title = f"{exhibit.section.title}: stopping when the energy settles{suffix}"
        found.append(_page(exhibit, page, name, title, missing))
    return found


def _stops(row: ThinkingRow, data: str) -> bool:
    return row.data == data and row.steps_used is not None


def _page(
    exhibit: ThinkingExhibit, sets: Sequence[str], name: str, title: str, missing: str
) -> Drawing:
    lines = _lines(exhibit.rows)
    shown = [r for line in lines for r in line.rows]
    limits, floor = limits_of(shown, "loss")
    with theme():
        figure, grid = panels(2, len(sets), share_y="all")
        for axes, data in zip(grid[0], sets, strict=True):
            axes.set_xlim(0, 1.1 * max(_x(r, "steps") for r in shown))
            _panel(axes, lines, data, floor, "steps")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.set_xlabel("mean steps used")
            axes.set_title(data)
        for axes, data in zip(grid[1], sets, strict=True):
            log_cost(axes, [r.flops for r in shown], "FLOPs per token", kind="si")
            _panel(axes, lines, data, floor, "flops")
        for row in grid:
            row[0].set_ylabel("loss gain (%)")
            for axes in row:
                axes.set_ylim(*padded(limits))
                axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
                axes.yaxis.set_major_formatter(FuncFormatter(gain_tick))
        handles = [line.looks.handle for line in lines]
        frame = Frame(title, "", handles, _notes(exhibit, limits.clipped, missing))
        surround(figure, frame, height=_ROW_HEIGHT * 2 + 0.25)
    return Drawing(name, title, figure, tuple(_data(lines, sets)))


def _lines(rows: Sequence[ThinkingRow]) -> list[_Line]:
    """Every way to stop, each preceded by the fixed descents that it would else be."""
    adaptive = _grouped(r for r in rows if r.tolerance is not None)
    found: list[_Line] = []
    drawn: set[tuple[object, ...]] = set()
    for index, own in enumerate(adaptive):
        first = own[0]
        color = family_color(first.family)
        fixed = tuple(r for r in rows if _beside(r, first))
        key = (first.adapter, first.label, first.samples, _rest(first))
        if fixed and key not in drawn:
            drawn.add(key)
            label = f"{_named(first)}: every prediction {_each(first)}as many steps"
            looks = Followed(fixed[0], label, tint(color, 0.45), "o", LINES[len(drawn) - 1])
            found.append(_Line(looks, fixed, adaptive=False))
        tolerances = sorted({r.tolerance for r in own if r.tolerance is not None}, reverse=True)
        label = f"{_named(first)}: stopping within {counted(first.steps or 0, 'step')}, tolerance "
        label += ", ".join(f"{tolerance:g}" for tolerance in tolerances)
        looks = Followed(first, label, color, _MARKERS[index % len(_MARKERS)], "-")
        found.append(_Line(looks, own, adaptive=True))
    return found


def _grouped(rows: Iterable[ThinkingRow]) -> list[tuple[ThinkingRow, ...]]:
    groups: dict[tuple[object, ...], list[ThinkingRow]] = {}
    for row in rows:
        groups.setdefault(_way(row), []).append(row)
    return [tuple(group) for group in groups.values()]


def _beside(row: ThinkingRow, stopping: ThinkingRow) -> bool:
    same = (row.adapter, row.label, row.samples) == (
        stopping.adapter,
        stopping.label,
        stopping.samples,
    )
    return same and row.tolerance is None and row.variant == _rest(stopping)


def _named(row: ThinkingRow) -> str:
    return " ".join(filter(None, (model_words(row), _rest(row))))


def _each(row: ThinkingRow) -> str:
    return "" if (row.samples or 1) == 1 else f"of {row.samples} samples "


def _x(row: ThinkingRow, cost: str) -> float:
    if cost == "flops":
        return row.flops
    return float(row.steps or 0) if row.steps_used is None else row.steps_used


def _panel(axes: Axes, lines: Sequence[_Line], data: str, floor: Floor | None, cost: str) -> None:
    axes.axhline(0, color=REFERENCE, linewidth=0.8, zorder=1)
    points: list[tuple[float, ThinkingRow, Followed]] = []
    for line in lines:
        own = sorted((_x(r, cost), i, r) for i, r in enumerate(line.rows) if r.data == data)
        places = [(x, r) for x, _, r in own]
        draw_gains(axes, places, line.looks, "loss", floor=floor, joined=True)
        points += [(x, r, line.looks) for x, _, r in own]
    mark_cut_gains(axes, points, "loss", floor)


def _notes(exhibit: ThinkingExhibit, clipped: bool, missing: str) -> list[str]:
    text = (
        "A prediction stops once a step changes its energy by less than the tolerance: the larger, "
        "the sooner, so points stand from left to right as the legend lists them. Steps are a mean "
        "over predictions (of the sample that is kept); FLOPs are counted on predictions still "
        "moving and hold the passes that read energies. Gain over the trained thinking, paired by "
        f"document; error bars: 95 % bootstrap over {exhibit.resampling}."
    )
    if clipped:
        text += " Gains below the axis: ▼ with their value or range."
    return [text, *([missing] if missing else [])]


def _data(lines: Sequence[_Line], sets: Sequence[str]) -> list[DataRow]:
    return [
        {
            "data": row.data,
            "adaptive": line.adaptive,
            "tolerance": row.tolerance,
            "mean_steps": _x(row, "steps"),
            **row_data(row),
            **gain_data(row),
        }
        for line in lines
        for row in line.rows
        if row.data in sets
    ]
