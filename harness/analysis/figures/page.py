"""A figure's page: panels with title, legend and notes around them, and its files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import NullFormatter, NullLocator
from matplotlib.transforms import blended_transform_factory
from numpy.typing import NDArray

from harness.analysis.figures.style import DPI, WIDTH, theme
from harness.analysis.outputs import as_csv, written_to
from harness.records import write_text

DataRow = Mapping[str, object]
Grid = NDArray[np.object_]

_MARGIN = 0.06
_TITLE_POINTS, _SUBTITLE_POINTS, _NOTE_POINTS, _LEGEND_POINTS = 9.0, 7.5, 6.5, 7.5
_LINE = 1.35 / 72
_HANDLE_INCHES = 0.5


@dataclass(frozen=True)
class Drawing:
    """A finished figure; `data` holds every number it draws, one row each."""

    name: str
    title: str
    figure: Figure
    data: tuple[DataRow, ...]


@dataclass(frozen=True)
class Written:
    """A figure's files."""

    png: Path
    pdf: Path
    csv: Path


@dataclass(frozen=True)
class Frame:
    """What stands around the panels: title and subtitle above; legend, then notes, below."""

    title: str
    subtitle: str = ""
    handles: Sequence[Artist] = ()
    notes: Sequence[str] = ()


def write_figure(drawing: Drawing, folder: Path) -> Written:
    """Write NAME.png (200 dpi), NAME.pdf and NAME.csv; the same drawing gives the same bytes.

    HarnessError where they cannot be written.
    """
    written = Written(*(folder / f"{drawing.name}.{suffix}" for suffix in ("png", "pdf", "csv")))
    with written_to(folder), theme():
        folder.mkdir(parents=True, exist_ok=True)
        _save(drawing.figure, written.png, {"Software": None})
        dates = {"Creator": None, "Producer": None, "CreationDate": None, "ModDate": None}
        _save(drawing.figure, written.pdf, dates)
        write_text(written.csv, as_csv(drawing.data), durable=False)
    return written


