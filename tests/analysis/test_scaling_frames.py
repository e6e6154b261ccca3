"""Scaling by losses of next frames, against laws planted in records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from harness.analysis.exhibits.gather import gather
from harness.analysis.exhibits.scaling import ScalingExhibit
from harness.analysis.figures.scaling import scaling_figure
from harness.analysis.frame import load_frame
from harness.analysis.paper.reading import load_paper
from harness.analysis.tables.scaling import losses_table, rate_table
from harness.planning.budget import axis_value
from harness.planning.planned import PlannedRun
from harness.records import Measurement
from tests.analysis.frames_factory import TAGS, VIDEO, suite_of, words
from tests.analysis.records_factory import measured, write_suite

WIDTHS = f"""{VIDEO}    axes:
AXIS
    seeds: [0, 1, 2]
    evaluations:
      validation: {{kind: next_frame, data: builtin/moving-digits}}
report:
  - {{kind: scaling, title: Frames, experiment: video, x: XAXIS, evaluation: validation,
     baseline: transformer++, candidate: ebt, paper: [Fig 9]}}
"""
EXPONENTS = {"transformer++": 0.25, "ebt": 0.4}
SIX_WIDTHS = "      width: {path: config.width, values: [8, 16, 32, 64, 128, 256]}"


def scaled(
    folder: Path,
    x: str,
    axis: str,
    law: Mapping[str, float],
    *,
    instead: Mapping[str, float | None] = MappingProxyType({}),
) -> ScalingExhibit:
    """Losses 0.004 + 0.02 (x / smallest)^-a with 0.5 % of scatter by seed.

    `instead` are other losses of runs by name, or none.
    """
    suite = suite_of(WIDTHS.replace("AXIS", axis, 1).replace("XAXIS", x), folder)
    xs = {run.run_id: axis_value(run, x) for run in suite.runs}  # type: ignore[arg-type]
    smallest = min(value for value in xs.values() if value is not None)
    drawn = np.random.default_rng(1)

    def evaluator(run: PlannedRun, spec: Any, where: Path) -> list[Measurement]:
        at = xs[run.run_id]
        assert at is not None
        loss = 0.004 + 0.02 * (at / smallest) ** -law[run.adapter_label]
        facts = {"unit": "smooth L1", "tags": TAGS}
        scattered = loss * (1 + 0.005 * drawn.normal())
        return [
            measured(run, "loss", instead.get(run.name, scattered), **facts),
            measured(run, "copy_last_loss", 0.02, noise_seed=None, **facts),
        ]

    write_suite(suite, folder, evaluator)
    (gathered,) = gather(suite, load_frame(suite, folder), load_paper(folder))
    assert isinstance(gathered.exhibit, ScalingExhibit)
    return gathered.exhibit


def test_scaling_by_losses_of_frames_recovers_the_exponents(tmp_path: Path) -> None:
    exhibit = scaled(tmp_path, "width", SIX_WIDTHS, EXPONENTS)
    assert exhibit.rate is not None
    for fit, name in zip(exhibit.rate.fits, ("ebt", "transformer++"), strict=True):
        assert fit.law is not None
        assert fit.law.exponent == pytest.approx(EXPONENTS[name], rel=0.15)
        assert fit.law.floor == pytest.approx(0.004, abs=0.001)
    assert exhibit.rate.rho.value == pytest.approx(0.4 / 0.25 - 1, abs=0.2)
    assert exhibit.references == {"copy last frame": (0.02, None)}
    assert all(row.bits_per_byte is None and row.perplexity is None for row in exhibit.rows)
    assert {row.seen for row in exhibit.rows} == {80 * 5}, "rows of training, frames of a row"


def test_tables_of_frames_have_no_words_of_text(tmp_path: Path) -> None:
    exhibit = scaled(tmp_path, "width", SIX_WIDTHS, EXPONENTS)
    table = losses_table(exhibit, "width")
    written = table.markdown() + rate_table(exhibit, "rate").markdown()
    for word in ("nats", "perplexity", "token", "bits", "gram"):
        assert word not in written
    assert "copy last frame" in written
    assert "| paper, Fig 9" in written
    assert "+33.66 %" in written
    assert "Below the copy of the last frame by their whole interval" in written
    assert "lowest validation loss" in written
    assert table.data[-1] == {"model": "copy last frame", "loss": 0.02, "bits_per_byte": None}
    assert "frames" in table.data[0]
    drawing = scaling_figure(exhibit)
    assert drawing is not None
    drawn = " ".join(
        [words(drawing), *(a.get_ylabel() + a.get_title() for a in drawing.figure.axes)]
    )
    assert "smooth L1 per frame" in drawn
    assert "at equal frames (400)" in drawn
    assert "nats" not in drawn
    assert "token" not in drawn


@pytest.mark.parametrize("loss", [None, 0.0])
def test_a_run_that_no_curve_can_hold_is_left_out_of_a_scaling_section_by_name(
    tmp_path: Path, loss: float | None
) -> None:
    axis = "      width: {path: config.width, values: [8, 16, 32]}"
    name = "video/ebt width=16 seed 1"
    exhibit = scaled(tmp_path, "width", axis, EXPONENTS, instead={name: loss})
    seeds = {(row.adapter, row.label): row.seeds for row in exhibit.rows}
    assert seeds["ebt", "16"] == (0, 2)
    assert seeds["ebt", "8"] == (0, 1, 2)
    assert exhibit.rate is not None
    notes = " ".join(losses_table(exhibit, "width").notes)
    assert "Left out, for a loss that is 0 or not finite: ebt 16 seed 1." in notes


def test_data_of_video_are_predicted_frames(tmp_path: Path) -> None:
    axis = "      steps: {path: budget.steps, values: [10, 40, 160]}"
    exhibit = scaled(tmp_path, "data", axis, EXPONENTS)
    xs = [row.x for row in exhibit.rows if row.adapter == "ebt"]
    assert xs == [steps * 8 * 5 for steps in (10, 40, 160)]
    assert "along training frames" in rate_table(exhibit, "rate").title
    drawing = scaling_figure(exhibit)
    assert drawing is not None
    assert drawing.figure.axes[0].get_xlabel() == "training frames"
