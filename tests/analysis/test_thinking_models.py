"""Losses as trained beside a model that cannot think, from records worked out by hand."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.analysis.exhibits.gather import Gathered, gather
from harness.analysis.exhibits.thinking import READ, ThinkingExhibit
from harness.analysis.exhibits.thinking_models import model_rows
from harness.analysis.frame import load_frame
from harness.analysis.tables.sections import section_tables
from harness.analysis.tables.thinking_models import thinking_model_tables
from harness.planning.planned import PlannedRun, Suite
from tests.analysis.test_thinking_sections import BOTH, DOCUMENTS, SETS, planted, suite_of, write

THINKING = "{kind: thinking, experiment: text, evaluation: thinking}"


def exhibit_of(gathered: Gathered) -> ThinkingExhibit:
    assert isinstance(gathered.exhibit, ThinkingExhibit)
    return gathered.exhibit


def again(suite: Suite, results: Path) -> ThinkingExhibit:
    (gathered,) = gather(suite, load_frame(suite, results))
    return exhibit_of(gathered)


def test_differences_are_those_planted_and_as_wide_as_the_seeds_differ(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, section=THINKING)
    rows = {row.data: row for row in exhibit_of(write(suite, tmp_path, planted, 0.002)).models}
    assert list(rows) == SETS
    for place, data in enumerate(SETS):
        row = rows[data]
        theirs = 2.0 + 0.5 * np.log(2) * place
        ours = 3.0 - 0.1 * (place % 3) + 0.05
        assert (row.adapter, row.baseline, row.setting) == ("ebt", "transformer++", "2x1")
        assert (row.loss, row.baseline_loss) == pytest.approx((ours, theirs))
        assert row.difference.value == pytest.approx(ours - theirs)
        assert (row.difference.seeds, row.documents) == (3, DOCUMENTS)
        assert row.difference.interval is not None
        low, high = row.difference.interval
        # Student's t of three seeds that differ by 0.05: 4.303 × 0.05 / √3.
        assert (high - low) / 2 == pytest.approx(0.124, rel=0.15)
        assert row.reading == ("undecided" if low < 0 < high else "higher" if low > 0 else "lower")
        assert row.flops_ratio == 2  # two steps against one pass, as recorded
    assert {row.reading for row in rows.values()} == {"lower", "higher", "undecided"}


def test_the_table_has_every_number_and_counts_the_readings(tmp_path: Path) -> None:
    gathered = write(suite_of(tmp_path, section=THINKING), tmp_path, planted, 0.002)
    _, table, *_ = section_tables(gathered)
    assert table.name == "thinking-models"
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert [row["data"] for row in rows] == SETS  # in order of distance
    assert float(rows[0]["difference"]) == pytest.approx(1.05)
    assert float(rows[0]["low"]) > 0
    assert [float(row["ood_perplexity_ratio"]) for row in rows[:3]] == pytest.approx([1, 2**0.5, 2])
    said = Counter(row["reading"] for row in rows)
    assert (
        f"Of 9 differences {said['lower']} lower, {said['higher']} higher, {said['undecided']} "
        "undecided" in table.markdown()
    )
    assert "3 training seeds" in table.markdown()


def test_only_what_both_models_were_measured_on_is_compared(tmp_path: Path) -> None:
    def lost(run: PlannedRun, data: str, setting: Any) -> float:
        is_lost = run.adapter_label == "ebt" and run.spec.seed == 1 and data == SETS[1]
        return float("nan") if is_lost else planted(run, data, setting)

    suite = suite_of(tmp_path, section=THINKING)
    assert [row.data for row in exhibit_of(write(suite, tmp_path, lost)).models] == [
        SETS[0],
        *SETS[2:],
    ]
    write(suite, tmp_path, planted)
    for path in tmp_path.glob("runs/transformer_pp_text-*/evals/*/by_document.npz"):
        stored = dict(np.load(path))
        np.savez_compressed(path, **(stored | {"n": stored["n"][::-1]}))
    assert again(suite, tmp_path).models == ()


@pytest.mark.parametrize(
    ("adapters", "models"),
    [(BOTH, 9), ("{ebt: {adapter: ebt_text}}", 0), ("{plain: {adapter: transformer_pp_text}}", 0)],
)
def test_it_takes_a_model_of_each_kind(tmp_path: Path, adapters: str, models: int) -> None:
    gathered = write(suite_of(tmp_path, section=THINKING, adapters=adapters), tmp_path, planted)
    assert len(exhibit_of(gathered).models) == models
    assert [t.name for t in section_tables(gathered)][1:2] == ["thinking-models"] * (models > 0)


def test_sizes_are_compared_each_with_its_own(tmp_path: Path) -> None:
    def by_width(run: PlannedRun, data: str, setting: Any) -> float:
        return planted(run, data, setting) * 16 / run.spec.config["width"]

    axes = "{width: {path: config.width, values: [16, 32]}}"
    suite = suite_of(tmp_path, section=THINKING, axes=axes, seeds="[0]")
    gathered = write(suite, tmp_path, by_width)
    rows = [row for row in exhibit_of(gathered).models if row.data == SETS[0]]
    assert [row.label for row in rows] == ["16", "32"]
    assert [row.baseline_loss for row in rows] == pytest.approx([2.0, 1.0])
    assert [row.difference.value for row in rows] == pytest.approx([1.0, 0.5])
    assert {row.difference.seeds for row in rows} == {1}
    assert "one training seed" in section_tables(gathered)[1].markdown()


def test_few_documents_have_the_t_interval_of_their_seeds(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, section=THINKING)
    write(suite, tmp_path, planted, 0.0)
    for path in tmp_path.glob("runs/*/evals/*/by_document.npz"):
        stored = dict(np.load(path))
        few = {"sums": stored["sums"][..., :5], "n": stored["n"][:5]}
        np.savez_compressed(path, **(stored | few))
    (gathered,) = gather(suite, load_frame(suite, tmp_path))
    row = exhibit_of(gathered).models[0]
    apart = np.array([0.0, 0.05, 0.1]) + 1.0
    assert row.difference.interval == pytest.approx(
        stats.t.interval(0.95, 2, apart.mean(), stats.sem(apart))
    )
    text = section_tables(gathered)[1].markdown()
    assert "interval Student's t over training seeds of fewer than 10 documents" in text
    assert "resampling" not in text


def test_costs_that_no_run_says_have_no_ratio(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, section=THINKING)
    gathered = write(suite, tmp_path, planted)
    for path in tmp_path.glob("runs/transformer_pp_text-*/evals/*/measurements.jsonl"):
        path.write_text(path.read_text().replace('"flops": 10.0', '"flops": null'))
    rows = load_frame(suite, tmp_path).of("text", "thinking", READ)
    models = model_rows(rows[rows["metric"] == "loss"])
    assert {row.flops_ratio for row in models} == {None}
    exhibit = replace(exhibit_of(gathered), models=models)
    (table,) = thinking_model_tables(exhibit, "thinking")
    assert "nan" not in table.markdown()
    assert {row["flops_ratio"] for row in table.data} == {None}
