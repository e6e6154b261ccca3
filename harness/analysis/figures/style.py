"""How every figure looks: one colour and marker per family, one theme, one paper width."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from zlib import crc32

import matplotlib
import seaborn
from matplotlib.colors import to_hex, to_rgb

#: Two columns of a paper, in inches.
WIDTH = 6.9
#: n-gram models, noisy inputs, zero lines.
REFERENCE = "#6e6e6e"
TEXT = "#222222"
FAMILY_COLORS = {"ebt": "#d55e00", "transformer++": "#0173b2", "dit": "#029e73"}
FAMILY_MARKERS = {"ebt": "o", "transformer++": "s", "dit": "D"}
_SPARE = (("#cc78bc", "^"), ("#56b4e9", "v"), ("#ca9161", "P"), ("#ece133", "X"), ("#7a4fb5", "<"))
_LINES = ("-", "--", ":", "-.")

_SETTINGS = {
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
    "savefig.dpi": 200,
    # Embedded as TrueType, which journals ask for.
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Mark:
    """How one adapter is drawn; `filled` markers tell adapters of one family apart."""

    color: str
    marker: str
    line: str
    filled: bool

    @property
    def face(self) -> str:
        """The colour inside a marker."""
        return self.color if self.filled else "white"


@contextmanager
def theme() -> Iterator[None]:
    """Draw and save under the figures' own settings, whatever the user's are."""
    base = matplotlib.rc_params_from_file(
        matplotlib.matplotlib_fname(), fail_on_error=False, use_default_template=True
    )
    with matplotlib.rc_context():
        matplotlib.rcParams.update({k: v for k, v in base.items() if k != "backend"})
        matplotlib.rcParams.update(seaborn.plotting_context("paper"))
        matplotlib.rcParams.update(seaborn.axes_style("ticks"))
        matplotlib.rcParams.update(_SETTINGS)
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
    """(adapter, family) -> its mark; adapters of one family differ in line and filling."""
    found: dict[str, Mark] = {}
    seen: dict[str, int] = {}
    for adapter, family in dict.fromkeys(adapters):
        index = seen.get(family, 0)
        seen[family] = index + 1
        found[adapter] = Mark(
            family_color(family), family_marker(family), _LINES[index % len(_LINES)], index == 0
        )
    return found


def tint(color: str, amount: float) -> str:
    """The colour mixed with white: 0 is the colour itself, 1 is white."""
    red, green, blue = (c + (1 - c) * amount for c in to_rgb(color))
    return to_hex((red, green, blue))
