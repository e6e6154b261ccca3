"""Figures of a thinking section: gain against NFE, FLOPs and time, one column per data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.analysis.exhibits.magnitudes import ShiftRow
from harness.analysis.exhibits.thinking import ThinkingExhibit, ThinkingRow
from harness.analysis.figures.axes import Span, log_cost, padded
from harness.analysis.figures.cuts import Cut, Floor, gain_limits, mark_cuts
from harness.analysis.figures.page import DataRow, Drawing, Frame, panels, surround
from harness.analysis.figures.paper_marks import (
    PaperGain,
    draw_gains,
    gains_handle,
    gains_words,
    paper_gains,
)
from harness.analysis.figures.stopping import joined_by_tolerance, stopping_figures
from harness.analysis.figures.style import (
    LINES,
    REFERENCE,
    Line,
    family_marker,
    marks,
    signed,
    theme,
    tint,
)
from harness.analysis.figures.ticks import gain_tick

_COSTS = (
    ("nfe", "NFE per token", "plain"),
    ("flops", "FLOPs per token", "si"),
    ("seconds", "time per token", "seconds"),
)
_PER_PAGE = 4
_ROW_HEIGHT = 1.5
_MARKERS = ("o", "^", "P", "X", "v", "<", ">", "*")
_FLAT: Line = (0, (5, 3))


@dataclass(frozen=True)
class _Series:
    """One line: a model's settings with equally many samples, or the model that cannot think."""

    model: str
    samples: int | None
    color: str
    marker: str
    line: Line

    @property
    def thinks(self) -> bool:
        return self.samples is not None

    @property
    def label(self) -> str:
        if self.samples is None:
            return f"{self.model}: one pass, cannot think (flat)"
        return f"{self.model}, {_count(self.samples, 'sample')}"

    def holds(self, row: ThinkingRow) -> bool:
        if self.samples is None:
            return row.adapter == self.model and row.samples is None
        return (_model(row), row.samples) == (self.model, self.samples)


def thinking_figures(exhibit: ThinkingExhibit, *, missing: str = "") -> list[Drawing]:
    """Gain of every setting, four sets to a figure in order of their distance from training.

    All panels share one gain axis. Where predictions may stop by themselves, figures of that
    follow. Empty where there are no rows.
    """
    if not exhibit.rows:
        return []
    present = dict.fromkeys(row.data for row in exhibit.rows)
    ordered = dict.fromkeys([s.data for s in exhibit.shifts if s.data in present])
    sets = list(ordered | present)
    pages = [sets[i : i + _PER_PAGE] for i in range(0, len(sets), _PER_PAGE)]
    found = []
    for number, page in enumerate(pages, start=1):
        several = len(pages) > 1
        found.append(
            _page(
                exhibit,
                page,
                missing=missing,
                name=f"thinking-{number}" if several else "thinking",
                title=exhibit.section.title + (f" ({number} of {len(pages)})" if several else ""),
            )
        )
    return [*found, *stopping_figures(exhibit, missing=missing)]


def _page(
    exhibit: ThinkingExhibit, sets: Sequence[str], *, name: str, title: str, missing: str
) -> Drawing:
    rows = joined_by_tolerance(exhibit.rows)
    series = _series(rows)
    limits, floor = _limits(exhibit.rows)
    papers, reached = paper_gains(exhibit.paper), False
    title = f"{title}: gain over the trained thinking"
    with theme():
        figure, grid = panels(len(_COSTS), len(sets), share_y="all")
        for row, (cost, label, kind) in zip(grid, _COSTS, strict=True):
            for axes, data in zip(row, sets, strict=True):
                own = [r for r in rows if r.data == data]
                log_cost(axes, [getattr(r, cost) for r in exhibit.rows], label, kind=kind)
                _panel(axes, own, series, cost, floor)
                axes.set_ylim(*padded(limits))
                axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
                axes.yaxis.set_major_formatter(FuncFormatter(gain_tick))
                reached |= cost == "nfe" and draw_gains(axes, papers)
        for axes, data in zip(grid[0], sets, strict=True):
            axes.set_title(data, pad=12)
            axes.annotate(
                _magnitudes(data, exhibit.shifts),
                (0.5, 1),
                xytext=(0, 3),
                size=7,
                xycoords="axes fraction",
                textcoords="offset points",
                ha="center",
            )
        for line in grid:
            line[0].set_ylabel("loss gain (%)")
        handles = _handles(series) + ([gains_handle(papers)] if reached else [])
        notes = _notes(exhibit, limits, floor, _beyond(papers, reached), missing)
        frame = Frame(title, _finding(exhibit), handles, notes)
        surround(figure, frame, height=_ROW_HEIGHT * len(_COSTS) + 0.3)
    data_rows = tuple(_data(r) for data in sets for r in exhibit.rows if r.data == data)
    return Drawing(name, title, figure, data_rows)


