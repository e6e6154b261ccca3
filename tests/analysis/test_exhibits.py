"""Exhibits and tables against numbers worked out by hand from written records."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from math import exp, log
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.exhibits.denoising import denoising_exhibit
from harness.analysis.exhibits.equal_quality import equal_quality
from harness.analysis.exhibits.scaling import scaling_exhibit
from harness.analysis.exhibits.thinking import thinking_exhibit
from harness.analysis.frame import load_frame
from harness.analysis.intervals import over_seeds
from harness.analysis.paper.reading import load_paper
from harness.analysis.tables.denoising import denoising_tables
from harness.analysis.tables.scaling import losses_table, rate_table
from harness.analysis.tables.table import Cell, Table, escape, percent_range, plus_minus
from harness.analysis.tables.thinking import thinking_tables
from harness.errors import HarnessError
from harness.planning.planned import Suite
from harness.planning.suite import load_suite
from tests.analysis.records_factory import measured, save_documents, write_run, write_suite

TEXT = """
suite: text
experiments:
  text:
    base:
      task: {kind: next_token, context: 16}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
    adapters:
      transformer++: {adapter: transformer_pp_text}
      ebt: {adapter: ebt_text}
    axes:
      size:
        - {label: a, config: {depth: 1, width: 16, heads: 1}}
        - {label: b, config: {depth: 1, width: 32, heads: 1}}
        - {label: c, config: {depth: 1, width: 64, heads: 1}}
    seeds: [0, 1]
    evaluations:
      validation: {kind: likelihood, data: builtin/docs, noise_seeds: [0, 1]}
      thinking:
        kind: thinking
        data: builtin/docs
        thinking: [{kind: single}, {kind: descent, steps: [2, 4], samples: 1}]
        only: {size: [c]}
report:
  - {kind: scaling, experiment: text, x: parameters, evaluation: validation,
     baseline: transformer++, candidate: ebt}
  - {kind: thinking, experiment: text, evaluation: thinking}
"""
IMAGE = """
suite: image
experiments:
  image:
    base:
      task: {kind: denoising}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
      config: {depth: 1, width: 16, heads: 1, patch_size: 2}
    adapters: {dit: {adapter: dit_image}, ebt: {adapter: ebt_image}}
    seeds: [0, 1]
    evaluations:
      denoising:
        kind: denoising
        data: builtin/digits
        levels: [0.1]
        thinking: [{kind: descent, steps: 1}, {kind: diffusion, steps: [1, 10]}]
report:
  - {kind: denoising, experiment: image, evaluation: denoising}
