"""What a suite is said to disclose, against records of which the answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.analysis.exhibits.suites import suite_exhibits
from harness.analysis.report.disclosure import GIVEN, QUESTIONS, disclosures
from harness.analysis.report.facts import Answer
from harness.analysis.report.runs import reported_runs
from harness.data.datasets import load_documents
from harness.planning.planned import Suite
from harness.records import RunFolder, read_json, write_json
from tests.report.written import TEXT, UNTRAINED, suite_of, write_records

TUNING = """
suite: tuning
experiments:
  text:
    base:
      task: {kind: next_token, context: 16}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
      config: {depth: 1, width: 16, heads: 1}
    adapters: {ebt: {adapter: ebt_text}, transformer++: {adapter: transformer_pp_text}}
    axes:
      lr: {path: optimizer.lr, values: [1e-3, 2e-3, 4e-3]}
    evaluations:
      validation: {kind: likelihood, data: builtin/docs}
      test: {kind: likelihood, data: builtin/source}
report:
  - {kind: tuning, experiment: text, evaluation: validation, over: lr}
  - {kind: scaling, experiment: text, x: data, evaluation: REPORTED, only: {lr: [0.001]},
     baseline: transformer++, candidate: ebt}
"""


def answers(results: Path, *suites: Suite) -> list[dict[str, Answer]]:
    """By the first words of each question, of every suite."""
    shown = [suite_exhibits(suite, results) for suite in suites]
    runs = reported_runs(shown, results, curve_points=4)
    return [
        {q.asks: a for q, a in zip(QUESTIONS, each.answers, strict=True)}
        for each in disclosures(shown, runs, results)
    ]


def of(found: dict[str, Answer], words: str) -> Answer:
    return next(answer for asks, answer in found.items() if words in asks)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disclosed")
    write_records(suite_of(TEXT, folder, "hostile.yaml"), folder / "results", leave=3)
    return folder


@pytest.fixture(scope="module")
def hostile(folder):
    return answers(folder / "results", suite_of(TEXT, folder, "hostile.yaml"))[0]


def test_counts_are_those_of_the_plan_and_the_records(hostile):
    answer = of(hostile, "How many runs")
    assert answer.given == "partly"
    assert answer.evidence.startswith("27 of 30 runs done, 39 of 42 evaluations")
    assert "5 points × 3 seeds" in answer.evidence


def test_seeds(hostile, folder):
    assert of(hostile, "How many training seeds") == Answer(
        "yes", "3 training seeds at each point, 1–2 noise seeds in evaluations"
    )
    untrained = answers(folder / "results", suite_of(UNTRAINED, folder, "untrained.yaml"))[0]
    assert of(untrained, "How many training seeds").given == "no"


def test_counted_flops_are_held_against_the_formula(hostile, folder):
    answer = of(hostile, "How were training FLOPs counted")
    assert answer.given == "partly"  # three runs are missing
    assert "in 27 of 30 runs" in answer.evidence
    assert "vocabulary projection and embeddings are 20 %" in answer.evidence  # 1e9 of 5e9
    suite = suite_of(TEXT, folder, "hostile.yaml")
    off = 0.0
    for run in suite.runs[:27]:
        per_row = run.record.training_flops(run.config, run.shape).total
        off = max(off, abs(5e9 / (10 * 8 * per_row) - 1))
    assert f"at most {100 * off:.3g} % off" in answer.evidence


def test_training_data_are_counted_in_passes(hostile, folder):
    texts = load_documents("builtin/docs", "train").texts
    tokens = sum(len(text) + 1 for text in texts)
    answer = of(hostile, "how often was it seen")
    assert answer.given == "yes"
    assert f"seen {1280 / tokens:.2g} times" in answer.evidence


def test_passes_are_over_what_was_prepared_where_that_is_known(tmp_path):
    suite = suite_of(TEXT, tmp_path, "hostile.yaml")
    write_records(suite, tmp_path / "results")
    index = {"source_digest": "e853c3", "tokenizer_digest": "1063b9", "tokens": 640}
    place = tmp_path / "results" / "data" / "x" / "index.json"
    write_json(place, index)
    found = answers(tmp_path / "results", suite)[0]
    assert "640 tokens, seen 2 times" in of(found, "how often was it seen").evidence


def test_sets_of_unknown_size_are_said_to_be(folder):
    text = TEXT.replace("context: 16}", "context: 16, data: 'file:{split}.txt'}", 1)
    path = folder / "train.txt"
    path.write_text("some text")
    suite = suite_of(text.replace("{split}", str(folder / "{split}")), folder, "own.yaml")
    found = answers(folder / "results", suite)[0]
    answer = of(found, "how often was it seen")
    assert answer.given == "partly"
    assert "not known" in answer.evidence
    assert of(found, "Can others get").given != "yes"


def test_learning_rates_are_tried_or_not(folder):
    results = folder / "results"
    hostile = suite_of(TEXT, folder, "hostile.yaml")
    tuning = suite_of(TUNING.replace("REPORTED", "test"), folder, "tuning.yaml")
    alone = answers(results, hostile)[0]
    both = answers(results, hostile, tuning)
    asks = "Was the learning rate tried"
    assert of(alone, asks).given == "no"
    assert of(both[0], asks).given == "partly"
    assert "tuning" in of(both[0], asks).evidence
    assert of(both[1], asks).given == "partly"  # none of it is trained
    assert "4 trials not finished" in of(both[1], asks).evidence  # two are runs of the other
    write_records(tuning, results)
    assert of(answers(results, tuning)[0], asks) == Answer(
        "yes",
        "3 rates of each model at each of 1 size, as many trials for each model, equal budgets in "
        "steps",
    )


def test_a_model_with_longer_trials_is_no_equal(folder):
    text = TUNING.replace("REPORTED", "test").replace(
        "{adapter: ebt_text}", "{adapter: ebt_text, budget: {steps: 20}}"
    )
    answer = of(answers(folder / "results", suite_of(text, folder, "longer.yaml"))[0], "rate tried")
    assert answer.given == "partly"
    assert "unequal budgets" in answer.evidence


@pytest.mark.parametrize(("reported", "given"), [("test", "yes"), ("validation", "no")])
def test_what_rates_are_chosen_on_is_not_to_be_reported(folder, reported, given):
    suite = suite_of(TUNING.replace("REPORTED", reported), folder, "tuning.yaml")
    answer = of(answers(folder / "results", suite)[0], "on other data than are reported")
    assert answer.given == given
    assert "builtin/docs (validation)" in answer.evidence


def test_a_suite_that_says_why_it_decides_nothing_is_no_clean_test(folder):
    said = "suite: tried\nexploratory: tuned on these sets"
    suite = suite_of(UNTRAINED.replace("suite: untrained", said), folder, "q.yaml")
    answer = of(answers(folder / "results", suite)[0], "on other data than are reported")
    assert answer == Answer("no", "tuned on these sets")


def test_what_is_left_out_is_named(hostile):
    answer = of(hostile, "what is left out")
    assert answer.given == "partly"
    assert "3 runs without a result (1 failed, 2 planned)" in answer.evidence
    assert "3 evaluations missing" in answer.evidence


def test_a_held_out_point_has_its_error(folder):
    suite = suite_of(TEXT, folder, "hostile.yaml")
    shown = suite_exhibits(suite, folder / "results")
    rate = shown.gathered[0].exhibit.rate
    answer = of(answers(folder / "results", suite)[0], "Was an extrapolation held out")
    for held in rate.held_out:
        if held.error is not None:
            shown_error = f"{100 * held.error:+.1f} %".replace("-", "−")
            assert shown_error in answer.evidence


def test_code_and_data_can_be_had(tmp_path):
    suite = suite_of(TEXT, tmp_path, "hostile.yaml")
    write_records(suite, tmp_path / "results")
    asks = "Can others get"
    clean = of(answers(tmp_path / "results", suite)[0], asks)
    assert clean.given == "yes"
    assert "0123456789ab" in clean.evidence
    provenance = RunFolder(tmp_path / "results", suite.runs[0].run_id).provenance
    edited = read_json(provenance) | {"git": {"commit": "f" * 40, "changed": True}}
    provenance.write_text(json.dumps(edited))
    found = of(answers(tmp_path / "results", suite)[0], asks)
    assert found.given == "partly"
    assert "1 run with changes that were not committed" in found.evidence


def test_what_is_not_trained_is_not_disclosed(folder):
    suite = suite_of(UNTRAINED, folder, "untrained.yaml")
    found = answers(folder / "results", suite)[0]
    for asks in ("How many runs", "training FLOPs", "How much compute", "Evaluated on what"):
        assert of(found, asks).given == "no", asks
    for asks in ("Which form", "How are points weighted", "Was an extrapolation"):
        assert of(found, asks).given == "not applicable", asks
    assert {answer.given for answer in found.values()} <= set(GIVEN)
    assert all(answer.evidence for answer in found.values())
