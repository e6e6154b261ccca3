"""Prompts, answers and windows of evaluations of text, from suite to specs; and mistakes."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.planning.eval_spec import TextEval, ThinkingEval
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


def planned(text: str) -> TextEval:
    Path("suite.yaml").write_text(text)
    (run,) = load_suite(Path("suite.yaml")).runs
    (evaluation,) = run.evaluations
    assert isinstance(evaluation.spec, TextEval)
    return evaluation.spec


def test_templates_reach_the_spec_and_answers_roll_by_default() -> None:
    spec = planned(SUITE)
    assert (spec.prompt, spec.answer) == ("Question: {question}\nAnswer: ", "{answer}")
    assert (spec.data, spec.split, spec.windows) == ("file:qa.jsonl", "validation", "rolling")
    assert spec.overlap == "refuse"
    assert planned(SUITE + "        overlap: drop\n").overlap == "drop"
    with pytest.raises(HarnessError, match="overlap"):
        planned(SUITE + "        overlap: allow\n")
    trained = planned(SUITE + "        windows: as_trained\n")
    assert trained.windows == "as_trained"
    assert trained.eval_id != spec.eval_id
    assert planned(SUITE + "        split: test\n").split == "test"


def test_plain_text_is_cut_as_in_training_by_default() -> None:
    text = SUITE.replace("file:qa.jsonl", "builtin/dyck").replace(PROMPT, "")
    plain = text.replace('answer: "{answer}"', "")
    assert planned(plain).windows == "as_trained"
    assert planned(plain + "        windows: rolling\n").windows == "rolling"


def test_records_of_every_source_are_planned_without_network_or_heavy_libraries(
    folder: Path,
) -> None:
    (folder / "torn.jsonl").unlink()
    (folder / "a.json.gz").write_bytes(gzip.compress(json.dumps([ROW]).encode()))
    (folder / "folder").mkdir()
    (folder / "folder" / "a.parquet").write_text("not looked into")
    sources = [
        "hub:openai/gsm8k:main",
        "hub:allenai/ai2_arc@210d026:ARC-Easy?documents=50",
        "hub:./folder",
        "file:*.jsonl",
        "file:qa.jsonl?documents=1",
        "file:a.json.gz",
    ]
    for data in sources:
        assert planned(SUITE.replace("file:qa.jsonl", data)).data == data
    Path("suite.yaml").write_text(SUITE.replace("file:qa.jsonl", json.dumps(sources)))
    code = (
        "import sys, socket\nsocket.socket = None\n"
        "sys.argv = 'harness plan suite.yaml --no-simulate --json'.split()\n"
        "from harness.cli import main\n"
        "try:\n    main()\nfinally:\n    assert not {'torch', 'datasets'} & set(sys.modules)"
    )
    out = subprocess.check_output([sys.executable, "-c", code])
    assert len(json.loads(out)["runs"]) == 1


def test_a_thinking_evaluation_asks_too() -> None:
    grid = "kind: thinking\n        thinking: [{kind: single}]"
    asked = SUITE.replace("kind: likelihood", grid)
    spec = planned(asked)
    assert isinstance(spec, ThinkingEval)
    assert (spec.prompt, spec.answer) == ("Question: {question}\nAnswer: ", "{answer}")
    assert (spec.windows, spec.tokens) == ("rolling", "all")
    answers = planned(asked + "        tokens: answer\n")
    assert isinstance(answers, ThinkingEval)
    assert answers.tokens == "answer"
    assert answers.eval_id != spec.eval_id
    plain = asked.replace("file:qa.jsonl", "builtin/dyck").replace(PROMPT, "")
    plain = plain.replace('answer: "{answer}"', "")
    assert planned(plain).windows == "as_trained"
    with pytest.raises(HarnessError, match="plain text has no answers") as caught:
        planned(plain + "        tokens: answer\n")
    assert str(caught.value.where).endswith("experiments.text.evaluations.questions.tokens")
    with pytest.raises(HarnessError, match="tokens"):
        planned(SUITE + "        tokens: answer\n")


@pytest.mark.parametrize(
    ("old", "new", "key", "problem"),
    [
        (PROMPT, "", "answer", "there is no prompt"),
        ('answer: "{answer}"', "", "prompt", "there is no answer"),
        ('"{answer}"', '"{answr}"', "answer", "no such field"),
        ('"{answer}"', '"{answer"', "answer", "without its other half"),
        ('"{answer}"', '"{parts}"', "answer", "holds a list"),
        ("{question}", "{}", "prompt", "not the name of a field"),
        ("file:qa.jsonl", "file:plain.txt", "data", "need records"),
        ("file:qa.jsonl", "file:qa.jsonl#answer", "data", "need records"),
        ("file:qa.jsonl", "builtin/dyck", "data", "need records"),
        ("file:qa.jsonl", "hub:openai/gsm8k:main#question", "data", "the templates name"),
        ("file:qa.jsonl", "hub:a/b/c", "data", "OWNER/NAME"),
        ("file:qa.jsonl", "hub:./gone", "data", "no such folder"),
        ("file:qa.jsonl", "file:none-*.jsonl", "data", "no file has such a path"),
        ("file:qa.jsonl", "file:qa.jsonl?holdout=0.1", "data", "no records are held out"),
        ("file:qa.jsonl", "file:qa.jsonl?documents=0", "data", "a whole number from 1"),
        ('"{answer}"', '"{answer%}"', "answer", "not the name of a field"),
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
