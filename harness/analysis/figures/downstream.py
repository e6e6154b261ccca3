"""Figure of a downstream section: a dot and an interval per set, pretraining first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log
from statistics import median

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from harness.analysis.exhibits.downstream import DownstreamExhibit
from harness.analysis.exhibits.pattern import ONCE, patterns
from harness.analysis.figures.axes import Span, padded, span
from harness.analysis.figures.dots import Dot, Panel, in_order, perplexity_panel, task_panel
from harness.analysis.figures.page import DataRow, Drawing, Frame, blank, open_dot, surround
from harness.analysis.figures.style import (
    REFERENCE,
    REFERENCE_LINE,
    Mark,
    family_color,
    marks,
    theme,
    tint,
)
from harness.analysis.tables.downstream import pattern_text

_NAME_LENGTH = 34
_ANSWER_MARKER = "d"
#: Wider axes of ratios are labelled at powers of ten alone; larger numbers are written as such.
_DECADES_TO_LABEL, _MANY = 1e3, 1e5
#: A ratio's logarithm this many times the median one is drawn at the edge.
_OUTLYING = 8
#: More models than this say theirs in the table alone.
_SAID = 3


def downstream_figure(exhibit: DownstreamExhibit, *, missing: str = "") -> Drawing | None:
    """Ratios of perplexities and differences of task metrics against the baseline; without one,
    the numbers themselves. None where nothing was found.
    """
    chosen = [p for p in (perplexity_panel(exhibit), task_panel(exhibit)) if p.dots]
    if not chosen:
        return None
    by = _marks(exhibit)
    baseline = exhibit.section.baseline
    title = exhibit.section.title + ("" if baseline is None else f": against {baseline}")
    heights = [panel.height for panel in chosen]
    with theme():
        figure = blank()
        grid = figure.subplots(
            len(chosen), 1, squeeze=False, gridspec_kw={"height_ratios": heights}
        )
        clipped = [_draw(axes, p, by) for axes, p in zip(grid[:, 0], chosen, strict=True)]
        frame = Frame(
            title,
            "" if baseline is None else _finding(exhibit),
            _handles(chosen, by),
            _notes(exhibit, chosen, any(clipped), missing),
        )
        surround(figure, frame, height=sum(heights))
    return Drawing("downstream", title, figure, tuple(_data(d, p) for p in chosen for d in p.dots))


def _marks(exhibit: DownstreamExhibit) -> dict[str, Mark]:
    """A colour per model, lighter for the later ones of a family: fillings are taken."""
    families = {s.model: s.family for row in exhibit.rows for s in in_order(row, exhibit)}
    drawn = [m for m in exhibit.models if m in exhibit.compared or not exhibit.compared]
    found = {}
    for model, mark in marks((m, families[m]) for m in drawn if m in families).items():
        alike = [m for m in drawn if families.get(m) == families[model]]
        lighter = 0.65 * alike.index(model) / len(alike)
        found[model] = replace(mark, color=tint(family_color(families[model]), lighter))
    return found


# --- drawing ---------------------------------------------------------------------------------


def _draw(axes: Axes, panel: Panel, by: dict[str, Mark]) -> bool:
    """Draw one panel; whether an interval reaches beyond its axis."""
    names = panel.names
    limits = _limits(panel)
    if panel.log:
        axes.set_xscale("log")
    axes.set_xlim(*padded(limits, log=panel.log))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    for place, name in enumerate(names):
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color="#f6f6f6", zorder=0, linewidth=0)
        if any(dot.pretraining for dot in panel.dots if dot.name == name):
            axes.axhline(place + 0.5, color="#555555", linewidth=0.6, zorder=1)
    if panel.reference is not None:
        axes.axvline(
            panel.reference, color=REFERENCE, linewidth=0.8, linestyle=REFERENCE_LINE, zorder=1
        )
    step = 0.72 / len(panel.series)
    for place, name in enumerate(names):
        own = [dot for dot in panel.dots if dot.name == name]
        for index, dot in enumerate(own):
            y = place + (index - (len(own) - 1) / 2) * step
            _draw_dot(axes, dot, y, by[dot.score.model])
    axes.set_yticks(range(len(names)), labels(names))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(panel.label)
    _ticks(axes, panel, limits)
    return limits.clipped


def _draw_dot(axes: Axes, dot: Dot, y: float, mark: Mark) -> None:
    if dot.interval is not None:
        axes.plot(dot.interval, [y, y], color=mark.color, linewidth=0.9, zorder=3)
    low, high = axes.get_xlim()
    if not low <= dot.value <= high:
        _mark_cut(axes, dot, y, mark.color)
        return
    axes.plot(
        dot.value,
        y,
        linestyle="",
        marker=_ANSWER_MARKER if dot.tokens == "answer" else mark.marker,
        color=mark.color,
        markerfacecolor=mark.color if dot.decided else "white",
        markersize=4,
        zorder=4,
    )


def _mark_cut(axes: Axes, dot: Dot, y: float, color: str) -> None:
    """A dot beyond the axis: an arrow at the edge, with the value."""
    right = dot.value > axes.get_xlim()[1]
    edge = 1.0 if right else 0.0
    axes.plot(
        edge,
        y,
        linestyle="",
        marker=">" if right else "<",
        color=color,
        markersize=4,
        transform=axes.get_yaxis_transform(),
        clip_on=False,
        zorder=5,
    )
    axes.annotate(
        f"{dot.value:.3g}",
        (edge, y),
        xycoords=axes.get_yaxis_transform(),
        xytext=(-6 if right else 6, 0),
        textcoords="offset points",
        ha="right" if right else "left",
        va="center",
        size=6.5,
        color=color,
        zorder=6,
    )


def labels(names: Sequence[str]) -> list[str]:
    """Long names take two lines, or lose their middle; whole where that makes two alike."""
    short = [_short(name) for name in names]
    return [
        name if short.count(label) > 1 else label for name, label in zip(names, short, strict=True)
    ]


def _short(name: str) -> str:
    if len(name) <= _NAME_LENGTH:
        return name
    before, comma, metric = name.partition(", ")
    if comma:
        return f"{_shortened(before)},\n{_shortened(metric)}"
    return _shortened(name)


def _shortened(text: str) -> str:
    if len(text) <= _NAME_LENGTH:
        return text
    kept = (_NAME_LENGTH - 1) // 2
    return f"{text[:kept]}…{text[-kept:]}"


def _limits(panel: Panel) -> Span:
    values = [d.value for d in panel.dots]
    cut = _cut(panel)
    if cut is not None:
        values = [v for v in values if abs(log(v)) <= cut]
    bounds = [b for d in panel.dots for b in d.interval or ()]
    if panel.reference is not None:
        values.append(panel.reference)
    if not panel.log:
        return span(values, bounds)
    kept = [log(b) for b in bounds if b > 0 and (cut is None or abs(log(b)) <= cut)]
    logs = span([log(v) for v in values], kept)
    low, high = (float(np.exp(bound)) for bound in (logs.low, logs.high))
    return Span(low, high, logs.clipped or cut is not None)


def _cut(panel: Panel) -> float | None:
    """Where to cut ratios so far from 1 that they would flatten the rest; None where none is."""
    if not panel.log or panel.reference is None:
        return None
    sizes = sorted(abs(log(d.value)) for d in panel.dots)
    limit = _OUTLYING * max(median(sizes), 0.02)
    return limit if sizes[-1] > limit else None


def _tick(value: float, _: int | None = None) -> str:
    return f"{value:.6g}" if value < _MANY else f"{value:.0e}".replace("e+0", "e")


def _ticks(axes: Axes, panel: Panel, limits: Span) -> None:
    if not panel.log:
        axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
        return
    if limits.high > 3 * limits.low:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
    if limits.high > 100 * limits.low:
        wide = limits.high / limits.low > _DECADES_TO_LABEL
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 3.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))


# --- words -----------------------------------------------------------------------------------


def _finding(exhibit: DownstreamExhibit) -> str:
    found = patterns(exhibit)
    if len(found) == 1:
        return pattern_text(found[0])
    said = []
    for pattern in found[:_SAID]:
        first = pattern.counts[0] if pattern.counts else None
        loss = "unknown" if pattern.pretraining is None else pattern.pretraining.verdict
        text = f"{pattern.model}: pretraining {loss}"
        if first is not None:
            text += (
                f", by {first.what} {first.decided} of {first.total} decided, "
                f"{first.better} better, {first.worse} worse"
            )
        said.append(f"{text}.")
    return " ".join(said)


def _handles(chosen: Sequence[Panel], by: dict[str, Mark]) -> list[Artist]:
    series = list(dict.fromkeys(s for panel in chosen for s in panel.series))
    words = _tokens_in_words({tokens for _, tokens in series})
    handles: list[Artist] = [
        Line2D(
            [],
            [],
            color=by[model].color,
            marker=_ANSWER_MARKER if tokens == "answer" else by[model].marker,
            linewidth=0.9,
            label=f"{model}{words[tokens]}",
        )
        for model, tokens in series
        if tokens or (model, "all") not in series
    ]
    if any(not dot.decided for panel in chosen for dot in panel.dots):
        handles.append(open_dot("open: undecided"))
    return handles


def _tokens_in_words(drawn: set[str]) -> dict[str, str]:
    """What a model's mark stands for beside its name; nothing where it has one mark for all."""
    if "answer" not in drawn:
        return {"all": "", "": ""}
    every = ", all tokens and task metrics" if "" in drawn else ", all tokens"
    return {"all": every, "answer": ", answers", "": ", task metrics"}


