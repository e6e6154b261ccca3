"""What must not be averaged together is kept apart, or refused before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.exhibits.denoising import denoising_exhibit
from harness.analysis.exhibits.equal_quality import equal_quality
from harness.analysis.exhibits.gather import gather
from harness.analysis.exhibits.thinking import MIN_DOCUMENTS, thinking_exhibit
from harness.analysis.frame import load_frame
from harness.errors import HarnessError
from harness.planning.planned import Suite
from harness.planning.suite import load_suite
from harness.records import RunFolder, read_json, write_json
from tests.analysis.records_factory import measured, save_documents, write_suite

TEXT = """
suite: text
experiments:
  text:
    base:
      task: {{kind: next_token, context: 16, data: {data}}}
      batch_size: 8
      budget: {{steps: 10}}
      optimizer: {{lr: 1e-3}}
      config: {{width: 16, heads: 1}}
    adapters: {{transformer++: {{adapter: transformer_pp_text}}, ebt: {{adapter: ebt_text}}}}
    axes:
      depth: {{path: config.depth, values: [1, 2]}}
      lr: {{path: optimizer.lr, values: [1, 2]}}
    seeds: [0]
    evaluations:
      validation: {{kind: likelihood, data: {evaluated}}}
      thinking:
        kind: thinking
        data: [{evaluated}, builtin/dyck]
        thinking: [{{kind: single}}, {{kind: descent, steps: [2, 4]}}]
report: [{report}]
"""
SCALING = """{kind: scaling, experiment: text, x: parameters, evaluation: validation,
  baseline: transformer++, candidate: ebt%s}"""
THINKING = "{kind: thinking, experiment: text, evaluation: thinking}"
IMAGE = """
suite: image
experiments:
  image:
    base:
      task: {kind: denoising}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
      config: {depth: 1, heads: 1, patch_size: 2}
    adapters: {ebt: {adapter: ebt_image}}
    axes: {width: {path: config.width, values: [16, 64]}}
    seeds: [0, 1]
    evaluations:
      denoising:
        kind: denoising
        data: builtin/digits
        levels: [0.1]
        thinking: [{kind: descent, steps: 1}]
