"""Values below where an axis is cut: a marker at its foot, and labels that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.transforms import offset_copy

from harness.analysis.figures.axes import Span, gain_floor, span
from harness.analysis.figures.page import text_width
from harness.analysis.figures.style import TEXT, signed

_POINTS = 6.5
#: Above the marker's middle: the line over markers that share a label, and the label.
_LINE_POINTS, _LABEL_POINTS = 3.2, 4.2
#: Inches between labels side by side.
_GAP = 0.06
#: Cuts nearer to each other than this share of the panel's width are at one place.
_SAME_PLACE = 0.01


#: Room for markers and labels below the floor, as a share of what is above it.
_FOOT = 0.16


@dataclass(frozen=True)
class Floor:
    """Values below `value` are cut off; their markers stand at `foot`, below all that are not."""

    value: float
    foot: float


def gain_limits(
    gains: Sequence[float], bounds: Sequence[float], judged: Sequence[float]
) -> tuple[Span, Floor | None]:
    """Limits of a gain axis and where it is cut, if the worst of `judged` would flatten the rest.

    `gains` are values on the axis, `bounds` ends of intervals; zero is always on it.
    """
    floor = gain_floor(judged)
    if floor is None:
        return span([0.0, *gains], bounds), None
    kept = span([0.0, floor, *(g for g in gains if g >= floor)], [b for b in bounds if b >= floor])
    foot = floor - _FOOT * (kept.high - floor)
    return Span(foot, kept.high, clipped=True), Floor(floor, foot)


@dataclass(frozen=True)
class Cut:
    """A value in percent, its place along x, and its line's colour."""

    x: float
    value: float
    color: str


@dataclass(frozen=True)
class _Label:
    """Of neighbouring cuts; `left` and `right` are its ends, as shares of the panel's width."""

    cuts: tuple[Cut, ...]
    text: str
    left: float
    right: float

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2

    @property
    def color(self) -> str:
        colors = {cut.color for cut in self.cuts}
        return colors.pop() if len(colors) == 1 else TEXT


def mark_cuts(axes: Axes, cuts: Sequence[Cut], foot: float) -> None:
    """Mark each cut at `foot`, its value above it; x limits must stand.

    Cuts whose labels would overlap share one: the range of their values, over a line that spans
    them.
    """
    for cut in cuts:
        axes.plot(cut.x, foot, marker="v", color=cut.color, markersize=4, clip_on=False, zorder=7)
    width = _panel_width(axes)
    for label in _apart(axes, cuts):
        first = label.cuts[0].x
        shown = axes.annotate(
            label.text,
            (first, foot),
            xytext=((label.middle - _share(axes, first)) * width * 72, _LABEL_POINTS),
            va="bottom",
            ha="center",
            textcoords="offset points",
            size=_POINTS,
            color=label.color,
            zorder=6,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85},
        )
        shown.set_in_layout(False)
        if len({cut.x for cut in label.cuts}) > 1:
            raised = offset_copy(
                axes.transData, axes.get_figure(root=True), y=_LINE_POINTS, units="points"
            )
            axes.plot(
                [first, label.cuts[-1].x],
                [foot, foot],
                color=label.color,
                linewidth=0.6,
                transform=raised,
                clip_on=False,
                zorder=7,
            )


def _apart(axes: Axes, cuts: Sequence[Cut]) -> list[_Label]:
    """Labels from left to right, neighbours joined until none overlap."""
    labels: list[_Label] = []
    ordered = sorted(cuts, key=lambda cut: _share(axes, cut.x))
    for cut in ordered:
        own = _labelled(axes, (cut,))
        same = bool(labels) and _share(axes, cut.x) - _share(axes, labels[-1].cuts[-1].x)
        if labels and same < _SAME_PLACE:
            own = _labelled(axes, (*labels.pop().cuts, cut))
        labels.append(own)
    while True:
        clash = next(
            (i for i, (a, b) in enumerate(pairwise(labels)) if b.left < a.right),
            None,
        )
        if clash is None:
            return labels
        joined = (*labels[clash].cuts, *labels[clash + 1].cuts)
        labels[clash : clash + 2] = [_labelled(axes, joined)]


def _labelled(axes: Axes, cuts: tuple[Cut, ...]) -> _Label:
    figure = axes.get_figure(root=True)
    assert figure is not None
    values = sorted(cuts, key=lambda cut: cut.value, reverse=True)
    least, most = shortly(values[0].value), shortly(values[-1].value)
    text = least if least == most else f"{least} … {most}"
    long = (text_width(figure, text, _POINTS) + _GAP) / _panel_width(axes)
    middle = (_share(axes, cuts[0].x) + _share(axes, cuts[-1].x)) / 2
    left = min(max(middle - long / 2, 0.0), max(1 - long, 0.0))
    return _Label(cuts, text, left, left + long)


def shortly(percent: float) -> str:
    """`−285`, or `−2.7e7` beyond what anyone reads digit by digit."""
    if abs(percent) < 1e5:
        return signed(percent)
    return f"{percent:.1e}".replace("-", "−").replace("e+0", "e")


def _panel_width(axes: Axes) -> float:
    """Inches, before the page is laid out."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return float(axes.get_position().width * figure.get_figwidth())


def _share(axes: Axes, x: float) -> float:
    """Where x lies, as a share of the panel's width."""
    return float((axes.transScale + axes.transLimits).transform((x, 1.0))[0])
