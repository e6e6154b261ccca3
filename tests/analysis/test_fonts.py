"""Fonts and settings of figures: lighter than what they stand for, and the same to a reader."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest
import seaborn
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font, LoadFlags

from harness.analysis.figures.fonts import _write_bare, use_bare_fonts
from harness.analysis.figures.style import theme

WHOLE = Path(seaborn.__file__).parents[1] / "matplotlib" / "mpl-data" / "fonts" / "ttf"


@pytest.mark.parametrize(
    ("weight", "style", "name"),
    [
        ("normal", "normal", "DejaVuSans.ttf"),
        ("bold", "normal", "DejaVuSans-Bold.ttf"),
        ("normal", "oblique", "DejaVuSans-Oblique.ttf"),
    ],
)
def test_bare_faces_draw_every_character_alike(weight: str, style: str, name: str) -> None:
    use_bare_fonts()
    found = findfont(FontProperties(family="DejaVu Sans", weight=weight, style=style))
    assert Path(str(found)).name == name
    assert Path(str(found)).parent.name.startswith("harness-faces-")
    bare, whole = FT2Font(str(found)), FT2Font(str(WHOLE / name))
    assert bare.get_charmap() == whole.get_charmap()
    for character in map(ord, "Aegµρ±−×≤→0123456789"):
        glyphs = [f.load_char(character, flags=LoadFlags.NO_HINTING) for f in (bare, whole)]
        assert glyphs[0].linearHoriAdvance == glyphs[1].linearHoriAdvance
        outlines = [font.get_path() for font in (bare, whole)]
        assert (outlines[0][0] == outlines[1][0]).all()
    size = {each: Path(each).stat().st_size for each in (str(found), str(WHOLE / name))}
    assert size[str(found)] < size[str(WHOLE / name)]


def test_bare_faces_are_the_same_bytes_on_any_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in ("0", "1000000000"):  # what fontTools takes for now
        monkeypatch.setenv("SOURCE_DATE_EPOCH", day)
        _write_bare(WHOLE / "DejaVuSans.ttf", tmp_path / day)
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1000000000").read_bytes()


def test_without_room_for_them_figures_are_drawn_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").write_text("no folder")
    monkeypatch.setattr(matplotlib, "get_cachedir", lambda: str(tmp_path / "full"))
    known = list(fontManager.ttflist)
    use_bare_fonts.__wrapped__()
    assert fontManager.ttflist == known, "no font is named that could not be written"
    with theme():
        figure = Figure()
        figure.text(0.5, 0.5, "µ × −1")
        figure.savefig(tmp_path / "drawn.pdf")
    assert (tmp_path / "drawn.pdf").stat().st_size > 0


def test_the_theme_is_seaborns_where_figures_say_nothing_else() -> None:
    with theme():
        assert matplotlib.rcParams["lines.solid_capstyle"] == "round"
        assert (
            matplotlib.rcParams["patch.linewidth"]
            == seaborn.plotting_context("paper")["patch.linewidth"]
        )
        assert (
            matplotlib.rcParams["xtick.direction"] == seaborn.axes_style("ticks")["xtick.direction"]
        )
