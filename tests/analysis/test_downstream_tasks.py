"""Metrics of tasks in a downstream section, in units of their own and paired by document."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analysis.exhibits.pattern import patterns
from harness.analysis.figures.downstream import downstream_figure
from harness.analysis.tables.downstream import downstream_tables
from harness.planning.planned import PlannedRun
from harness.records import Measurement
from tests.analysis.downstream_factory import (
    DOCUMENTS,
    SUITE,
    exhibit_of,
    planted,
    suite_of,
)
from tests.analysis.records_factory import measured, write_suite

TASKS = SUITE.replace(
    "report:", "      dyck: {kind: lm_task, tasks: [harness_dyck]}\nreport:"
).replace("[questions, more]", "[dyck]")


def answered(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
    """EBT gets every fourth document right that the baseline gets wrong, and loses none."""
    if spec.kind == "likelihood":
        return planted()(run, spec, folder)
    right = np.arange(DOCUMENTS) % 4 < (2 if run.adapter_label == "ebt" else 1)
    array = right.astype(float)[None]
    np.savez_compressed(folder / "by_document.npz", acc=array, doc_ids=np.arange(DOCUMENTS))
    tags = {"data": "harness_dyck", "split": "test", "chance": 0.25}
    given: dict[str, Any] = {"n": DOCUMENTS, "unit": "fraction", "tags": tags}
    return [measured(run, "acc", float(right.mean()), higher_is_better=True, **given)]


def test_accuracies_are_paired_by_document_beside_chance(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, TASKS)
    write_suite(suite, tmp_path, answered)
    exhibit = exhibit_of(suite, tmp_path)
    row = next(r for r in exhibit.rows if r.measure.is_task)
    assert row.chance == 0.25
    score = row.of("ebt")
    assert score is not None
    assert score.comparison is not None
    assert (score.value, score.documents) == (0.5, DOCUMENTS)
    assert score.comparison.difference.value == pytest.approx(0.25)
    # One of four documents differs: resampled, a share of 1/4 with sd sqrt(3/16/40) = 0.068.
    low, high = score.comparison.difference.interval or (0.0, 0.0)
    assert low == pytest.approx(0.25 - 1.96 * 0.068, abs=0.03)
    assert high == pytest.approx(0.25 + 1.96 * 0.068, abs=0.03)
    assert row.best is not None
    assert row.best.model == "ebt"
    table = downstream_tables(exhibit, "d")[0]
    assert "chance" in table.header
    assert any("acc ↑" in cell.text for line in table.rows for cell in line)
    (pattern,) = patterns(exhibit)
    assert [(c.what, c.better) for c in pattern.counts] == [("tasks", 1)]
    drawing = downstream_figure(exhibit)
    assert drawing is not None
    assert [d["value"] for d in drawing.data if d["set"] == "dyck, acc"] == [25.0]


def test_per_cent_and_fractions_are_shown_alike(tmp_path: Path) -> None:
    """squadv2 counts f1 in per cent: 11.1 is 11.1 %, not a fraction above 1 and no 1110 points."""

    def counted(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
        found = answered(run, spec, folder)
        if spec.kind == "likelihood":
            return found
        right = np.load(folder / "by_document.npz")["acc"]
        np.savez_compressed(folder / "by_document.npz", acc=right, f1=20 * right, bleu=9 * right)
        (acc,) = found
        assert acc.value is not None
        return [
            acc,
            replace(acc, name="f1", unit="%", value=20 * acc.value),
            replace(acc, name="bleu", unit="score", value=9 * acc.value),
        ]

    suite = suite_of(tmp_path, TASKS)
    write_suite(suite, tmp_path, counted)
    exhibit = exhibit_of(suite, tmp_path)
    values, differences = downstream_tables(exhibit, "d")
    shown = {line[1].text: line[-1].text for line in values.rows}
    assert shown["acc ↑"].startswith("50.0 [")
    assert shown["f1 ↑"].startswith("10.0 [")
    assert shown["f1 ↑"].endswith("] %")
    assert shown["bleu ↑"].startswith("4.500 [")
    assert not shown["bleu ↑"].endswith("%")
    f1 = next(row for row in exhibit.rows if row.measure.name == "f1").of("ebt")
    assert f1 is not None
    assert f1.interval is not None
    assert 6.5 < f1.interval[0] < 10.0 < f1.interval[1] < 13.5
    less = {line[1].text: line[2].text for line in differences.rows}
    assert less["acc ↑"].startswith("+25.0 [")
    assert less["f1 ↑"].startswith("+5.0 [")
    assert less["f1 ↑"].endswith("points")
    assert less["bleu ↑"].startswith("+2.2500 [")
    drawing = downstream_figure(exhibit)
    assert drawing is not None
    (pattern,) = patterns(exhibit)
    assert [(c.what, c.total) for c in pattern.counts] == [("tasks", 1)], "three metrics, one task"
    drawn = {d["set"]: d["value"] for d in drawing.data}
    assert (drawn["dyck, acc"], drawn["dyck, f1"]) == (25.0, 5.0)
    assert "dyck, bleu" not in drawn, "points are of shares"


def test_more_thinking_is_compared_with_less_of_the_same_model(tmp_path: Path) -> None:
    """Paired: thinking turns one of four documents right and none wrong."""
    thinking = """      more_thinking: {kind: lm_task, tasks: [harness_dyck],
        thinking: {kind: descent, steps: 9}, only: {adapter: [ebt]}}
report:"""
    text = TASKS.replace("report:", thinking).replace("[dyck]", "[more_thinking, dyck]")
    text += "    against: {more_thinking: dyck}\n"

    def thought(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
        found = answered(run, spec, folder)
        if spec.kind == "likelihood" or getattr(spec.thinking, "steps", 0) != 9:
            return found
        right = np.arange(DOCUMENTS) % 4 < 3
        np.savez_compressed(folder / "by_document.npz", acc=right.astype(float)[None])
        return [replace(found[0], value=0.75)]

    suite = suite_of(tmp_path, text)
    write_suite(suite, tmp_path, thought)
    exhibit = exhibit_of(suite, tmp_path)
    more, less = (r for r in exhibit.rows if r.measure.is_task)
    assert (more.evaluation, less.evaluation) == ("more_thinking", "dyck")
    score, plain = more.of("ebt"), less.of("ebt")
    assert score is not None
    assert plain is not None
    assert (score.comparison, plain.against) == (None, None), "the baseline does not think more"
    assert score.against is not None
    assert score.against.baseline == "dyck"
    assert score.against.difference.by_document
    low, high = score.against.difference.interval or (0.0, 0.0)
    assert low == pytest.approx(0.25 - 1.96 * 0.068, abs=0.03)
    assert high == pytest.approx(0.25 + 1.96 * 0.068, abs=0.03)
    table = downstream_tables(exhibit, "d")[2]
    assert table.name == "d-against"
    assert table.header == ("set", "measure", "ebt", "verdict")
    ((name, _, difference, verdict),) = table.rows
    assert (name.text, verdict.text) == ("more_thinking", "better")
    assert difference.text.startswith("+25.0 [")
    assert "more_thinking less dyck: of the same model" in table.notes[0]
    (pattern,) = patterns(exhibit)
    assert [(c.what, c.total) for c in pattern.counts] == [("tasks", 1)], "not a set of its own"
