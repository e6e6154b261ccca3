"""Values below where an axis is cut: a marker at its foot, and labels that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes

from harness.analysis.figures.page import text_width
from harness.analysis.figures.style import TEXT, signed

_POINTS = 6.5
_LEVEL_POINTS = 8.5
_ASIDE_POINTS = 5.0
#: Cuts nearer to each other than this share of the panel's width have one label.
_SAME_PLACE = 0.03


@dataclass(frozen=True)
class Cut:
    """A value in percent, its place along x, and its line's colour."""

    x: float
    value: float
    color: str


@dataclass(frozen=True)
class _Label:
    """`left` and `right` are its ends, as shares of the panel's width."""

    x: float
    text: str
    color: str
    on_right: bool
    left: float
    right: float


def mark_cuts(axes: Axes, cuts: Sequence[Cut], floor: float) -> None:
    """Mark each cut at `floor`, with its value; x limits must stand, and labels stack upwards.

    Cuts at one place share a label: their range.
    """
    for cut in cuts:
        axes.plot(cut.x, floor, marker="v", color=cut.color, markersize=4, clip_on=False, zorder=5)
    placed: list[tuple[_Label, int]] = []
    for label in _labels(axes, cuts):
        taken = {level for other, level in placed if _overlap(label, other)}
        level = next(number for number in range(len(placed) + 1) if number not in taken)
        placed.append((label, level))
        axes.annotate(
            label.text,
            (label.x, floor),
            xytext=(_ASIDE_POINTS * (1 if label.on_right else -1), level * _LEVEL_POINTS),
            va="center",
            ha="left" if label.on_right else "right",
            textcoords="offset points",
            size=_POINTS,
            color=label.color,
            zorder=6,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )


def _labels(axes: Axes, cuts: Sequence[Cut]) -> list[_Label]:
    figure = axes.get_figure(root=True)
    assert figure is not None
    width = axes.get_position().width * figure.get_figwidth()
    to_share = axes.transScale + axes.transLimits
    shares = {cut.x: float(to_share.transform((cut.x, 1.0))[0]) for cut in cuts}
    found = []
    for group in _groups(cuts, shares):
        values = sorted({signed(cut.value) for cut in group}, key=_number, reverse=True)
        text = values[0] if len(values) == 1 else f"{values[0]} … {values[-1]}"
        colors = {cut.color for cut in group}
        share = shares[group[0].x]
        aside = (_ASIDE_POINTS / 72) / width
        long = text_width(figure, text, _POINTS) / width + aside
        on_right = share + long < 1
        found.append(
            _Label(
                group[-1].x if on_right else group[0].x,
                text,
                colors.pop() if len(colors) == 1 else TEXT,
                on_right,
                share if on_right else share - long,
                share + long if on_right else share,
            )
        )
    return found


def _groups(cuts: Sequence[Cut], shares: dict[float, float]) -> list[list[Cut]]:
    ordered = sorted(cuts, key=lambda cut: shares[cut.x])
    groups = [ordered[:1]] if ordered else []
    for before, cut in pairwise(ordered):
        if shares[cut.x] - shares[before.x] < _SAME_PLACE:
            groups[-1].append(cut)
        else:
            groups.append([cut])
    return groups


def _overlap(one: _Label, other: _Label) -> bool:
    return one.left < other.right and other.left < one.right


def _number(text: str) -> float:
    return float(text.replace("−", "-"))
