"""Prompts, answers and windows of a likelihood evaluation, from suite to specs; and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.planning.eval_spec import LikelihoodEval
from harness.planning.suite import load_suite

SUITE = """\
suite: probe
experiments:
  text:
    base:
      task: {kind: next_token, context: 16}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
      config: {depth: 1, width: 8, heads: 1}
    adapters:
      plain: {adapter: transformer_pp_text}
    evaluations:
      questions:
        kind: likelihood
        data: file:qa.jsonl
        prompt: "Question: {question}\\nAnswer: "
        answer: "{answer}"
"""
ROW = {"question": "how many", "answer": "four", "parts": ["a"]}
PROMPT = 'prompt: "Question: {question}\\nAnswer: "'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("qa.jsonl").write_text(json.dumps(ROW))
    Path("plain.txt").write_text("text")
    Path("torn.jsonl").write_text("{")
    return tmp_path


def planned(text: str) -> LikelihoodEval:
    Path("suite.yaml").write_text(text)
    (run,) = load_suite(Path("suite.yaml")).runs
    (evaluation,) = run.evaluations
    assert isinstance(evaluation.spec, LikelihoodEval)
    return evaluation.spec


def test_templates_reach_the_spec_and_answers_roll_by_default() -> None:
    spec = planned(SUITE)
    assert (spec.prompt, spec.answer) == ("Question: {question}\nAnswer: ", "{answer}")
    assert (spec.data, spec.split, spec.windows) == ("file:qa.jsonl", "validation", "rolling")
    trained = planned(SUITE + "        windows: as_trained\n")
    assert trained.windows == "as_trained"
    assert trained.eval_id != spec.eval_id
    assert planned(SUITE + "        split: test\n").split == "test"


def test_plain_text_is_cut_as_in_training_by_default() -> None:
    text = SUITE.replace("file:qa.jsonl", "builtin/dyck").replace(PROMPT, "")
    plain = text.replace('answer: "{answer}"', "")
    assert planned(plain).windows == "as_trained"
    assert planned(plain + "        windows: rolling\n").windows == "rolling"


@pytest.mark.parametrize(
    ("old", "new", "key", "problem"),
    [
        (PROMPT, "", "answer", "there is no prompt"),
        ('answer: "{answer}"', "", "prompt", "there is no answer"),
        ('"{answer}"', '"{answr}"', "answer", "no such field"),
        ('"{answer}"', '"{answer"', "answer", "without its other half"),
        ('"{answer}"', '"{parts}"', "answer", "holds a list"),
        ("{question}", "{}", "prompt", "not the name of a field"),
        ("file:qa.jsonl", "file:plain.txt", "data", "need a file of records"),
        ("file:qa.jsonl", "file:qa.jsonl#answer", "data", "need a file of records"),
        ("file:qa.jsonl", "builtin/dyck", "data", "need a file of records"),
        ("file:qa.jsonl", "hub:openai/gsm8k:main", "data", "hf download"),
        ("file:qa.jsonl", "file:gone.jsonl", "data", "no such file"),
        ("file:qa.jsonl", "[file:qa.jsonl, file:gone.jsonl]", "data[1]", "no such file"),
        ("file:qa.jsonl", "file:torn.jsonl", "data", "not JSON"),
        ('"{answer}"', '"{answer}"\n        windows: sliding', "windows", "allowed values"),
    ],
)
def test_mistakes_are_found_where_they_are_written(
    old: str, new: str, key: str, problem: str
) -> None:
    assert old in SUITE
    text = SUITE.replace(old, new)
    with pytest.raises(HarnessError, match=problem) as caught:
        planned(text)
    line = next(
        number
        for number, content in enumerate(text.splitlines(), start=1)
        if content.strip().startswith(f"{key.partition('[')[0]}:")
    )
    where = f"suite.yaml:{line} experiments.text.evaluations.questions.{key}"
    assert str(caught.value.where) == where


def test_a_misspelt_field_names_the_nearest() -> None:
    with pytest.raises(HarnessError) as caught:
        planned(SUITE.replace('"{answer}"', '"{answr}"'))
    assert "did you mean 'answer'?" in str(caught.value)
    assert "qa.jsonl:1" in str(caught.value)
