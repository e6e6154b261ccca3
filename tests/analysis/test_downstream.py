"""The downstream section against numbers worked out by hand from written records."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analysis.exhibits.absent import absent
from harness.analysis.exhibits.downstream import Score
from harness.analysis.exhibits.pattern import patterns
from harness.analysis.figures.downstream import downstream_figure
from harness.analysis.frame import load_frame
from harness.analysis.intervals import over_seeds
from harness.analysis.tables.downstream import downstream_tables
from harness.planning.planned import PlannedRun
from harness.records import Measurement
from tests.analysis.downstream_factory import (
    LOSSES,
    SUITE,
    exhibit_of,
    planted,
    row_of,
    suite_of,
)
from tests.analysis.records_factory import write_run, write_suite


def test_values_are_exponentials_of_means_over_noise_and_seeds(tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    write_suite(suite, tmp_path, planted())
    exhibit = exhibit_of(suite, tmp_path)
    assert exhibit.models == ("plain", "ebt"), "the baseline comes first"
    row = row_of(exhibit, "builtin/dyck")
    score = row.of("ebt")
    assert score is not None
    assert score.value == pytest.approx(exp(3.8 + 0.01))
    assert (score.n, score.documents, score.seeds, score.noise_seeds) == (400, 40, 3, 2)
    assert (score.nfe, score.thinking) == (2.0, "2x1")
    answers = row_of(exhibit, "builtin/dyck", "answer").of("ebt")
    assert answers is not None
    assert answers.value == pytest.approx(exp(0.5 * 3.81))
    bits = row_of(exhibit, "builtin/dyck", name="bits per byte").of("plain")
    assert bits is not None
    assert bits.value == pytest.approx(4.01 / 2 / log(2))
    assert row.magnitude == pytest.approx(exp(4.0 - 3.0)), "the baseline's, not EBT's"
    assert row.bigram_loss == 2.5
    assert row_of(exhibit, "builtin/docs").pretraining


def test_magnitudes_are_the_largest_transformers_whatever_the_baseline(tmp_path: Path) -> None:
    axes = """
    axes:
      size:
        - {label: b, config: {depth: 1, width: 32, heads: 1}}
        - {label: a, config: {depth: 1, width: 16, heads: 1}}
    seeds: [0, 1, 2]
