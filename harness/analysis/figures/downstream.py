"""Figure of a downstream section: a dot and an interval per set, pretraining first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from harness.analysis.exhibits.downstream import DownstreamExhibit, DownstreamRow, Score
from harness.analysis.exhibits.pattern import patterns
from harness.analysis.figures.axes import Span, padded, span
from harness.analysis.figures.page import DataRow, Drawing, Frame, blank, surround
from harness.analysis.figures.style import REFERENCE, REFERENCE_LINE, Mark, marks, theme
from harness.analysis.tables.downstream import pattern_text, set_name

_LINE_INCHES = 0.115
_SET_INCHES = 0.11
_FRAME_INCHES = 0.5
_NAME_LENGTH = 34
_ANSWER_MARKER = "d"


@dataclass(frozen=True)
class _Dot:
    """One model on one row; `low` and `high` are None without an interval."""

    name: str
    pretraining: bool
    score: Score
    tokens: str
    value: float
    low: float | None
    high: float | None
    decided: bool

    @property
    def series(self) -> tuple[str, str]:
        return self.score.model, self.tokens


@dataclass(frozen=True)
class _Panel:
    """Dots on one axis; `reference` is where no difference lies, None for plain values."""

    label: str
    log: bool
    reference: float | None
    dots: tuple[_Dot, ...]

    @property
    def names(self) -> list[str]:
        """Pretraining, then by the first model's value, the better ones of perplexities on top."""
        first: dict[str, _Dot] = {}
        for dot in self.dots:
            first.setdefault(dot.name, dot)
        return sorted(first, key=lambda n: (not first[n].pretraining, first[n].value))

    @property
    def series(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys(dot.series for dot in self.dots))

    @property
    def height(self) -> float:
        return _FRAME_INCHES + len(self.names) * (_SET_INCHES + _LINE_INCHES * len(self.series))


def downstream_figure(exhibit: DownstreamExhibit, *, missing: str = "") -> Drawing | None:
    """Ratios of perplexities and differences of task metrics against the baseline; without one,
    the numbers themselves. None where nothing was found.
    """
    chosen = [p for p in (_perplexities(exhibit), _tasks(exhibit)) if p.dots]
    if not chosen:
        return None
    by = marks((s.model, s.family) for row in exhibit.rows for s in _in_order(row, exhibit))
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
            "" if baseline is None else " ".join(map(pattern_text, patterns(exhibit))),
            _handles(chosen, by),
            _notes(exhibit, chosen, any(clipped), missing),
        )
        surround(figure, frame, height=sum(heights))
    return Drawing("downstream", title, figure, tuple(_data(d, p) for p in chosen for d in p.dots))


# --- what is drawn ---------------------------------------------------------------------------


def _in_order(row: DownstreamRow, exhibit: DownstreamExhibit) -> list[Score]:
    return [score for model in exhibit.models if (score := row.of(model)) is not None]


def _perplexities(exhibit: DownstreamExhibit) -> _Panel:
    compared = exhibit.section.baseline is not None
    dots = []
    for row in exhibit.rows:
        if not row.measure.is_perplexity:
            continue
        for score in _in_order(row, exhibit):
            name = set_name(row, exhibit) + (" (pretraining)" if row.pretraining else "")
            comparison = score.comparison
            value = comparison.ratio if comparison else None if compared else score.value
            interval = comparison.ratio_interval if comparison else score.interval
            if value is not None:
                low, high = interval or (None, None)
                decided = comparison is None or comparison.verdict != "undecided"
                dots.append(
                    _Dot(
                        name,
                        row.pretraining,
                        score,
                        row.measure.tokens,
                        value,
                        low,
                        high,
                        decided,
                    )
                )
    label = "perplexity (left is better)"
    if compared:
        label = f"perplexity over that of {exhibit.section.baseline} (left is better)"
    return _Panel(label, log=True, reference=1.0 if compared else None, dots=tuple(dots))


