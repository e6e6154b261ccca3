"""Descents that differ in noise, acceptance, selection or stopping share no row and no line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analysis.exhibits.denoising import denoising_exhibit
from harness.analysis.exhibits.thinking import thinking_exhibit
from harness.analysis.figures.denoising import denoising_figure
from harness.analysis.figures.thinking import thinking_figures
from harness.analysis.frame import load_frame
from harness.errors import HarnessError
from harness.planning.eval_spec import DenoisingEval, ThinkingEval
from harness.planning.planned import PlannedRun, Suite
from harness.planning.spec import thinking_label
from harness.planning.suite import load_suite
from harness.protocol import Descent
from harness.records import Measurement
from tests.analysis.records_factory import measured, save_documents, write_suite

SUITE = """
suite: one
experiments:
  e:
    base:
      task: {{kind: {task}}}
      batch_size: 8
      budget: {{steps: 10}}
      optimizer: {{lr: 1e-3}}
      config: {{depth: 1, width: 16, heads: 1}}
    adapters: {{ebt: {{adapter: {adapter}, config: {config}}}}}
    seeds: [0, 1]
    evaluations:
      it: {{kind: {kind}, data: {data}, thinking: [{{kind: descent, steps: 2}}]{more}}}
report: [{{kind: {kind}, experiment: e, evaluation: it}}]
"""
WAYS: list[dict[str, Any]] = [
    {},
    {"step_size": 3.0},
    {"noise": "first"},
    {"noise_std": 0.5},
    {"accept": "lower"},
    {"select": "largest_drop"},
    {"tolerance": 0.01},
]
SETTINGS = [Descent(steps=k, samples=2, **way) for way in WAYS for k in (2, 4)]
VARIANTS = ["", "size 3", "noise first", "std 0.5", "lower", "largest drop", "tolerance 0.01"]


def suite_of(folder: Path, **words: str) -> Suite:
    path = folder / "suite.yaml"
    path.write_text(SUITE.format(**words))
    return load_suite(path)


@pytest.fixture
def text(tmp_path: Path) -> Suite:
    return suite_of(
        tmp_path,
        task="next_token, context: 16",
        adapter="ebt_text",
        config="{}",
        kind="thinking",
        data="builtin/docs",
        more="",
    )


@pytest.fixture
def images(tmp_path: Path) -> Suite:
    return suite_of(
        tmp_path,
        task="denoising",
        adapter="ebt_image",
        config="{patch_size: 2}",
        kind="denoising",
        data="builtin/digits",
        more=", levels: [0.1]",
    )


def costs(run: PlannedRun, setting: Descent) -> dict[str, float]:
    """Passes of stopped predictions are means, which differ between seeds."""
    nfe = setting.steps - (0.5 if setting.tolerance else 0.0) - 0.25 * run.spec.seed
    return {"nfe": nfe, "flops": 8 * nfe, "seconds": 1.0}


def thought(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
    assert isinstance(spec, ThinkingEval)
    n = np.full(12, 10)
    sums = np.array([[n * (2.0 - 0.1 * index)] for index in range(len(SETTINGS))])
    save_documents(folder, [thinking_label(s) for s in SETTINGS], sums, n)
    tags = {"data": spec.data, "split": spec.split}
    return [
        measured(
            run,
            "loss",
            2.0 - 0.1 * index,
            tags=tags | {"trained": index == 0, **setting.model_dump(mode="json")},
            cost=costs(run, setting),
        )
        for index, setting in enumerate(SETTINGS)
    ]


def denoised(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
    assert isinstance(spec, DenoisingEval)
    tags = {"data": spec.data, "split": spec.split, "level": spec.level}
    found = [measured(run, metric, 9.0, tags=tags | {"kind": "noisy"}) for metric in METRICS]
    for index, setting in enumerate(SETTINGS):
        own = tags | setting.model_dump(mode="json")
        for metric in METRICS:
            cost = costs(run, setting)
            found.append(measured(run, metric, 10.0 + index, tags=own, cost=cost))
    return found


METRICS = ("psnr", "psnr_per_image", "mse")


def test_thinking_has_a_row_and_a_line_for_each_way(text: Suite, tmp_path: Path) -> None:
    write_suite(text, tmp_path, thought)
    exhibit = thinking_exhibit(text.report[0], load_frame(text, tmp_path))
    rows = {row.setting: row for row in exhibit.rows}
    assert rows.keys() == {thinking_label(s) for s in SETTINGS}
    for index, setting in enumerate(SETTINGS):
        row = rows[thinking_label(setting)]
        assert row.loss == pytest.approx(2.0 - 0.1 * index)
        assert row.variant == VARIANTS[index // 2]
        assert row.nfe == pytest.approx(setting.steps - (0.625 if setting.tolerance else 0.125))
        assert row.flops == pytest.approx(8 * row.nfe)
    (drawing,) = thinking_figures(exhibit)
    assert_lines(drawing.figure.axes[0])


def test_denoising_has_a_row_and_a_line_for_each_way(images: Suite, tmp_path: Path) -> None:
    write_suite(images, tmp_path, denoised)
    exhibit = denoising_exhibit(images.report[0], load_frame(images, tmp_path))
    rows = {row.label: row for row in exhibit.models}
    assert rows.keys() == {thinking_label(s) for s in SETTINGS}
    for index, setting in enumerate(SETTINGS):
        row = rows[thinking_label(setting)]
        assert row.psnr.value == 10.0 + index
        assert row.nfe == pytest.approx(setting.steps - (0.625 if setting.tolerance else 0.125))
    assert len({row.setting for row in rows.values()}) == len(SETTINGS)
    assert rows["4x2 noise first"].setting == "4 steps, 2 samples, noise first"
    drawing = denoising_figure(exhibit)
    assert drawing is not None
    assert_lines(drawing.figure.axes[0])


def assert_lines(axes: Any) -> None:
    """Each way's two settings are joined, and nothing else is."""
    lines = [line for line in axes.get_lines() if line.get_marker() not in ("None", "", None)]
    joined = [line for line in lines if len(line.get_xdata()) == 2]
    assert len(joined) >= len(WAYS)
    assert not [line for line in lines if len(line.get_xdata()) > 2]


def test_a_thinking_of_another_version_is_told_with_its_file(text: Suite, tmp_path: Path) -> None:
    def other(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
        first = thought(run, spec, folder)[0]
        return [measured(run, "loss", 1.0, tags={**first.tags, "noise": "sometimes"})]

    write_suite(text, tmp_path, other)
    with pytest.raises(HarnessError, match=r"measurements\.jsonl: .* does not know"):
        load_frame(text, tmp_path)
