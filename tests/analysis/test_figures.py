"""Figures draw what the exhibits hold, the same way each time, and say what is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from math import log
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex

from harness.analysis.exhibits.gather import gather
from harness.analysis.exhibits.magnitudes import ShiftRow
from harness.analysis.exhibits.scaling import RunLoss, ScalingExhibit, ScalingRow
from harness.analysis.exhibits.thinking import ThinkingExhibit, ThinkingRow
from harness.analysis.figures.axes import gain_floor, span
from harness.analysis.figures.denoising import denoising_figure
from harness.analysis.figures.examples import example_figures
from harness.analysis.figures.page import Drawing, write_figure
from harness.analysis.figures.scaling import scaling_figure
from harness.analysis.figures.sections import section_drawings
from harness.analysis.figures.style import FAMILY_COLORS, family_color, marks
from harness.analysis.figures.thinking import thinking_figures
from harness.analysis.frame import load_frame
from harness.analysis.intervals import over_seeds
from harness.analysis.rates.points import Point
from harness.analysis.rates.rate import Bootstrap, scaling_rate
from harness.planning.planned import Suite
from harness.planning.sections import ScalingSection, ThinkingSection
from harness.planning.suite import load_suite
from harness.show.figures import write_figures
from tests.analysis.drawn import assert_files, denoising_exhibit_of, labels, read
from tests.analysis.records_factory import measured, write_run

SEEDS = (0, 1, 2)
TEXT = """
suite: text
experiments:
  text:
    base: {task: {kind: next_token, context: 16}, batch_size: 8, budget: {steps: 10},
           optimizer: {lr: 1e-3}}
    adapters: {transformer++: {adapter: transformer_pp_text}, ebt: {adapter: ebt_text}}
    axes:
      size:
        - {label: a, config: {depth: 1, width: 16, heads: 1}}
        - {label: b, config: {depth: 1, width: 32, heads: 1}}
    evaluations:
      validation: {kind: likelihood, data: builtin/docs}
      thinking: {kind: thinking, data: builtin/docs,
                 thinking: [{kind: single}, {kind: descent, steps: 2}]}
report:
  - {kind: scaling, title: Sizes, experiment: text, x: parameters, evaluation: validation,
     baseline: transformer++, candidate: ebt}
  - {kind: thinking, title: Thinking, experiment: text, evaluation: thinking}
