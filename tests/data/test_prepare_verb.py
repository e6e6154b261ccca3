"""`harness prepare`: what it says, what it leaves, and what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.data import measured
from harness.data.corpora import overlap
from harness.data.datasets import load_documents
from harness.data.text import prepare_text
from harness.errors import HarnessError

SUITE = """
suite: prepared
version: 1
description: reads two sets
base: {threads: 1}
experiments:
  text:
    base:
      task: {kind: next_token, data: "file:train.jsonl#text", tokenizer: bytes, context: 16}
      batch_size: 2
      budget: {steps: 2}
      optimizer: {lr: 1e-3}
      config: {depth: 1, width: 16, heads: 2}
    adapters:
      transformer++: {adapter: transformer_pp_text}
    seeds: [0, 1]
    evaluations:
      held: {kind: likelihood, data: "file:validation.jsonl#text"}
      far: {kind: likelihood, data: builtin/dyck}
"""


def harness(*arguments: str) -> Any:
    """The verb's exit code and output; what `main` would print as an error is raised."""
    result = CliRunner().invoke(app, ["prepare", *arguments])
    if isinstance(result.exception, HarnessError):
        raise result.exception
    return result


def test_a_suite_is_prepared_once(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE)
    arguments = (str(tmp_path / "suite.yaml"), "--results", str(tmp_path / "r"))
    first = harness(*arguments, "--json")
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    assert told["problems"] == []
    names = [(each["data"], each["split"]) for each in told["prepared"]]
    assert names == [
        ("file:train.jsonl#text", "train"),
        ("file:validation.jsonl#text", "validation"),
        ("builtin/dyck", "test"),
    ]
    train = load_documents("file:train.jsonl#text", "train")
    found = told["prepared"][0]
    assert found["digest"] == train.digest
    assert found["documents"] == len(train.texts)
    assert found["bytes"] == train.size
    assert found["tokens"] == train.size + len(train.texts)
    assert found["seconds"] > 0
    assert found["tokens_per_second_per_core"] > 0
    again = json.loads(harness(*arguments, "--json").stdout)["prepared"]
    assert {each["seconds"] for each in again} == {None}
    assert [each["token_digest"] for each in again] == [
        each["token_digest"] for each in told["prepared"]
    ]
    lock = json.loads((tmp_path / "r" / "data.lock.json").read_text())
    assert lock["file:train.jsonl#text/train"]["digest"] == train.digest
    assert not any(name.startswith("builtin/") for name in lock), "embedded data are frozen"
    # What training asks for is what was prepared.
    cache = tmp_path / "r" / "data"
    shards = prepare_text("file:train.jsonl#text", "train", tokenizer="bytes", cache=cache)
    assert str(shards.folder) == found["folder"]


def test_a_suite_of_the_hubs_text_is_planned_without_network(tmp_path: Path) -> None:
    """In a process of its own: nothing that reads data or talks to the Hub is even loaded."""
    name = "hub:HuggingFaceFW/fineweb@9bb295d:sample-10BT#text?holdout=0.001&documents=2000000"
    suite = SUITE.replace("file:train.jsonl#text", name).replace("tokenizer: bytes", "tokenizer: ?")
    suite = suite.replace("file:validation.jsonl#text", name).replace("?, c", "gpt-neox-20b, c")
    (tmp_path / "suite.yaml").write_text(suite)
    script = """
import sys
from pathlib import Path
from harness.planning.suite import load_suite
run = load_suite(Path(sys.argv[1])).runs[0]
print(run.shape.vocab_size, run.evaluations[0].spec.split)
loaded = {"datasets", "huggingface_hub", "pyarrow", "tokenizers", "torch"} & sys.modules.keys()
assert not loaded, loaded
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "suite.yaml")],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "50277 validation\n", done.stderr


def test_overlap_is_found_before_anything_is_trained(tmp_path: Path, corpus: Path) -> None:
    leaking = SUITE.replace("file:validation.jsonl", "file:{split}.jsonl").replace(
        "data: builtin/dyck", 'data: "file:train.jsonl#text", split: test'
    )
    (tmp_path / "suite.yaml").write_text(leaking)
    result = harness(str(tmp_path / "suite.yaml"), "--results", str(tmp_path / "r"))
    assert result.exit_code == 1
    assert "not disjoint" in result.output
    assert "80 equal documents" in result.output


ASKS = """
      asked: {kind: likelihood, data: file:qa.jsonl, prompt: "{q}\\nA: ", answer: "{a}"}
      given: {kind: likelihood, data: "file:qa.jsonl#q"%s}