def _tasks(exhibit: DownstreamExhibit) -> _Panel:
    compared = exhibit.section.baseline is not None
    dots = []
    for row in exhibit.rows:
        if not row.measure.is_task or not row.measure.higher_is_better:
            continue
        for score in _in_order(row, exhibit):
            comparison = score.comparison
            value = comparison.difference.value if comparison else None if compared else score.value
            interval = comparison.difference.interval if comparison else score.interval
            if value is not None:
                low, high = (None, None) if interval is None else interval
                name = f"{set_name(row, exhibit)}, {row.measure.name}"
                decided = comparison is None or comparison.verdict != "undecided"
                dots.append(
                    _Dot(
                        name,
                        False,
                        score,
                        "",
                        100 * value,
                        None if low is None else 100 * low,
                        None if high is None else 100 * high,
                        decided,
                    )
                )
    label = "task metrics, in per cent (right is better)"
    if compared:
        label = (
            f"task metrics less those of {exhibit.section.baseline}, in points (right is better)"
        )
    return _Panel(label, log=False, reference=0.0 if compared else None, dots=tuple(dots))


# --- drawing ---------------------------------------------------------------------------------


def _draw(axes: Axes, panel: _Panel, by: dict[str, Mark]) -> bool:
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
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(panel.label)
    _ticks(axes, panel, limits)
    return limits.clipped


def _draw_dot(axes: Axes, dot: _Dot, y: float, mark: Mark) -> None:
    if dot.low is not None and dot.high is not None:
        axes.plot([dot.low, dot.high], [y, y], color=mark.color, linewidth=0.9, zorder=3)
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


def _short(name: str) -> str:
    """Long names lose their middle."""
    if len(name) <= _NAME_LENGTH:
        return name
    kept = (_NAME_LENGTH - 1) // 2
    return f"{name[:kept]}…{name[-kept:]}"


def _limits(panel: _Panel) -> Span:
    values = [d.value for d in panel.dots]
    bounds = [b for d in panel.dots for b in (d.low, d.high) if b is not None]
    if panel.reference is not None:
        values.append(panel.reference)
    if not panel.log:
        return span(values, bounds)
    logs = span([log(v) for v in values], [log(b) for b in bounds if b > 0])
    low, high = (float(np.exp(bound)) for bound in (logs.low, logs.high))
    return Span(low, high, logs.clipped)


def _ticks(axes: Axes, panel: _Panel, limits: Span) -> None:
    if not panel.log:
        axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
        return
    if limits.high > 3 * limits.low:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
    if limits.high > 100 * limits.low:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


# --- words -----------------------------------------------------------------------------------


def _handles(chosen: Sequence[_Panel], by: dict[str, Mark]) -> list[Artist]:
    words = {"all": ", all tokens", "answer": ", answers", "": ""}
    series = list(dict.fromkeys(s for panel in chosen for s in panel.series))
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
        handles.append(
            Line2D(
                [],
                [],
                color="#555555",
                marker="o",
                markerfacecolor="white",
                linestyle="",
                label="open: undecided",
            )
        )
    return handles


def _notes(
    exhibit: DownstreamExhibit, chosen: Sequence[_Panel], clipped: bool, missing: str
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
        text += " Verdicts are not adjusted for the number of sets."
    if clipped:
        text += " Lines that reach the frame end beyond it."
    return [text, *([missing] if missing else [])]


def _data(dot: _Dot, panel: _Panel) -> DataRow:
    return {
        "panel": panel.label,
        "set": dot.name,
        "pretraining": dot.pretraining,
        "tokens": dot.tokens,
        "model": dot.score.model,
        "value": dot.value,
        "low": dot.low,
        "high": dot.high,
        "decided": dot.decided,
        "n": dot.score.n,
        "documents": dot.score.documents,
        "seeds": dot.score.seeds,
        "noise_seeds": dot.score.noise_seeds,
        "nfe": dot.score.nfe,
        "flops": dot.score.flops,
    }