"""
LEVELS = {"a": 3.0, "b": 2.5, "c": 2.2}
DOCUMENT_TOKENS = np.array([10, 30, 0, 60] * 4)


def suite_of(text: str, folder: Path) -> Suite:
    path = folder / "suite.yaml"
    path.write_text(text)
    return load_suite(path)


def text_losses(run, spec, folder):
    """Losses known by construction: by size, + 0.5 for EBT, + 0.1 per seed, +- 0.01 per noise."""
    loss = LEVELS[run.labels["size"]] + 0.1 * run.spec.seed
    loss += 0.5 if run.adapter_label == "ebt" else 0.0
    if spec.kind == "likelihood":
        found = []
        for noise_seed, shift in ((0, -0.01), (1, 0.01)):
            value = loss + shift
            found += [
                measured(run, "loss", value, noise_seed=noise_seed),
                measured(run, "bits_per_byte", value / log(2), noise_seed=noise_seed),
            ]
        for name, line in (("unigram", 3.4), ("bigram", 2.9), ("trigram", 2.0)):
            found.append(measured(run, f"{name}_loss", line, noise_seed=None))
            found.append(measured(run, f"{name}_bits_per_byte", line / log(2), noise_seed=None))
        return found
    single = run.adapter_label != "ebt"
    names = ["single"] if single else ["2x1", "4x1"]
    per_token = [loss] if single else [loss, 0.9 * loss]
    sums = np.array([[DOCUMENT_TOKENS * value] for value in per_token])
    save_documents(folder, names, sums, DOCUMENT_TOKENS)
    found = []
    for name, value in zip(names, per_token, strict=True):
        tags = {"data": "builtin/docs", "split": "validation", "trained": name != "4x1"}
        tags |= (
            {"kind": "single"}
            if single
            else {"kind": "descent", "steps": int(name[0]), "samples": 1}
        )
        cost = {"nfe": 1 if single else int(name[0]), "flops": 100.0, "seconds": 1e-5}
        found.append(measured(run, "loss", value, tags=tags, cost=cost))
    return found


@pytest.fixture
def text_suite(tmp_path):
    return suite_of(TEXT, tmp_path)


def test_losses_are_means_over_noise_seeds_then_training_seeds(text_suite, tmp_path):
    write_suite(text_suite, tmp_path, text_losses)
    exhibit = scaling_exhibit(text_suite.report[0], text_suite, load_frame(text_suite, tmp_path))
    rows = {(r.adapter, r.label): r for r in exhibit.rows}
    assert len(rows) == 6
    row = rows["ebt", "b"]
    assert row.loss.value == pytest.approx(3.05)  # (3.0 + 3.1) / 2
    assert row.loss.seeds == 2
    # t(0.975, 1) * sd / sqrt(2), sd of {3.0, 3.1}
    assert row.loss.half_width == pytest.approx(12.7062 * 0.1 / 2, rel=1e-4)
    assert row.perplexity == pytest.approx(exp(3.05))
    assert row.noise_spread == pytest.approx(np.std([-0.01, 0.01], ddof=1))
    assert row.training_seconds == 2.0
    assert exhibit.references["bigram"] == (2.9, pytest.approx(2.9 / log(2)))


def test_notes_name_the_seeds_of_all_rows_and_say_where_some_are_missing(text_suite, tmp_path):
    first, *others = text_suite.runs
    for run in others:
        write_run(run, tmp_path, text_losses)
    section = text_suite.report[0]
    notes = []
    for _ in range(2):
        exhibit = scaling_exhibit(section, text_suite, load_frame(text_suite, tmp_path))
        notes.append(losses_table(exhibit, "losses").notes[0])
        write_run(first, tmp_path, text_losses)
    assert "seeds 0, 1 (not all of them in every row" in notes[0]
    assert "seeds 0, 1 ±" in notes[1]


def test_below_the_bigram_means_the_whole_interval(text_suite, tmp_path):
    write_suite(text_suite, tmp_path, text_losses)
    exhibit = scaling_exhibit(text_suite.report[0], text_suite, load_frame(text_suite, tmp_path))
    # Transformer++ c is 2.25 +- 0.64, so its interval's end is 2.89 < 2.9; b is 2.55 +- 0.64.
    assert [(r.adapter, r.label) for r in exhibit.beat("bigram")] == [("transformer++", "c")]


def test_three_points_and_two_seeds_decide_nothing(text_suite, tmp_path):
    write_suite(text_suite, tmp_path, text_losses)
    exhibit = scaling_exhibit(text_suite.report[0], text_suite, load_frame(text_suite, tmp_path))
    assert exhibit.rate is not None
    assert exhibit.rate.verdict.text == "undecided: 3 points × 2 seeds"
    text = rate_table(exhibit, "rate").markdown()
    assert "undecided: 3 points × 2 seeds" in text
    assert "apparent slope ratio" in text
    slopes = []
    for adapter in ("ebt", "transformer++"):
        own = [r for r in exhibit.rows if r.adapter == adapter]
        x = np.log([r.x for r in own])
        # mean of log losses over seeds, as the fit weighs them
        extra = 0.5 if adapter == "ebt" else 0.0
        y = [np.mean(np.log([LEVELS[r.label] + extra, LEVELS[r.label] + extra + 0.1])) for r in own]
        slopes.append(np.polyfit(x, y, 1)[0])
    assert exhibit.rate.apparent.value == pytest.approx(slopes[0] / slopes[1] - 1, rel=1e-6)


def test_the_papers_rate_stands_beside_the_papers_families_only(text_suite, tmp_path):
    write_suite(text_suite, tmp_path, text_losses)
    section, frame = text_suite.report[0], load_frame(text_suite, tmp_path)
    swapped = section.model_copy(
        update={"baseline": section.candidate, "candidate": section.baseline}
    )
    named = load_paper(tmp_path).of("Fig 4a", "Fig 5a")
    for of, numbers, rows in (
        (section, named, ["paper, Fig 5a"]),
        (section, (), []),
        (swapped, named, []),
    ):
        exhibit = replace(scaling_exhibit(of, text_suite, frame), paper=numbers)
        found = [row[0].text for row in rate_table(exhibit, "r").rows]
        assert found == ["apparent slope ratio", "scaling rate", *rows]


def test_gain_is_a_ratio_of_sums_paired_by_document(text_suite, tmp_path):
    write_suite(text_suite, tmp_path, text_losses)
    exhibit = thinking_exhibit(text_suite.report[1], load_frame(text_suite, tmp_path))
    row = next(r for r in exhibit.rows if r.setting == "4x1")
    trained = next(r for r in exhibit.rows if r.setting == "2x1")
    # every document gains exactly a tenth, so resampling documents and seeds changes nothing
    assert row.gain == pytest.approx(0.1)
    assert row.gain_interval == pytest.approx((0.1, 0.1))
    assert row.documents == 12
    assert row.n == 400
    assert row.perplexity_gain == pytest.approx(1 - exp(row.loss - trained.loss))
    assert trained.gain == 0
    assert trained.gain_interval is None
    assert exhibit.gaining() == [row]
    flat = next(r for r in exhibit.rows if r.adapter == "transformer++")
    assert flat.setting == "single"
    notes = " ".join(thinking_tables(exhibit, "thinking")[0].notes)
    assert "1 of 1 settings have an interval above zero" in notes


def test_a_gain_of_answers_says_so(text_suite, tmp_path):
    def of_answers(run, spec, folder):
        found = text_losses(run, spec, folder)
        return [replace(m, tags={**m.tags, "tokens": "answer"}) for m in found]

    said = []
    for name, evaluator in (("all", text_losses), ("answer", of_answers)):
        write_suite(text_suite, tmp_path / name, evaluator)
        frame = load_frame(text_suite, tmp_path / name)
        exhibit = thinking_exhibit(text_suite.report[1], frame)
        assert {row.tokens for row in exhibit.rows} == {name}
        (table,) = thinking_tables(exhibit, "thinking")
        assert {row["tokens"] for row in table.data} == {name}
        said.append(" ".join(table.notes))
    assert "answer" not in said[0]
    assert "of the answers' tokens alone" in said[1]
    assert "400 answer tokens" in said[1]


def test_an_interval_widens_where_documents_disagree(text_suite, tmp_path):
    def uneven(run, spec, folder):
        found = text_losses(run, spec, folder)
        if spec.kind == "thinking" and run.adapter_label == "ebt":
            sums = np.array(
                [[DOCUMENT_TOKENS * 2.0], [DOCUMENT_TOKENS * np.array([1.0, 3.0, 0.0, 2.0] * 4)]]
            )
            save_documents(folder, ["2x1", "4x1"], sums, DOCUMENT_TOKENS)
        return found

    write_suite(text_suite, tmp_path, uneven)
    exhibit = thinking_exhibit(text_suite.report[1], load_frame(text_suite, tmp_path))
    row = next(r for r in exhibit.rows if r.setting == "4x1")
    assert row.gain == pytest.approx(1 - (10 + 90 + 120) / 200)
    low, high = row.gain_interval
    assert low < row.gain < high
    assert exhibit.gaining() == []
    notes = " ".join(thinking_tables(exhibit, "thinking")[0].notes)
    assert "No gain from thinking at this scale" in notes


def test_missing_stays_missing_and_is_named(text_suite, tmp_path):
    write_run(text_suite.runs[0], tmp_path, text_losses)
    frame = load_frame(text_suite, tmp_path)
    assert len(frame.missing) == 11 + 4
    assert "text/transformer++ size=a seed 1: validation on builtin/docs" in frame.missing
    exhibit = scaling_exhibit(text_suite.report[0], text_suite, frame)
    assert len(exhibit.rows) == 1
    assert exhibit.rows[0].loss.half_width is None
    assert exhibit.rate is None
    assert "fewer than two finished points" in exhibit.no_rate
    assert "No rate" in rate_table(exhibit, "rate").markdown()


def test_no_record_at_all_gives_empty_tables(text_suite, tmp_path):
    frame = load_frame(text_suite, tmp_path)
    exhibit = scaling_exhibit(text_suite.report[0], text_suite, frame)
    assert exhibit.rows == ()
    assert losses_table(exhibit, "losses").rows == []
    assert thinking_exhibit(text_suite.report[1], frame).rows == ()


def test_a_record_without_a_required_field_is_an_error(text_suite, tmp_path):
    write_suite(text_suite, tmp_path, text_losses)
    broken = next((tmp_path / "runs").glob("*/evals/*/measurements.jsonl"))
    broken.write_text(broken.read_text().replace('"unit"', '"unite"'))
    with pytest.raises(HarnessError, match=r"measurements\.jsonl.*no 'unit'"):
        load_frame(text_suite, tmp_path)


def test_runs_of_other_source_code_are_reported(text_suite, tmp_path):
    write_suite(text_suite, tmp_path, text_losses)
    run = text_suite.runs[0].run_id
    provenance = tmp_path / "runs" / run / "provenance.json"
    provenance.write_text('{"source_digest": "other"}')
    assert load_frame(text_suite, tmp_path).changed == (run,)


def test_denoising_pools_the_error_and_compares_at_equal_quality(tmp_path):
    suite = suite_of(IMAGE, tmp_path)
    psnr = {"noisy": 15.0, "descent": 20.0, ("diffusion", 1): 19.0, ("diffusion", 10): 20.05}

    def images(run, spec, folder):
        settings = [("noisy", None, {}, {})]
        for thinking in spec.thinking:
            key = thinking.kind if thinking.kind == "descent" else (thinking.kind, thinking.steps)
            flops = 3.0 if thinking.kind == "descent" else 1.0
            cost = {"nfe": thinking.steps, "flops": flops * thinking.steps, "seconds": 0.001}
            settings.append((key, thinking, thinking.model_dump(), cost))
        found = []
        for key, _, tags, cost in settings:
            tags = {"data": "builtin/digits", "split": "validation", "level": 0.1} | (
                tags or {"kind": "noisy"}
            )
            for metric in ("psnr", "psnr_per_image", "mse"):
                found.append(measured(run, metric, psnr[key], tags=tags, cost=cost, unit="dB"))
        return found

    write_suite(suite, tmp_path, images)
    exhibit = denoising_exhibit(suite.report[0], load_frame(suite, tmp_path))
    assert [(r.adapter, r.setting) for r in exhibit.rows] == [
        ("noisy input", ""), ("dit", "1 call"), ("dit", "10 calls"), ("ebt", "1 step"),
    ]  # fmt: skip
    pairs = {(p.row.adapter): p for p in equal_quality(exhibit)}
    assert pairs["ebt"].other.setting == "10 calls"
    assert pairs["ebt"].ratio("nfe") == 10
    assert pairs["ebt"].ratio("flops") == pytest.approx(10 / 3)
    assert pairs["dit"].other.setting == "1 step"  # within a tenth of a decibel
    table = denoising_tables(exhibit, "denoising")[0]
    assert table.rows[0][3].text == ""  # the noisy input costs nothing, and says nothing


def test_tables_are_written_whole_in_three_forms(tmp_path):
    table = Table(
        name="t", title="Losses", header=("model", "loss ↓"),
        rows=[[Cell("a_b"), Cell("1.0 ± 0.1", bold=True)], [Cell("c"), Cell("")]],
        data=[{"model": "a_b", "loss": 1.0}, {"model": "c", "loss": None}],
        notes=["n = 3"],
    )  # fmt: skip
    table.write(tmp_path)
    assert (tmp_path / "t.md").read_text() == (
        "### Losses\n\n"
        "| model |        loss ↓ |\n"
        "| ----- | ------------: |\n"
        "| a_b   | **1.0 ± 0.1** |\n"
        "| c     |               |\n\n"
        "- n = 3\n"
    )
    assert r"a\_b & \textbf{1.0 $\pm$ 0.1} \\" in (tmp_path / "t.tex").read_text()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert rows == [{"model": "a_b", "loss": "1.0"}, {"model": "c", "loss": ""}]


def test_small_wordings():
    assert plus_minus(1.23456, None, 2) == "1.23"
    assert percent_range((-0.01, 0.025)) == "[−1.0, +2.5] %"
    assert escape("50 % & x_1") == r"50 \% \& x\_1"
    assert over_seeds([2.0]).half_width is None
    with pytest.raises(ValueError, match="no values"):
        over_seeds([])
