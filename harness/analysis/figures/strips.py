"""Rows of images with words beside them, and how an image is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harness.analysis.figures.page import Frame, blank, surround
from harness.analysis.figures.style import WIDTH, theme

#: Images in a row, at most.
SHOWN = 8
_LABEL_INCHES = 1.6
_MARGIN = 0.06
_GAP = 0.03


class Row(NamedTuple):
    """`images`, each (H, W) or (H, W, 3) in [0, 1], and the lines that stand beside them."""

    lines: tuple[str, ...]
    color: str
    images: Sequence[NDArray[np.float32]]


def spread(count: int) -> list[int]:
    """At most `SHOWN` of so many, spread evenly."""
    shown = min(SHOWN, count)
    return [index * count // shown for index in range(shown)]


def room(count: int) -> float:
    """Side in inches of each of so many images that fill a row."""
    return (WIDTH - 2 * _MARGIN - _LABEL_INCHES) / count


def strips_figure(frame: Frame, rows: Sequence[Row], *, size: float) -> Figure:
    """The rows, of images whose side is `size` inches, within `frame`."""
    height = size * len(rows)
    with theme():
        figure = blank()
        bottom = surround(figure, frame, height=height)
        total = figure.get_figheight()
        # One axes in inches: an axes per image takes seconds to draw.
        axes = figure.add_axes((0, bottom / total, 1, height / total))
        axes.set_axis_off()
        axes.set_autoscale_on(False)
        axes.set(xlim=(0, WIDTH), ylim=(0, height))
        for index, row in enumerate(rows):
            low = height - (index + 1) * size
            for column, image in enumerate(row.images):
                left = _MARGIN + _LABEL_INCHES + column * size
                axes.imshow(
                    image,
                    cmap="gray",
                    vmin=0,
                    vmax=1,
                    aspect="auto",
                    extent=(left, left + size - _GAP, low, low + size - _GAP),
                    interpolation="nearest",
                )
            axes.text(
                _MARGIN,
                low + (size - _GAP) / 2,
                "\n".join(filter(None, row.lines)),
                color=row.color,
                size=7,
                va="center",
                linespacing=1.35,
            )
    return figure


def shown_pixels(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C, H, W) in [-1, 1] as (H, W) grey or (H, W, 3), in [0, 1]."""
    scaled = np.clip((image + 1) / 2, 0, 1)
    if scaled.shape[0] == 1:
        return np.asarray(scaled[0], dtype=np.float32)
    return np.asarray(np.moveaxis(scaled[:3], 0, -1), dtype=np.float32)