"""
    text = SUITE.replace("\n    seeds: [0, 1, 2]\n", axes).replace(
        "baseline: plain", "baseline: ebt"
    )

    def of_size(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
        more = run.labels["size"] == "a" and spec.data != "builtin/docs"
        found = planted(keep=False)(run, spec, folder)
        return [replace(m, value=(m.value or 0.0) + more) for m in found]

    suite = suite_of(tmp_path, text)
    write_suite(suite, tmp_path, of_size)
    exhibit = exhibit_of(suite, tmp_path)
    assert exhibit.measured_by == "plain b"
    assert row_of(exhibit, "builtin/dyck").magnitude == pytest.approx(exp(4.0 - 3.0))
    notes = " ".join(downstream_tables(exhibit, "d")[0].notes)
    assert "over that of pretraining, of plain b. Sets and pretraining are not windowed" in notes
    alike = suite_of(tmp_path, text.replace("[questions, more]", "[more]"))
    notes = " ".join(downstream_tables(exhibit_of(alike, tmp_path), "d")[0].notes)
    assert "of plain b." in notes
    assert "not windowed alike" not in notes


def test_differences_are_paired_by_document_and_seed(tmp_path: Path) -> None:
    """Documents scatter widely and alike for both models, so that only pairing decides."""
    suite = suite_of(tmp_path)
    write_suite(suite, tmp_path, planted(noise=1.0))
    exhibit = exhibit_of(suite, tmp_path)
    score = row_of(exhibit, "builtin/dyck").of("ebt")
    assert score is not None
    assert score.comparison is not None
    assert score.interval is not None
    assert score.interval[1] > 1.2 * score.interval[0]
    assert score.comparison.difference.value == pytest.approx(-0.2)
    # Documents differ by 0.02 from the mean difference: sd of the mean 0.02 / sqrt(40).
    bounds = (-0.2 - 1.96 * 0.00316, -0.2 + 1.96 * 0.00316)
    assert score.comparison.difference.interval == pytest.approx(bounds, abs=0.001)
    assert score.comparison.ratio == pytest.approx(exp(-0.2))
    assert score.comparison.verdict == "better"
    bits = row_of(exhibit, "builtin/dyck", name="bits per byte").of("ebt")
    assert bits is not None
    assert bits.comparison is not None
    halved = tuple(bound / 2 / log(2) for bound in bounds)
    assert bits.comparison.difference.interval == pytest.approx(halved, abs=0.001)
    unpaired = row_of(exhibit, "builtin/arithmetic").of("ebt")
    assert unpaired is not None
    assert unpaired.comparison is not None
    assert unpaired.comparison.verdict == "undecided"


def test_the_papers_pattern_is_counted_and_named(tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    write_suite(suite, tmp_path, planted(noise=0.3))
    exhibit = exhibit_of(suite, tmp_path)
    (pattern,) = patterns(exhibit)
    assert pattern.pretraining is not None
    assert pattern.pretraining.verdict == "worse"
    first = pattern.counts[0]
    assert (first.better, first.worse, first.undecided) == (2, 0, 1), "pretraining is not counted"
    assert pattern.holds == "yes"
    notes = " ".join(downstream_tables(exhibit, "downstream")[0].notes)
    assert "(paper, Table 3) holds here, by the 2 of 3 that are decided" in notes
    assert "by perplexity of all tokens 2 of 3 decided, 2 better, 0 worse" in notes
    pretraining = replace(pattern, pretraining=replace(pattern.pretraining, verdict="better"))
    assert pretraining.holds == "no"
    assert replace(pattern, pretraining=None).holds == "undecided"
    worse = replace(pattern, counts=(replace(first, better=1, worse=2),))
    assert worse.holds == "no"
    assert replace(pattern, counts=(replace(first, better=0),)).holds == "undecided"


def test_a_set_counts_once(tmp_path: Path) -> None:
    """Dyck in two windowings, in either order, is one set: the verdict of rolling windows."""
    cut = "      cut: {kind: likelihood, data: builtin/dyck}\nreport:"
    for order in ("[questions, cut]", "[cut, questions]"):
        text = SUITE.replace("report:", cut).replace("[questions, more]", order)
        folder = tmp_path / order
        folder.mkdir()
        suite = suite_of(folder, text)
        write_suite(suite, folder, planted())
        exhibit = exhibit_of(suite, folder)
        assert len([r for r in exhibit.rows if r.data == "builtin/dyck"]) == 6
        (pattern,) = patterns(exhibit)
        assert [c.total for c in pattern.counts] == [1, 1]
        undecided = tuple(
            replace(row, scores=tuple(map(_undecided, row.scores)))
            if row.evaluation == "cut"
            else row
            for row in exhibit.rows
        )
        (pattern,) = patterns(replace(exhibit, rows=undecided))
        assert pattern.counts[0].better == 1


def _undecided(score: Score) -> Score:
    comparison = score.comparison
    return replace(score, comparison=comparison and replace(comparison, verdict="undecided"))


def test_bold_needs_a_decided_difference(tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    write_suite(suite, tmp_path, planted(noise=1.0))
    exhibit = exhibit_of(suite, tmp_path)
    best = {
        data: None if (found := row_of(exhibit, data).best) is None else found.model
        for data in LOSSES
    }
    assert best == {
        "builtin/docs": "plain",
        "builtin/dyck": "ebt",
        "builtin/source": "ebt",
        "builtin/arithmetic": None,
    }
    table = downstream_tables(exhibit, "downstream")[0]
    bold = [
        [cell.bold for cell in row[-2:]] for row in table.rows if row[0].text.endswith("hmetic")
    ]
    assert bold == [[False, False]] * 2


def test_without_documents_seeds_alone_give_the_interval(tmp_path: Path) -> None:
    def shifted(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
        found = planted(keep=False)(run, spec, folder)
        shift = {0: 0.0, 1: 0.02, 2: 0.01}[run.spec.seed] if run.adapter_label == "ebt" else 0.0
        return [replace(m, value=(m.value or 0.0) + shift) for m in found]

    suite = suite_of(tmp_path)
    write_suite(suite, tmp_path, shifted)
    score = row_of(exhibit_of(suite, tmp_path), "builtin/dyck").of("ebt")
    assert score is not None
    assert score.comparison is not None
    expected = over_seeds([-0.2, -0.18, -0.19])
    assert score.documents is None
    assert score.comparison.difference.interval == pytest.approx((expected.low, expected.high))
    assert not score.comparison.difference.by_document


def test_one_seed_and_few_documents_decide_nothing(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, SUITE.replace("[0, 1, 2]", "[0]"))
    write_suite(suite, tmp_path, planted(documents=5))
    exhibit = exhibit_of(suite, tmp_path)
    score = row_of(exhibit, "builtin/dyck").of("ebt")
    assert score is not None
    assert score.comparison is not None
    assert score.interval is None
    assert score.comparison.difference.value == pytest.approx(-0.2)
    assert score.comparison.verdict == "undecided"
    texts = [c.text for row in downstream_tables(exhibit, "d")[1].rows for c in row]
    assert "no interval" in texts
    assert "is not decided here" in " ".join(downstream_tables(exhibit, "d")[0].notes)


def test_documents_that_do_not_add_up_are_not_used(tmp_path: Path) -> None:
    """By-document numbers of something else, such as a damaged file, never enter an interval."""

    def damaged(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
        found = planted()(run, spec, folder)
        with np.load(folder / "by_document.npz") as stored:
            kept = {name: stored[name] for name in stored.files}
        kept["sums"] = kept["sums"] * 1.1
        np.savez_compressed(folder / "by_document.npz", **kept)
        return found

    suite = suite_of(tmp_path)
    write_suite(suite, tmp_path, damaged)
    score = row_of(exhibit_of(suite, tmp_path), "builtin/dyck").of("ebt")
    assert score is not None
    assert score.documents is None


def test_missing_stays_missing_and_is_named(tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    for run in suite.runs:
        if run.adapter_label == "ebt" or run.spec.seed == 0:
            write_run(run, tmp_path, planted())
    frame = load_frame(suite, tmp_path)
    exhibit = exhibit_of(suite, tmp_path)
    score = row_of(exhibit, "builtin/dyck").of("ebt")
    assert score is not None
    assert score.comparison is not None
    assert score.comparison.difference.seeds == 1, "only common seeds are paired"
    assert score.comparison.difference.value == pytest.approx(-0.2)
    missing = absent(suite.report[0], suite, frame)
    assert (missing.count, missing.planned) == (8, 24)
    empty = exhibit_of(suite, tmp_path / "nothing")
    assert empty.rows == ()
    assert downstream_figure(empty) is None
    assert downstream_tables(empty, "d")[0].rows == []


def test_without_a_baseline_the_numbers_stand_alone(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, SUITE.replace("    baseline: plain\n", ""))
    write_suite(suite, tmp_path, planted(noise=0.5))
    exhibit = exhibit_of(suite, tmp_path)
    assert exhibit.compared == []
    assert len(downstream_tables(exhibit, "d")) == 1
    assert all(row.best is None for row in exhibit.rows)
    drawing = downstream_figure(exhibit)
    assert drawing is not None
    value = next(d["value"] for d in drawing.data if d["set"] == "questions")
    assert value == pytest.approx(exp(3.81))


def test_only_holds_the_other_models(tmp_path: Path) -> None:
    axes = """
    axes:
      size:
        - {label: a, config: {depth: 1, width: 16, heads: 1}}
        - {label: b, config: {depth: 1, width: 32, heads: 1}}
    seeds: [0, 1, 2]
"""
    text = SUITE.replace("\n    seeds: [0, 1, 2]\n", axes)
    suite = suite_of(tmp_path, text + "    only: {size: [b]}\n")
    write_suite(suite, tmp_path, planted())
    exhibit = exhibit_of(suite, tmp_path)
    assert exhibit.models == ("plain b", "ebt b")
    score = row_of(exhibit, "builtin/dyck").of("ebt b")
    assert score is not None
    assert score.comparison is not None
    assert score.comparison.baseline == "plain b"
    assert absent(suite.report[0], suite, load_frame(suite, tmp_path)).planned == 24


def test_two_seeds_are_exploratory_and_say_so(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, SUITE.replace("[0, 1, 2]", "[0, 1]"))
    write_suite(suite, tmp_path, planted(noise=0.3))
    exhibit = exhibit_of(suite, tmp_path)
    notes = " ".join(downstream_tables(exhibit, "d")[1].notes)
    assert "that are decided, exploratory: 2 training seeds." in notes
    assert "not of another training" in notes
    assert "exploratory" not in " ".join(
        downstream_tables(replace(exhibit, rows=exhibit.rows[:0]), "d")[0].notes
    )
