"""The split of an evaluation that names none: the first of those that are there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.planning.splits import default_split
from harness.planning.suite import load_suite

ALL = ("train", "validation", "test")
#: A name, and how a file or folder of a split is made.
KINDS = {
    "folder": ("file:d/{split}?size=8", lambda split: write(f"d/{split}/1.png")),
    "listed": ("file:d/x{split}.parquet#i?size=8", lambda split: write(f"d/x{split}.parquet")),
    "text": ("file:d/{split}.jsonl#text", lambda split: write(f"d/{split}.jsonl")),
    "records": ("file:d/{split}.jsonl", lambda split: write(f"d/{split}.jsonl")),
    "clips": ("file:d/{split}.npy", lambda split: write(f"d/{split}.npy")),
}


def write(path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).touch()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_that_is_there(kind: str) -> None:
    name, make = KINDS[kind]
    assert default_split(name, ALL) == "validation", "where there is none, that one is missed"
    for split in ("train", "test", "validation"):
        make(split)
        assert default_split(name, ALL) == split


@pytest.mark.parametrize(
    ("name", "splits", "expected"),
    [
        ("builtin/dyck", ("test",), "test"),
        ("builtin/docs", ("train", "validation"), "validation"),
        ("hub:owner/name#image?size=8", ALL, "validation"),
        ("file:all?size=8&holdout=0.1", ("train", "validation"), "validation"),
    ],
)
def test_what_cannot_be_seen_is_as_the_set_says(
    name: str, splits: tuple[str, ...], expected: str
) -> None:
    assert default_split(name, splits) == expected


SUITE = """\
suite: own
experiments:
  e:
    base:
      task: {kind: KIND, data: "DATA", context: 3}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
      config: {depth: 1, width: 8, heads: 1}
    adapters:
      plain: {adapter: ADAPTER}
    evaluations:
      e: {kind: EVAL, data: "DATA"}
"""


def planned(data: str, *words: str) -> str:
    text = SUITE.replace("DATA", data)
    for key, word in zip(("KIND", "ADAPTER", "EVAL"), words, strict=True):
        text = text.replace(key, word)
    Path("s.yaml").write_text(text)
    return load_suite(Path("s.yaml")).runs[0].evaluations[0].spec.split


def test_a_suite_takes_it() -> None:
    for split in ("train", "test"):
        np.save(f"{split}.npy", np.zeros((2, 5, 1, 8, 8), np.float32))
        Path(f"{split}.jsonl").write_text(json.dumps({"text": "words " * 9, "answer": "a"}) + "\n")
    assert planned("file:{split}.npy", "next_frame", "transformer_pp_video", "next_frame") == "test"
    text = ("next_token", "transformer_pp_text", "likelihood")
    assert planned("file:{split}.jsonl#text", *text) == "test"
