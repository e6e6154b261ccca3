"""DejaVu Sans without what figures do not use of it: a PDF embeds it in a fifth of the time."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.font_manager import findfont, fontManager

_FAMILY = "DejaVu Sans"
_FACES = ("", ":bold", ":oblique")
#: Substitutions, positions of marks, formulas of other programs, and hints, which are off: parsing
#: them is most of the work of embedding a font. Pairs keep their distance (kern).
_UNUSED = ("GSUB", "GPOS", "GDEF", "MATH", "FFTM", "fpgm", "prep", "cvt ", "gasp")


@cache
def use_bare_fonts() -> None:
    """Prefer the bare faces in this process; all their glyphs are the same.

    They are kept beside matplotlib's list of fonts.
    """
    folder = Path(matplotlib.get_cachedir()) / f"harness-faces-{matplotlib.__version__}"
    for face in _FACES:
        given = Path(str(findfont(f"{_FAMILY}{face}")))
        bare = folder / given.name
        try:
            if not bare.exists():
                folder.mkdir(parents=True, exist_ok=True)
                _write_bare(given, bare)
        except OSError:
            return  # Where there is no room for them, PDFs take longer.
        fontManager.addfont(bare)
        # Of fonts that fit as well the first is taken.
        fontManager.ttflist.insert(0, fontManager.ttflist.pop())


def _write_bare(given: Path, bare: Path) -> None:
    from fontTools.ttLib import TTFont  # type: ignore[import-untyped]

    part = bare.with_name(f".{bare.name}.{os.getpid()}")
    # Its own date: with that of today no two machines would write the same PDF.
    with TTFont(given, recalcTimestamp=False) as font:
        for table in _UNUSED:
            if table in font:
                del font[table]
        font.save(part)
    os.replace(part, bare)
