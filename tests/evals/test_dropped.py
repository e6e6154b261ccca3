"""Documents that share text with training: left out and counted where the evaluation says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.evals.likelihood import evaluate_likelihood
from harness.evals.thinking import evaluate_thinking
from harness.planning.eval_spec import LikelihoodEval, ThinkingEval
from harness.protocol import Single
from tests.evals.test_evaluators import context_of
from tests.training.tiny import spec_of

SHARED = " ".join(f"word{i}" for i in range(14))
TRAIN = [f"before {SHARED} after", "a short one", "quite another text of the training set"]
#: The first and the fourth share a run of words with training, the third is a training document
#: (and no longer one as a question).
TEXTS = [f"so {SHARED}", "wholly of its own", "a short one", f"{SHARED.upper()}!", "and another"]
OWN, ASKED_OWN = (1, 4), (1, 2, 4)


def write(path: Path, texts: list[str]) -> str:
    rows = ({"text": text, "question": f"of {text}", "answer": "yes, it is"} for text in texts)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"file:{path}"


@pytest.fixture
def context(tmp_path: Path) -> Any:
    data = write(tmp_path / "train.jsonl", TRAIN) + "#text"
    return context_of(spec_of("transformer_pp_text", task={"data": data}), tmp_path / "data")


def measured(data: str, context: Any, folder: Path, **given: Any) -> dict[str, tuple[Any, ...]]:
    spec = LikelihoodEval(data=data, split="test", thinking=Single(), **given)
    found = evaluate_likelihood(spec, context, folder)
    return {m.name: (m.value, m.n, m.tags["documents"], m.tags.get("skipped")) for m in found}


ASKED = {"prompt": "{question}\n", "answer": "{answer}"}


@pytest.mark.parametrize("limit", [None, 1])
@pytest.mark.parametrize("asked", [{}, ASKED], ids=["text", "questions"])
@pytest.mark.parametrize("windows", ["rolling", "as_trained"])
def test_an_evaluation_without_them_is_that_of_the_others(
    windows: str, asked: dict[str, str], limit: int | None, context: Any, tmp_path: Path
) -> None:
    own = ASKED_OWN if asked else OWN
    names = [
        write(tmp_path / "all.jsonl", TEXTS) + ("" if asked else "#text"),
        write(tmp_path / "own.jsonl", [TEXTS[i] for i in own]) + ("" if asked else "#text"),
    ]
    given = {"windows": windows, "limit": limit, **asked}
    dropping = measured(names[0], context, tmp_path / "all", overlap="drop", **given)
    assert dropping == measured(names[1], context, tmp_path / "own", **given)
    with np.load(tmp_path / "all" / "by_document.npz") as stored:
        counted = np.flatnonzero(stored["n"]).tolist()
    if limit is None:
        assert counted == list(own), "documents keep their places"
    elif windows == "rolling":
        assert counted == [own[0]], "documents are counted after that"


def test_they_are_counted_and_refused_unless_it_is_said(context: Any, tmp_path: Path) -> None:
    name = write(tmp_path / "all.jsonl", TEXTS) + "#text"
    own = write(tmp_path / "own.jsonl", [TEXTS[index] for index in OWN]) + "#text"
    spec = ThinkingEval(data=name, split="test", thinking=(Single(),), overlap="drop")
    found = evaluate_thinking(spec, context, tmp_path)
    assert {m.tags["dropped"] for m in found} == {3}
    none = spec.model_copy(update={"data": own})
    assert {m.tags["dropped"] for m in evaluate_thinking(none, context, tmp_path)} == {0}
    refusing = spec.model_copy(update={"overlap": "refuse"})
    with pytest.raises(HarnessError, match=r"not disjoint(.|\n)*in 3 of 5(.|\n)*overlap: drop"):
        evaluate_thinking(refusing, context, tmp_path)
    plain = none.model_copy(update={"overlap": "refuse"})
    assert not any("dropped" in m.tags for m in evaluate_thinking(plain, context, tmp_path))


def test_a_set_of_which_nothing_is_left_is_refused(context: Any, tmp_path: Path) -> None:
    name = write(tmp_path / "e.jsonl", TRAIN[:2]) + "#text"
    with pytest.raises(HarnessError, match="every document shares text with training data"):
        measured(name, context, tmp_path, overlap="drop")
