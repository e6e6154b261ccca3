"""Rates and costs over several suites, against the records they are made of."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from math import log10
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.exhibits.gather import gather
from harness.analysis.exhibits.scaling import ScalingExhibit
from harness.analysis.exhibits.suites import SuiteExhibits, suite_exhibits
from harness.analysis.overview.tables import overview_tables
from harness.analysis.rates.equal_loss import crossover, equal_loss
from harness.analysis.tables.table import Table
from harness.planning.planned import PlannedRun
from harness.planning.suite import load_suite
from harness.records import RunFolder, write_json
from tests.analysis.records_factory import measured, write_suite

TEXT = """
suite: NAME
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
        - {label: d, config: {depth: 2, width: 64, heads: 1}}
    seeds: [0, 1, 2]
    evaluations:
      longer: {kind: likelihood, data: builtin/dyck, thinking: {kind: descent, steps: 4},
               only: {adapter: [ebt]}}
      validation: {kind: likelihood, data: builtin/docs}
report:
  - {kind: scaling, title: Sizes, experiment: text, x: parameters, evaluation: validation,
     baseline: transformer++, candidate: ebt, paper: [Fig 5a]}
  - {kind: scaling, title: Compute, experiment: text, x: flops, evaluation: validation,
     baseline: transformer++, candidate: ebt}
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
        thinking: [{kind: descent, steps: [1, 3]}, {kind: diffusion, steps: [10, 100]}]
