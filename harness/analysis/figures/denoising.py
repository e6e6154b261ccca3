"""Figure of a denoising section: PSNR against NFE, FLOPs and time, one row per noise level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness.analysis.exhibits.denoising import (
    DenoisingExhibit,
    DenoisingRow,
    Place,
    Quality,
    intervals_over,
)
from harness.analysis.exhibits.equal_quality import highest
from harness.analysis.figures.axes import Span, log_cost, padded, span
from harness.analysis.figures.page import (
    DataRow,
    Drawing,
    Frame,
    label_right,
    panels,
    surround,
)
from harness.analysis.figures.paper_marks import (
    draw_quality,
    quality_handle,
    quality_lines,
    quality_names,
)
from harness.analysis.figures.style import (
    REFERENCE,
    REFERENCE_LINE,
    Line,
    Mark,
    shaped_marks,
    theme,
    tint,
)
from harness.analysis.paper.numbers import PaperNumber
from harness.planning.spec import descent_variant
from harness.protocol import Descent, Single
from harness.quantities import counted_range

_COSTS = (
    ("nfe", "NFE per image", "plain"),
    ("flops", "FLOPs per image", "si"),
    ("seconds", "time per image", "seconds"),
)
_ROW_HEIGHT = 1.7
_FILTER_LINE: Line = (0, (1, 1.5))


@dataclass(frozen=True)
class _Way:
    """How settings think, steps, calls and recursions apart: what makes them one line."""

    sampler: str
    start: str
    samples: int
    variant: str

    @property
    def suffix(self) -> str:
        """What it is besides the usual."""
        said = (
            "matched start" if self.start == "matched" else "",
            f"{self.samples} samples" if self.samples > 1 else "",
            self.variant,
        )
        return "".join(f", {part}" for part in said if part)


@dataclass(frozen=True)
class _Series:
    """One line: settings of one adapter that differ only in how much they compute."""

    label: str
    color: str
    marker: str
    face: str
    line: Line
    rows: tuple[DenoisingRow, ...]

    @property
    def style(self) -> dict[str, Any]:
        return {
            "color": self.color,
            "marker": self.marker,
            "markerfacecolor": self.face,
            "linestyle": self.line,
            "linewidth": 1.1,
        }


def denoising_figure(exhibit: DenoisingExhibit, *, missing: str = "") -> Drawing | None:
    """PSNR of every setting at every place against its costs; None without rows."""
    thinking = exhibit.models
    if not thinking:
        return None
    by = shaped_marks((r.adapter, r.family) for r in thinking)
    title = f"{exhibit.section.title}: quality against cost"
    series = {place: _series(exhibit.at(place), by) for place in exhibit.places}
    clipped = False
    papers: list[PaperNumber] = []
    with theme():
        figure, grid = panels(len(series), len(_COSTS), share_y="row")
        for row, place in zip(grid, series, strict=True):
            lines = _references(exhibit, place)
            limits = _limits(series[place], [reference for reference, _, _ in lines])
            clipped |= limits.clipped
            reached = quality_lines(exhibit.paper, place.level, padded(limits))
            papers += reached
            for axes, (cost, label, kind) in zip(row, _COSTS, strict=True):
                _panel(axes, series[place], cost)
                xs = [float(getattr(r, cost)) for r in thinking if getattr(r, cost) is not None]
                log_cost(axes, xs, label, kind=kind)
                axes.set_ylim(*padded(limits))
                axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
                for reference, line, _ in lines:
                    style = {"color": REFERENCE, "linewidth": 0.8, "linestyle": line}
                    axes.axhline(reference.psnr.value, **style)
                draw_quality(axes, reached)
            row[0].set_ylabel("\n".join(filter(None, (*_named(exhibit, place), "PSNR (dB)"))))
            at_edge = [(r.psnr.value, f"{short}\n{r.psnr.value:.1f}") for r, _, short in lines]
            at_edge += quality_names(reached)
            label_right(row[-1], at_edge, color=REFERENCE, gap=0.16)
        for row in grid[:-1]:
            for axes in row:
                axes.set_xlabel("")
        handles = _handles(exhibit, [one for at in series.values() for one in at])
        handles += [quality_handle(papers)] if papers else []
        frame = Frame(title, "", handles, _notes(exhibit, clipped, missing))
        surround(figure, frame, height=_ROW_HEIGHT * len(series) + 0.2)
    data = [_data(row) for row in exhibit.rows]
    data += [_paper_data(number) for number in papers]
    return Drawing("denoising", title, figure, tuple(data))


def _named(exhibit: DenoisingExhibit, place: Place) -> tuple[str, ...]:
    """The lines that name a row of panels."""
    return *exhibit.place_name(place).split(", "), place.within


def _references(exhibit: DenoisingExhibit, place: Place) -> list[tuple[DenoisingRow, Line, str]]:
    """The noisy input and the better filter, each with its line and short name."""
    rows = exhibit.references(place)
    noisy = [(r, REFERENCE_LINE, "noisy") for r in rows if not r.setting]
    filters = [r for r in rows if r.setting]
    best = [highest(filters)] if filters else []
    return [*noisy, *((r, _FILTER_LINE, r.adapter.split()[0]) for r in best)]


# --- lines -----------------------------------------------------------------------------------


def _series(rows: Sequence[DenoisingRow], by: dict[str, Mark]) -> list[_Series]:
    """Per adapter and way to think: one line over calls or steps, and one over recursions per
    number of calls or steps, which begins where these are done once.
    """
    found = []
    for adapter, mark in by.items():
        own = [r for r in rows if r.adapter == adapter]
        for way in sorted(dict.fromkeys(map(_way, own)), key=_usual_first):
            at = [r for r in own if _way(r) == way]
            single = [r for r in at if r.recursions == 1]
            if single:
                found.append(_once(adapter, mark, way, single))
            for passes in sorted({_passes(r) for r in at if r.recursions > 1}):
                chain = [r for r in at if _passes(r) == passes]
                found.append(_repeated(adapter, mark, way, chain))
    return found


def _way(row: DenoisingRow) -> _Way:
    thinking = row.thinking
    if isinstance(thinking, Descent):
        once = thinking.model_copy(update={"recursions": 1})
        return _Way("", "", thinking.samples, descent_variant(once))
    return _Way(row.sampler or "", row.start or "", 1, "")


def _usual_first(way: _Way) -> tuple[object, ...]:
    return way.sampler == "ddpm", way.start == "matched", way.samples, way.variant


def _passes(row: DenoisingRow) -> int:
    return getattr(row.thinking, "steps", 1)


def _once(adapter: str, mark: Mark, way: _Way, rows: Sequence[DenoisingRow]) -> _Series:
    what = {"": "descent steps", "ddim": "DDIM calls", "ddpm": "DDPM calls"}[way.sampler]
    what = "one pass" if isinstance(rows[0].thinking, Single) else what
    face = mark.color if not way.suffix else "white"
    line: Line = "-" if not way.suffix else ":"
    if way.sampler == "ddpm":
        face = tint(mark.color, 0.6)
        line = (0, (3, 1, 1, 1)) if not way.suffix else (0, (1, 2.5))
    return _drawn(f"{adapter}: {what}{way.suffix}", mark, face, line, rows)


def _repeated(adapter: str, mark: Mark, way: _Way, rows: Sequence[DenoisingRow]) -> _Series:
    sampler = "DDPM, " if way.sampler == "ddpm" else ""
    face = tint(mark.color, 0.6) if way.suffix or sampler else "white"
    line: Line = (0, (6, 1.5, 1, 1.5)) if sampler else "--"
    return _drawn(f"{adapter}: {sampler}recursions{way.suffix}", mark, face, line, rows)


def _drawn(label: str, mark: Mark, face: str, line: Line, rows: Sequence[DenoisingRow]) -> _Series:
    ordered = tuple(sorted(rows, key=lambda r: r.nfe or 0))
    return _Series(label, mark.color, mark.marker, face, line, ordered)


def _panel(axes: Axes, series: Sequence[_Series], cost: str) -> None:
    # Filled markers last, so that the setting a recursion starts from keeps its own.
    for order, one in enumerate(sorted(series, key=lambda s: s.face == s.color)):
        rows = [r for r in one.rows if getattr(r, cost) is not None]
        axes.errorbar(
            [float(getattr(r, cost)) for r in rows],
            [r.psnr.value for r in rows],
            yerr=np.array([_bars(r.psnr) for r in rows]).T,
            **one.style,
            elinewidth=0.7,
            capsize=1.8,
            capthick=0.7,
            zorder=3 + order / 10,
        )


def _bars(quality: Quality) -> tuple[float, float]:
    """How far the interval reaches below and above the value, which it may leave out."""
    low, high = quality.interval or (quality.value, quality.value)
    return max(0.0, quality.value - low), max(0.0, high - quality.value)


def _limits(series: Sequence[_Series], references: Sequence[DenoisingRow]) -> Span:
    rows = [*(r for one in series for r in one.rows), *references]
    bounds = [b for r in rows for b in (r.psnr.low, r.psnr.high) if b is not None]
    return span([r.psnr.value for r in rows], bounds)


# --- around them -----------------------------------------------------------------------------


def _handles(exhibit: DenoisingExhibit, series: Sequence[_Series]) -> list[Artist]:
    named = {one.label: one for one in series}
    handles: list[Artist] = [Line2D([], [], label=label, **s.style) for label, s in named.items()]
    names: dict[str, Line] = {}
    for place in exhibit.places:
        for reference, line, short in _references(exhibit, place):
            names[reference.adapter if short == "noisy" else "best filter"] = line
    return handles + [
        Line2D([], [], color=REFERENCE, linestyle=line, linewidth=0.8, label=name)
        for name, line in names.items()
    ]


def _notes(exhibit: DenoisingExhibit, clipped: bool, missing: str) -> list[str]:
    images = counted_range((r.images for r in exhibit.models), "image")
    seeds = counted_range((r.seeds for r in exhibit.models), "training seed")
    over = intervals_over(exhibit.models)
    bars = f"; error bars: 95 % interval over {over}" if over else ""
    text = (
        f"PSNR of the mean MSE over {images}, pixels on 0..255, mean of {seeds}{bars}. One "
        "descent step is a forward and a backward pass of the network. "
        f"Time on {', '.join(exhibit.device)}."
    )
    if any(r.setting for place in exhibit.places for r in exhibit.references(place)):
        text += " Filters: Gaussian or median, of the width that is best on these very images."
    if clipped:
        text += " Error bars that reach the frame end beyond it."
    return [text, *([missing] if missing else [])]


def _paper_data(number: PaperNumber) -> DataRow:
    model = f"paper's {number.model}, {number.exhibit}"
    return {"level": number.x, "model": model, "psnr": number.value}


def _data(row: DenoisingRow) -> DataRow:
    return {
        "data": row.place.data,
        "level": row.place.level,
        "model": row.adapter,
        "thinking": row.setting,
        "start": row.start,
        "sampler": row.sampler,
        "recursions": None if row.thinking is None else row.recursions,
        "nfe": row.nfe,
        "flops": row.flops,
        "seconds": row.seconds,
        "psnr": row.psnr.value,
        "psnr_low": row.psnr.low,
        "psnr_high": row.psnr.high,
        "images": row.images,
        "seeds": row.seeds,
    }