def _model(row: ThinkingRow) -> str:
    return " ".join(filter(None, (row.adapter, row.label, row.variant)))


def _series(rows: Sequence[ThinkingRow]) -> list[_Series]:
    """Darker and another marker for more samples; another line for another model of a family."""
    models = list(dict.fromkeys((r.adapter, _model(r), r.family) for r in rows))
    by = marks((model, family) for _, model, family in models)
    found = []
    for adapter, model, family in models:
        own = [r for r in rows if _model(r) == model]
        counts = sorted({r.samples for r in own if r.samples is not None})
        rank = [m for _, m, f in models if f == family].index(model)
        color = by[model].color
        flat = _Series(adapter, None, color, family_marker(family), _FLAT)
        if not counts and flat not in found:
            found.append(flat)
        for index, count in enumerate(counts):
            lightness = 0.55 * (1 - (index + 1) / len(counts))
            found.append(
                _Series(
                    model,
                    count,
                    tint(color, lightness),
                    _MARKERS[index % len(_MARKERS)],
                    LINES[rank % len(LINES)],
                )
            )
    return sorted(found, key=lambda s: s.thinks)


def _panel(
    axes: Axes,
    rows: Sequence[ThinkingRow],
    series: Sequence[_Series],
    cost: str,
    floor: Floor | None,
) -> None:
    axes.axhline(0, color=REFERENCE, linewidth=0.8, zorder=1)
    cuts: list[Cut] = []
    for one in series:
        own = sorted((r for r in rows if one.holds(r)), key=lambda r: float(getattr(r, cost)))
        if not one.thinks:
            for row in own:
                axes.axhline(0, color=one.color, linewidth=1.2, linestyle=one.line, zorder=2)
                axes.plot(getattr(row, cost), 0, color=one.color, marker=one.marker, zorder=4)
            continue
        xs, gains = [float(getattr(r, cost)) for r in own], [100 * r.gain for r in own]
        axes.plot(xs, gains, color=one.color, linestyle=one.line, linewidth=1, zorder=2.5)
        kept = [i for i, gain in enumerate(gains) if floor is None or gain >= floor.value]
        axes.errorbar(
            [xs[i] for i in kept],
            [gains[i] for i in kept],
            yerr=_distances([own[i] for i in kept]),
            color=one.color,
            marker=one.marker,
            markersize=3.5,
            linestyle="",
            elinewidth=0.7,
            capsize=1.5,
            capthick=0.7,
            zorder=3,
        )
        trained = [(x, r) for x, r in zip(xs, own, strict=True) if r.trained]
        axes.plot(
            [x for x, _ in trained],
            [100 * r.gain for _, r in trained],
            linestyle="",
            marker="o",
            markersize=7,
            markerfacecolor="none",
            markeredgecolor=one.color,
            markeredgewidth=0.9,
            zorder=4,
        )
        if floor is not None:
            cuts += [
                Cut(x, gain, one.color)
                for x, gain in zip(xs, gains, strict=True)
                if gain < floor.value
            ]
    if floor is not None:
        mark_cuts(axes, cuts, floor.foot)


