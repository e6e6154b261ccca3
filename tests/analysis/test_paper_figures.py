"""The paper's numbers in figures: drawn where the axes reach them, else said in the notes."""

from __future__ import annotations

from dataclasses import replace
from math import log
from pathlib import Path

import numpy as np
import pytest
from matplotlib.lines import Line2D

from harness.analysis.exhibits.gather import Gathered, gather
from harness.analysis.exhibits.scaling import ScalingExhibit
from harness.analysis.exhibits.thinking import ThinkingExhibit
from harness.analysis.figures.denoising import denoising_figure
from harness.analysis.figures.page import Drawing
from harness.analysis.figures.paper_marks import rate_guide
from harness.analysis.figures.scaling import scaling_figure
from harness.analysis.figures.sections import section_drawings
from harness.analysis.figures.thinking import thinking_figures
from harness.analysis.frame import load_frame
from harness.analysis.paper.numbers import PaperNumber
from tests.analysis import test_thinking_sections as thoughts
from tests.analysis.drawn import denoising_exhibit_of, labels
from tests.analysis.paper_rows import PAPER
from tests.analysis.records_factory import write_suite
from tests.analysis.test_exhibits import TEXT, suite_of, text_losses


def gathered_of(folder: Path, paper: str) -> list[Gathered]:
    text = TEXT.replace("candidate: ebt}", f"candidate: ebt, paper: [{paper}]}}")
    text = text.replace("evaluation: thinking}", "evaluation: thinking, paper: [Fig 6a]}")
    suite = suite_of(text, folder)
    write_suite(suite, folder, text_losses)
    return gather(suite, load_frame(suite, folder), PAPER)


def scaling_of(folder: Path, paper: str = "Fig 5a") -> ScalingExhibit:
    exhibit = gathered_of(folder, paper)[0].exhibit
    assert isinstance(exhibit, ScalingExhibit)
    return exhibit


def words(drawing: Drawing) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in drawing.figure.texts)


# --- scaling -----------------------------------------------------------------------------------


def test_the_guide_falls_at_the_papers_rate(tmp_path: Path) -> None:
    exhibit = scaling_of(tmp_path)
    guide = rate_guide(exhibit)
    assert guide is not None
    logs = {
        a: np.log([(r.x, r.loss.value) for r in exhibit.rows if r.adapter == a])
        for a in ("ebt", "transformer++")
    }
    slope = np.polyfit(logs["transformer++"][:, 0], logs["transformer++"][:, 1], 1)[0]
    (x, end), (loss, lower) = guide.x, guide.loss
    assert log(lower / loss) / log(end / x) == pytest.approx(1.0291 * slope)
    middle = logs["ebt"].mean(0)
    assert log(loss) + 1.0291 * slope * (middle[0] - log(x)) == pytest.approx(middle[1])
    drawing = scaling_figure(exhibit)
    assert drawing is not None
    assert "paper, Fig 5a: slope of transformer++ × 1.029" in labels(drawing)
    parts = [row for row in drawing.data if row["part"] == "paper"]
    assert [(row["x"], row["loss"]) for row in parts] == [(x, loss), (end, lower)]


@pytest.mark.parametrize("change", ["other axis", "no number", "rising", "one point"])
def test_no_guide_without_a_rate_or_a_slope(tmp_path: Path, change: str) -> None:
    exhibit = scaling_of(tmp_path, "Fig 4a" if change == "other axis" else "Fig 5a")
    if change == "no number":
        exhibit = replace(exhibit, paper=())
    if change == "rising":
        rows = [replace(r, loss=replace(r.loss, value=1 / r.loss.value)) for r in exhibit.rows]
        exhibit = replace(exhibit, rows=tuple(rows))
    if change == "one point":
        rows = [r for r in exhibit.rows if r.adapter == "ebt" or r.label == "a"]
        exhibit = replace(exhibit, rows=tuple(rows))
    assert rate_guide(exhibit) is None


# --- thinking ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def thinking(tmp_path_factory: pytest.TempPathFactory) -> ThinkingExhibit:
    folder = tmp_path_factory.mktemp("thinking")
    section = thoughts.SHIFT.replace("thinking_shift", "thinking")
    suite = thoughts.suite_of(folder, section=section, data="builtin/docs, builtin/dyck")
    exhibit = thoughts.write(suite, folder, thoughts.planted).exhibit
    assert isinstance(exhibit, ThinkingExhibit)
    return exhibit


def moved(numbers: tuple[PaperNumber, ...], *, best: float, nfe: float) -> tuple[PaperNumber, ...]:
    """The paper's, its best of ten elsewhere."""
    return tuple(
        replace(n, value=best, x=nfe)
        if (n.quantity, n.setting) == ("perplexity", "best of 10")
        else n
        for n in numbers
    )


def diamonds(drawing: Drawing) -> list[Line2D]:
    return [
        line for axes in drawing.figure.axes for line in axes.lines if line.get_marker() == "D"
        and line.get_color() == "#222222"
    ]  # fmt: skip


