"""Figure of an uncertainty section: energy over the steps by input, and loss by final energy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.analysis.exhibits.uncertainty import (
    BINS,
    REAL,
    ContentRow,
    Estimate,
    UncertaintyExhibit,
    UncertaintyRow,
)
from harness.analysis.figures.axes import Span, padded
from harness.analysis.figures.page import DataRow, Drawing, Frame, blank, surround
from harness.analysis.figures.style import (
    REFERENCE,
    REFERENCE_LINE,
    TEXT,
    Line,
    family_color,
    signed,
    theme,
)
from harness.analysis.tables.uncertainty import between, correlation_finding, input_finding

_PER_PAGE = 4
_ROW_HEIGHT = 1.6
#: How many times the spread of the later steps the start may reach before it is left out.
_CLIP = 3.0


@dataclass(frozen=True)
class _Style:
    """How a content's curve is drawn; the real one has its family's colour."""

    color: str | None
    marker: str
    line: Line


_STYLES = {
    REAL: _Style(None, "o", "-"),
    "shuffled": _Style("#7a4fb5", "^", "--"),
    "random": _Style("#4d4d4d", "X", ":"),
}


def uncertainty_figures(exhibit: UncertaintyExhibit, *, missing: str = "") -> list[Drawing]:
    """A row of panels per model and set, four to a figure. Empty where there are no rows."""
    rows = exhibit.rows
    pages = [rows[i : i + _PER_PAGE] for i in range(0, len(rows), _PER_PAGE)]
    found = []
    for number, page in enumerate(pages, start=1):
        several = len(pages) > 1
        name = f"uncertainty-{number}" if several else "uncertainty"
        of = f" ({number} of {len(pages)})" if several else ""
        title = f"{exhibit.section.title}{of}: energy over the steps, and loss by final energy"
        found.append(_page(exhibit, page, name=name, title=title, missing=missing))
    return found


def _page(
    exhibit: UncertaintyExhibit,
    rows: Sequence[UncertaintyRow],
    *,
    name: str,
    title: str,
    missing: str,
) -> Drawing:
    with theme():
        figure = blank()
        grid = figure.subplots(len(rows), 2, squeeze=False)
        clipped = False
        for (left, right), row in zip(grid, rows, strict=True):
            clipped |= _courses(left, row)
            _losses(right, row, exhibit.prediction)
        for axes in grid[:-1].flat:
            axes.set_xlabel("")
        found = correlation_finding(exhibit.rows, exhibit.prediction), input_finding(exhibit.rows)
        subtitle = re.sub(r"-(?=\d)", "−", " ".join(found))
        frame = Frame(title, subtitle, _handles(rows), _notes(exhibit, clipped, missing))
        surround(figure, frame, height=_ROW_HEIGHT * len(rows) + 0.15)
    return Drawing(name, title, figure, tuple(d for row in rows for d in _data(row)))


# --- panels ----------------------------------------------------------------------------------


def _courses(axes: Axes, row: UncertaintyRow) -> bool:
    """Energies over the steps; whether the start lies beyond the frame."""
    steps = len(row.contents[0].course)
    for content in row.contents:
        style = _STYLES.get(content.content, _STYLES["random"])
        color = style.color or family_color(row.family)
        known = [(k, e.value) for k, e in enumerate(content.course) if e.value is not None]
        axes.plot(
            [k for k, _ in known],
            [value for _, value in known],
            color=color,
            marker=style.marker,
            linestyle=style.line,
            markersize=3.2,
            linewidth=1.1,
            zorder=3,
        )
        banded = [(k, e.interval) for k, e in enumerate(content.course) if e.interval is not None]
        axes.fill_between(
            [k for k, _ in banded],
            [low for _, (low, _) in banded],
            [high for _, (_, high) in banded],
            color=color,
            alpha=0.16,
            linewidth=0,
            zorder=2,
        )
    limits, clipped = _limits(row)
    axes.set_ylim(*padded(limits))
    axes.set_xlim(-0.3, steps - 0.7)
    axes.xaxis.set_major_locator(MaxNLocator(min(steps, 8), integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(_tick))
    if 0 < row.trained_steps < steps - 1:
        axes.axvline(row.trained_steps, color=REFERENCE, linewidth=0.7, linestyle=":", zorder=1)
        axes.annotate(
            "trained",
            (row.trained_steps, 1),
            xycoords=("data", "axes fraction"),
            xytext=(2, -1),
            textcoords="offset points",
            va="top",
            size=6.5,
            color=REFERENCE,
        )
    axes.set_title(f"{row.model} on {row.data}", loc="left")
    axes.set_xlabel("optimization step")
    axes.set_ylabel("energy − final of real")
    return clipped


def _limits(row: UncertaintyRow) -> tuple[Span, bool]:
    """The y limits: of all steps, or without the start where that dwarfs the others."""

    def reach(first: int) -> tuple[float, float]:
        found = [e for content in row.contents for e in content.course[first:]]
        values = [v for e in found for v in (e.value, e.low, e.high) if v is not None]
        return (min(values), max(values)) if values else (0.0, 1.0)

    low, high = reach(1)
    full_low, full_high = reach(0)
    if full_high - full_low > _CLIP * (high - low) > 0:
        return Span(low, high, clipped=True), True
    return Span(full_low, full_high), False


def _tick(value: float, _: int | None = None) -> str:
    return "0" if abs(value) < 1e-12 else f"{value:.4g}".replace("-", "−")


def _losses(axes: Axes, row: UncertaintyRow, one: str) -> None:
    """Mean losses by tenths, of final energy and of the distribution's entropy."""
    for bins, color, marker, line in (
        (row.entropy_bins, REFERENCE, "D", REFERENCE_LINE),
        (row.bins, family_color(row.family), "o", "-"),
    ):
        known = [(i, e, e.value) for i, e in enumerate(bins, start=1) if e.value is not None]
        if not known:
            continue
        lows = [0.0 if e.low is None else max(0.0, value - e.low) for _, e, value in known]
        highs = [0.0 if e.high is None else max(0.0, e.high - value) for _, e, value in known]
        axes.errorbar(
            [i for i, _, _ in known],
            [value for _, _, value in known],
            yerr=[lows, highs],
            color=color,
            marker=marker,
            linestyle=line,
            markersize=3.2,
            linewidth=1.1,
            elinewidth=0.7,
            capsize=1.5,
            capthick=0.7,
        )
    axes.set_xlim(0.5, BINS + 0.5)
    axes.set_xticks(range(1, BINS + 1))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlabel(f"tenth of the {one}s, lowest first")
    axes.set_ylabel("loss (nats)" if one == "token" else f"loss ({row.unit})")
    axes.set_title(_correlation("energy", row.correlation), loc="left", color=TEXT)
    if row.entropy.value is not None:
        axes.set_title(
            _correlation("entropy", row.entropy, brief=True),
            loc="right",
            color=REFERENCE,
            weight="normal",
        )


