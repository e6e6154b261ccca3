"""The figure of all rates against planted suites, and how labels of panels lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes

from harness.analysis.exhibits.suites import SuiteExhibits, suite_exhibits
from harness.analysis.figures.page import Drawing, Frame, panels, surround, write_figure
from harness.analysis.figures.rates import rates_figures
from harness.analysis.figures.style import family_color, theme
from harness.planning.suite import load_suite
from tests.analysis.records_factory import measured, write_suite

SUITE = """
suite: rates
experiments:
  text:
    base:
      task: {kind: next_token, context: 16}
      batch_size: 8
      optimizer: {lr: 1e-3}
      config: {depth: 1, width: 16, heads: 1}
    adapters:
      transformer++: {adapter: transformer_pp_text}
      ebt: {adapter: ebt_text}
    axes:
      tokens: {path: budget.tokens, values: VALUES}
    seeds: SEEDS
    evaluations:
      validation: {kind: likelihood, data: builtin/docs}
report:
  - {kind: scaling, title: Data, experiment: text, x: data, evaluation: validation,
     baseline: transformer++, candidate: ebt, paper: [Fig 4a]}
"""
WIDE = "[1.28e4, 4.0e4, 1.28e5, 4.0e5, 1.28e6]"
NARROW = "[1.28e4, 2.56e4, 5.12e4, 1.024e5]"


def planted(faster: float, scatter: float = 0.002):
    """Exponents 0.4 and 0.4 × (1 + faster), E = 1."""

    def losses(run, spec, folder):
        ebt = run.adapter_label == "ebt"
        x = run.spec.budget.tokens / 1.28e4
        random = np.random.default_rng([run.spec.seed, int(x), ebt])
        loss = 1 + 2 * x ** -(0.4 * (1 + faster * ebt)) * np.exp(random.normal(0, scatter))
        return [measured(run, "loss", float(loss))]

    return losses


def shown(
    folder: Path, faster: float, *, values: str = WIDE, seeds: str = "[0, 1, 2]"
) -> SuiteExhibits:
    path = folder / "suite.yaml"
    path.write_text(SUITE.replace("VALUES", values).replace("SEEDS", seeds))
    suite = load_suite(path)
    write_suite(suite, folder / "results", planted(faster))
    return suite_exhibits(suite, folder / "results")


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
    (drawing,) = rates_figures([shown(tmp_path, 0.1, values=NARROW)])
    assert drawing.data[0]["may_decide"] is False
    found = markers(panel(drawing), family_color("ebt"))
    assert [face for _, face in found] == ["white"]
    assert "No design here is large enough" in [t.get_text() for t in drawing.figure.texts][1]


def test_rates_beyond_the_axis_are_arrow_heads_with_their_value(tmp_path: Path) -> None:
    suite = shown(tmp_path, 0.1, values=NARROW)
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
    suite = shown(tmp_path, 0.1, values=NARROW)
    drawings = rates_figures([suite] * 31)
    assert [drawing.name for drawing in drawings] == ["rates-1", "rates-2"]
    assert [len(drawing.data) for drawing in drawings] == [30, 1]


def test_without_a_rate_there_is_no_figure(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE.replace("VALUES", WIDE).replace("SEEDS", "[0]"))
    assert rates_figures([suite_exhibits(load_suite(path), tmp_path / "results")]) == []


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
