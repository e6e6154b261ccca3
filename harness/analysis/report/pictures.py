"""Figures as pictures small enough for one file: drawn once, in few colours, shrunk to a budget."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

from matplotlib.figure import Figure
from PIL import Image

from harness.analysis.exhibits.gather import Gathered
from harness.analysis.figures.page import Drawing
from harness.analysis.figures.sections import section_drawings
from harness.analysis.figures.style import theme
from harness.analysis.outputs import as_csv

#: Dots per inch by how many sections are drawn: at most so many, each with two figures or so.
_RESOLUTIONS = ((20, 160), (30, 130), (45, 110))
_LOWEST = 90
#: A figure has some thousand shades of a few colours; photographs have more, and need them.
_FEW, _MANY, _SHADES = 64, 256, 16_384
#: How pictures shrink where they take too much: the scale of both sides, and colours.
_SHRUNK = ((1.0, 32), (0.75, 32), (0.5, 24), (0.35, 16))


@dataclass(frozen=True)
class Picture:
    """A figure as PNG; `alt` says what is seen, `csv` holds every number drawn.

    `width` and `height` are those it was drawn with, in dots.
    """

    name: str
    title: str
    alt: str
    png: bytes
    width: int
    height: int
    csv: str


def resolution(sections: int) -> int:
    """Dots per inch at which the figures of so many sections fit the file, as a rule."""
    return next((dpi for most, dpi in _RESOLUTIONS if sections <= most), _LOWEST)


def section_pictures(gathered: Gathered, *, dpi: int) -> list[Picture]:
    """One section's figures; none where nothing was found."""
    return [_picture(drawing, dpi) for drawing in section_drawings(gathered)]


def fitted(pictures: Sequence[Picture], budget: int) -> list[Picture]:
    """The pictures, shrunk until their bytes are within the budget, or as far as they can be."""
    found = list(pictures)
    for scale, colors in _SHRUNK:
        if sum(len(each.png) for each in found) <= budget:
            break
        found = [replace(each, png=_smaller(each.png, scale, colors)) for each in pictures]
    return found


def _picture(drawing: Drawing, dpi: int) -> Picture:
    image = _drawn(drawing.figure, dpi)
    shades = image.getcolors(_SHADES)
    return Picture(
        name=drawing.name,
        title=drawing.title,
        alt=_alt(drawing),
        png=_encoded(image, _FEW if shades is not None else _MANY),
        width=image.width,
        height=image.height,
        csv=as_csv(drawing.data),
    )


def _drawn(figure: Figure, dpi: int) -> Image.Image:
    raw = io.BytesIO()
    with theme():
        figure.savefig(raw, format="png", dpi=dpi, pil_kwargs={"compress_level": 0})
    return Image.open(raw).convert("RGB")


def _encoded(image: Image.Image, colors: int) -> bytes:
    quantized = image.quantize(colors, dither=Image.Dither.NONE)
    png = io.BytesIO()
    quantized.save(png, "PNG", optimize=True)
    return png.getvalue()


def _smaller(png: bytes, scale: float, colors: int) -> bytes:
    image = Image.open(io.BytesIO(png)).convert("RGB")
    if scale < 1:
        size = round(image.width * scale), round(image.height * scale)
        image = image.resize(size, Image.Resampling.LANCZOS)
    return min(png, _encoded(image, colors), key=len)


def _alt(drawing: Drawing) -> str:
    """The words around the panels: title, what was found, and the notes with n."""
    words = [" ".join(text.get_text().split()) for text in drawing.figure.texts]
    around = [text for text in words if text and text != drawing.title]
    return " ".join(
        text if text.endswith((".", "!", "?")) else f"{text}." for text in [drawing.title, *around]
    )
