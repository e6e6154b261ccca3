"""How every figure looks: one colour and marker per family, one theme, one paper width."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from zlib import crc32

import matplotlib
import seaborn
from matplotlib.colors import to_hex, to_rgb

from harness.analysis.figures.fonts import use_bare_fonts

Line: TypeAlias = Literal["-", "--", ":", "-."] | tuple[float, tuple[float, ...]]

#: Two columns of a paper, in inches.
WIDTH = 6.9
DPI = 200
#: n-gram models, noisy inputs, zero lines.
REFERENCE = "#6e6e6e"
REFERENCE_LINE: Line = (0, (4, 2))
TEXT = "#222222"
FAMILY_COLORS = {"ebt": "#d55e00", "transformer++": "#0173b2", "dit": "#029e73"}
FAMILY_MARKERS = {"ebt": "o", "transformer++": "s", "dit": "D"}
_SPARE = (("#cc78bc", "^"), ("#56b4e9", "v"), ("#ca9161", "P"), ("#ece133", "X"), ("#7a4fb5", "<"))
#: Beside a family's own colour, for its further adapters where they are alone.
_WITHIN = ("#7a4fb5", "#2b7bba", "#4d4d4d", "#029e73")
LINES: tuple[Line, ...] = ("-", "--", ":", "-.")
#: Beside a family's own marker and colour, for its further adapters where lines and fillings say
#: something else: colours mixed with black (below 0) or white.
_SHAPES = ("^", "v", "P", "X", "<", "p")
_SHADES = (0.0, -0.5, 0.45)

_SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.labelpad": 2.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": TEXT,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": TEXT,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.size": 1.5,
    "xtick.minor.width": 0.4,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "lines.markeredgewidth": 0.9,
    "mathtext.fontset": "dejavusans",
    "savefig.dpi": DPI,
    # Text as wide at any resolution, so that what is measured is what is printed.
    "text.hinting": "none",
    # Images keep their own pixels in the PDF.
    "image.composite_image": False,
    # Embedded as TrueType, which journals ask for.
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Mark:
    """How one adapter is drawn; `filled` markers tell adapters of one family apart."""

    color: str
    marker: str
    line: Line
    filled: bool

    @property
    def face(self) -> str:
        """The colour inside a marker."""
        return self.color if self.filled else "white"


@contextmanager
def theme() -> Iterator[None]:
    """Draw and save under the figures' own settings, whatever the user's are."""
    use_bare_fonts()
    settings: dict[Any, Any] = {
        **matplotlib.rcParamsDefault,
        **seaborn.plotting_context("paper"),
        **seaborn.axes_style("ticks"),
        **_SETTINGS,
    }
    # The backend is the caller's: figures here are written without one.
    settings = {k: v for k, v in settings.items() if not k.startswith("backend")}
    with matplotlib.rc_context(settings):
        yield


def family_color(family: str) -> str:
    """The family's colour, the same in every figure; another package's from the spare ones."""
    return FAMILY_COLORS.get(family) or _spare(family)[0]


def family_marker(family: str) -> str:
    """The family's marker, so that figures also read without colour."""
    return FAMILY_MARKERS.get(family) or _spare(family)[1]


def _spare(family: str) -> tuple[str, str]:
    return _SPARE[crc32(family.encode()) % len(_SPARE)]


def marks(adapters: Iterable[tuple[str, str]]) -> dict[str, Mark]:
    """(adapter, family) -> its mark; adapters of one family differ in line and filling.

    Three or more with no other family beside them differ in colour too.
    """
    distinct = list(dict.fromkeys(adapters))
    alone = len({family for _, family in distinct}) == 1 and len(distinct) > 2
    found: dict[str, Mark] = {}
    seen: dict[str, int] = {}
    for adapter, family in distinct:
        index = seen.get(family, 0)
        seen[family] = index + 1
        own = (family_color(family), *_WITHIN)
        found[adapter] = Mark(
            own[index % len(own)] if alone else own[0],
            family_marker(family),
            LINES[index % len(LINES)],
            index == 0,
        )
    return found


def shaped_marks(adapters: Iterable[tuple[str, str]]) -> dict[str, Mark]:
    """(adapter, family) -> its mark where lines and fillings stand for something else: adapters of
    one family differ in shade and in the shape of their marker.
    """
    distinct = list(dict.fromkeys(adapters))
    found: dict[str, Mark] = {}
    seen: dict[str, int] = {}
    for adapter, family in distinct:
        index = seen.get(family, 0)
        seen[family] = index + 1
        shapes = (family_marker(family), *(s for s in _SHAPES if s != family_marker(family)))
        shade = _SHADES[index % len(_SHADES)]
        color = family_color(family)
        color = tint(color, shade) if shade >= 0 else _darker(color, -shade)
        found[adapter] = Mark(color, shapes[index % len(shapes)], "-", filled=True)
    return found


def signed(value: float, digits: int = 0) -> str:
    """`+1.5` or `−1.5`, with a true minus sign; `0` has none."""
    shown = f"{value:+.{digits}f}"
    return shown[1:] if float(shown) == 0 else shown.replace("-", "−")


def tint(color: str, amount: float) -> str:
    """The colour mixed with white: 0 is the colour itself, 1 is white."""
    red, green, blue = (c + (1 - c) * amount for c in to_rgb(color))
    return to_hex((red, green, blue))


def _darker(color: str, amount: float) -> str:
    """The colour mixed with black."""
    red, green, blue = (c * (1 - amount) for c in to_rgb(color))
    return to_hex((red, green, blue))
