"""Measurements are shown where the data they were made on are not; whatever trains needs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.planning.suite import load_suite

IMAGES = """
suite: mine
experiments:
  image:
    base:
      task: {kind: denoising, data: "file:gone?size=32"}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
      config: {size: 4xs}
    adapters: {dit: {adapter: ADAPTER}}
    evaluations:
      quality: {kind: denoising, data: "file:gone?size=32", levels: [0.1],
                thinking: [{kind: diffusion, steps: 1}]}
      labels: {kind: probe, data: "file:gone_too?size=32"}
"""


def suite_file(folder: Path, adapter: str = "dit_image") -> Path:
    path = folder / "mine.yaml"
    path.write_text(IMAGES.replace("ADAPTER", adapter))
    return path


def test_data_that_are_gone_stop_what_needs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarnessError, match="no such folder"):
        load_suite(suite_file(tmp_path))


def test_what_shows_measurements_needs_no_data_and_sees_the_same_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (run,) = load_suite(suite_file(tmp_path), needs_data=False).runs
    for folder in ("gone/a", "gone/b", "gone_too/train/a", "gone_too/validation/a"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.png").write_bytes(b"never read")
    (present,) = load_suite(suite_file(tmp_path)).runs
    assert present.run_id == run.run_id
    assert [e.eval_id for e in present.evaluations] == [e.eval_id for e in run.evaluations]


def test_other_mistakes_are_still_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarnessError, match="is for text, a denoising task for image"):
        load_suite(suite_file(tmp_path, adapter="ebt_text"), needs_data=False)