def _distances(rows: Sequence[ThinkingRow]) -> list[list[float]]:
    """(2, n) distances of the interval's ends from the gain, in percent; 0 where there is none."""
    lows, highs = [], []
    for row in rows:
        low, high = row.gain_interval or (row.gain, row.gain)
        # A percentile interval need not hold the estimate itself.
        lows.append(max(0.0, 100 * (row.gain - low)))
        highs.append(max(0.0, 100 * (high - row.gain)))
    return [lows, highs]


def _limits(rows: Sequence[ThinkingRow]) -> tuple[Span, Floor | None]:
    gains = [100 * r.gain for r in rows]
    bounds = [100 * b for r in rows for b in r.gain_interval or ()]
    return gain_limits(gains, bounds, [100 * r.gain for r in rows if not r.trained] or gains)


def _magnitudes(data: str, shifts: Sequence[ShiftRow]) -> str:
    shift = next((s for s in shifts if s.data == data), None)
    parts = []
    if shift is not None and shift.perplexity_ratio is not None:
        parts.append(f"OOD {shift.perplexity_ratio:.2f}")
    if shift is not None and shift.bigram_loss is not None:
        parts.append(f"bigram {shift.bigram_loss:.2f} nats")
    return ", ".join(parts)


def _finding(exhibit: ThinkingExhibit) -> str:
    tried = sum(not r.trained for r in exhibit.rows)
    gaining = exhibit.gaining()
    if not tried:
        return "No setting beyond the trained one was evaluated."
    if not gaining:
        return f"None of {tried} settings beyond the trained one has an interval above zero."
    best = max(gaining, key=lambda r: r.gain)
    return (
        f"{len(gaining)} of {tried} settings have an interval above zero (not adjusted for their "
        f"number); largest gain {signed(100 * best.gain, 2)} %: "
        f"{_count(best.steps, 'step')} × {_count(best.samples, 'sample')} on {best.data}."
    )


def _count(number: int | None, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _handles(series: Sequence[_Series]) -> list[Artist]:
    handles: list[Artist] = [
        Line2D(
            [],
            [],
            color=s.color,
            marker=s.marker,
            markersize=3.5 if s.thinks else 4,
            linestyle=s.line,
            linewidth=1.1,
            label=s.label,
        )
        for s in series
    ]
    if any(s.thinks for s in series):
        handles.append(
            Line2D(
                [],
                [],
                color="#555555",
                marker="o",
                markersize=7,
                markerfacecolor="none",
                linestyle="",
                label="trained thinking (gain 0)",
            )
        )
    return handles


def _beyond(papers: Sequence[PaperGain], reached: bool) -> str:
    return "" if reached or not papers else gains_words(papers)


def _notes(
    exhibit: ThinkingExhibit, limits: Span, floor: Floor | None, beyond: str, missing: str
) -> list[str]:
    text = (
        "Gain: (L(trained) − L(setting)) / L(trained), paired by document; error bars: 95 % "
        f"bootstrap over {exhibit.resampling}. NFE = steps × samples. "
        "OOD: perplexity over that of the validation set, under the model that cannot think; "
        f"bigram: cross-entropy. Time on {', '.join(exhibit.device)}."
    )
    if floor is not None:
        text += f" Gains below {signed(floor.value, 1)} % are cut off: ▼ with their value or range."
    elif limits.clipped:
        text += " Error bars that reach the frame end beyond it."
    return [text, *filter(None, (beyond, missing))]


def _data(row: ThinkingRow) -> DataRow:
    low, high = row.gain_interval or (None, None)
    return {
        "data": row.data,
        "model": row.adapter,
        "label": row.label,
        "setting": row.setting,
        "steps": row.steps,
        "samples": row.samples,
        "steps_used": row.steps_used,
        "trained": row.trained,
        "nfe": row.nfe,
        "flops": row.flops,
        "seconds": row.seconds,
        "loss": row.loss,
        "gain": row.gain,
        "gain_low": low,
        "gain_high": high,
        "documents": row.documents,
        "n": row.n,
        "seeds": row.seeds,
    }