"""
#: Of ("transformer++" or "ebt"): training FLOPs, seconds; FLOPs and seconds of a prediction.
COSTS = {"transformer++": (6e9, 2.0, 100.0, 1e-5), "ebt": (2.4e10, 7.0, 470.0, 8e-5)}


def text_cost(run: PlannedRun, steps: float) -> dict[str, float]:
    flops, seconds = COSTS[run.adapter_label][2:]
    backward = steps if run.adapter_label == "ebt" else 0
    return {
        "nfe": steps,
        "forward": steps,
        "backward": backward,
        "flops": flops * steps * (1 + run.spec.seed),
        "flops_vocabulary": 10.0 * steps,
        "seconds": seconds * steps,
    }


def text_losses(run, spec, folder):
    parameters = run.record.parameters(run.config, run.shape).non_embedding
    exponent = 0.4 if run.adapter_label == "ebt" else 0.3
    loss = 1.5 + 3 * (parameters / 1000) ** -exponent + 0.002 * run.spec.seed
    cost = text_cost(run, getattr(spec.thinking, "steps", 1))
    tags = {"data": spec.data, "split": spec.split}
    return [measured(run, "loss", loss, tags=tags, cost=cost)]


def image_scores(run, spec, folder):
    found = []
    for thinking in spec.thinking:
        steps = thinking.steps
        tags = {"data": spec.data, "split": spec.split, "level": spec.level}
        tags |= thinking.model_dump(mode="json")
        cost = {"nfe": steps, "forward": steps, "backward": 0, "flops": 7.0 * steps}
        cost |= {"flops_vocabulary": None, "seconds": 1e-6 * steps}
        found.append(measured(run, "psnr", 20.0 + steps, unit="dB", tags=tags, cost=cost))
    return found


def exhibits(folder: Path, text: str, evaluator, **training: float) -> SuiteExhibits:
    path = folder / "suite.yaml"
    path.write_text(text)
    suite = load_suite(path)
    write_suite(suite, folder / "results", evaluator)
    for run in suite.runs:
        flops, seconds = COSTS.get(run.adapter_label, (1e9, 1.0))[:2]
        recorded = json.loads(RunFolder(folder / "results", run.run_id).training.read_text())
        recorded |= {"flops": flops, "seconds": seconds + run.spec.seed} | training
        write_json(RunFolder(folder / "results", run.run_id).training, recorded)
    return suite_exhibits(suite, folder / "results")


def named(tables: list[Table], name: str) -> Table:
    return next(table for table in tables if table.name == name)


def read(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.csv())))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> SuiteExhibits:
    return exhibits(tmp_path_factory.mktemp("text"), TEXT.replace("NAME", "text"), text_losses)


def test_every_section_is_a_row_with_the_numbers_of_its_own_exhibit(text: SuiteExhibits) -> None:
    rows = read(named(overview_tables([text]), "rates"))
    assert [row["section"] for row in rows] == ["Sizes", "Compute"]
    for row, gathered in zip(rows, text.gathered, strict=True):
        exhibit = gathered.exhibit
        assert isinstance(exhibit, ScalingExhibit)
        rate = exhibit.rate
        assert rate is not None
        assert float(row["rate"]) == pytest.approx(rate.rho.value)
        assert float(row["rate_low"]) == pytest.approx(rate.rho.interval.low)
        assert float(row["apparent"]) == pytest.approx(rate.apparent.value)
        assert (row["verdict"], row["reason"]) == (rate.verdict.status, rate.verdict.reason)
        assert float(row["gain"]) == pytest.approx(equal_loss(rate).ratio.value)
        assert row["lower_beyond"] == crossover(rate).above
        xs = {r.x for r in exhibit.rows if r.adapter == "ebt"}
        others = {r.x for r in exhibit.rows if r.adapter == "transformer++"}
        spans = [log10(max(each) / min(each)) for each in (xs, others)]
        assert float(row["decades"]) == pytest.approx(min(spans))
        assert (row["points"], row["seeds"]) == ("4", "3")
        assert row["device"] == "test device"


def test_the_papers_rate_stands_beside_ours(text: SuiteExhibits) -> None:
    table = named(overview_tables([text]), "rates")
    first, second = table.data
    assert (first["paper"], first["paper_exhibit"]) == (2.91, "Fig 5a")
    assert second["paper"] is None
    assert table.rows[0][-1].text == "+2.91 % (Fig 5a)"


def test_sections_without_results_are_counted_and_not_shown(
    text: SuiteExhibits, tmp_path: Path
) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(TEXT.replace("NAME", "other"))
    empty = suite_exhibits(load_suite(path), tmp_path / "nothing")
    table = named(overview_tables([empty, text]), "rates")
    assert {row["suite"] for row in table.data} == {"text"}
    assert "2 sections without results, of other." in table.notes


def test_of_one_family_alone_there_is_a_row_and_no_rate(
    text: SuiteExhibits, tmp_path: Path
) -> None:
    frame = replace(text.frame, rows=text.frame.rows[text.frame.rows["adapter"] == "ebt"])
    half = replace(text, frame=frame, gathered=tuple(gather(text.suite, frame)))
    table = named(overview_tables([half]), "rates")
    assert [row["points"] for row in table.data] == [0, 0]
    assert {row.get("rate") for row in table.data} == {None}
    assert "transformer++ has fewer than two finished points" in table.data[0]["reason"]


def test_training_costs_are_means_over_seeds_beside_the_baseline(text: SuiteExhibits) -> None:
    rows = read(named(overview_tables([text]), "costs"))
    assert len(rows) == 8
    for row in rows:
        run = next(
            r
            for r in text.suite.runs
            if (r.adapter_label, r.labels["size"]) == (row["model"], row["point"])
        )
        counted = run.record.parameters(run.config, run.shape)
        assert int(row["parameters"]) == counted.total
        assert int(row["non_embedding"]) == counted.non_embedding
        assert (row["seen"], row["seen_unit"], row["runs"]) == ("1280", "tokens", "3")
        flops, seconds = COSTS[row["model"]][:2]
        assert float(row["training_flops"]) == flops
        assert float(row["training_flops_without_vocabulary"]) == flops - 1e9
        assert float(row["training_seconds"]) == seconds + 1
        if row["model"] == "ebt":
            assert float(row["training_flops_ratio"]) == 4.0
            assert float(row["training_seconds_ratio"]) == pytest.approx(8 / 3)
        else:
            assert row["training_flops_ratio"] == ""


def test_a_prediction_is_one_at_the_trained_thinking(text: SuiteExhibits) -> None:
    """EBT's four steps on Dyck come first and are not what it was trained with: two."""
    rows = read(named(overview_tables([text]), "costs-prediction"))
    assert {(row["model"], row["nfe"], row["backward"]) for row in rows} == {
        ("transformer++", "1.0", "0.0"),
        ("ebt", "2.0", "2.0"),
    }
    ebt = next(row for row in rows if row["model"] == "ebt")
    assert (ebt["evaluation"], ebt["data"]) == ("validation", "builtin/docs")
    assert float(ebt["flops"]) == pytest.approx(np.mean([470 * 2 * s for s in (1, 2, 3)]))
    assert float(ebt["flops_without_vocabulary"]) == pytest.approx(float(ebt["flops"]) - 20)
    assert float(ebt["flops_ratio"]) == pytest.approx(9.4)
    assert float(ebt["seconds_ratio"]) == pytest.approx(16)


