"""Figure of a denoising section: PSNR against NFE, FLOPs and time, one row per noise level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness.analysis.exhibits.denoising import DenoisingExhibit, DenoisingRow
from harness.analysis.figures.axes import Span, log_cost, padded, span
from harness.analysis.figures.page import (
    DataRow,
    Drawing,
    Frame,
    label_right,
    panels,
    surround,
)
from harness.analysis.figures.style import REFERENCE, REFERENCE_LINE, Line, Mark, marks, theme

_COSTS = (
    ("nfe", "NFE per image", "plain"),
    ("flops", "FLOPs per image", "si"),
    ("seconds", "time per image", "seconds"),
)
_ROW_HEIGHT = 1.6


@dataclass(frozen=True)
class _Series:
    """One line: settings of one adapter that differ only in how much they compute."""

    label: str
    mark: Mark
    line: Line
    filled: bool
    rows: tuple[DenoisingRow, ...]


def denoising_figure(exhibit: DenoisingExhibit, *, missing: str = "") -> Drawing | None:
    """PSNR of every setting at every level against its costs; None without rows."""
    thinking = [r for r in exhibit.rows if r.nfe is not None]
    if not thinking:
        return None
    by = marks((r.adapter, r.family) for r in thinking)
    title = f"{exhibit.section.title}: quality against cost"
    series = {
        level: _series([r for r in thinking if r.level == level], by) for level in exhibit.levels
    }
    clipped = False
    with theme():
        figure, grid = panels(len(exhibit.levels), len(_COSTS), share_y="row")
        for row, level in zip(grid, exhibit.levels, strict=True):
            noisy = next((r for r in exhibit.rows if r.level == level and r.nfe is None), None)
            limits = _limits(series[level], noisy)
            clipped |= limits.clipped
            for axes, (cost, label, kind) in zip(row, _COSTS, strict=True):
                _panel(axes, series[level], noisy, cost)
                xs = [float(getattr(r, cost)) for r in thinking if getattr(r, cost) is not None]
                log_cost(axes, xs, label, kind=kind)
                axes.set_ylim(*padded(limits))
                axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
            row[0].set_ylabel(f"noise level {level:g}\nPSNR (dB)")
            if noisy is not None:
                label_right(
                    row[-1],
                    [(noisy.psnr.value, f"noisy\n{noisy.psnr.value:.1f} dB")],
                    color=REFERENCE,
                )
        for row in grid[:-1]:
            for axes in row:
                axes.set_xlabel("")
        frame = Frame(title, "", _handles(series), _notes(exhibit, thinking, clipped, missing))
        surround(figure, frame, height=_ROW_HEIGHT * len(exhibit.levels) + 0.2)
    return Drawing("denoising", title, figure, tuple(_data(r) for r in exhibit.rows))


def _series(rows: Sequence[DenoisingRow], by: dict[str, Mark]) -> list[_Series]:
    """Per adapter, start and way to descend: one line over calls or steps, and one over recursions
    per number of calls.
    """
    found = []
    for adapter, mark in by.items():
        own = [r for r in rows if r.adapter == adapter]
        ways = dict.fromkeys((r.start, r.samples, r.variant) for r in own)
        for start, samples, variant in sorted(
            ways, key=lambda way: (way[0] != "trained", way[1:] != (1, ""))
        ):
            at = [r for r in own if (r.start, r.samples, r.variant) == (start, samples, variant)]
            single = [r for r in at if (r.recursions or 1) == 1]
            suffix = ", matched start" if start == "matched" else ""
            suffix += f", {samples} samples" if samples > 1 else ""
            suffix += f", {variant}" if variant else ""
            what = "descent steps" if start is None else "DDIM calls"
            if single:
                found.append(
                    _Series(
                        f"{adapter}: {what}{suffix}",
                        mark,
                        "-" if not suffix else ":",
                        not suffix,
                        _by_nfe(single),
                    )
                )
            for calls in sorted({_calls(r) for r in at if (r.recursions or 1) > 1}):
                # The line starts at the same calls without recursion.
                chain = [r for r in at if r.recursions is not None and _calls(r) == calls]
                found.append(
                    _Series(
                        f"{adapter}: recursions of {calls} calls{suffix}",
                        mark,
                        "--",
                        False,
                        _by_nfe(chain),
                    )
                )
    return found


def _calls(row: DenoisingRow) -> int:
    assert row.nfe is not None
    return round(row.nfe) // (row.recursions or 1)


def _by_nfe(rows: Sequence[DenoisingRow]) -> tuple[DenoisingRow, ...]:
    return tuple(sorted(rows, key=lambda r: r.nfe or 0))


def _panel(axes: Axes, series: Sequence[_Series], noisy: DenoisingRow | None, cost: str) -> None:
    if noisy is not None:
        axes.axhline(noisy.psnr.value, color=REFERENCE, linewidth=0.8, linestyle=REFERENCE_LINE)
    # Filled markers last, so that the setting a recursion starts from keeps its own.
    for order, one in enumerate(sorted(series, key=lambda s: s.filled)):
        rows = [r for r in one.rows if getattr(r, cost) is not None]
        axes.errorbar(
            [float(getattr(r, cost)) for r in rows],
            [r.psnr.value for r in rows],
            yerr=[r.psnr.half_width or 0.0 for r in rows],
            color=one.mark.color,
            marker=one.mark.marker,
            markerfacecolor=one.mark.color if one.filled else "white",
            linestyle=one.line,
            linewidth=1.1,
            elinewidth=0.7,
            capsize=1.8,
            capthick=0.7,
            zorder=3 + order / 10,
        )


def _limits(series: Sequence[_Series], noisy: DenoisingRow | None) -> Span:
    rows = [r for one in series for r in one.rows] + ([] if noisy is None else [noisy])
    bounds = [b for r in rows for b in (r.psnr.low, r.psnr.high) if b is not None]
    return span([r.psnr.value for r in rows], bounds)


def _handles(series: dict[float, list[_Series]]) -> list[Artist]:
    named = {one.label: one for at in series.values() for one in at}
    handles: list[Artist] = [
        Line2D(
            [],
            [],
            color=one.mark.color,
            marker=one.mark.marker,
            linestyle=one.line,
            markerfacecolor=one.mark.color if one.filled else "white",
            linewidth=1.1,
            label=label,
        )
        for label, one in named.items()
    ]
    handles.append(
        Line2D(
            [], [], color=REFERENCE, linestyle=REFERENCE_LINE, linewidth=0.8, label="noisy input"
        )
    )
    return handles


def _notes(
    exhibit: DenoisingExhibit, thinking: Sequence[DenoisingRow], clipped: bool, missing: str
) -> list[str]:
    first = thinking[0]
    text = (
        f"PSNR of the mean MSE over {first.images:,} images, pixels on 0..255; error bars: 95 % t "
        f"interval over {first.psnr.seeds} training seeds. One descent step is a forward and a "
        f"backward pass of the network. Time on {', '.join(exhibit.device)}."
    )
    if clipped:
        text += " Error bars that reach the frame end beyond it."
    return [text, *([missing] if missing else [])]


def _data(row: DenoisingRow) -> DataRow:
    return {
        "level": row.level,
        "model": row.adapter,
        "thinking": row.setting,
        "start": row.start,
        "recursions": row.recursions,
        "nfe": row.nfe,
        "flops": row.flops,
        "seconds": row.seconds,
        "psnr": row.psnr.value,
        "psnr_low": row.psnr.low,
        "psnr_high": row.psnr.high,
        "images": row.images,
        "seeds": row.psnr.seeds,
    }
