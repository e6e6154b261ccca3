"""Probes that cannot be fitted, or sections of them that compare nothing, are refused in place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.planning import probes
from harness.planning.eval_spec import ProbeEval
from harness.planning.suite import load_suite
from harness.registry import adapter as find_adapter

SUITE = """\
suite: probed
experiments:
  image:
    base:
      task: {kind: denoising, data: builtin/digits}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
      config: {depth: 1, width: 8, heads: 1, patch_size: 4}
    adapters:
      dit: {adapter: dit_image}
      ebt: {adapter: ebt_image}
    evaluations:
      digits:
        kind: probe
        data: builtin/digits
        l2: [0.1, 0.01]
report:
  - kind: probe
    experiment: image
    evaluation: digits
    baseline: dit
"""
TEXT = "      task: {kind: next_token, data: builtin/docs, context: 16}"
IMAGES = "      task: {kind: denoising, data: builtin/digits}"
PHOTOS = SUITE.replace("data: builtin/digits}", "data: builtin/photos}")


def load(text: str, folder: Path) -> ProbeEval:
    path = folder / "suite.yaml"
    path.write_text(text)
    spec = load_suite(path).runs[0].evaluations[0].spec
    assert isinstance(spec, ProbeEval)
    return spec


def refused(text: str, folder: Path) -> tuple[str, str]:
    """Where, without the folder, and the whole message."""
    with pytest.raises(HarnessError) as caught:
        load(text, folder)
    return str(caught.value.where).removeprefix(f"{folder}/"), str(caught.value)


def test_a_probe_is_tested_on_what_it_is_not_fitted_on(tmp_path: Path) -> None:
    spec = load(SUITE, tmp_path)
    assert (spec.split, spec.l2, spec.solver) == ("validation", (0.1, 0.01), "full_batch")
    assert spec.overlap == "refuse"
    where, message = refused(SUITE.replace("l2: [", "split: train\n        l2: ["), tmp_path)
    assert where == "suite.yaml:16 experiments.image.evaluations.digits.data"
    assert "tested on another" in message
    assert "allowed: validation" in message


def test_images_without_labels(tmp_path: Path) -> None:
    where, message = refused(
        PHOTOS.replace("data: builtin/digits\n", "data: builtin/photos\n"), tmp_path
    )
    assert where == "suite.yaml:16 experiments.image.evaluations.digits.data"
    assert "no labels" in message
    assert "allowed: builtin/digits" in message
    assert "?label=FIELD" in message


@pytest.mark.parametrize("flat", ["train", "val"])
def test_folders_without_classes(
    flat: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each split is looked at, and nothing but the names of its folders."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        for name in ("1.png",) if split == flat else ("cat/1.png", "dog/2.png"):
            path = tmp_path / "own" / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    name = "file:own/{split}?size=8&channels=1"
    text = SUITE.replace("data: builtin/digits\n", f'data: "{name}"\n')
    where, message = refused(text, tmp_path)
    assert where == "suite.yaml:16 experiments.image.evaluations.digits.data"
    assert f"({'train' if flat == 'train' else 'validation'}) have no labels" in message
    assert "a folder of one folder per class" in message
    (tmp_path / "own" / flat / "1.png").unlink()
    for label in ("cat", "dog"):
        (tmp_path / "own" / flat / label).mkdir()
        (tmp_path / "own" / flat / label / "1.png").touch()
    assert load(text, tmp_path).data == name


def test_images_of_another_size(tmp_path: Path) -> None:
    where, message = refused(PHOTOS, tmp_path)
    assert where == "suite.yaml:16 experiments.image.evaluations.digits.data"
    assert "3 x 16 x 16" in message


def test_a_task_of_another_modality(tmp_path: Path) -> None:
    text = (
        SUITE.replace(IMAGES, TEXT)
        .replace("dit_image", "ebt_text")
        .replace("ebt_image", "transformer_pp_text")
    )
    where, message = refused(text.replace(", patch_size: 4", ""), tmp_path)
    assert where == "suite.yaml:15 experiments.image.evaluations.digits.kind"
    assert "does not fit a next_token task" in message


def test_an_adapter_without_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(name: str) -> object:
        return replace(find_adapter(name), features=name == "dit_image")

    monkeypatch.setattr(probes, "find_adapter", found)
    where, message = refused(SUITE, tmp_path)
    assert where == "suite.yaml:15 experiments.image.evaluations.digits.kind"
    assert "'ebt_image' offers no features" in message
    assert "only: {adapter: [...]}`: those of dit_image" in message
    load(SUITE.replace("l2: [", "only: {adapter: [dit]}\n        l2: ["), tmp_path)


@pytest.mark.parametrize(
    ("own", "key", "problem"),
    [
        ("noise_seeds: [0, 1]", "noise_seeds", "draws no noise"),
        ("holdout: 1", "holdout", "must be less than 1"),
        ("solver: newton", "solver", "full_batch"),
        ("train_limit: 0", "train_limit", "must be at least 1"),
        ("levels: [0.1]", "levels", "unknown key"),
    ],
)
def test_settings(own: str, key: str, problem: str, tmp_path: Path) -> None:
    where, message = refused(SUITE.replace("l2: [", f"{own}\n        l2: ["), tmp_path)
    assert where == f"suite.yaml:17 experiments.image.evaluations.digits.{key}"
    assert problem in message


@pytest.mark.parametrize(("grid", "problem"), [("0.1, 0.10", "is given twice"), ("0, 1", "0")])
def test_penalties(grid: str, problem: str, tmp_path: Path) -> None:
    where, message = refused(SUITE.replace("0.1, 0.01", grid), tmp_path)
    assert where.startswith("suite.yaml:17 experiments.image.evaluations.digits.l2[")
    assert problem in message


def test_a_baseline_that_is_no_adapter(tmp_path: Path) -> None:
    where, message = refused(SUITE.replace("baseline: dit", "baseline: dti"), tmp_path)
    assert where == "suite.yaml:22 report[0].baseline"
    assert "did you mean 'dit'" in message


def test_only_what_changes_the_numbers_changes_the_id(tmp_path: Path) -> None:
    plain = load(SUITE, tmp_path).eval_id
    assert load(SUITE.replace("l2: [0.1, 0.01]", "l2: [0.1, 1e-2]"), tmp_path).eval_id == plain
    for own in ("holdout: 0.2", "train_limit: 9", "solver: minibatch", "limit: 9"):
        changed = SUITE.replace("l2: [", f"{own}\n        l2: [")
        assert load(changed, tmp_path).eval_id != plain
