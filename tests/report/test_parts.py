"""Parts of the report by themselves: curves of logs, pictures, and suites drawn side by side."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from harness.analysis.exhibits.suites import suite_exhibits
from harness.analysis.report.curves import training_curve
from harness.analysis.report.details import COLUMNS, Detail, run_details
from harness.analysis.report.drawn import drawn_suites
from harness.analysis.report.pictures import Picture, fitted
from harness.analysis.report.run_rows import run_rows
from harness.analysis.report.runs import reported_runs
from harness.analysis.tables.sections import section_tables
from harness.errors import HarnessError
from harness.planning.planned import Suite
from harness.records import RunFolder
from tests.report.written import TEXT, UNTRAINED, suite_of, write_records

# --- curves ----------------------------------------------------------------------------------


def log_of(folder: Path, losses: list[float], ending: str = "\n") -> Path:
    lines = [json.dumps({"step": i + 1, "loss": loss}) for i, loss in enumerate(losses)]
    path = folder / "train.jsonl"
    path.write_text("\n".join(lines) + ending)
    return path


def test_a_short_log_is_kept_whole(tmp_path):
    curve = training_curve(log_of(tmp_path, [3.0, 2.0, 1.0]), 60)
    assert (curve.steps, curve.values["loss"], curve.logged) == ((1, 2, 3), (3.0, 2.0, 1.0), 3)
    assert "energy_gap" not in curve.values


@pytest.mark.parametrize("length", [1, 2, 59, 60, 61, 1000])
def test_a_log_is_thinned_evenly_with_both_ends(tmp_path, length):
    curve = training_curve(log_of(tmp_path, [float(i) for i in range(length)]), 60)
    assert len(curve.steps) == min(length, 60)
    assert (curve.steps[0], curve.steps[-1], curve.logged) == (1, length, length)
    gaps = {b - a for a, b in zip(curve.steps, curve.steps[1:], strict=False)}
    assert not gaps or max(gaps) - min(gaps) <= 1
    thinner = curve.thinned(8)
    assert len(thinner.steps) == min(length, 8)
    assert (thinner.steps[0], thinner.steps[-1], thinner.logged) == (1, length, length)


def test_what_is_not_finite_is_missing(tmp_path):
    curve = training_curve(log_of(tmp_path, [1.0, float("nan"), float("inf")]), 60)
    assert curve.values["loss"] == (1.0, None, None)
    assert curve.last("loss") is None


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path):
    path = log_of(tmp_path, [3.0, 2.0], '\n{"step": 3, "lo')
    assert training_curve(path, 60).steps == (1, 2)
    whole = log_of(tmp_path, [3.0, 2.0], "")
    assert training_curve(whole, 60).steps == (1, 2)


def test_a_damaged_line_is_one_error_that_names_it(tmp_path):
    path = log_of(tmp_path, [3.0, 2.0, 1.0])
    path.write_text(path.read_text().replace('"loss": 2.0}', '"loss'))
    with pytest.raises(HarnessError, match=r"train\.jsonl:2"):
        training_curve(path, 60)


def test_published_logs_are_compressed(tmp_path):
    plain = log_of(tmp_path, [3.0, 2.0])
    packed = tmp_path / "train.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert training_curve(packed, 60) == training_curve(plain, 60)
    packed.write_bytes(packed.read_bytes()[:-4])
    with pytest.raises(HarnessError, match=r"train\.jsonl\.gz"):
        training_curve(packed, 60)
    assert training_curve(tmp_path / "none.jsonl", 60) is None


# --- pictures --------------------------------------------------------------------------------


def picture(seed: int) -> Picture:
    """Noise, which takes much."""
    side = 200
    pixels = random.Random(seed).randbytes(3 * side * side)
    png = io.BytesIO()
    Image.frombytes("RGB", (side, side), pixels).quantize(64).save(png, "PNG")
    return Picture(f"p{seed}", "title", "alt", png.getvalue(), side, side, "")


def test_pictures_shrink_no_more_than_they_must():
    whole = [picture(seed) for seed in range(3)]
    total = sum(len(each.png) for each in whole)
    assert fitted(whole, total) == whole
    less = fitted(whole, total * 9 // 10)
    assert sum(len(each.png) for each in less) <= total * 9 // 10
    assert {Image.open(io.BytesIO(each.png)).size for each in less} == {(200, 200)}
    least = fitted(whole, 0)
    assert sum(len(each.png) for each in least) < total // 4
    assert [each.alt for each in least] == ["alt"] * 3


# --- suites side by side ---------------------------------------------------------------------


@pytest.fixture
def suites(tmp_path):
    found = [suite_of(TEXT, tmp_path, "a.yaml"), suite_of(UNTRAINED, tmp_path, "b.yaml")]
    write_records(found[0], tmp_path / "results")
    return found


def test_exhibits_of_another_process_are_those_of_this_one(suites, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.analysis.report.drawn._cores", lambda: 2)
    drawn = drawn_suites(suites, tmp_path / "results")
    assert [each.shown.suite.name for each in drawn] == ["hostile", "untrained"]
    for each, suite in zip(drawn, suites, strict=True):
        here = suite_exhibits(suite, tmp_path / "results")
        tables = [
            [t.markdown() for g in s.gathered for t in section_tables(g)]
            for s in (each.shown, here)
        ]
        assert tables[0] == tables[1]
        assert all(
            len(row) == len(t.header)
            for g in each.shown.gathered
            for t in section_tables(g)
            for row in t.rows
        )


def test_an_error_of_another_process_is_an_error_here(suites, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.analysis.report.drawn._cores", lambda: 2)
    run = suites[0].runs[0]
    folder = RunFolder(tmp_path / "results", run.run_id)
    folder.evaluation(run.evaluations[0].eval_id).measurements.write_text("no JSON\n{}\n")
    with pytest.raises(HarnessError, match="not valid JSON"):
        drawn_suites(suites, tmp_path / "results")


def test_a_process_that_is_killed_is_one_error(suites, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.analysis.report.drawn._cores", lambda: 2)
    monkeypatch.setattr("harness.analysis.report.drawn.suite_exhibits", _killed)
    with pytest.raises(HarnessError, match="ended unexpectedly"):
        drawn_suites(suites, tmp_path / "results")


def _killed(suite: Suite, results: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# --- rows of runs ----------------------------------------------------------------------------


def test_a_runs_loss_is_as_trained_and_over_noise_seeds(suites, tmp_path):
    shown = [suite_exhibits(suites[0], tmp_path / "results")]
    run = reported_runs(shown, tmp_path / "results", curve_points=2)[0]
    key = run.run_id, next(iter(run.evaluations))

    def loss(*measured: tuple[str, float | None, int]) -> str:
        rows = [
            [{"metric": m, "value": v, "trained": t}.get(name) for name in COLUMNS]
            for m, v, t in measured
        ]
        return run_rows([run], {key: rows})[0].loss.text

    assert loss(("loss", 9.0, 0), ("psnr", 8.0, 1), ("loss", 2.0, 1), ("loss", 3.0, 1)) == "2.5000"
    assert loss(("loss", 9.0, 0)) == ""
    assert loss(("loss", None, 1), ("loss", 3.0, 1)) == "", "missing stays missing"


# --- numbers in the page ---------------------------------------------------------------------


def test_what_training_took_is_exact_where_it_is_whole(suites, tmp_path):
    shown = [suite_exhibits(suites[0], tmp_path / "results")]
    run = reported_runs(shown, tmp_path / "results", curve_points=2)[0]
    took = {
        "flops": 88798003200.0,
        "flops_vocabulary": 2.0**70,
        "steps": 900,
        "seconds": 20.03631234,
        "mean_power": 1234567.8449,
        "device": "a-b",
        "lost": float("nan"),
        "absent": None,
    }
    record = replace(run.record, training=took)
    details = run_details([replace(run, record=record)], {}, run.exhibits, Detail(2, None))
    (found,) = json.loads(json.dumps(details))["runs"].values()
    assert found["training"] == {
        "flops": 88798003200,
        "flops_vocabulary": 2.0**70,
        "steps": 900,
        "seconds": 20.0363,
        "mean_power": 1234567.8,
        "device": "a-b",
        "lost": None,
    }
    assert isinstance(found["training"]["flops"], int)
