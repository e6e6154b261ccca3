"""Next-frame sections against what was planted in records."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analysis.exhibits.gather import gather
from harness.analysis.exhibits.next_frame import NextFrameExhibit
from harness.analysis.figures.frame_strips import frame_strips
from harness.analysis.figures.next_frame import next_frame_figure
from harness.analysis.frame import load_frame
from harness.analysis.tables.next_frame import loss_form, next_frame_tables
from harness.errors import HarnessError
from harness.planning.planned import PlannedRun
from harness.records import Measurement
from tests.analysis.drawn import FEW_SEEDS
from tests.analysis.frames_factory import (
    COPIED,
    SUITE,
    exhibit_of,
    plain,
    record,
    row_of,
    suite_of,
    words,
)
from tests.analysis.records_factory import write_suite

# --- numbers ---------------------------------------------------------------------------------


def test_means_gain_and_difference_are_those_planted(tmp_path: Path) -> None:
    exhibit = exhibit_of(tmp_path, plain)
    ebt, plus = row_of(exhibit, "ebt"), row_of(exhibit, "transformer++")
    assert ebt.loss.value == pytest.approx(0.8 * COPIED.mean())
    assert ebt.mse == pytest.approx(1.6 * COPIED.mean())
    assert ebt.psnr_per_frame is not None
    assert ebt.psnr_per_frame.value == pytest.approx(30 - 80 * COPIED.mean())
    assert ebt.psnr == 19.0
    assert ebt.copied == pytest.approx(COPIED.mean())
    assert ebt.gain is not None
    assert ebt.gain.value == pytest.approx(0.2)
    assert (ebt.verdict, plus.verdict) == ("better", "better")
    assert (ebt.clips, ebt.n, ebt.seeds, ebt.noise_seeds) == (24, 360, 3, 2)
    assert (ebt.nfe, ebt.flops, ebt.seconds) == (2.0, 1e5, 2e-4)
    assert ebt.thinking == "2x1"
    assert plus.comparison is None
    assert ebt.comparison is not None
    assert ebt.comparison.baseline == "transformer++"
    assert ebt.comparison.loss.value == pytest.approx(-0.1 * COPIED.mean())
    assert ebt.comparison.psnr is not None
    assert ebt.comparison.psnr.value == pytest.approx(10 * COPIED.mean())
    # Clips differ ten times more than the models do; paired by clip that is decided all the same.
    assert ebt.loss.interval is not None
    assert plus.loss.interval is not None
    assert ebt.loss.interval[1] > plus.loss.interval[0]
    assert ebt.comparison.loss.by_document
    assert ebt.comparison.verdict == "better"


def test_the_interval_of_a_gain_is_the_bootstrap_s_over_clips(tmp_path: Path) -> None:
    scatter = np.random.default_rng(3).uniform(0.5, 1.4, 24)
    exhibit = exhibit_of(tmp_path, lambda run: COPIED * scatter, seeds=[0])
    gain = row_of(exhibit, "ebt").gain
    assert gain is not None
    drawn = np.random.default_rng(0).integers(24, size=(20_000, 24))
    ratios = 1 - (COPIED * scatter)[drawn].sum(1) / COPIED[drawn].sum(1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    assert gain.interval == pytest.approx((low, high), abs=0.1 * (high - low))


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.9, "better"), (1.1, "worse")], ids=["below", "above"]
)
def test_verdicts_follow_the_interval_of_the_gain(
    share: float, verdict: str, tmp_path: Path
) -> None:
    exhibit = exhibit_of(tmp_path, lambda run: COPIED * share * (1 + 0.01 * run.spec.seed))
    assert row_of(exhibit, "ebt").verdict == verdict


def test_clips_that_disagree_leave_it_undecided(tmp_path: Path) -> None:
    either = np.where(np.arange(24) % 2, 0.7, 1.3)
    exhibit = exhibit_of(tmp_path, lambda run: COPIED * either)
    assert row_of(exhibit, "ebt").verdict == "undecided"
    drawing = next_frame_figure(exhibit)
    assert drawing is not None
    assert "undecided against copying" in words(drawing)


def test_few_clips_of_one_seed_have_no_interval(tmp_path: Path) -> None:
    exhibit = exhibit_of(tmp_path, lambda run: plain(run)[:6], seeds=[0])
    row = row_of(exhibit, "ebt")
    assert row.loss.interval is None
    assert row.gain is not None
    assert row.gain.interval is None
    assert row.verdict == "undecided"
    values, differences = next_frame_tables(exhibit, "frames")
    assert "none with one seed" in " ".join(values.notes)
    assert differences.rows[0][3].text == "no interval"


def test_where_nothing_moves_a_gain_is_missing_and_copying_wins(tmp_path: Path) -> None:
    exhibit = exhibit_of(tmp_path, plain, copied=lambda run: np.zeros(24))
    row = row_of(exhibit, "ebt")
    assert row.gain is None
    assert row.verdict == "worse"
    (table, _) = next_frame_tables(exhibit, "frames")
    assert table.data[0]["gain"] is None


def test_a_loss_that_is_not_finite_has_no_row_and_is_named(tmp_path: Path) -> None:
    suite = suite_of(SUITE.replace("SEEDS", "[0, 1]"), tmp_path)

    def evaluator(run: PlannedRun, spec: Any, where: Path) -> list[Measurement]:
        found = record(run, where, plain(run), copied=COPIED, psnr=False, decoded=False)
        diverged = run.adapter_label == "ebt" and run.spec.seed == 1
        return [replace(m, value=None) if diverged and m.name == "loss" else m for m in found]

    write_suite(suite, tmp_path, evaluator)
    (gathered,) = gather(suite, load_frame(suite, tmp_path))
    assert isinstance(gathered.exhibit, NextFrameExhibit)
    assert [row.model for row in gathered.exhibit.rows] == ["transformer++"]
    (table,) = next_frame_tables(gathered.exhibit, gathered.stem)
    assert "not finite: ebt on builtin/moving-digits (validation)" in table.notes[0]
    drawing = next_frame_figure(gathered.exhibit)
    assert drawing is not None
    assert "Not shown, for a loss that is not finite: ebt" in words(drawing)


def test_losses_of_other_frames_are_not_compared(tmp_path: Path) -> None:
    def copied(run: PlannedRun) -> np.ndarray:
        return COPIED * (2 if run.adapter_label == "ebt" else 1)

    exhibit = exhibit_of(tmp_path, plain, copied=copied)
    assert all(row.comparison is None for row in exhibit.rows)
    losses = [row.loss for row in exhibit.references]
    assert losses == pytest.approx([COPIED.mean(), 2 * COPIED.mean()])
    assert len(next_frame_tables(exhibit, "frames")) == 1


# --- tables and figures ----------------------------------------------------------------------


def test_the_table_has_models_then_references(tmp_path: Path) -> None:
    exhibit = exhibit_of(tmp_path, plain, decoded=True)
    table, differences = next_frame_tables(exhibit, "frames")
    names = [row[0].text for row in table.rows]
    assert names == ["transformer++", "ebt", "copy last frame", "reconstruction"]
    loss = table.rows[1][1]
    assert loss.bold
    assert loss.text.startswith(f"{0.8 * COPIED.mean():.5f} [")
    assert [row[2].text for row in table.rows[2:]] == ["15.50", "31.00"]
    assert table.data[1]["loss"] == row_of(exhibit, "ebt").loss.value
    assert table.data[3]["psnr"] == 30.0
    notes = " ".join(table.notes)
    assert "smooth L1 (beta 1)" in notes
    assert "360 frames of 24 clips" in notes
    assert "checkpoint at the end of training" in notes
    assert "what the autoencoder allows" in notes
    assert differences.rows[0][3].text == "better"
    assert table.latex().count("& better &") == 2


def test_without_pixels_there_is_no_psnr_and_no_panel_of_it(tmp_path: Path) -> None:
    exhibit = exhibit_of(tmp_path, plain, psnr=False)
    table, _ = next_frame_tables(exhibit, "frames")
    assert all(row[2].text == row[3].text == "" for row in table.rows)
    assert "no autoencoder is named" in " ".join(table.notes)
    drawing = next_frame_figure(exhibit)
    assert drawing is not None
    assert len(drawing.figure.axes) == 1
    assert frame_strips(exhibit) == []


def test_the_figure_draws_every_number_it_lists(tmp_path: Path) -> None:
    exhibit = exhibit_of(tmp_path, plain, decoded=True)
    drawing = next_frame_figure(exhibit, missing="1 of 6 evaluations missing")
    assert drawing is not None
    loss, psnr = drawing.figure.axes
    assert [tick.get_text() for tick in loss.get_yticklabels()] == ["transformer++", "ebt"]
    at = {tuple(line.get_xdata()) for line in loss.lines} | {
        tuple(line.get_xdata()) for line in psnr.lines
    }
    for row in (row for row in drawing.data if row["model"] != "reconstruction"):
        value = float(str(row["value"]))
        assert (value,) in at or (value, value) in at, row["model"]
        low, high = loss.get_xlim() if "smooth" in str(row["panel"]) else psnr.get_xlim()
        assert low < value < high
    assert psnr.get_xlim()[1] < 31, "the ceiling is too far off to be drawn"
    assert "Off the axis: true latents, decoded, 31.00 dB" in words(drawing)
    assert "1 of 6 evaluations missing" in words(drawing)
    assert "ebt: better than copying, gain +20.0" in words(drawing)
    assert "better than transformer++" in words(drawing)


def test_strips_show_what_was_seen_what_came_and_each_prediction(tmp_path: Path) -> None:
    (drawing,) = frame_strips(exhibit_of(tmp_path, plain, examples=3))
    (axes,) = drawing.figure.axes
    assert len(axes.images) == 3 * (2 + 2 * 2)
    shown = [text.get_text().split("\n")[0] for text in axes.texts]
    assert shown == [
        "copy of the last frame",
        "true next frame",
        "transformer++",
        "its error",
        "ebt",
        "its error",
    ]
    greys = [float(np.asarray(image.get_array()).mean()) for image in axes.images[::3]]
    assert greys == pytest.approx([0, 0.5, 0.75, 0.75, 0.75, 0.75])
    assert {row["mse_of_levels"] for row in drawing.data} == {(0.25 * 255) ** 2}


def test_examples_are_spread_where_more_are_kept_than_shown(tmp_path: Path) -> None:
    (drawing,) = frame_strips(exhibit_of(tmp_path, plain, examples=16))
    shown = [row["row"] for row in drawing.data if row["model"] == "ebt"]
    assert shown == [0, 20, 40, 60, 80, 100, 120, 140], "every second of 16 rows, ten apart"
    assert "8 rows spread over builtin/moving-digits (validation)" in words(drawing)


def test_errors_are_of_what_is_shown_and_measured(tmp_path: Path) -> None:
    """A prediction beyond white is white, as PSNR takes it."""
    (drawing,) = frame_strips(exhibit_of(tmp_path, plain, examples=3, predicted=5.0))
    (axes,) = drawing.figure.axes
    greys = [float(np.asarray(image.get_array()).mean()) for image in axes.images[::3]]
    assert greys == pytest.approx([0, 0.5, 1, 0.5, 1, 0.5])


def test_a_model_of_other_rows_is_not_shown_beside_their_truth(tmp_path: Path) -> None:
    """Clips that are trained on are left out, which differ with the data of a model."""
    exhibit = exhibit_of(tmp_path, plain, examples=3)
    ebt = next(e for e in exhibit.examples if e.model == "ebt")
    kept = dict(np.load(ebt.path))
    np.savez(ebt.path, **kept | {"rows": kept["rows"] + 1})
    (drawing,) = frame_strips(exhibit)
    assert {row["model"] for row in drawing.data} == {"transformer++"}
    assert "Not shown, for examples of other rows: ebt." in words(drawing)


@pytest.mark.parametrize(("seeds", "said"), FEW_SEEDS)
def test_what_few_seeds_leave_open_is_said(
    seeds: list[int], said: str | None, tmp_path: Path
) -> None:
    exhibit = exhibit_of(tmp_path, plain, seeds=seeds)
    drawing = next_frame_figure(exhibit)
    assert drawing is not None
    tables = [" ".join(table.notes) for table in next_frame_tables(exhibit, "frames")]
    for text in (*tables, words(drawing)):
        assert ("exploratory" in text) == (said is not None)
        assert said is None or said in text
        assert "of these trained models" not in text


def test_no_interval_reaches_beyond_what_is_possible(tmp_path: Path) -> None:
    """A diverged second seed: no loss is below 0, no gain over 100 %, no PSNR below 0 dB."""

    def losses(run: PlannedRun) -> np.ndarray:
        return plain(run) * (1e5 if run.adapter_label == "ebt" and run.spec.seed else 1)

    exhibit = exhibit_of(tmp_path, losses, seeds=[0, 1])
    row = row_of(exhibit, "ebt")
    assert row.loss.interval is not None
    assert row.loss.interval[0] == 0
    assert row.psnr_per_frame is not None
    assert row.psnr_per_frame.interval is not None
    assert row.gain is not None
    assert row.gain.interval is not None
    assert row.gain.interval[1] == 1
    assert row.verdict == "undecided"
    written = next_frame_tables(exhibit, "frames")[0].rows[1][1].text
    assert re.fullmatch(r"\d{4} \[0, \d{5}\]", written), written


def test_losses_together_are_written_to_four_digits_of_the_smallest() -> None:
    form = loss_form([0.2, 0.012344, 0.0])
    assert form.write(0.012344, (0.012, 0.013)) == "0.01234 [0.01200, 0.01300]"
    assert form.write(0.2, None) == "0.20000"
    assert form.write(-0.0001, None, sign="+") == "−0.00010"
    assert form.write(1737.34997, (0.0, 15068.470619)) == "1737 [0, 15068]"
    assert form.write(1737.34997, None) == "1737.3"
    assert loss_form([0.0]).write(0.0, None) == "0.000"


def test_a_section_without_results_has_nothing_to_draw(tmp_path: Path) -> None:
    suite = suite_of(SUITE.replace("SEEDS", "[0]"), tmp_path)
    (gathered,) = gather(suite, load_frame(suite, tmp_path))
    assert isinstance(gathered.exhibit, NextFrameExhibit)
    assert next_frame_figure(gathered.exhibit) is None
    assert frame_strips(gathered.exhibit) == []
    (table,) = next_frame_tables(gathered.exhibit, gathered.stem)
    assert table.rows == []


def test_an_unknown_baseline_is_refused(tmp_path: Path) -> None:
    text = SUITE.replace("SEEDS", "[0]").replace("baseline: transformer++", "baseline: dit")
    with pytest.raises(HarnessError, match="no such baseline") as caught:
        suite_of(text, tmp_path)
    assert "transformer++" in (caught.value.allowed or ())
