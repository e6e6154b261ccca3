"""Figure of a probe section: every model's accuracies beside those of pixels and of chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness.analysis.exhibits.measures import Measure
from harness.analysis.exhibits.probe import TOPS, ProbeExhibit, ProbeScore, ProbeSet
from harness.analysis.figures.axes import Span, padded, span
from harness.analysis.figures.page import DataRow, Drawing, Frame, open_dot, panels, surround
from harness.analysis.figures.style import REFERENCE, REFERENCE_LINE, Line, Mark, marks, theme
from harness.analysis.tables.probe import (
    CHANCE,
    accuracy_text,
    interval_words,
    set_label,
    sizes,
    warnings,
)
from harness.analysis.tables.scores import difference_text

_ROW_INCHES, _FRAME_INCHES = 0.21, 0.62
_PIXELS = "pixels"
_LINES: dict[str, Line] = {_PIXELS: REFERENCE_LINE, CHANCE: ":"}
#: More models than this say theirs in the table alone.
_SAID = 3


@dataclass(frozen=True)
class _Line:
    """A reference's accuracy, in per cent."""

    name: str
    value: float


def probe_figure(exhibit: ProbeExhibit, *, missing: str = "") -> Drawing | None:
    """A dot and an interval per model, a row of panels per set; None without results.

    Top-5 has no panel where no set has more than five classes.
    """
    if not exhibit.sets:
        return None
    shown = [m for m in TOPS if any(m in one.measures for one in exhibit.sets)]
    by = marks(exhibit.adapters)
    heights = [_FRAME_INCHES + _ROW_INCHES * len(one.scores) for one in exhibit.sets]
    title = f"{exhibit.section.title}: accuracy of each model's features"
    clipped = False
    with theme():
        figure, grid = panels(len(exhibit.sets), len(shown), share_y="row")
        grid[0, 0].get_gridspec().set_height_ratios(heights)
        for axes_row, one in zip(grid, exhibit.sets, strict=True):
            for axes, measure in zip(axes_row, shown, strict=True):
                if measure not in one.measures:
                    axes.set_axis_off()
                    continue
                clipped |= _draw(axes, one, measure, by)
            axes_row[0].set_yticks(range(len(one.scores)), [s.model for s in one.scores])
            axes_row[0].set_title(set_label(one), loc="left")
        frame = Frame(
            title,
            _finding(exhibit),
            _handles(exhibit, by),
            _notes(exhibit, clipped=clipped, missing=missing),
        )
        surround(figure, frame, height=sum(heights))
    return Drawing("probe", title, figure, tuple(_data(exhibit)))


# --- drawing ---------------------------------------------------------------------------------


def _draw(axes: Axes, one: ProbeSet, measure: Measure, by: dict[str, Mark]) -> bool:
    """Draw one panel; whether an interval reaches beyond its axis."""
    references = _references(one, measure)
    for reference in references:
        line = _LINES[reference.name]
        axes.axvline(reference.value, color=REFERENCE, linewidth=0.9, linestyle=line, zorder=1)
    values = [reference.value for reference in references]
    bounds: list[float] = []
    for place, score in enumerate(one.scores):
        accuracy = score.top(measure)
        if accuracy is None:
            continue
        mark, decided = by[score.adapter], _decided(score, measure)
        if accuracy.interval is not None:
            ends = [100 * bound for bound in accuracy.interval]
            bounds += ends
            axes.plot(ends, [place, place], color=mark.color, linewidth=1.1, zorder=3)
        values.append(100 * accuracy.value)
        axes.plot(
            values[-1],
            place,
            linestyle="",
            marker=mark.marker,
            color=mark.color,
            markerfacecolor=mark.color if decided else "white",
            markersize=4.5,
            zorder=4,
        )
    limits = span(values, bounds) if values else Span(0.0, 100.0)
    axes.set_xlim(*padded(limits))
    axes.set_ylim(len(one.scores) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlabel(f"{measure.name} accuracy in per cent (right is better)")
    return limits.clipped


def _references(one: ProbeSet, measure: Measure) -> list[_Line]:
    found = []
    if (pixels := one.pixels.top(measure)) is not None:
        found.append(_Line(_PIXELS, 100 * pixels.value))
    if (chance := one.chance(measure)) is not None:
        found.append(_Line(CHANCE, 100 * chance))
    return found


def _decided(score: ProbeScore, measure: Measure) -> bool:
    accuracy = score.top(measure)
    comparison = None if accuracy is None else accuracy.comparison
    return comparison is None or comparison.verdict != "undecided"


# --- words -----------------------------------------------------------------------------------


def _finding(exhibit: ProbeExhibit) -> str:
    """Each model's top-1, and the difference from the baseline where there is one."""
    if len(exhibit.scores) > _SAID * len(exhibit.sets):
        return ""
    return " ".join(_said(score, one, exhibit) for one in exhibit.sets for score in one.scores)


def _said(score: ProbeScore, one: ProbeSet, exhibit: ProbeExhibit) -> str:
    name = f"{score.model} on {one.data}" if len(exhibit.sets) > 1 else score.model
    text = f"{name}: top-1 {accuracy_text(TOPS[0], score.top1)}"
    comparison = score.top1.comparison
    if comparison is not None:
        undecided = comparison.verdict == "undecided"
        text += ", undecided against" if undecided else f", {comparison.verdict} than"
        text += f" {comparison.baseline}, {difference_text(TOPS[0], comparison)}"
    return f"{text}."


def _handles(exhibit: ProbeExhibit, by: dict[str, Mark]) -> list[Artist]:
    handles: list[Artist] = [
        Line2D([], [], color=mark.color, marker=mark.marker, linewidth=1.1, label=adapter)
        for adapter, mark in by.items()
    ]
    if any(not _decided(score, measure) for score in exhibit.scores for measure in TOPS):
        handles.append(open_dot(f"open: against {exhibit.section.baseline} undecided"))
    drawn = {r.name for one in exhibit.sets for m in one.measures for r in _references(one, m)}
    labels = {_PIXELS: "the same classifier on pixels", CHANCE: "chance"}
    handles += [
        Line2D([], [], color=REFERENCE, linestyle=_LINES[name], linewidth=0.9, label=label)
        for name, label in labels.items()
        if name in drawn
    ]
    return handles


def _notes(exhibit: ProbeExhibit, *, clipped: bool, missing: str) -> list[str]:
    text = (
        "Multinomial logistic regression on standardised features, its penalty chosen on a "
        f"held-out part of the training images. {sizes(exhibit)}. {interval_words(exhibit)}"
    )
    if clipped:
        text += " Lines that reach the frame end beyond it."
    return [text, *warnings(exhibit), *([missing] if missing else [])]


def _data(exhibit: ProbeExhibit) -> Sequence[DataRow]:
    found: list[DataRow] = []
    for one in exhibit.sets:
        for measure in one.measures:
            place = {"data": one.data, "split": one.split, "accuracy": measure.name}
            for score in one.scores:
                accuracy = score.top(measure)
                if accuracy is None:
                    continue
                low, high = accuracy.interval or (None, None)
                own = {"model": score.model, "value": accuracy.value, "low": low, "high": high}
                verdict = None if accuracy.comparison is None else accuracy.comparison.verdict
                found.append(
                    {
                        **place,
                        **own,
                        "verdict": verdict,
                        "images": one.images,
                        "seeds": score.seeds,
                    }
                )
            found += [
                {**place, "model": line.name, "value": line.value / 100}
                for line in _references(one, measure)
            ]
    return found
