"""Probe sections of records whose numbers are known by construction."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analysis import resampling
from harness.analysis.exhibits import probe as exhibits
from harness.analysis.exhibits.gather import gather
from harness.analysis.exhibits.probe import ANSWERS, ProbeExhibit, ProbeSet
from harness.analysis.figures.page import write_figure
from harness.analysis.figures.probe import probe_figure
from harness.analysis.figures.sections import section_drawings
from harness.analysis.frame import load_frame
from harness.analysis.tables.probe import probe_tables
from harness.analysis.tables.sections import section_tables
from harness.errors import HarnessError
from harness.evals import probe as evaluator
from harness.planning.planned import PlannedRun, Suite
from harness.planning.suite import load_suite
from harness.records import Measurement
from tests.analysis.drawn import FEW_SEEDS
from tests.analysis.records_factory import measured, write_run, write_suite

SUITE = """
suite: probed
experiments:
  image:
    base:
      task: {kind: denoising, data: builtin/digits}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
      config: {depth: 1, width: 8, heads: 1, patch_size: 4}
    adapters:
      ebt: {adapter: ebt_image}
      dit: {adapter: dit_image}
    seeds: [0, 1, 2]
    evaluations:
      digits: {kind: probe, data: builtin/digits}
report:
  - {kind: probe, experiment: image, evaluation: digits, baseline: dit}
