"""How the settings that a figure follows are drawn: a colour, marker and line each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from harness.analysis.exhibits.gain_draws import Measure
from harness.analysis.exhibits.thinking import ThinkingRow
from harness.analysis.figures.axes import Span
from harness.analysis.figures.cuts import Cut, Floor, gain_limits, mark_cuts
from harness.analysis.figures.style import LINES, Line, family_color, marks, tint
from harness.analysis.tables.trends import model_words, setting_words

_MARKERS = ("o", "^", "s", "D", "P", "X", "v", "<", ">", "*")


@dataclass(frozen=True)
class Followed:
    """One model's setting and its looks."""

    row: ThinkingRow
    label: str
    color: str
    marker: str
    line: Line

    @property
    def handle(self) -> Artist:
        """Its line of the legend."""
        return Line2D(
            [],
            [],
            color=self.color,
            marker=self.marker,
            markersize=4,
            linestyle=self.line,
            linewidth=1,
            label=self.label,
        )

    def holds(self, row: ThinkingRow, *, anywhere: bool = False) -> bool:
        """The row is of this model and setting; `anywhere`: whatever its place on the axes."""
        same = (row.adapter, row.setting) == (self.row.adapter, self.row.setting)
        return same and (anywhere or row.label == self.row.label)


def followed_marks(rows: Sequence[ThinkingRow], *, places: bool = True) -> list[Followed]:
    """Models differ in colour where they are of several families, else in line; settings in
    marker and lightness. `places` False: the place on the axes is not part of a model's name.
    """
    names = [model_words(row) if places else row.adapter for row in rows]
    by = marks(zip(names, (row.family for row in rows), strict=True))
    found = []
    for name, row in zip(names, rows, strict=True):
        own = [other for other, n in zip(rows, names, strict=True) if n == name]
        rank = own.index(row)
        lightness = 0.6 * (len(own) - 1 - rank) / max(len(own) - 1, 1)
        alone = len({r.family for r in rows}) == 1 and len(set(names)) > 2
        base = by[name].color if alone else family_color(row.family)
        found.append(
            Followed(
                row,
                f"{name}, {setting_words(row)}",
                tint(base, lightness),
                _MARKERS[(list(by).index(name) + rank) % len(_MARKERS)],
                LINES[list(by).index(name) % len(LINES)],
            )
        )
    return found


def percent_gain(row: ThinkingRow, measure: Measure) -> float | None:
    """A row's gain of loss or perplexity, in percent."""
    gain = row.gain if measure == "loss" else row.perplexity_gain
    return None if gain is None else 100 * gain


def percent_interval(row: ThinkingRow, measure: Measure) -> tuple[float, float] | None:
    """Its interval, in percent."""
    interval = row.gain_interval if measure == "loss" else row.perplexity_interval
    return None if interval is None else (100 * interval[0], 100 * interval[1])


def limits_of(rows: Sequence[ThinkingRow], measure: Measure) -> tuple[Span, Floor | None]:
    """Limits of an axis of these rows' gains in percent, and where it is cut."""
    gains = [g for r in rows if (g := percent_gain(r, measure)) is not None] or [0.0]
    bounds = [b for r in rows for b in percent_interval(r, measure) or ()]
    return gain_limits(gains, bounds, gains)


def draw_gains(
    axes: Axes,
    points: Sequence[tuple[float, ThinkingRow]],
    one: Followed,
    measure: Measure,
    *,
    floor: Floor | None,
    joined: bool,
) -> None:
    """Gains with error bars at their x; lines go on to those that are cut off."""
    shown = [(x, r, g) for x, r in points if (g := percent_gain(r, measure)) is not None]
    if joined:
        axes.plot(
            [x for x, _, _ in shown],
            [g for _, _, g in shown],
            color=one.color,
            linestyle=one.line,
            linewidth=1,
            zorder=2.5,
        )
    kept = [(x, r, g) for x, r, g in shown if floor is None or g >= floor.value]
    intervals = [percent_interval(r, measure) or (g, g) for _, r, g in kept]
    # A percentile interval need not hold the estimate itself.
    below = [max(0.0, g - low) for (_, _, g), (low, _) in zip(kept, intervals, strict=True)]
    above = [max(0.0, high - g) for (_, _, g), (_, high) in zip(kept, intervals, strict=True)]
    axes.errorbar(
        [x for x, _, _ in kept],
        [g for _, _, g in kept],
        yerr=[below, above],
        color=one.color,
        marker=one.marker,
        markersize=3.8,
        linestyle="",
        elinewidth=0.8,
        capsize=1.8,
        capthick=0.8,
        zorder=3,
    )


def mark_cut_gains(
    axes: Axes,
    points: Sequence[tuple[float, ThinkingRow, Followed]],
    measure: Measure,
    floor: Floor | None,
) -> None:
    """Mark the gains that lie below where the axis is cut, if it is."""
    if floor is None:
        return
    cuts = [
        Cut(x, gain, one.color)
        for x, row, one in points
        if (gain := percent_gain(row, measure)) is not None and gain < floor.value
    ]
    mark_cuts(axes, cuts, floor.foot)
