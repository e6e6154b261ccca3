"""`harness prepare` tells where the labels of a probe's splits do not mean the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import HarnessError

SUITE = """
suite: probed
version: 1
description: probes two sets
experiments:
  images:
    base:
      task: {kind: denoising, data: builtin/digits}
      batch_size: 2
      budget: {steps: 2}
      optimizer: {lr: 1e-3}
    adapters:
      dit: {adapter: dit_image, config: {depth: 1, width: 8, heads: 1, patch_size: 4}}
    evaluations:
      files: {kind: probe, data: "file:{split}?size=8&channels=1", overlap: drop}
      digits: {kind: probe, data: builtin/digits}
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two splits in two classes, and a suite that probes them."""
    monkeypatch.chdir(tmp_path)
    for split, first in (("train", 0), ("val", 50)):
        for index in range(first, first + 6):
            path = tmp_path / split / ("cat" if index % 2 else "dog") / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(index).integers(0, 256, (8, 8)).astype(np.uint8)
            Image.fromarray(pixels).save(path)
    (tmp_path / "suite.yaml").write_text(SUITE)
    return tmp_path


def prepare(*options: str) -> Any:
    return CliRunner().invoke(app, ["prepare", "suite.yaml", "--results", "r", *options])


def test_labels_of_the_same_classes_are_no_problem() -> None:
    result = prepare("--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["problems"] == []


def test_a_class_without_training_images_is_told_before_anything_is_trained(place: Path) -> None:
    shutil.move(place / "val" / "dog", place / "val" / "wolf")
    result = prepare("--json")
    assert result.exit_code == 1
    (problem,) = json.loads(result.stdout)["problems"]
    assert "3 of 6 images of file:{split}?size=8&channels=1 (validation)" in problem
    assert "the first is class 'wolf'" in problem
    said = " ".join(prepare().output.split())
    assert "cannot be probed 3 of 6 images" in said
    assert "not disjoint" not in said


def test_images_without_labels_are_told_as_the_suite_is_read(place: Path) -> None:
    shutil.copy(place / "val" / "cat" / "51.png", place / "val" / "beside.png")
    result = prepare()
    assert isinstance(result.exception, HarnessError)
    assert "have no labels" in str(result.exception)
    assert not (place / "r").exists()


def test_images_that_are_only_denoised_need_no_classes(place: Path) -> None:
    shutil.move(place / "val" / "dog", place / "val" / "wolf")
    denoised = "{kind: denoising, levels: [0.1], thinking: [{kind: diffusion, steps: 1}], data:"
    text = SUITE.replace('{kind: probe, data: "file', f'{denoised} "file')
    (place / "suite.yaml").write_text(text)
    assert prepare().exit_code == 0
