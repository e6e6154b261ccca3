"""Figure of a next-frame section: loss and PSNR of every model beside copying the last frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness.analysis.exhibits.next_frame import (
    COPY_LAST,
    RECONSTRUCTION,
    FrameRow,
    NextFrameExhibit,
    Quantity,
    ReferenceRow,
)
from harness.analysis.exhibits.scaling import FINAL_CHECKPOINT
from harness.analysis.figures.axes import Span, padded, span
from harness.analysis.figures.page import DataRow, Drawing, Frame, open_dot, panels, surround
from harness.analysis.figures.style import (
    REFERENCE,
    REFERENCE_LINE,
    Line,
    Mark,
    marks,
    theme,
)
from harness.analysis.tables.next_frame import (
    gain_text,
    interval_words,
    losses_of,
    perfect_words,
    sizes,
    unit,
)

_ROW_INCHES, _FRAME_INCHES = 0.21, 0.62
_LINES: dict[str, Line] = {COPY_LAST: REFERENCE_LINE, RECONSTRUCTION: ":"}
#: More models than this say theirs in the table alone.
_SAID = 3
#: A ceiling farther off than this many times what models and copies span would flatten them.
_REACH = 1.0


@dataclass(frozen=True)
class _Panel:
    """What one axis shows: a number of each model, and of each reference that has it."""

    label: str
    of_model: Callable[[FrameRow], Quantity | None]
    of_reference: Callable[[ReferenceRow], float | None]


_PANELS = (
    _Panel("smooth L1 per frame (left is better)", lambda r: r.loss, lambda r: r.loss),
    _Panel(
        "PSNR per frame in dB (right is better)",
        lambda r: r.psnr_per_frame,
        lambda r: r.psnr_per_frame,
    ),
)


def next_frame_figure(exhibit: NextFrameExhibit, *, missing: str = "") -> Drawing | None:
    """A dot and an interval per model, set by set; None without rows.

    PSNR has no panel where no model has one.
    """
    if not exhibit.rows:
        return None
    shown = [p for p in _PANELS if any(p.of_model(row) is not None for row in exhibit.rows)]
    by = marks((row.adapter, row.family) for row in exhibit.rows)
    heights = [
        _FRAME_INCHES + _ROW_INCHES * len(exhibit.of(data, split)) for data, split in exhibit.sets
    ]
    title = f"{exhibit.section.title}: predicted frames beside copies of the last"
    clipped = False
    with theme():
        figure, grid = panels(len(exhibit.sets), len(shown), share_y="row")
        grid[0, 0].get_gridspec().set_height_ratios(heights)
        for axes_row, (data, split) in zip(grid, exhibit.sets, strict=True):
            own, references = exhibit.of(data, split), exhibit.references_of(data, split)
            for axes, panel in zip(axes_row, shown, strict=True):
                clipped |= _draw(axes, panel, own, references, by)
            axes_row[0].set_yticks(range(len(own)), [row.model for row in own])
            axes_row[0].set_title(f"{data} ({split})", loc="left")
        drawn = list(dict.fromkeys(row.name for row in exhibit.references))
        ceilings = sum(row.name == RECONSTRUCTION for row in exhibit.references)
        if ceilings and len(_beyond(exhibit, shown)) == ceilings:
            drawn.remove(RECONSTRUCTION)
        frame = Frame(
            title,
            _finding(exhibit),
            _handles(exhibit, by, drawn),
            _notes(exhibit, shown, clipped=clipped, missing=missing),
        )
        surround(figure, frame, height=sum(heights))
    return Drawing("next_frame", title, figure, tuple(_data(exhibit, shown)))


# --- drawing ---------------------------------------------------------------------------------


def _draw(
    axes: Axes,
    panel: _Panel,
    rows: Sequence[FrameRow],
    references: Sequence[ReferenceRow],
    by: dict[str, Mark],
) -> bool:
    """Draw one panel; whether an interval reaches beyond its axis."""
    limits = _limits(panel, rows, references)
    for reference in references:
        at = panel.of_reference(reference)
        if at is not None and limits.low <= at <= limits.high:
            line = _LINES[reference.name]
            axes.axvline(at, color=REFERENCE, linewidth=0.9, linestyle=line, zorder=1)
    for place, row in enumerate(rows):
        quantity = panel.of_model(row)
        if quantity is None:
            continue
        mark = by[row.adapter]
        if quantity.interval is not None:
            axes.plot(quantity.interval, [place, place], color=mark.color, linewidth=1.1, zorder=3)
        axes.plot(
            quantity.value,
            place,
            linestyle="",
            marker=mark.marker,
            color=mark.color,
            markerfacecolor="white" if row.verdict == "undecided" else mark.color,
            markersize=4.5,
            zorder=4,
        )
    axes.set_xlim(*padded(limits))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlabel(panel.label)
    return limits.clipped


def _limits(panel: _Panel, rows: Sequence[FrameRow], references: Sequence[ReferenceRow]) -> Span:
    """Of models and copies, and of a ceiling that is near."""
    quantities = [q for row in rows if (q := panel.of_model(row)) is not None]
    known = [(r.name, at) for r in references if (at := panel.of_reference(r)) is not None]
    values = [q.value for q in quantities] + [at for name, at in known if name == COPY_LAST]
    if not values:
        return Span(0, 1)
    own = span(values, [bound for q in quantities for bound in q.interval or ()])
    near = own.high + _REACH * (own.high - own.low)
    ceilings = [at for name, at in known if name == RECONSTRUCTION and at <= near]
    return replace(own, high=max([own.high, *ceilings]))


# --- words -----------------------------------------------------------------------------------


def _finding(exhibit: NextFrameExhibit) -> str:
    """Each model's verdict, and the difference from the baseline where there is one."""
    if len(exhibit.rows) > _SAID * len(exhibit.sets):
        return ""
    return " ".join(_said(row, exhibit) for row in exhibit.rows)