"""


def scaling_exhibit_of(points: int, *, adapter: str = "ebt"):
    """Losses 1.8 + 0.4 (x / 1e6)^-a with a small planted scatter, and the single runs."""
    rows, runs, planted = [], [], {}
    random = np.random.default_rng(0)
    for name, family, exponent in (("transformer++",) * 2 + (0.3,), (adapter, "ebt", 0.45)):
        planted[name] = []
        for x in np.geomspace(1e6, 1e8, points):
            losses = 1.8 + 0.4 * (x / 1e6) ** -exponent + 0.004 * random.normal(size=3)
            flops, seconds = 6e9 * float(x), 1e-5 * float(x)
            for seed, loss in zip(SEEDS, losses, strict=True):
                planted[name].append(Point(float(x), seed, float(loss), f"{name}{x}{seed}"))
                runs.append(RunLoss(name, seed, float(x), 10**9, flops, seconds, float(loss)))
            mean = over_seeds([float(v) for v in losses])
            rows.append(
                ScalingRow(
                    name,
                    family,
                    f"{x:g}",
                    float(x),
                    int(x),
                    int(x),
                    10**9,
                    flops,
                    seconds,
                    mean,
                    over_seeds([v / log(2) for v in losses]),
                    5000,
                    1,
                    None,
                    SEEDS,
                )
            )
    section = ScalingSection(
        title="Sizes",
        experiment="e",
        x="parameters",
        evaluation="v",
        baseline="transformer++",
        candidate=adapter,
    )
    rate = scaling_rate(
        planted[adapter],
        baseline=planted["transformer++"],
        axis="parameters",
        bootstrap=Bootstrap(resamples=200),
    )
    references = {"unigram": (9.0, 13.0), "bigram": (2.3, 3.3)}
    return ScalingExhibit(
        section, tuple(rows), references, rate, "", ("cpu",), "docs (validation)"
    ), runs


def thinking_exhibit_of(sets: tuple[str, ...], *, worst: float = -0.02) -> ThinkingExhibit:
    def row(data: str, adapter: str, steps: int | None, samples: int | None, gain: float):
        trained = steps in (None, 2) and samples in (None, 1)
        interval = None if trained else (gain - 0.01, gain + 0.01)
        nfe = (steps or 1) * (samples or 1)
        return ThinkingRow(
            adapter,
            adapter,
            "",
            data,
            f"{steps}x{samples}",
            steps,
            samples,
            trained,
            3.0,
            gain,
            interval,
            gain,
            interval,
            nfe,
            1e6 * nfe,
            1e-5 * nfe,
            20,
            1000,
            2,
            1,
        )

    rows = []
    for data in sets:
        rows.append(row(data, "transformer++", None, None, 0.0))
        rows += [
            row(data, "ebt", *given)
            for given in ((1, 1, worst), (2, 1, 0.0), (3, 1, 0.03), (2, 4, 0.05))
        ]
    shifts = tuple(ShiftRow(data, 1.0 + i, 2.0 + i) for i, data in enumerate(sets))
    return ThinkingExhibit(
        ThinkingSection(experiment="e", evaluation="t"), tuple(rows), shifts, ("cpu",)
    )


def suite_of(text: str, folder: Path) -> Suite:
    path = folder / "suite.yaml"
    path.write_text(text)
    return load_suite(path)


def losses(run, spec, folder):
    """An evaluator that knows nothing of thinking."""
    if spec.kind != "likelihood":
        return [measured(run, "other", 1.0)]
    loss = {"a": 3.0, "b": 2.5}[run.labels["size"]]
    return [measured(run, "loss", loss), measured(run, "bits_per_byte", loss / log(2))]


def written_text(drawing: Drawing) -> str:
    return "\n".join(text.get_text() for text in drawing.figure.texts)


def test_times_on_different_devices_are_no_axis():
    exhibit, _ = scaling_exhibit_of(5)
    axes = scaling_figure(replace(exhibit, device=("a CPU", "a GPU"))).figure.axes
    assert [a.get_title() for a in axes] == ["at equal tokens (1 G)", "at equal FLOPs"]


def test_tokens_are_a_panel_of_flops_where_models_saw_different_ones():
    exhibit, _ = scaling_exhibit_of(5)
    by_flops = replace(exhibit, section=exhibit.section.model_copy(update={"x": "flops"}))
    alike = scaling_figure(by_flops)
    assert [a.get_title() for a in alike.figure.axes] == ["at equal FLOPs", "at equal time"]
    assert "All saw 1 G training tokens." in " ".join(written_text(alike).split())
    rows = tuple(replace(row, seen=row.seen * (1 + i)) for i, row in enumerate(exhibit.rows))
    titles = [a.get_title() for a in scaling_figure(replace(by_flops, rows=rows)).figure.axes]
    assert titles == ["at equal FLOPs", "at equal tokens", "at equal time"]


def test_scaling_csv_holds_means_runs_references_and_curves(tmp_path):
    exhibit, runs = scaling_exhibit_of(5)
    drawing = scaling_figure(replace(exhibit, runs=tuple(runs)))
    assert drawing is not None
    files = write_figure(drawing, tmp_path)
    assert_files(files)
    assert files.png.name == "scaling-parameters.png"
    rows = read(files.csv)
    means = [r for r in rows if r["part"] == "mean"]
    assert [float(r["loss"]) for r in means] == pytest.approx([r.loss.value for r in exhibit.rows])
    assert [float(r["low"]) for r in means] == pytest.approx([r.loss.low for r in exhibit.rows])
    assert [float(r["training_flops"]) for r in means] == pytest.approx(
        [r.training_flops for r in exhibit.rows]
    )
    assert [float(r["loss"]) for r in rows if r["part"] == "run"] == pytest.approx(
        [s.loss for s in runs]
    )
    assert {r["model"]: float(r["loss"]) for r in rows if r["part"] == "reference"} == {
        "unigram": 9.0,
        "bigram": 2.3,
    }
    curve = [r for r in rows if r["part"] == "line" and r["model"] == "ebt"]
    law = exhibit.rate.fits[0].law
    assert [float(r["loss"]) for r in curve] == pytest.approx(
        [law.predict(float(r["x"])) for r in curve]
    )
    assert all(float(r["low"]) <= float(r["high"]) for r in curve)


def test_scaling_panels_compare_at_equal_tokens_flops_and_time():
    exhibit, _ = scaling_exhibit_of(5)
    axes = (drawing := scaling_figure(exhibit)).figure.axes
    assert [a.get_title() for a in axes] == [
        "at equal tokens (1 G)",
        "at equal FLOPs",
        "at equal time",
    ]
    assert axes[0].get_xlabel() == "non-embedding parameters"
    assert axes[2].get_xlabel() in ("training time (s)", "training time (ms)")
    assert all(a.get_xscale() == a.get_yscale() == "log" for a in axes)
    low, high = axes[0].get_ylim()
    assert low < 2.3 < high < 9.0
    assert "Off the axis: unigram 9.00" in written_text(drawing)
    assert exhibit.rate.verdict.text in written_text(drawing)


def test_too_few_points_get_straight_lines_with_the_rate_s_own_slopes():
    exhibit, runs = scaling_exhibit_of(3)
    drawing = scaling_figure(replace(exhibit, runs=tuple(runs)))
    slope = {}
    for name in ("ebt", "transformer++"):
        ends = [r for r in drawing.data if r["part"] == "line" and r["model"] == name]
        assert len(ends) == 2
        slope[name] = log(ends[0]["loss"] / ends[1]["loss"]) / log(ends[1]["x"] / ends[0]["x"])
    assert slope["ebt"] / slope["transformer++"] - 1 == pytest.approx(exhibit.rate.apparent.value)
    assert any("apparent slope" in label for label in labels(drawing))
    assert "3 points for 3 parameters" in written_text(drawing)


def test_a_scaling_section_without_a_rate_draws_points_and_says_why():
    exhibit, _ = scaling_exhibit_of(3)
    only = tuple(r for r in exhibit.rows if r.adapter == "transformer++")
    drawing = scaling_figure(replace(exhibit, rows=only, rate=None, no_rate="ebt has no points"))
    assert "No rate: ebt has no points." in written_text(drawing)
    assert not [r for r in drawing.data if r["part"] == "line"]


def test_thinking_csv_is_the_exhibit_in_order_of_distance(tmp_path):
    exhibit = thinking_exhibit_of(("docs", "dyck"))
    (drawing,) = thinking_figures(exhibit)
    files = write_figure(drawing, tmp_path)
    assert_files(files)
    rows = read(files.csv)
    assert [float(r["gain"]) for r in rows] == pytest.approx([r.gain for r in exhibit.rows])
    assert [float(r["gain_low"]) if r["gain_low"] else None for r in rows] == pytest.approx(
        [r.gain_interval and r.gain_interval[0] for r in exhibit.rows]
    )
    assert [float(r["seconds"]) for r in rows] == pytest.approx([r.seconds for r in exhibit.rows])
    grid = drawing.figure.axes
    assert [a.get_title() for a in grid[:2]] == ["docs", "dyck"]
    assert [a.get_xlabel() for a in grid[::2]] == [
        "NFE per token",
        "FLOPs per token",
        "time per token (µs)",
    ]
    assert "transformer++: one pass, cannot think (flat)" in labels(drawing)


def test_a_ruinous_gain_is_cut_off_and_marked():
    ordinary, ruined = (
        thinking_figures(thinking_exhibit_of(("docs",), worst=w))[0] for w in (-0.02, -0.95)
    )
    assert "cut off" not in written_text(ordinary)
    assert "are cut off" in written_text(ruined)
    axes = ruined.figure.axes[0]
    assert axes.get_ylim()[0] > -20
    assert "−95" in [text.get_text() for text in axes.texts]
    assert -0.95 in [row["gain"] for row in ruined.data]
    assert gain_floor([2.0, -3.0, 5.0]) is None


def test_many_sets_go_on_several_figures_with_one_gain_axis():
    drawings = thinking_figures(thinking_exhibit_of(tuple("abcde")))
    assert [d.name for d in drawings] == ["thinking-1", "thinking-2"]
    assert len(drawings[0].figure.axes) == 12
    assert drawings[0].figure.axes[0].get_ylim() == drawings[1].figure.axes[0].get_ylim()


def test_redrawing_gives_the_same_bytes(tmp_path, monkeypatch):
    def draw(folder: Path) -> list[bytes]:
        exhibit, runs = scaling_exhibit_of(5)
        files = write_figure(scaling_figure(replace(exhibit, runs=tuple(runs))), folder)
        return [path.read_bytes() for path in (files.png, files.pdf, files.csv)]

    first = draw(tmp_path / "one")
    # Neither the day nor the user's own settings may change a figure.
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 20)
    monkeypatch.setitem(matplotlib.rcParams, "savefig.dpi", 50)
    same = [a == b for a, b in zip(draw(tmp_path / "two"), first, strict=True)]
    assert same == [True] * 3


def test_a_family_has_one_colour_everywhere(tmp_path):
    assert family_color("ebt") == FAMILY_COLORS["ebt"]
    assert len({*FAMILY_COLORS.values()}) == len(FAMILY_COLORS)
    # A name of the user's own does not change the colour; two of one family differ otherwise.
    two = marks([("mine", "ebt"), ("theirs", "ebt")])
    assert two["mine"].color == two["theirs"].color == FAMILY_COLORS["ebt"]
    assert (two["mine"].line, two["mine"].filled) != (two["theirs"].line, two["theirs"].filled)
    # Where a family is alone, three or more of it are told apart by colour.
    alone = marks([(name, "ebt") for name in "abcde"])
    assert len({mark.color for mark in alone.values()}) == 5
    assert alone["a"].color == FAMILY_COLORS["ebt"]
    beside = marks([*((name, "ebt") for name in "abcde"), ("other", "dit")])
    assert len({beside[name].color for name in "abcde"}) == 1
    assert family_color("another") == family_color("another")
    assert family_color("another") not in FAMILY_COLORS.values()
    exhibit, _ = scaling_exhibit_of(3, adapter="my-ebt")
    figures = [
        scaling_figure(exhibit),
        denoising_figure(denoising_exhibit_of()),
        *thinking_figures(thinking_exhibit_of(("docs",))),
    ]
    for drawing in figures:
        drawn = {to_hex(line.get_color()) for a in drawing.figure.axes for line in a.lines}
        assert FAMILY_COLORS["ebt"] in drawn
        others = set(FAMILY_COLORS.values()) - {FAMILY_COLORS["ebt"]}
        assert len(drawn & others) == 1


def test_intervals_that_dwarf_the_values_do_not_set_the_axis():
    assert span([1.0, 2.0], [0.5, 2.5]) == span([0.5, 2.5], [])
    wide = span([1.0, 2.0], [-50.0, 60.0])
    assert wide.clipped
    assert (wide.low, wide.high) == (0.0, 3.0)


def test_nothing_is_drawn_from_nothing():
    empty, _ = scaling_exhibit_of(3)
    assert scaling_figure(replace(empty, rows=(), rate=None)) is None
    assert thinking_figures(replace(thinking_exhibit_of(("a",)), rows=(), shifts=())) == []
    nothing = replace(denoising_exhibit_of(), rows=())
    assert denoising_figure(nothing) is None
    assert example_figures(nothing) == []


def test_an_empty_results_folder_says_how_to_make_each_figure(tmp_path, capsys):
    suite = suite_of(TEXT, tmp_path)
    write_figures([suite], tmp_path / "results", lambda _: tmp_path / "out", as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("Sizes: not drawn, 4 of 4 evaluations missing: ")
    assert "text/transformer++ size=a seed 0: validation on builtin/docs" in lines[0]
    assert lines[1].endswith(f"run: harness run {suite.path}")
    assert not (tmp_path / "out").exists()
    write_figures([suite], tmp_path / "results", lambda _: tmp_path / "out", as_json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == []
    assert "Thinking: not drawn" in captured.err


def test_what_is_there_is_drawn_and_what_is_missing_named(tmp_path, capsys):
    suite = suite_of(TEXT, tmp_path)
    for run in suite.runs:
        if run.adapter_label == "transformer++" or run.labels["size"] == "a":
            write_run(run, tmp_path / "results", losses)
    write_figures([suite], tmp_path / "results", lambda _: tmp_path / "out", as_json=True)
    captured = capsys.readouterr()
    (figure,) = json.loads(captured.out)
    assert set(figure) == {"suite", "figure", "title", "png", "pdf", "csv"}
    assert figure["figure"] == "scaling-parameters"
    rows = read(Path(figure["csv"]))
    assert [float(r["loss"]) for r in rows if r["part"] == "mean"] == [3.0, 2.5, 3.0]
    note = "1 of 4 evaluations missing: text/ebt size=b seed 0: validation on builtin/docs"
    assert note in captured.err
    assert "Thinking: not drawn" in captured.err


def test_sections_of_one_kind_do_not_overwrite_each_other(tmp_path):
    again = TEXT[TEXT.index("  - {kind: scaling") : TEXT.index("  - {kind: thinking, t")]
    suite = suite_of(TEXT + again, tmp_path)
    for run in suite.runs:
        write_run(run, tmp_path / "results", losses)
    frame = load_frame(suite, tmp_path / "results")
    found = [section_drawings(each) for each in gather(suite, frame)]
    names = [drawing.name for drawings in found for drawing in drawings]
    assert names == ["scaling-parameters", "scaling-parameters-text"]