def _notes(
    exhibit: DownstreamExhibit, chosen: Sequence[Panel], clipped: bool, missing: str
) -> list[str]:
    dots = [dot for panel in chosen for dot in panel.dots]
    paired = exhibit.section.baseline is not None
    seeds = sorted({dot.score.seeds for dot in dots})
    text = (
        f"Lines: 95 % intervals over {'–'.join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))} "
        f"training seed{'' if seeds[-1] == 1 else 's'}, then documents"
        f"{', paired' if paired else ''}; a dot without a line has none. "
        "Perplexity: exp of the token-weighted mean loss over the whole set."
    )
    if paired:
        text += f" Verdicts are not adjusted for the number of sets; counted: {ONCE}."
    if clipped:
        text += " Lines that reach the frame end beyond it; ◂ ▸: a value beyond it."
    return [text, *([missing] if missing else [])]


def _data(dot: Dot, panel: Panel) -> DataRow:
    low, high = dot.interval or (None, None)
    return {
        "panel": panel.label,
        "set": dot.name,
        "pretraining": dot.pretraining,
        "tokens": dot.tokens,
        "model": dot.score.model,
        "value": dot.value,
        "low": low,
        "high": high,
        "decided": dot.decided,
        "n": dot.score.n,
        "documents": dot.score.documents,
        "seeds": dot.score.seeds,
        "noise_seeds": dot.score.noise_seeds,
        "nfe": dot.score.nfe,
        "flops": dot.score.flops,
    }