def _said(row: FrameRow, exhibit: NextFrameExhibit) -> str:
    name = f"{row.model} on {row.data}" if len(exhibit.sets) > 1 else row.model
    undecided = row.verdict == "undecided"
    text = f"{name}: " + ("undecided against" if undecided else f"{row.verdict} than") + " copying"
    if row.gain is not None:
        text += f", gain {gain_text(row)}"
    comparison = row.comparison
    if comparison is not None:
        loss, undecided = comparison.loss, comparison.verdict == "undecided"
        text += "; undecided against" if undecided else f"; {comparison.verdict} than"
        form = losses_of(exhibit, row.data, row.split)
        written = form.write(loss.value, loss.interval, sign="+")
        text += f" {comparison.baseline}, difference of losses {written}"
    return f"{text}."


def _handles(
    exhibit: NextFrameExhibit, by: dict[str, Mark], references: Sequence[str]
) -> list[Artist]:
    handles: list[Artist] = [
        Line2D([], [], color=mark.color, marker=mark.marker, linewidth=1.1, label=adapter)
        for adapter, mark in by.items()
    ]
    if any(row.verdict == "undecided" for row in exhibit.rows):
        handles.append(open_dot("open: against copying undecided"))
    named = {COPY_LAST: "copy of the last frame", RECONSTRUCTION: "true latents, decoded: ceiling"}
    handles += [
        Line2D([], [], color=REFERENCE, linestyle=_LINES[name], linewidth=0.9, label=named[name])
        for name in references
    ]
    return handles


def _notes(
    exhibit: NextFrameExhibit, shown: Sequence[_Panel], *, clipped: bool, missing: str
) -> list[str]:
    text = (
        f"{interval_words(exhibit)} Means over {sizes(exhibit)}; smooth L1 with beta 1, PSNR of "
        f"pixels on 0..255. Gain: how much lower the loss is than that of copying the last frame, "
        f"paired by {unit(exhibit)}. {FINAL_CHECKPOINT}"
    )
    far = _beyond(exhibit, shown)
    if far:
        text += f" Off the axis: {', '.join(far)}."
    if perfect := perfect_words(exhibit):
        text += f" {perfect}"
    if exhibit.lost:
        text += f" Not shown, for a loss that is not finite: {', '.join(exhibit.lost)}."
    if clipped:
        text += " Lines that reach the frame end beyond it."
    return [text, *([missing] if missing else [])]


def _beyond(exhibit: NextFrameExhibit, shown: Sequence[_Panel]) -> list[str]:
    """Ceilings that are not drawn: PSNR is the one number they have."""
    found = []
    for panel in shown:
        for data, split in exhibit.sets:
            own, references = exhibit.of(data, split), exhibit.references_of(data, split)
            for row in references:
                at = panel.of_reference(row)
                if at is not None and at > _limits(panel, own, references).high:
                    place = f" of {data}" if len(exhibit.sets) > 1 else ""
                    found.append(f"true latents, decoded{place}, {at:.2f} dB")
    return found


def _data(exhibit: NextFrameExhibit, shown: Sequence[_Panel]) -> list[DataRow]:
    found: list[DataRow] = []
    for panel in shown:
        for row in exhibit.rows:
            quantity = panel.of_model(row)
            if quantity is None:
                continue
            low, high = quantity.interval or (None, None)
            found.append(
                {
                    "panel": panel.label,
                    "data": row.data,
                    "split": row.split,
                    "model": row.model,
                    "value": quantity.value,
                    "low": low,
                    "high": high,
                    "than_copying": row.verdict,
                    "n": row.n,
                    "clips": row.clips,
                    "videos": row.videos,
                    "seeds": row.seeds,
                    "noise_seeds": row.noise_seeds,
                }
            )
        for reference in exhibit.references:
            at = panel.of_reference(reference)
            if at is not None:
                place = {"data": reference.data, "split": reference.split}
                found.append({"panel": panel.label, **place, "model": reference.name, "value": at})
    return found