"""


def test_questions_are_compared_too_and_the_training_text_is_read_once_for_all(
    tmp_path: Path, corpus_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measured, "SMALL_BYTES", 1)
    monkeypatch.setattr(measured, "_SETTLED_SECONDS", 0.0)
    for split in ("train", "validation"):
        shutil.copy(corpus_folder / f"{split}.jsonl", tmp_path)
    first = max(load_documents("file:train.jsonl#text", "train").texts, key=len).decode()
    rows = [{"q": first, "a": "yes"}, {"q": "of its own", "a": "no"}]
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = (str(tmp_path / "suite.yaml"), "--results", str(tmp_path / "r"), "--json")
    read: list[str] = []
    stream = overlap.stream_documents
    monkeypatch.setattr(
        overlap, "stream_documents", lambda name, split: read.append(name) or stream(name, split)
    )
    for _ in range(2):
        (tmp_path / "suite.yaml").write_text(SUITE.rstrip() + ASKS % ", overlap: drop")
        result = harness(*arguments)
        assert result.exit_code == 1
        (problem,) = json.loads(result.stdout)["problems"]
        assert "file:qa.jsonl (validation) are not disjoint: 0 equal documents" in problem
        assert "1 of 2 documents share text" in " ".join(result.stderr.split())
        assert read == ["file:train.jsonl#text"], "for all sets at once, and never again"
    (tmp_path / "suite.yaml").write_text(SUITE.rstrip() + ASKS % "")
    problems = json.loads(harness(*arguments).stdout)["problems"]
    assert ["1 equal documents" in problem for problem in problems] == [False, True]


def test_one_set_says_what_it_became(tmp_path: Path, corpus: Path) -> None:
    result = harness("file:{split}.jsonl#text", "--split", "test", "--results", str(tmp_path))
    assert "6 documents" in result.output
    assert "bytes per token" in result.output
    assert "tokens/s per core" in result.output
    again = harness("file:{split}.jsonl#text", "--split", "test", "--results", str(tmp_path))
    assert "found prepared" in again.output


def test_a_prepared_name_does_not_change_its_meaning(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n')
    arguments = (f"file:{path}#text", "--results", str(tmp_path / "r"))
    harness(*arguments)
    path.write_text('{"text": "two"}\n')
    with pytest.raises(HarnessError, match=r"the data changed(.|\n)*delete its entry"):
        harness(*arguments)
    with pytest.raises(HarnessError, match="the data changed"):
        prepare_text(arguments[0], "train", tokenizer="bytes", cache=tmp_path / "r" / "data")
    (tmp_path / "r" / measured.LOCK).unlink()
    assert "1 documents" in harness(*arguments).output


def test_a_path_alone_is_told_how_to_be_written(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"a file is named file:train\.jsonl, with #FIELD"):
        harness("train.jsonl", "--results", str(tmp_path))


def test_a_tokenizer_is_trained_and_used(tmp_path: Path, corpus: Path) -> None:
    file = str(tmp_path / "mine.json")
    result = harness("file:train.jsonl#text", "--train-tokenizer", "300", "--out", file)
    assert "A suite names it" in result.output
    name = "file:train.jsonl#text"
    used = harness(name, "--tokenizer", file, "--results", str(tmp_path), "--json")
    assert json.loads(used.stdout)["prepared"][0]["bytes_per_token"] > 1.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["builtin/docz"], "did you mean 'builtin/docs'"),
        (["builtin/digits"], "needs no preparing: its image data"),
        (["builtin/docs", "--split", "test"], "allowed: train, validation"),
        (["builtin/docs", "--tokenizer", "gpt2x"], "did you mean 'gpt2'"),
        (["builtin/docs", "--train-tokenizer", "300"], "go together"),
        (["builtin/docs", "--out", "a.json"], "go together"),
        (
            ["builtin/docs", "--train-tokenizer", "300", "--out", "a.json", "--tokenizer", "gpt2"],
            "not on another's tokens",
        ),
        (["builtin/docs", "--set", "a=1"], "has no settings"),
        (["absent.yaml"], "absent.yaml"),
        (["absent.yaml", "--split", "train"], "go with one data set"),
        (["corpus.jsonl"], "no such dataset"),
        (["file:absent.jsonl#text"], "no such (text )?file"),
        (["file:absent.csv#text"], "no text is read"),
        (["file:absent.npy"], "no such file of clips"),
    ],
)
def test_wrong_input_is_explained(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarnessError, match=said):
        harness(*arguments)
    assert list(tmp_path.rglob("*")) == [], "nothing is written"
