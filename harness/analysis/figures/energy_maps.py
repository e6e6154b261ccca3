"""Figures of texts or clips kept whole: energy of every prediction over the steps, as heatmaps."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unicodedata import combining

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from harness.analysis.exhibits.energy_records import ExampleCourse, load_example_courses
from harness.analysis.exhibits.uncertainty import REAL, UncertaintyExhibit, UncertaintyRow
from harness.analysis.figures.page import DataRow, Drawing, Frame, blank, surround
from harness.analysis.figures.style import REFERENCE, TEXT, WIDTH, theme
from harness.quantities import counted

Floats = NDArray[np.float64]

#: What stands beside the real one.
COUNTERPART = "random"
_MARGIN, _LABELS = 0.06, 0.42
_STEP, _LOSS, _GAP, _HEAD, _FOOT = 0.052, 0.075, 0.02, 0.15, 0.34
_PER_LINE = 64
#: Where all are at most so long, real and random stand side by side.
_HALF_LINE = 30
#: Cells of a line where pieces are longer than a character and so are written upwards.
_UPWARDS_PER_LINE = 44
_PAGE_INCHES = 8.2
_SEEN = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}


@dataclass(frozen=True)
class _Scale:
    """Colours of one model: limits of its energies, and the greatest loss.

    `context` is how many pieces a row has, None where no example is longer.
    """

    low: float
    high: float
    loss: float
    beyond: bool
    context: int | None


@dataclass(frozen=True)
class _Block:
    """One line of cells: places `start` to `end` of an example, the first with its heading.

    `continued` is the heading of another that a page begins with.
    """

    example: ExampleCourse
    start: int
    end: int
    head: str
    continued: str

    def height(self, *, upwards: bool) -> float:
        """Inches, labels included."""
        longest = max(len(printable(p)) for p in self.example.pieces[self.start : self.end])
        labels = 0.052 * longest + 0.05 if upwards else 0.11
        steps = len(self.example.energies)
        return (_HEAD if self.head else 0.03) + steps * _STEP + _GAP + _LOSS + labels + 0.05


@dataclass(frozen=True)
class _Grid:
    """Cells `cell` inches wide in columns of blocks; `upwards` is how labels are written."""

    cell: float
    columns: int
    per_line: int
    upwards: bool


def energy_maps(exhibit: UncertaintyExhibit, *, missing: str = "") -> list[Drawing]:
    """One figure (or more pages) per model: each text, or clip, beside its random counterpart.

    Named `uncertainty-texts`, with the model where there are several.
    """
    models = list(dict.fromkeys(row.model for row in exhibit.rows))
    found: list[Drawing] = []
    for model in models:
        rows = [row for row in exhibit.rows if row.model == model]
        examples = _examples(rows, exhibit.prediction)
        if not examples:
            continue
        name = "uncertainty-texts" if exhibit.prediction == "token" else "uncertainty-clips"
        if len(models) > 1:
            name += f"-{model.replace(' ', '-').replace('/', '-')}"
        found += _pages(exhibit, rows[0], examples, name=name, missing=missing)
    return found


def _examples(rows: Sequence[UncertaintyRow], one: str) -> list[ExampleCourse]:
    """What was kept of all sets: a text is the same in each, a clip is not."""
    found: dict[tuple[str, str, str], ExampleCourse] = {}
    for row in rows:
        for example in load_example_courses(row.examples):
            key = ("" if one == "token" else row.data, example.name, example.content)
            if example.content in (REAL, COUNTERPART):
                if one != "token" and len(rows) > 1:
                    example = replace(example, name=f"{row.data} {example.name}")
                found.setdefault(key, example)
    return list(found.values())


def _pages(
    exhibit: UncertaintyExhibit,
    row: UncertaintyRow,
    examples: Sequence[ExampleCourse],
    *,
    name: str,
    missing: str,
) -> Iterator[Drawing]:
    grid, scale = _grid(examples), _scale(examples)
    pages = _paged(_lines(examples, grid, exhibit.prediction), grid)
    for number, lines in enumerate(pages, start=1):
        of = f" ({number} of {len(pages)})" if len(pages) > 1 else ""
        title = f"{exhibit.section.title}{of}: energy of each {exhibit.prediction}, {row.model}"
        notes = [_note(exhibit, row, scale), *([missing] if missing else [])]
        with theme():
            figure = blank()
            height = sum(_height(line, grid) for line in lines) + _FOOT
            bottom = surround(figure, Frame(title, "", (), notes), height=height)
            total = figure.get_figheight()
            axes = figure.add_axes((0, bottom / total, 1, height / total))
            axes.set_axis_off()
            axes.set_autoscale_on(False)
            axes.set(xlim=(0, WIDTH), ylim=(0, height))
            top = height
            for line in lines:
                for column, block in enumerate(line):
                    left = _MARGIN + _LABELS + column * WIDTH / grid.columns
                    _draw(axes, block, grid, scale, (left, top))
                top -= _height(line, grid)
            _colour_bars(axes, scale)
        data = tuple(d for line in lines for block in line for d in _data(block, row))
        yield Drawing(name + (f"-{number}" if len(pages) > 1 else ""), title, figure, data)


# --- layout ----------------------------------------------------------------------------------


def _grid(examples: Sequence[ExampleCourse]) -> _Grid:
    longest = max(len(e.pieces) for e in examples)
    upwards = any(len(printable(piece)) > 2 for e in examples for piece in e.pieces)
    columns = 2 if longest <= _HALF_LINE and not upwards else 1
    widest = _UPWARDS_PER_LINE if upwards else _PER_LINE
    room = WIDTH / columns - 2 * _MARGIN - _LABELS
    cell = room / (_HALF_LINE if columns == 2 else widest)
    return _Grid(max(cell, min(0.2, room / longest)), columns, min(longest, widest), upwards)


def _lines(examples: Sequence[ExampleCourse], grid: _Grid, one: str) -> list[list[_Block]]:
    """Blocks in lines: two columns hold a real example and its counterpart."""
    blocks = []
    numbers = {name: i for i, name in enumerate(dict.fromkeys(e.name for e in examples), start=1)}
    for example in examples:
        named = f"text {numbers[example.name]}" if one == "token" else example.name
        short = f"{named}, {example.content}"
        head = f"{short}: loss {_mean(example.losses)}, "
        head += f"final energy {_mean(example.energies[-1])}"
        if example.in_training:
            head += " (shares 13 words with the training set)"
        for start in range(0, len(example.pieces), grid.per_line):
            end = min(start + grid.per_line, len(example.pieces))
            continued = f"{short}, continued"
            blocks.append(_Block(example, start, end, "" if start else head, continued))
    size = grid.columns
    return [blocks[i : i + size] for i in range(0, len(blocks), size)]


def _mean(values: Floats) -> str:
    """The mean as it is printed; `missing` where one of the values is."""
    if not np.isfinite(values).all():
        return "missing"
    return f"{values.mean():.3g}".replace("-", "−")


def _height(line: Sequence[_Block], grid: _Grid) -> float:
    return max(block.height(upwards=grid.upwards) for block in line)


def _paged(lines: Sequence[list[_Block]], grid: _Grid) -> list[list[list[_Block]]]:
    pages: list[list[list[_Block]]] = [[]]
    for line in lines:
        used = sum(_height(other, grid) for other in pages[-1])
        if pages[-1] and used + _height(line, grid) > _PAGE_INCHES:
            pages.append([])
            line = [replace(block, head=block.head or block.continued) for block in line]
        pages[-1].append(line)
    return pages


# --- drawing ---------------------------------------------------------------------------------


def _scale(examples: Sequence[ExampleCourse]) -> _Scale:
    """From the steps taken: the start would otherwise take all the colours."""
    taken = np.concatenate([e.energies[1:].ravel() for e in examples])
    every = np.concatenate([e.energies.ravel() for e in examples])
    losses = np.concatenate([e.losses for e in examples if e.content == REAL])
    taken, every, losses = (part[np.isfinite(part)] for part in (taken, every, losses))
    low, high = np.percentile(taken, [1, 99]) if len(taken) else (0.0, 1.0)
    beyond = bool(len(every)) and (every.min() < low or every.max() > high)
    loss = float(losses.max()) if len(losses) else 1.0
    long = next((e.windows for e in examples if e.windows and e.windows[-1] > 0), None)
    context = None if long is None else long.index(1)
    return _Scale(float(low), float(max(high, low + 1e-9)), max(loss, 1e-9), beyond, context)


@functools.lru_cache(maxsize=2)
def _colours(name: str) -> Colormap:
    """A perceptually uniform map; what is missing is hatched out in white."""
    return colormaps[name].with_extremes(bad="white")


def _draw(
    axes: Axes, block: _Block, grid: _Grid, scale: _Scale, corner: tuple[float, float]
) -> None:
    """One block, its upper left corner at `corner` in inches."""
    left, top = corner
    example, cells = block.example, slice(block.start, block.end)
    right = left + (block.end - block.start) * grid.cell
    if block.head:
        axes.text(left, top - 0.02, block.head, size=6.5, va="top", weight="bold", color=TEXT)
    high = top - (_HEAD if block.head else 0.03)
    energies, losses = example.energies[:, cells], example.losses[cells]
    low = high - len(energies) * _STEP
    strip = low - _GAP
    for values, name, limits, extent in (
        (energies, "viridis", (scale.low, scale.high), (left, right, low, high)),
        (losses[None], "Greys", (0.0, scale.loss), (left, right, strip - _LOSS, strip)),
    ):
        axes.imshow(
            np.ma.masked_invalid(values),
            cmap=_colours(name),
            vmin=limits[0],
            vmax=limits[1],
            aspect="auto",
            extent=extent,
            interpolation="nearest",
        )
    for place in range(block.start + 1, block.end):
        if example.windows[place] != example.windows[place - 1]:
            x = left + (place - block.start) * grid.cell
            axes.plot([x, x], [strip - _LOSS, high], color="white", linewidth=1.4, zorder=4)
    axes.add_patch(
        Rectangle(
            (left, strip - _LOSS),
            right - left,
            _LOSS,
            fill=False,
            edgecolor="#bbbbbb",
            linewidth=0.4,
        )
    )
    beside: dict[str, Any] = {"size": 5.5, "ha": "right", "va": "center", "color": REFERENCE}
    for step in (0, len(energies) - 1):
        label = f"step {step}" if step == 0 else str(step)
        axes.text(left - 0.03, high - (step + 0.5) * _STEP, label, **beside)
    axes.text(left - 0.03, strip - _LOSS / 2, "loss", **beside)
    _label(axes, block, grid, left, strip - _LOSS)


def _label(axes: Axes, block: _Block, grid: _Grid, left: float, top: float) -> None:
    for index, piece in enumerate(block.example.pieces[block.start : block.end]):
        shown = printable(piece)
        size = 6.0 if grid.upwards else min(6.0, 72 * grid.cell / (0.85 * max(len(shown), 1)))
        axes.text(
            left + (index + 0.5) * grid.cell,
            top - (0.03 if grid.upwards else 0.085),
            shown,
            size=size,
            ha="center",
            va="top" if grid.upwards else "baseline",
            rotation=90 if grid.upwards else 0,
            color=REFERENCE if shown in _SEEN.values() else TEXT,
            parse_math=False,
        )


def printable(piece: str) -> str:
    """A piece as it is printed: spaces and line ends by their signs, □ for what has no glyph."""
    shown = "".join(_SEEN.get(character, character) for character in piece)
    return "".join(map(_glyph, shown))


def _glyph(character: str) -> str:
    number = ord(character)
    if character.isprintable() and number in _glyphs() and not combining(character):
        return character
    return f"{number:02x}" if number < 160 else "□"


@functools.lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())


def _colour_bars(axes: Axes, scale: _Scale) -> None:
    """Both scales, at the foot."""
    gradient = np.linspace(0, 1, 128)[None]
    for left, name, low, high, words in (
        (0.5, "viridis", scale.low, scale.high, "energy"),
        (4.0, "Greys", 0.0, scale.loss, "loss after the last step"),
    ):
        axes.imshow(
            gradient,
            cmap=_colours(name),
            aspect="auto",
            extent=(left, left + 1.5, 0.1, 0.19),
            interpolation="nearest",
        )
        for x, value, side in ((left - 0.04, low, "right"), (left + 1.54, high, "left")):
            text = f"{value:.3g}".replace("-", "−")
            axes.text(x, 0.145, text, size=6, ha=side, va="center")
        axes.text(left + 0.75, 0.08, words, size=6.5, ha="center", va="top")


def _note(exhibit: UncertaintyExhibit, row: UncertaintyRow, scale: _Scale) -> str:
    token = exhibit.prediction == "token"
    made = (
        "random: as many tokens, uniform over the vocabulary; bytes that are no text in hex"
        if token
        else "random: frames of uniform pixel noise"
    )
    text = (
        f"Columns: {exhibit.prediction}s that are predicted, from all before them in their row; "
        f"rows: optimization steps, downwards ({row.trained_steps} in training). Lowest training "
        f"seed, mean of {counted(row.noise_seeds, 'noise seed')}; {made}. One colour scale for the "
        "model, from the 1st to the 99th percentile of the energies after a step"
        + (", with those beyond in the end colours" if scale.beyond else "")
        + "; losses up to the greatest of real input. Energies are under the landscape of the last "
        "step made."
    )
    if scale.context is not None:
        text += (
            f" Every {scale.context} {exhibit.prediction}s the context is new: at white lines, or "
            "where a line begins."
        )
    return text


def _data(block: _Block, row: UncertaintyRow) -> list[DataRow]:
    """One row per cell; the loss goes with the last step."""
    example = block.example
    last = len(example.energies) - 1
    return [
        {
            "model": row.adapter,
            "label": row.label,
            "example": example.name,
            "input": example.content,
            "place": place,
            "window": example.windows[place],
            "piece": example.pieces[place],
            "step": step,
            "energy": _known(example.energies[step, place]),
            "loss": _known(example.losses[place]) if step == last else None,
        }
        for place in range(block.start, block.end)
        for step in range(last + 1)
    ]


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