report: [{kind: denoising, experiment: image, evaluation: denoising}]
"""


def text_suite(folder: Path, report: str, data="builtin/docs", evaluated="builtin/docs") -> Suite:
    path = folder / "suite.yaml"
    path.write_text(TEXT.format(report=report, data=data, evaluated=evaluated))
    return load_suite(path)


def test_a_second_axis_must_be_held(tmp_path):
    with pytest.raises(HarnessError, match=r"varies\s+more than the section's x") as caught:
        text_suite(tmp_path, SCALING % "")
    assert "report[0].x" in str(caught.value)
    held = text_suite(tmp_path, SCALING % ", only: {lr: [1]}")
    assert len(held.runs) == 8


def test_a_scaling_section_shows_one_data_set(tmp_path):
    report = SCALING % ", only: {lr: [1]}"
    text = TEXT.format(report=report, data="builtin/docs", evaluated="builtin/docs")
    path = tmp_path / "suite.yaml"
    path.write_text(
        text.replace(
            "likelihood, data: builtin/docs", "likelihood, data: [builtin/docs, builtin/dyck]"
        )
    )
    with pytest.raises(HarnessError, match="shows one data set"):
        load_suite(path)


def losses(documents: int):
    """Transformer++ 2.0 at home and 3.0 elsewhere, lower when deeper; EBT gains everywhere."""

    def evaluate(run, spec, folder):
        single = run.adapter_label == "transformer++"
        loss = 2.0 if spec.data == run.spec.task.data else 3.0
        loss -= 0.5 * (run.spec.config["depth"] - 1)
        n = np.full(documents, 10)
        names = ["single"] if single else ["2x1", "4x1"]
        save_documents(
            folder, names, np.array([[n * loss * (0.9**i)] for i in range(len(names))]), n
        )
        found = []
        for index, name in enumerate(names):
            tags = {"data": spec.data, "split": spec.split, "trained": index == 0}
            tags |= {"kind": "single"} if single else {"kind": "descent", "samples": 1}
            tags |= {} if single else {"steps": int(name[0])}
            cost = {"nfe": 1, "flops": 1.0, "seconds": 1.0}
            found.append(measured(run, "loss", loss * 0.9**index, tags=tags, cost=cost))
        return found

    return evaluate


def test_points_of_two_axes_stay_apart(tmp_path):
    suite = text_suite(tmp_path, THINKING)
    write_suite(suite, tmp_path, losses(MIN_DOCUMENTS))
    exhibit = thinking_exhibit(suite.report[0], load_frame(suite, tmp_path))
    labels = {row.label for row in exhibit.rows}
    assert labels == {f"depth={depth} lr={lr}" for depth in (1, 2) for lr in (1, 2)}
    assert {row.seeds for row in exhibit.rows} == {1}


def test_too_few_documents_have_no_interval(tmp_path):
    suite = text_suite(tmp_path, THINKING)
    write_suite(suite, tmp_path, losses(MIN_DOCUMENTS - 1))
    exhibit = thinking_exhibit(suite.report[0], load_frame(suite, tmp_path))
    assert all(row.gain_interval is None for row in exhibit.rows)
    assert exhibit.gaining() == []


def test_distance_is_from_the_training_data_under_the_largest_transformer(tmp_path):
    suite = text_suite(tmp_path, THINKING)
    write_suite(suite, tmp_path, losses(MIN_DOCUMENTS))
    exhibit = thinking_exhibit(suite.report[0], load_frame(suite, tmp_path))
    ratios = {shift.data: shift.perplexity_ratio for shift in exhibit.shifts}
    assert ratios == {"builtin/docs": 1.0, "builtin/dyck": pytest.approx(np.exp(1.0))}


def test_models_of_two_sizes_are_two_rows(tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(IMAGE)
    suite = load_suite(path)

    def images(run, spec, folder):
        value = 17.0 if run.labels["width"] == "16" else 19.0
        found = []
        for tags, cost in (
            ({"kind": "noisy"}, {}),
            ({"kind": "descent", "steps": 1}, {"nfe": 1, "flops": value, "seconds": 1.0}),
        ):
            tags = tags | {"data": spec.data, "split": spec.split, "level": spec.level}
            for metric in ("psnr", "psnr_per_image", "mse"):
                found.append(measured(run, metric, value, tags=tags, cost=cost))
        return found

    write_suite(suite, tmp_path, images)
    exhibit = denoising_exhibit(suite.report[0], load_frame(suite, tmp_path))
    rows = {row.adapter: row for row in exhibit.rows if row.nfe is not None}
    assert {name: row.psnr.value for name, row in rows.items()} == {"ebt 16": 17.0, "ebt 64": 19.0}
    assert rows["ebt 64"].flops == 19.0
    assert {pair.against for pair in equal_quality(exhibit)} == {"ebt 16", "ebt 64"}


def test_results_on_data_that_changed_since_are_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split in ("train", "validation"):
        (tmp_path / f"{split}.txt").write_text("some text")
    suite = text_suite(
        tmp_path, THINKING, data='"file:{split}.txt"', evaluated='"file:{split}.txt"'
    )
    write_suite(suite, tmp_path, losses(MIN_DOCUMENTS))
    assert load_frame(suite, tmp_path).missing == ()
    folder = RunFolder(tmp_path, suite.runs[0].run_id)
    recorded = read_json(folder.provenance)
    write_json(folder.provenance, recorded | {"data": {"file:{split}.txt/train": "of old"}})
    frame = load_frame(suite, tmp_path)
    assert len(frame.missing) == len(suite.runs[0].evaluations)
    assert frame.changed == ()


def test_verdicts_are_adjusted_for_the_number_of_axes(tmp_path, monkeypatch):
    """Two sections go through Holm together, and each gets its own adjusted rate back."""
    report = (SCALING % ", only: {lr: [1]}") + ", " + (SCALING % ", only: {lr: [2]}")
    suite = text_suite(tmp_path, report)

    def likelihood(run, spec, folder):
        if spec.kind == "thinking":
            return losses(MIN_DOCUMENTS)(run, spec, folder)
        loss = 2.0 - 0.1 * run.spec.config["depth"] * run.spec.optimizer.lr
        names = ("loss", "bits_per_byte")
        return [measured(run, name, loss) for name in names]

    write_suite(suite, tmp_path, likelihood)
    seen = []

    def adjust(rates):
        seen.extend(rates)
        return tuple(replace(rate, p_adjusted=0.5 + index) for index, rate in enumerate(rates))

    monkeypatch.setattr("harness.analysis.exhibits.gather.holm", adjust)
    gathered = gather(suite, load_frame(suite, tmp_path))
    assert len(seen) == 2
    assert [each.exhibit.rate.p_adjusted for each in gathered] == [0.5, 1.5]
    assert [each.stem for each in gathered] == ["scaling-parameters", "scaling-parameters-text"]
