"""The paper's numbers drawn into our figures, thin and dashed, where the axes reach them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from harness.analysis.exhibits.scaling import ScalingExhibit
from harness.analysis.figures.page import DataRow
from harness.analysis.figures.style import FAMILY_COLORS, Line, signed, tint
from harness.analysis.paper.gains import THINKS
from harness.analysis.paper.numbers import PaperNumber
from harness.analysis.paper.rates import papers_rates

#: Unlike the dashes of references and of our own models.
_DASHED: Line = (0, (6, 2, 1, 2))
_WIDTH = 0.9
_COLOR = "#222222"


# --- scaling ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Guide:
    """A straight line in log-log axes: how the candidate would fall at the paper's rate."""

    x: tuple[float, float]
    loss: tuple[float, float]
    label: str
    exhibit: str

    def draw(self, axes: Axes) -> None:
        axes.plot(self.x, self.loss, color=_COLOR, linestyle=_DASHED, linewidth=_WIDTH, zorder=2)

    @property
    def handle(self) -> Artist:
        return _handle(self.label)

    @property
    def data(self) -> list[DataRow]:
        return [
            {"part": "paper", "model": self.exhibit, "x": x, "loss": loss}
            for x, loss in zip(self.x, self.loss, strict=True)
        ]


def rate_guide(exhibit: ScalingExhibit) -> Guide | None:
    """The baseline's slope here times the paper's ratio, through the candidate's mean.

    None where the section names no rate of the paper, or the baseline's loss does not fall.
    """
    section = exhibit.section
    found = papers_rates(exhibit, exhibit.paper)
    rate = next((n.value for n in found if n.value is not None), None)
    baseline, candidate = (_logs(exhibit, name) for name in (section.baseline, section.candidate))
    if rate is None or len(baseline) < 2 or len(candidate) < 2:
        return None
    slope = float(np.polyfit(baseline[:, 0], baseline[:, 1], 1)[0])
    if slope >= 0:
        return None
    centre, level = candidate.mean(0)
    ends = float(candidate[:, 0].min()), float(candidate[:, 0].max())
    ratio = 1 + rate / 100
    low, high = (float(np.exp(level + slope * ratio * (end - centre))) for end in ends)
    label = f"paper, {found[0].exhibit}: slope of {section.baseline} × {ratio:.4g}"
    return Guide((float(np.exp(ends[0])), float(np.exp(ends[1]))), (low, high), label, label)


def _logs(
    exhibit: ScalingExhibit, adapter: str
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(points, 2): log x and log loss of the adapter's means."""
    own = [(log(r.x), log(r.loss.value)) for r in exhibit.rows if r.adapter == adapter]
    return np.array(own, np.float64).reshape(-1, 2)


# --- thinking --------------------------------------------------------------------------------


@dataclass(frozen=True)
class PaperGain:
    """A gain of the log of the paper's mean perplexity, in percent, at an NFE."""

    nfe: float
    gain: float
    exhibit: str


def paper_gains(numbers: Sequence[PaperNumber]) -> list[PaperGain]:
    """The paper's points that have an NFE, as gains of loss over its own trained thinking."""
    own = [n for n in numbers if n.quantity == "perplexity" and n.model == THINKS and n.setting]
    trained = next((n for n in own if n.setting == "trained" and n.value), None)
    if trained is None or trained.value is None:
        return []
    return [
        PaperGain(n.x, 100 * (1 - log(n.value) / log(trained.value)), n.exhibit)
        for n in own
        if n.value is not None and n.x is not None and n.exhibit == trained.exhibit
    ]


def draw_gains(axes: Axes, points: Sequence[PaperGain]) -> bool:
    """Open diamonds where all points lie within the axes; whether they do."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    inside = all(left <= p.nfe <= right and low <= p.gain <= high for p in points)
    if points and inside:
        xs, ys = [p.nfe for p in points], [p.gain for p in points]
        axes.plot(xs, ys, **_open_diamond(), zorder=2.2)
    return bool(points) and inside


def gains_handle(points: Sequence[PaperGain]) -> Artist:
    label = f"paper, {points[0].exhibit}: log of its mean perplexity of four sets"
    return Line2D([], [], label=label, **_open_diamond())


def gains_words(points: Sequence[PaperGain]) -> str:
    """What lies beyond the axes, in words."""
    said = ", ".join(f"{signed(p.gain, 1)} % at NFE {p.nfe:g}" for p in points if p.gain)
    return (
        f"Off the axes, the paper ({points[0].exhibit}): loss gain {said}, by the log of its mean "
        "perplexity over four sets."
    )


def _open_diamond() -> dict[str, Any]:
    return {
        "color": _COLOR,
        "marker": "D",
        "markersize": 4,
        "markerfacecolor": "white",
        "markeredgewidth": 0.8,
        "linestyle": _DASHED,
        "linewidth": _WIDTH,
    }


# --- denoising -------------------------------------------------------------------------------


def quality_lines(
    numbers: Sequence[PaperNumber], level: float, limits: tuple[float, float]
) -> list[PaperNumber]:
    """The paper's PSNR at this noise level, where the axis reaches it."""
    low, high = limits
    return [
        n
        for n in numbers
        if n.quantity == "PSNR" and n.x == level and n.value is not None and low <= n.value <= high
    ]


def draw_quality(axes: Axes, lines: Sequence[PaperNumber]) -> None:
    """Dashed, in the model's colour."""
    for number in lines:
        assert number.value is not None
        color = tint(FAMILY_COLORS.get(number.model, _COLOR), 0.35)
        axes.axhline(number.value, color=color, linestyle=_DASHED, linewidth=_WIDTH, zorder=1.5)


def quality_names(lines: Sequence[PaperNumber]) -> list[tuple[float, str]]:
    """Value and name of each line, for the right edge."""
    return [(n.value, f"paper's {n.model}\n{n.value:.1f}") for n in lines if n.value is not None]


def quality_handle(lines: Sequence[PaperNumber]) -> Artist:
    return _handle(f"paper, {lines[0].exhibit}, on its own images")


def _handle(label: str) -> Artist:
    return Line2D([], [], color=_COLOR, linestyle=_DASHED, linewidth=_WIDTH, label=label)