def _save(figure: Figure, path: Path, metadata: dict[str, None]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    try:
        figure.savefig(temporary, format=path.suffix[1:], metadata=metadata)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def blank() -> Figure:
    """A figure of paper width without panels."""
    figure = Figure(figsize=(WIDTH, 1.0), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def panels(rows: int, columns: int, *, share_y: Literal["all", "row"]) -> tuple[Figure, Grid]:
    """A figure of paper width and its (rows, columns) axes; `surround` gives it its height."""
    figure = blank()
    grid = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    return figure, np.asarray(grid, dtype=object)


def surround(figure: Figure, frame: Frame, *, height: float) -> float:
    """Give the panels `height` inches and put the frame around them.

    Returns where the panels begin, in inches from the bottom. Call it last: it fixes the layout.
    """
    title = wrapped(figure, frame.title, _TITLE_POINTS, weight="bold")
    subtitle = wrapped(figure, frame.subtitle, _SUBTITLE_POINTS)
    notes = [line for note in frame.notes for line in wrapped(figure, note, _NOTE_POINTS)]
    columns, legend_height = _legend_size(figure, frame.handles)
    notes_height = len(notes) * _NOTE_POINTS * _LINE
    title_height = len(title) * _TITLE_POINTS * _LINE
    above = title_height + len(subtitle) * _SUBTITLE_POINTS * _LINE + 0.05
    bottom = _MARGIN + notes_height + legend_height + 0.04
    total = bottom + height + above + _MARGIN
    figure.set_size_inches(WIDTH, total)

    left = _MARGIN / WIDTH
    top = 1 - _MARGIN / total
    heading = "\n".join(title)
    figure.text(left, top, heading, size=_TITLE_POINTS, weight="bold", va="top", linespacing=1.2)
    below_title = top - title_height / total
    figure.text(
        left, below_title, "\n".join(subtitle), size=_SUBTITLE_POINTS, va="top", linespacing=1.2
    )
    figure.text(
        left,
        _MARGIN / total,
        "\n".join(notes),
        size=_NOTE_POINTS,
        va="bottom",
        color="#555555",
        linespacing=1.2,
    )
    if frame.handles:
        _add_legend(figure, frame.handles, columns, (_MARGIN + notes_height + 0.04) / total)
    _lay_out(figure, (left, bottom / total, 1 - 2 * left, height / total))
    return bottom


def _add_legend(figure: Figure, handles: Sequence[Artist], columns: int, bottom: float) -> None:
    """One legend, centred, its foot at `bottom` (a fraction of the height)."""
    legend = Legend(
        figure,
        list(handles),
        [str(h.get_label()) for h in handles],
        loc="lower center",
        ncols=columns,
        borderaxespad=0,
        borderpad=0.1,
        handlelength=2.4,
        columnspacing=1.4,
        labelspacing=0.35,
        bbox_to_anchor=(0.5, bottom),
    )
    legend.set_in_layout(False)
    figure.legends.append(legend)


def _lay_out(figure: Figure, rect: tuple[float, float, float, float]) -> None:
    """Fix the panels inside `rect` (left, bottom, width, height; fractions of the figure)."""
    engine = ConstrainedLayoutEngine(
        rect=rect,
        w_pad=0.03,
        h_pad=0.03,
        wspace=0.03,
        hspace=0.03,
    )
    for text in figure.texts:
        text.set_in_layout(False)
    if figure.axes:
        with _without_minor_ticks(figure):
            figure.set_layout_engine(engine)
            engine.execute(figure)
            # Without an engine, saving does not lay out, and draw, twice.
            figure.set_layout_engine(None)
            # The solver's last digits differ from one call to the next.
            for axes in figure.axes:
                left, low, width, tall = (round(float(v), 5) for v in axes.get_position().bounds)
                axes.set_position((left, low, width, tall))
            _fix_labels(figure)


@contextmanager
def _without_minor_ticks(figure: Figure) -> Iterator[None]:
    """Nothing gives way to ticks without labels, and a layout would place each several times."""
    axes = [axis for each in figure.axes for axis in (each.xaxis, each.yaxis)]
    bare = [axis for axis in axes if isinstance(axis.get_minor_formatter(), NullFormatter)]
    locators = [axis.get_minor_locator() for axis in bare]
    for axis in bare:
        axis.set_minor_locator(NullLocator())
    yield
    for axis, locator in zip(bare, locators, strict=True):
        axis.set_minor_locator(locator)


def _fix_labels(figure: Figure) -> None:
    """Leave the axes' labels where they are, those of one row of panels at one height.

    matplotlib would look for their places, and where it aligns them for those of all others, at
    every drawing.
    """
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    inside = figure.transFigure.inverted()
    rows: dict[tuple[object, str], list[tuple[Axes, float]]] = {}
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.label.get_text():
                axis.get_tightbbox(renderer)
        x, _ = inside.transform(_place(axes.yaxis))
        beside = blended_transform_factory(figure.transFigure, axes.transAxes)
        axes.yaxis.set_label_coords(round(float(x), 5), 0.5, transform=beside)
        _, y = inside.transform(_place(axes.xaxis))
        rows.setdefault(_row_of(axes), []).append((axes, float(y)))
    for (_, side), row in rows.items():
        named = [y for axes, y in row if axes.get_xlabel()] or [y for _, y in row]
        height = round((max if side == "top" else min)(named), 5)
        for axes, _ in row:
            across = blended_transform_factory(axes.transAxes, figure.transFigure)
            axes.xaxis.set_label_coords(0.5, height, transform=across)


def _row_of(axes: Axes) -> tuple[object, str]:
    """What panels share whose labels lie at one height: the row of a grid, and the side."""
    spec, side = axes.get_subplotspec(), axes.xaxis.get_label_position()
    if spec is None:
        return axes, side
    span = spec.rowspan
    return (spec.get_gridspec(), span.start if side == "top" else span.stop), side


def _place(axis: Axis) -> tuple[float, float]:
    x, y = axis.label.get_transform().transform(axis.label.get_position())
    return float(x), float(y)


def _legend_size(figure: Figure, handles: Sequence[Artist]) -> tuple[int, float]:
    """Columns that fit the width, and the legend's height in inches."""
    if not handles:
        return 1, 0.0
    widths = [text_width(figure, str(h.get_label()), _LEGEND_POINTS) for h in handles]
    columns = 1
    for number in range(2, len(handles) + 1):
        filled = [max(part) + _HANDLE_INCHES for part in np.array_split(widths, number)]
        if sum(filled) <= WIDTH - 2 * _MARGIN:
            columns = number
    rows = ceil(len(handles) / columns)
    # As many columns as those rows need, so that the last row is not a lonely rest.
    return ceil(len(handles) / rows), rows * _LEGEND_POINTS * 1.45 / 72 + 0.09


def open_dot(label: str, *, size: float | None = None) -> Artist:
    """The legend's entry of dots that are open whatever their colour."""
    return Line2D(
        [],
        [],
        color="#555555",
        marker="o",
        markerfacecolor="white",
        markersize=size,
        linestyle="",
        label=label,
    )


def text_width(figure: Figure, text: str, points: float, weight: str = "normal") -> float:
    """Width of one line in inches, as it will be printed."""
    font = FontProperties(family="DejaVu Sans", size=points, weight=weight)
    shown = Text(0, 0, text, fontproperties=font)
    shown.set_figure(figure)
    return float(shown.get_window_extent().width) / figure.dpi


def wrapped(figure: Figure, text: str, points: float, weight: str = "normal") -> list[str]:
    """Lines of at most the page's width."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(figure, longer, points, weight) <= WIDTH - 4 * _MARGIN:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def label_right(
    axes: Axes, lines: Sequence[tuple[float, str]], *, color: str, gap: float = 0.075
) -> None:
    """Name horizontal lines at the right edge, outside the axes, pushed apart where too close.

    Names keep `gap` of the axes' height from each other.
    """
    low, high = axes.get_ylim()
    log = axes.get_yscale() == "log"
    scale = np.log if log else np.asarray
    inside = [(value, text) for value, text in sorted(lines) if low <= value <= high]
    places = [float((scale(v) - scale(low)) / (scale(high) - scale(low))) for v, _ in inside]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + gap)
    for index in range(len(places) - 1, -1, -1):
        places[index] = min(places[index], 1 - (len(places) - 1 - index) * gap)
    for place, (_, text) in zip(places, inside, strict=True):
        axes.text(
            1.02, place, text, transform=axes.transAxes, va="center", ha="left", size=7, color=color
        )