def test_the_papers_points_are_drawn_where_the_axes_reach_them(thinking: ThinkingExhibit) -> None:
    numbers = moved(PAPER.of("Fig 6a"), best=42.0, nfe=6)
    (drawing,) = thinking_figures(replace(thinking, paper=numbers))
    found = diamonds(drawing)
    assert len(found) == 2, "in the panels over NFE alone, one per set"
    gain = 100 * (1 - log(42.0) / log(44.8))
    # The trained point's NFE is not said, so it is no point.
    assert list(found[0].get_xdata()) == [6]
    assert list(found[0].get_ydata()) == pytest.approx([gain])
    assert "paper, Fig 6a: log of its mean perplexity of four sets" in labels(drawing)
    assert "Off the axes" not in words(drawing)


@pytest.mark.parametrize(("best", "nfe"), [(42.0, 30), (1.5, 6)])
def test_and_said_where_they_do_not(thinking: ThinkingExhibit, best: float, nfe: float) -> None:
    numbers = moved(PAPER.of("Fig 6a"), best=best, nfe=nfe)
    (drawing,) = thinking_figures(replace(thinking, paper=numbers))
    assert not diamonds(drawing)
    gain = 100 * (1 - log(best) / log(44.8))
    assert f"Off the axes, the paper (Fig 6a): loss gain +{gain:.1f} % at NFE {nfe:g}" in words(
        drawing
    )
    assert not any("paper" in label for label in labels(drawing))


def test_without_its_trained_point_the_paper_has_no_gain(thinking: ThinkingExhibit) -> None:
    numbers = tuple(n for n in PAPER.of("Fig 6a") if n.setting != "trained")
    (drawing,) = thinking_figures(replace(thinking, paper=numbers))
    assert not diamonds(drawing)
    assert "Off the axes" not in words(drawing)


# --- denoising ---------------------------------------------------------------------------------


def test_the_papers_quality_is_a_line_where_the_axis_reaches_it() -> None:
    near = {("ebt", 0.1): 21.27, ("dit", 0.1): 20.57, ("ebt", 0.2): 30.0, ("dit", 0.2): 5.0}
    numbers = tuple(
        replace(n, value=near[n.model, n.x or 0.0])
        for n in PAPER.of("Table 4")
        if n.quantity == "PSNR"
    )
    drawing = denoising_figure(replace(denoising_exhibit_of(), paper=numbers))
    assert drawing is not None
    first, second = (row.lines for row in (drawing.figure.axes[0], drawing.figure.axes[3]))
    heights = [{float(line.get_ydata()[0]) for line in lines} for lines in (first, second)]
    assert {21.27, 20.57} <= heights[0]
    assert not {30.0, 5.0} & heights[1], "beyond the axis"
    assert not {21.27, 20.57} & heights[1], "of the other level"
    assert "paper, Table 4, on its own images" in labels(drawing)
    names = [text.get_text() for axes in drawing.figure.axes for text in axes.texts]
    assert "paper's ebt\n21.3" in names
    papers = [row for row in drawing.data if str(row["model"]).startswith("paper's")]
    assert {(row["level"], row["psnr"]) for row in papers} == {(0.1, 21.27), (0.1, 20.57)}


def test_a_quality_beyond_the_axes_is_not_drawn() -> None:
    numbers = tuple(n for n in PAPER.of("Table 4") if n.x == 0.1)
    drawing = denoising_figure(replace(denoising_exhibit_of(), paper=numbers))
    plain = denoising_figure(denoising_exhibit_of())
    assert drawing is not None
    assert plain is not None
    assert labels(drawing) == labels(plain)
    assert drawing.data == plain.data


# --- any section -------------------------------------------------------------------------------


def test_the_notes_of_every_figure_say_the_papers_numbers(tmp_path: Path) -> None:
    scaling, thinking = gathered_of(tmp_path, "Fig 5a")
    (drawing,) = section_drawings(scaling)
    assert drawing.title.startswith("Scaling (cf. paper Fig 5a): ")
    assert (
        "The paper, one seed and no interval: Fig 5a, scaling rate, parameters: +2.91 %; "
        "Fig 5a: EBT is worse at each size." in words(drawing)
    )
    drawn = " ".join(map(words, section_drawings(thinking)))
    assert "Fig 6a, perplexity gain, best of 10 at NFE 30: +29 %" in drawn


def test_a_long_title_is_broken_and_not_cut(tmp_path: Path) -> None:
    exhibit = scaling_of(tmp_path)
    title = "Language modelling with every one of the sizes that were trained for this comparison"
    section = exhibit.section.model_copy(update={"title": title})
    drawing = scaling_figure(replace(exhibit, section=section))
    assert drawing is not None
    heading = drawing.figure.texts[0]
    assert "\n" in heading.get_text()
    box = heading.get_window_extent()
    assert box.x1 <= drawing.figure.bbox.x1
    below = drawing.figure.texts[1].get_window_extent()
    assert below.y1 <= box.y0 + 1, "the subtitle stands below all of it"
