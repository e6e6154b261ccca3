"""`lm_task` in a suite: one evaluation per task, mistakes at their place, own files digested."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.task_files import find_task, task_digest
from harness.errors import HarnessError
from harness.planning.eval_spec import LmTaskEval
from harness.planning.suite import load_suite
from harness.protocol import Descent, Single

SUITE = """\
suite: probe
version: 1
experiments:
  text:
    base:
      task: {kind: next_token, data: builtin/docs, context: 128}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
      config: {depth: 1, width: 8, heads: 1}
    adapters:
      plain: {adapter: transformer_pp_text}
      energy: {adapter: ebt_text, config: {step_size: 0.3}}
    seeds: [0]
    evaluations:
      tasks: {kind: lm_task, EVALUATION}
"""
TASK = """\
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: data.jsonl}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    where = tmp_path / "mine"
    where.mkdir()
    (where / "mine.yaml").write_text(TASK)
    (where / "data.jsonl").write_text('{"q": "x"}\n')
    return where


def planned(folder: Path, evaluation: str) -> dict[str, list[LmTaskEval]]:
    """Adapter label -> its evaluations."""
    path = folder / "suite.yaml"
    path.write_text(SUITE.replace("EVALUATION", evaluation))
    found: dict[str, list[LmTaskEval]] = {}
    for run in load_suite(path).runs:
        for each in run.evaluations:
            assert isinstance(each.spec, LmTaskEval)
            found.setdefault(run.adapter_label, []).append(each.spec)
    return found


def test_every_task_is_an_evaluation_at_the_trained_thinking(tmp_path: Path) -> None:
    found = planned(tmp_path, "tasks: [harness_dyck, arc_easy, mmlu], num_fewshot: 3, limit: 50")
    for label, thinking in {"plain": Single(), "energy": Descent(steps=2)}.items():
        assert [spec.data for spec in found[label]] == ["harness_dyck", "arc_easy", "mmlu"]
        for spec in found[label]:
            assert spec.thinking == thinking
            assert (spec.num_fewshot, spec.limit, spec.include, spec.digest) == (3, 50, None, None)
    assert len({spec.eval_id for spec in found["energy"]}) == 3


def test_thinking_and_noise_seeds_are_taken(tmp_path: Path) -> None:
    given = "thinking: {kind: descent, steps: 4, samples: 3}, noise_seeds: [0, 1]"
    found = planned(tmp_path, f"tasks: [harness_copy], {given}, only: {{adapter: [energy]}}")
    assert list(found) == ["energy"]
    (spec,) = found["energy"]
    assert spec.thinking == Descent(steps=4, samples=3)
    assert spec.noise_seeds == (0, 1)


def test_own_tasks_carry_their_digest(folder: Path) -> None:
    evaluation = f"tasks: [mine, harness_copy], include: {folder}"
    mine, ours = planned(folder, evaluation)["plain"]
    assert (mine.include, mine.digest) == (
        str(folder),
        task_digest(find_task("mine", str(folder))),
    )
    assert (ours.include, ours.digest) == (None, None), "the folder does not matter to it"
    (folder / "data.jsonl").write_text('{"q": "y"}\n')
    changed, same = planned(folder, evaluation)["plain"]
    assert changed.eval_id != mine.eval_id
    assert same.eval_id == ours.eval_id


@pytest.mark.parametrize(
    ("evaluation", "words"),
    [
        ("tasks: [harness_dyck, harness_dick]", r"tasks\.tasks\[1\]: no such task"),
        ("tasks: [harness_dick]", "did you mean 'harness_dyck'"),
        ("tasks: []", "tasks"),
        ("tasks: [harness_dyck, harness_dyck]", "is given twice"),
        ("tasks: [mine], include: nowhere", r"tasks\.include: no such folder of tasks"),
        ("tasks: [harness_dyck], num_fewshot: -1", "num_fewshot"),
        ("tasks: [harness_dyck], data: builtin/docs", "data"),
        (
            "tasks: [harness_dyck], thinking: {kind: descent, steps: 2}",
            "adapter 'transformer_pp_text' cannot think that way",
        ),
    ],
)
def test_mistakes_are_told_at_their_place(evaluation: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=words) as told:
        planned(tmp_path, evaluation)
    assert "suite.yaml:16" in str(told.value)


def test_missing_data_of_a_task_are_told_before_anything_is_trained(folder: Path) -> None:
    (folder / "data.jsonl").unlink()
    with pytest.raises(HarnessError, match="a data file of the task is not there"):
        planned(folder, f"tasks: [mine], include: {folder}")


def test_images_have_no_language_tasks(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    text = SUITE.replace("EVALUATION", "tasks: [harness_dyck]")
    text = text.replace(
        "{kind: next_token, data: builtin/docs, context: 128}",
        "{kind: denoising, data: builtin/digits}",
    )
    text = text.replace(
        "plain: {adapter: transformer_pp_text}",
        "plain: {adapter: dit_image, config: {patch_size: 4}}",
    )
    lines = text.splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "ebt_text" not in line))
    with pytest.raises(HarnessError, match="lm_task does not fit a denoising task"):
        load_suite(path)