def test_images_are_asked_as_they_were_trained(tmp_path: Path) -> None:
    shown = exhibits(tmp_path, IMAGE, image_scores, tokens=None, flops_vocabulary=None)
    tables = overview_tables([shown])
    dit, ebt = read(named(tables, "costs-prediction"))
    assert (dit["nfe"], ebt["nfe"]) == ("100.0", "1.0")
    assert dit["flops_without_vocabulary"] == ""
    training = read(named(tables, "costs"))
    assert {(row["seen"], row["seen_unit"]) for row in training} == {("80", "images")}
    assert training[1]["baseline"] == "dit"
    assert named(tables, "rates").rows == []


def test_times_of_different_devices_are_not_compared(tmp_path: Path) -> None:
    text = exhibits(tmp_path, TEXT.replace("NAME", "text"), text_losses)
    for run in text.suite.runs:
        if run.adapter_label == "ebt":
            path = RunFolder(tmp_path / "results", run.run_id).training
            write_json(path, json.loads(path.read_text()) | {"device": "another device"})
    shown = suite_exhibits(text.suite, tmp_path / "results")
    rows = read(named(overview_tables([shown]), "costs"))
    assert {row["training_seconds_ratio"] for row in rows} == {""}
    assert {row["training_flops_ratio"] for row in rows} == {"", "4.0"}


def test_where_runs_of_a_point_are_of_several_devices_times_are_not_compared(
    tmp_path: Path,
) -> None:
    """Both models were trained on the same two devices, one of them more often on the slow one."""
    text = exhibits(tmp_path, TEXT.replace("NAME", "text"), text_losses)
    slow = {("transformer++", 0), ("ebt", 0), ("ebt", 1)}
    for run in text.suite.runs:
        if (run.adapter_label, run.spec.seed) in slow:
            path = RunFolder(tmp_path / "results", run.run_id).training
            write_json(path, json.loads(path.read_text()) | {"device": "slow"})
            for evaluation in path.parent.glob("evals/*/measurements.jsonl"):
                old = evaluation.read_text()
                evaluation.write_text(old.replace('"test device"', '"slow"'))
    tables = overview_tables([suite_exhibits(text.suite, tmp_path / "results")])
    for name, ratio, device in (
        ("costs", "training_seconds_ratio", "training_device"),
        ("costs-prediction", "seconds_ratio", "device"),
    ):
        rows = read(named(tables, name))
        assert {row[device] for row in rows} == {"slow, test device"}
        assert {row[ratio] for row in rows} == {""}
        assert "on slow, test device" in " ".join(named(tables, name).notes)
    assert {row["flops_ratio"] for row in rows} != {""}


def test_what_training_saw_is_a_mean_over_runs(tmp_path: Path) -> None:
    """Of equal seconds a run sees more, another less."""
    text = exhibits(tmp_path, TEXT.replace("NAME", "text"), text_losses)
    for run in text.suite.runs:
        path = RunFolder(tmp_path / "results", run.run_id).training
        seen = 1000 + 500 * run.spec.seed + 2 * (run.spec.seed == 2)
        write_json(path, json.loads(path.read_text()) | {"tokens": seen})
    shown = suite_exhibits(text.suite, tmp_path / "results")
    assert {row["seen"] for row in read(named(overview_tables([shown]), "costs"))} == {"1501"}
    exhibit = shown.gathered[0].exhibit
    assert isinstance(exhibit, ScalingExhibit)
    assert {row.seen for row in exhibit.rows} == {1501}


def test_without_any_result_the_papers_exhibits_and_claims_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(TEXT.replace("NAME", "text"))
    shown = suite_exhibits(load_suite(path), tmp_path / "results")
    tables = overview_tables([shown])
    assert {table.name for table in tables if table.rows} == {"paper-index", "claims"}
    assert all(row["status"] == "not tested" for row in named(tables, "claims").data)
