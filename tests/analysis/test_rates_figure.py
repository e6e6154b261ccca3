"""The figure of all rates against planted suites, and how labels of panels lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.axes import Axes

from harness.analysis.exhibits.suites import SuiteExhibits, suite_exhibits
from harness.analysis.figures.page import Drawing, Frame, panels, surround, write_figure
from harness.analysis.figures.rates import rates_figures
from harness.analysis.figures.style import family_color, theme
from tests.analysis.planted_rates import losses, suite_of, written

NARROW = "[1.28e5, 2.56e5, 5.12e5, 1.024e6]"


def shown(folder: Path, faster: float, **given: str) -> SuiteExhibits:
    return written(folder, losses(faster), "data", **given)


def panel(drawing) -> Axes:
    return drawing.figure.axes[0]


def markers(axes: Axes, color: str) -> list[tuple[float, str]]:
    """Where markers of a colour are, and what they are filled with; without arrow heads."""
    return [
        (float(line.get_xdata()[0]), str(line.get_markerfacecolor()))
        for line in axes.lines
        if line.get_color() == color and line.get_marker() in "oDsd" and len(line.get_xdata()) == 1
    ]


def test_a_rate_that_may_decide_is_filled_and_beside_the_papers(tmp_path: Path) -> None:
    suite = shown(tmp_path, 0.3)
    (drawing,) = rates_figures([suite])
    (row,) = drawing.data
    rate = suite.gathered[0].exhibit.rate
    orange = family_color("ebt")
    assert markers(panel(drawing), orange) == [(pytest.approx(100 * rate.rho.value), orange)]
    assert row["verdict"] == "faster"
    assert row["may_decide"] is True
    assert (row["rate"], row["rate_low"]) == (rate.rho.value, rate.rho.interval.low)
    bars = [line for line in panel(drawing).lines if list(line.get_xdata()) == [35.98, 35.98]]
    assert len(bars) == 1
    assert [text.get_text() for text in panel(drawing).texts] == ["faster"]
    assert "1 design may decide: 1 faster." in [t.get_text() for t in drawing.figure.texts][1]


def test_an_exploratory_one_is_open(tmp_path: Path) -> None:
    (drawing,) = rates_figures([shown(tmp_path, 0.1, budgets=NARROW)])
    assert drawing.data[0]["may_decide"] is False
    found = markers(panel(drawing), family_color("ebt"))
    assert [face for _, face in found] == ["white"]
    assert "No design here is large enough" in [t.get_text() for t in drawing.figure.texts][1]


def test_rates_beyond_the_axis_are_arrow_heads_with_their_value(tmp_path: Path) -> None:
    suite = shown(tmp_path, 0.1, budgets=NARROW)
    exhibit = suite.gathered[0].exhibit
    far = replace(exhibit.rate.rho, value=9.0, interval=None)
    exhibit = replace(exhibit, rate=replace(exhibit.rate, rho=far))
    moved = replace(suite, gathered=(replace(suite.gathered[0], exhibit=exhibit),))
    (drawing,) = rates_figures([moved])
    axes = panel(drawing)
    assert markers(axes, family_color("ebt")) == []
    assert [line.get_marker() for line in axes.lines if line.get_marker() in "<>"] == [">"]
    assert any(text.get_text().strip() == "+900" for text in axes.texts)
    assert axes.get_xlim()[1] < 200
    assert any("Arrow heads" in text.get_text() for text in drawing.figure.texts)


def test_many_sections_fill_several_figures(tmp_path: Path) -> None:
    suite = shown(tmp_path, 0.1, budgets=NARROW)
    drawings = rates_figures([suite] * 31)
    assert [drawing.name for drawing in drawings] == ["rates-1", "rates-2"]
    assert [len(drawing.data) for drawing in drawings] == [30, 1]


def test_without_a_rate_there_is_no_figure(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, "data", seeds="[0]")
    assert rates_figures([suite_exhibits(suite, tmp_path / "results")]) == []


def test_labels_below_a_row_of_panels_are_at_one_height_also_when_saved(tmp_path: Path) -> None:
    """One panel's tick labels are two lines high: matplotlib would put its label lower."""
    with theme():
        figure, grid = panels(2, 2, share_y="row")
        for axes in grid.flat:
            axes.plot([0, 1], [0, 1])
            axes.set_xlabel("cost")
            axes.set_ylabel("loss")
        grid[0, 1].set_xticks([0.5], ["two\nlines"])
        surround(figure, Frame("Title"), height=3)

    def heights() -> list[float]:
        figure.draw_without_rendering()
        return [float(axes.xaxis.label.get_window_extent().y1) / figure.dpi for axes in grid.flat]

    first, second, third, fourth = heights()
    assert first == pytest.approx(second, abs=1e-3)
    assert third == pytest.approx(fourth, abs=1e-3)
    below = grid[0, 1].get_window_extent().y0 / figure.dpi
    assert below - second > 0.25, "clear of two lines"
    write_figure(Drawing("x", "x", figure, ()), tmp_path)
    assert heights() == pytest.approx([first, second, third, fourth], abs=1e-3)