def _correlation(name: str, estimate: Estimate, *, brief: bool = False) -> str:
    if estimate.value is None:
        return f"{name} ρ undefined"
    shown = f"{name} ρ {signed(estimate.value, 2)}"
    return shown if brief else f"{shown} {between(estimate, 2).replace('-', '−')}".strip()


# --- around ----------------------------------------------------------------------------------


def _handles(rows: Sequence[UncertaintyRow]) -> list[Artist]:
    real = family_color(rows[0].family)
    found: list[Artist] = []
    for content in dict.fromkeys(c.content for row in rows for c in row.contents):
        style = _STYLES.get(content, _STYLES["random"])
        found.append(
            Line2D(
                [],
                [],
                color=style.color or real,
                marker=style.marker,
                linestyle=style.line,
                markersize=3.5,
                label=f"{content} input",
            )
        )
    found.append(
        Line2D([], [], color=real, marker="o", markersize=3.5, label="loss by final energy")
    )
    if any(row.entropy_bins for row in rows):
        found.append(
            Line2D(
                [],
                [],
                color=REFERENCE,
                marker="D",
                linestyle=REFERENCE_LINE,
                markersize=3.5,
                label="loss by the prediction's entropy",
            )
        )
    return found


def _notes(exhibit: UncertaintyExhibit, clipped: bool, missing: str) -> list[str]:
    one = exhibit.prediction
    found = {row.data: row for row in exhibit.rows}
    sizes = "; ".join(f"{row.n:,} {one}s of {data}" for data, row in found.items())
    text = (
        f"Left: mean energy of the {one}s' predictions, over that of real input after the last "
        "step, since every seed's energies have a level of their own; each without noise and under "
        "the landscape of its last step, so that up to the trained number of steps landscapes may "
        f"differ. Right: mean loss by tenths of the {one}s in order of final energy; ρ: Spearman's "
        f"correlation over {one}s. Bands, bars and brackets: 95 % bootstrap over "
        f"{exhibit.resampling}. n: {sizes}."
    )
    if clipped:
        text += " Where the start (step 0) dwarfs the later steps it lies beyond the frame."
    return [text, *([missing] if missing else [])]


def _data(row: UncertaintyRow) -> list[DataRow]:
    """One row per point drawn."""
    common = {
        "model": row.adapter,
        "label": row.label,
        "data": row.data,
        "setting": row.setting,
        "documents": row.documents,
        "n": row.n,
        "seeds": row.seeds,
    }
    found: list[DataRow] = []
    for content in row.contents:
        for step in range(len(content.course)):
            found.append({**common, "panel": "energy", **_point(content, step)})
    for by, bins in (("energy", row.bins), ("entropy", row.entropy_bins)):
        found += [
            {**common, "panel": "loss", "by": by, "tenth": i, **_numbers(e)}
            for i, e in enumerate(bins, start=1)
        ]
    for by, estimate in (("energy", row.correlation), ("entropy", row.entropy)):
        if estimate.value is not None:
            found.append({**common, "panel": "correlation", "by": by, **_numbers(estimate)})
    return found


def _point(content: ContentRow, step: int) -> DataRow:
    return {
        "input": content.content,
        "step": step,
        **_numbers(content.course[step]),
        "energy": content.energy[step].value,
        "mean_loss": content.loss[step].value,
    }


def _numbers(estimate: Estimate) -> DataRow:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
