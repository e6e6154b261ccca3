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
from harness.analysis.exhibits.samples import Sample
from harness.analysis.figures.downstream import downstream_figure
from harness.analysis.frame import load_frame
from harness.analysis.intervals import over_seeds
from harness.analysis.tables.downstream import downstream_tables
from harness.planning.planned import PlannedRun
from harness.records import Measurement
from tests.analysis.downstream_factory import (
    DOCUMENTS,
    LOSSES,
    SUITE,
    exhibit_of,
    planted,
    row_of,
    suite_of,
)
from tests.analysis.records_factory import measured, write_run, write_suite

# --- numbers ---------------------------------------------------------------------------------


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


# --- tasks -----------------------------------------------------------------------------------

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


# --- statistics ------------------------------------------------------------------------------


def test_a_ratio_of_sums_is_resampled_as_one() -> None:
    """By brute force: weights differ, so a mean of per-document means would be another number."""
    random = np.random.default_rng(3)
    weights = random.integers(1, 50, 30).astype(float)
    sums = weights * random.normal(3, 1, 30)
    sample = Sample({0: float(sums.sum() / weights.sum())}, {0: sums}, weights)
    draws = []
    for _ in range(4000):
        chosen = random.integers(0, 30, 30)
        draws.append(sums[chosen].sum() / weights[chosen].sum())
    expected = np.quantile(draws, [0.025, 0.975])
    assert sample.interval() == pytest.approx(expected, abs=0.04)


def test_what_all_documents_have_alike_has_no_interval() -> None:
    """None right of 200 does not make one in 200 impossible, in one seed or in three."""
    for seeds in (1, 3):
        none = dict.fromkeys(range(seeds), np.zeros(200))
        wrong = Sample(dict.fromkeys(range(seeds), 0.0), none, np.ones(200))
        assert wrong.interval() is None
        assert Sample(wrong.by_seed).interval() is None
        difference = wrong.minus(wrong)
        assert difference is not None
        assert (difference.value, difference.interval, difference.sign) == (0.0, None, 0)
        one = {seed: np.eye(200)[0] for seed in range(seeds)}
        right = Sample(dict.fromkeys(range(seeds), 1 / 200), one, np.ones(200))
        assert right.interval() is not None


def test_models_of_other_tokens_are_not_paired() -> None:
    sums = {0: np.ones(20), 1: np.full(20, 1.2)}
    one = Sample({0: 1.0, 1: 1.2}, sums, np.ones(20))
    other = Sample({0: 0.5, 1: 0.6}, sums, np.full(20, 2.0))
    difference = one.minus(other)
    assert difference is not None
    assert not difference.by_document
    assert one.minus(Sample({7: 1.0})) is None


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


def test_three_seeds_cover_a_true_difference() -> None:
    """Documents and seeds scatter alike; the interval of the difference holds 0 in nine of ten."""
    random = np.random.default_rng(5)
    covered = 0
    for _ in range(100):
        document = random.normal(0, 0.3, 60)
        seed = random.normal(0, 0.03, 3)
        base = Sample(
            dict.fromkeys(range(3), 0.0), dict.fromkeys(range(3), np.zeros(60)), np.ones(60)
        )
        sums = {index: document + shift for index, shift in enumerate(seed)}
        model = Sample({i: float(s.mean()) for i, s in sums.items()}, sums, np.ones(60))
        difference = model.minus(base)
        assert difference is not None
        covered += difference.sign == 0
    assert 87 <= covered <= 99