"""
IMAGES = 400
#: How many of the images each has right: model -> (top-1, top-5); two more with each seed.
RIGHT = {"ebt": (240, 320), "dit": (160, 318), "pixels_": (200, 300), "majority_": (40, 200)}

Change = Callable[[dict[str, Any]], None]


def suite_of(folder: Path, text: str = SUITE) -> Suite:
    path = folder / "suite.yaml"
    path.write_text(text)
    return load_suite(path)


def planted(
    *,
    classes: int = 10,
    keep: bool = True,
    pixels: bool = True,
    rows: int = 0,
    rows_of_ebt: int = 0,
    **tags: Any,
) -> Callable[[PlannedRun, Any, Path], list[Measurement]]:
    """Right answers lie on the first images, so that those of two models agree where they can."""

    def evaluate(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
        first = rows * run.spec.seed + rows_of_ebt * (run.adapter_label == "ebt")
        kept: dict[str, Any] = {"rows": np.arange(IMAGES) + first}
        found = []
        for prefix in ("", "pixels_", "majority_"):
            for top, count in zip((1, 5), RIGHT[prefix or run.adapter_label], strict=True):
                right = np.arange(IMAGES) < count + (0 if prefix else 2 * run.spec.seed)
                missing = prefix == "pixels_" and not pixels
                kept |= {} if missing else {f"{prefix}top{top}": right}
                if classes > top:
                    mean = None if missing else float(right.mean())
                    found.append(_measured(run, f"{prefix}top{top}", mean, classes, tags))
            if prefix != "majority_" and (pixels or not prefix):
                found.append(_measured(run, f"{prefix}cross_entropy", 1.5, classes, tags))
        if keep:
            np.savez_compressed(folder / ANSWERS, **kept)
        return found

    return evaluate


def _measured(
    run: PlannedRun, name: str, value: float | None, classes: int, tags: dict[str, Any]
) -> Measurement:
    fitted = {
        "data": "builtin/digits",
        "split": "validation",
        "classes": classes,
        "train_images": 1530,
        "features": 8,
        "l2": 10.0 ** -(1 + run.spec.seed),
        "l2_at_edge": False,
        "converged": True,
    }
    cost = {"flops": 1e6, "seconds": 2e-3, "fit_seconds": 1.5}
    return measured(
        run,
        name,
        value,
        n=IMAGES,
        unit="nats" if "entropy" in name else "fraction",
        higher_is_better="entropy" not in name,
        noise_seed=None,
        tags=fitted | tags,
        cost={} if name.startswith(("pixels", "majority")) else cost,
    )


def exhibit_of(folder: Path, text: str = SUITE, **given: Any) -> ProbeExhibit:
    suite = suite_of(folder, text)
    write_suite(suite, folder, planted(**given))
    (gathered,) = gather(suite, load_frame(suite, folder))
    assert isinstance(gathered.exhibit, ProbeExhibit)
    return gathered.exhibit


def the_set(exhibit: ProbeExhibit) -> ProbeSet:
    (one,) = exhibit.sets
    return one


def text_of(exhibit: ProbeExhibit) -> str:
    return "\n".join(table.markdown() for table in probe_tables(exhibit, "probe"))


def test_accuracies_are_means_over_seeds_with_images_drawn_again(tmp_path: Path) -> None:
    one = the_set(exhibit_of(tmp_path))
    dit, ebt = one.scores
    assert (dit.model, ebt.model) == ("dit", "ebt"), "the baseline first"
    assert ebt.top1.value == pytest.approx(242 / IMAGES)
    assert ebt.top5 is not None
    assert ebt.top5.value == pytest.approx(322 / IMAGES)
    assert ebt.top1.interval is not None
    low, high = ebt.top1.interval
    # Images alone: the normal interval of a share; the seeds, which differ little, widen it.
    share = 242 / IMAGES
    half = 1.96 * np.sqrt(share * (1 - share) / IMAGES)
    assert half < (high - low) / 2 < 1.5 * half
    assert (ebt.width, ebt.l2, ebt.fit_seconds) == (8, (0.1, 0.01, 0.001), 1.5)
    assert one.pixels.top1 is not None
    assert one.pixels.top1.value == 0.5
    assert one.pixels.top1.interval is not None
    assert one.majority.top5 is not None
    assert one.majority.top5.value == 0.5
    assert [one.chance(m) for m in one.measures] == [0.1, 0.5]


def test_models_are_compared_by_paired_images(tmp_path: Path) -> None:
    """Top-5 differs on two images, which no unpaired interval would decide."""
    dit, ebt = the_set(exhibit_of(tmp_path)).scores
    assert dit.top1.comparison is None
    assert ebt.top5 is not None
    for accuracy, difference in ((ebt.top1, 80), (ebt.top5, 2)):
        comparison = accuracy.comparison
        assert comparison is not None
        assert comparison.difference.value == pytest.approx(difference / IMAGES)
        assert comparison.difference.by_document
    assert ebt.top1.comparison is not None
    assert ebt.top1.comparison.verdict == "better"
    assert ebt.top5.comparison is not None
    assert ebt.top5.comparison.verdict == "undecided"
    interval = ebt.top5.comparison.difference.interval
    assert interval is not None
    assert interval[1] - interval[0] < 0.04


def test_the_table_says_numbers_references_and_verdicts(tmp_path: Path) -> None:
    text = text_of(exhibit_of(tmp_path))
    assert "**60.5 [" in text, "EBT's top-1 is best, and the difference decides it"
    for row in ("| pixels ", "| commonest classes ", "| chance "):
        assert row in text
    assert "+20.0 [" in text
    assert "points" in text
    assert "| undecided |" in text
    assert "10 classes, 1,530 images to fit and 400 to test" in text
    assert "0.001–0.1" in text
    assert "DiT 0.31 / 1.36 %" in text
    assert "widen `l2`" not in text
    assert "Not fitted to the end" not in text


def test_what_limits_the_numbers_is_said(tmp_path: Path) -> None:
    exhibit = exhibit_of(tmp_path, pixels=False, l2_at_edge=True, converged=False)
    text = text_of(exhibit)
    assert "smallest or largest tried: dit (3 of 3), ebt (3 of 3)" in text
    assert "Not fitted to the end: dit (3 of 3), ebt (3 of 3)" in text
    assert "too large to fit" in text
    assert "| pixels " not in text
    drawing = probe_figure(exhibit)
    assert drawing is not None
    assert {row["model"] for row in drawing.data} == {"dit", "ebt", "chance"}


def test_the_pixels_penalty_and_fit_are_judged_too(tmp_path: Path) -> None:
    """They are a model's rival: a grid too narrow for them flatters it."""

    def evaluate(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
        found = planted()(run, spec, folder)
        limits = {"l2_at_edge": True, "converged": False}
        return [
            replace(m, tags={**m.tags, **limits}) if m.name.startswith("pixels_") else m
            for m in found
        ]

    suite = suite_of(tmp_path)
    write_suite(suite, tmp_path, evaluate)
    (gathered,) = gather(suite, load_frame(suite, tmp_path))
    assert isinstance(gathered.exhibit, ProbeExhibit)
    text = text_of(gathered.exhibit)
    assert "smallest or largest tried: pixels. Others" in text
    assert "Not fitted to the end: pixels. More" in text
    both = replace(the_set(gathered.exhibit), data="other")
    several = replace(gathered.exhibit, sets=(*gathered.exhibit.sets, both))
    assert "tried: pixels of builtin/digits, pixels of other. Others" in text_of(several)


@pytest.mark.parametrize(("seeds", "said"), FEW_SEEDS)
def test_what_few_seeds_leave_open_is_said(
    seeds: list[int], said: str | None, tmp_path: Path
) -> None:
    """Intervals of two seeds hold another training, stretched to Student's t; those of one not."""
    exhibit = exhibit_of(tmp_path, SUITE.replace("[0, 1, 2]", str(seeds)))
    drawing = probe_figure(exhibit)
    assert drawing is not None
    written = " ".join(text.get_text().replace("\n", " ") for text in drawing.figure.texts)
    for text in (text_of(exhibit), written):
        assert ("exploratory" in text) == (said is not None)
        assert said is None or said in text
        assert ("Student's t)" in text) == (len(seeds) > 1)
        assert "of these trained models" not in text


def test_no_interval_reaches_beyond_what_is_possible(tmp_path: Path) -> None:
    """Two seeds that differ much: Student's t alone would be beyond 100 points."""

    def evaluate(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
        far = 0.45 if run.adapter_label == "ebt" else 0.0
        value = 0.5 + far * (2 * run.spec.seed - 1)
        return [_measured(run, name, value, 10, {}) for name in ("top1", "top5")]

    suite = suite_of(tmp_path, SUITE.replace("[0, 1, 2]", "[0, 1]"))
    write_suite(suite, tmp_path, evaluate)
    (gathered,) = gather(suite, load_frame(suite, tmp_path))
    assert isinstance(gathered.exhibit, ProbeExhibit)
    top1 = the_set(gathered.exhibit).scores[1].top1
    assert top1.interval == (0.0, 1.0)
    assert top1.comparison is not None
    assert top1.comparison.difference.interval == (-1.0, 1.0)
    assert "[−100.0, +100.0] points" in text_of(gathered.exhibit)


def test_five_classes_have_no_top_5(tmp_path: Path) -> None:
    exhibit = exhibit_of(tmp_path, classes=5)
    one = the_set(exhibit)
    assert [m.name for m in one.measures] == ["top-1"]
    assert all(score.top5 is None for score in one.scores)
    assert one.majority.top5 is None
    drawing = probe_figure(exhibit)
    assert drawing is not None
    assert len(drawing.figure.axes) == 1


def test_without_a_baseline_nothing_is_compared(tmp_path: Path) -> None:
    exhibit = exhibit_of(tmp_path, SUITE.replace(", baseline: dit", ""))
    assert len(probe_tables(exhibit, "probe")) == 1
    assert all(score.top1.comparison is None for score in exhibit.scores)
    drawing = probe_figure(exhibit, missing="1 of 6 evaluations missing")
    assert drawing is not None
    assert any("1 of 6" in text.get_text() for text in drawing.figure.texts)


def test_answers_that_are_not_kept_leave_the_seeds(tmp_path: Path) -> None:
    ebt = the_set(exhibit_of(tmp_path, keep=False)).scores[1]
    assert ebt.top1.interval is not None
    assert ebt.top1.interval[1] - ebt.top1.interval[0] == pytest.approx(
        2 * 4.303 * 0.005 / 3**0.5, rel=1e-3
    )
    assert ebt.top1.comparison is not None
    assert not ebt.top1.comparison.difference.by_document


def test_runs_of_other_images_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="probed on different images"):
        exhibit_of(tmp_path, rows=1)


def test_models_that_did_without_other_images_are_not_paired(tmp_path: Path) -> None:
    """Images that are trained on differ with the data that a model was trained on."""
    ebt = the_set(exhibit_of(tmp_path, rows_of_ebt=1)).scores[1]
    assert ebt.top1.comparison is not None
    assert not ebt.top1.comparison.difference.by_document


def test_many_images_are_drawn_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = suite_of(tmp_path)
    write_suite(suite, tmp_path, planted())
    frame = load_frame(suite, tmp_path)
    whole, grouped = [], []
    for size, found in ((IMAGES, whole), (50, grouped)):
        monkeypatch.setattr(resampling, "GROUPS", size)
        (gathered,) = gather(suite, frame)
        assert isinstance(gathered.exhibit, ProbeExhibit)
        found += [s.top1 for s in the_set(gathered.exhibit).scores]
    for one, other in zip(whole, grouped, strict=True):
        assert one.value == other.value
        assert one.interval is not None
        assert other.interval is not None
        assert other.interval == pytest.approx(one.interval, abs=0.02)


def test_files_say_the_same_as_the_exhibit(tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    write_suite(suite, tmp_path, planted())
    (gathered,) = gather(suite, load_frame(suite, tmp_path))
    table, differences = section_tables(gathered)
    assert (table.name, differences.name) == ("probe", "probe-differences")
    rows = list(csv.DictReader(table.csv().splitlines()))
    assert [row["model"] for row in rows] == [
        "dit",
        "ebt",
        "pixels",
        "commonest classes",
        "chance",
    ]
    assert float(rows[1]["top1"]) == pytest.approx(242 / IMAGES)
    json.dumps(list(table.data), allow_nan=False)
    (drawing,) = section_drawings(gathered)
    written = write_figure(drawing, tmp_path / "out")
    assert written.png.stat().st_size > 10_000
    drawn = list(csv.DictReader(written.csv.read_text().splitlines()))
    assert {row["accuracy"] for row in drawn} == {"top-1", "top-5"}
    assert {row["verdict"] for row in drawn if row["model"] == "ebt"} == {"better", "undecided"}


def test_missing_runs_and_none_at_all(tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    (gathered,) = gather(suite, load_frame(suite, tmp_path))
    assert section_drawings(gathered) == []
    assert [table.rows for table in section_tables(gathered)] == [[]]
    for run in suite.runs:
        if run.adapter_label == "ebt":
            write_run(run, tmp_path, planted())
    (gathered,) = gather(suite, load_frame(suite, tmp_path))
    assert isinstance(gathered.exhibit, ProbeExhibit)
    assert [score.model for score in gathered.exhibit.scores] == ["ebt"]
    assert "3 of 6 evaluations missing" in gathered.missing.text
    assert len(section_tables(gathered)) == 1, "there is no baseline to compare with"


def test_the_evaluator_writes_what_is_read_here() -> None:
    assert evaluator.ANSWERS == ANSWERS
    assert (evaluator.PIXELS, evaluator.MAJORITY) == (exhibits.PIXELS, exhibits.MAJORITY)
