"""Thinking on questions: the losses are those of likelihood evaluations, token for token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.evals.likelihood import evaluate_likelihood
from harness.evals.thinking import evaluate_thinking
from harness.planning.eval_spec import LikelihoodEval, ThinkingEval
from harness.protocol import Descent, Single
from harness.records import Measurement
from tests.data.corpora.asked import ANSWER, PROMPT, write_questions
from tests.evals.test_evaluators import context_of
from tests.training.tiny import spec_of

pytestmark = pytest.mark.usefixtures("corpus")
ASKED = {"prompt": PROMPT, "answer": ANSWER, "windows": "rolling"}
ROWS = [
    {"question": "how many ducks swim there, on the whole of that long lake", "answer": "four"},
    {"question": "what is left", "answer": ""},
    {"question": "why", "answer": "because the longest of all these answers spans two windows"},
]


@pytest.fixture
def questions(tmp_path: Path) -> str:
    return write_questions(tmp_path, ROWS)


def thought(data: str, settings: tuple[Any, ...], **changes: Any) -> ThinkingEval:
    given = ASKED | {"tokens": "answer", "timing_repeats": 1, "batch_size": 3} | changes
    return ThinkingEval(data=data, split="test", thinking=settings, **given)


def losses(found: list[Measurement], name: str = "loss") -> list[Measurement]:
    return [m for m in found if m.name == name]


@pytest.mark.parametrize(("tokens", "prefix"), [("all", ""), ("answer", "answer_")])
def test_each_setting_has_the_loss_of_a_likelihood_evaluation(
    tokens: str, prefix: str, questions: str, tmp_path: Path
) -> None:
    """Rows that hold no answer are left out, which changes no loss: noise is keyed by row."""
    context = context_of(spec_of("ebt_text"), tmp_path)
    settings = (Descent(steps=1), Descent(steps=3, samples=2), Descent(steps=2, tolerance=0.05))
    spec = thought(questions, settings, tokens=tokens, noise_seeds=(0, 4))
    found = evaluate_thinking(spec, context, tmp_path / "thinking")
    with np.load(tmp_path / "thinking" / "by_document.npz") as stored:
        sums, n = stored["sums"], stored["n"]
    own = [m for m in losses(found) if not m.tags["trained"]]
    assert len(own) == 6
    for index, setting in enumerate(settings):
        asked = LikelihoodEval(
            data=questions, split="test", thinking=setting, noise_seeds=(0, 4), **ASKED
        )
        folder = tmp_path / f"likelihood-{index}"
        expected = losses(evaluate_likelihood(asked, context, folder), f"{prefix}loss")
        for measured, other in zip(own[2 * index : 2 * index + 2], expected, strict=True):
            assert measured.n == other.n
            assert measured.value == pytest.approx(other.value, rel=1e-5)
            assert measured.tags["tokens"] == other.tags["tokens"] == tokens
            assert measured.tags["windows"] == "rolling"
            assert measured.tags["skipped"] == other.tags["skipped"] == 1
        with np.load(folder / "by_document.npz") as stored:
            np.testing.assert_allclose(sums[index + 1], stored[f"{prefix}sums"], rtol=1e-5)
            np.testing.assert_array_equal(n, stored[f"{prefix}n"])
    (bigram,) = losses(found, "bigram_loss")
    assert bigram.n == own[0].n
    whole = evaluate_likelihood(asked, context, folder)
    assert bigram.value == losses(whole, f"bigram_{prefix}loss")[0].value
    assert bigram.tags["tokens"] == tokens


def test_the_numbers_of_answers_are_written_out(questions: str, tmp_path: Path) -> None:
    context = context_of(spec_of("transformer_pp_text"), tmp_path)
    spec = thought(questions, (Single(),))
    (loss,) = losses(evaluate_thinking(spec, context, tmp_path))
    assert loss.n == sum(len(f" {row['answer']}") for row in ROWS if row["answer"])


def test_rows_without_an_answer_are_not_predicted(questions: str, tmp_path: Path) -> None:
    context = context_of(spec_of("transformer_pp_text"), tmp_path)
    seen: list[int] = []
    predict = context.adapter.predict

    def counted(batch: Any, *given: Any) -> Any:
        seen.extend(batch.rows.tolist())
        return predict(batch, *given)

    context.adapter.predict = counted
    evaluate_thinking(thought(questions, (Single(),)), context, tmp_path)
    texts = [f"Question: {r['question']}\nAnswer: {r['answer']}" for r in ROWS if r["answer"]]
    first = -(-len(texts[0]) // 16)  # rows of 16 bytes
    begin = len("Question: why\nAnswer:") // 16
    second = range(first + begin, first - (-len(texts[1]) // 16))
    assert set(seen) == {first - 1, *second}


def test_answers_that_no_row_reaches_are_refused(questions: str, tmp_path: Path) -> None:
    spec = spec_of("transformer_pp_text", task={"rows": "first_window"})
    given = thought(questions, (Single(),), windows="as_trained", limit=1)
    with pytest.raises(HarnessError, match=r"no row reaches an answer(.|\n)*rolling"):
        evaluate_thinking(given, context_of(spec, tmp_path), tmp_path)
    assert not (tmp_path / "by_document.npz").exists()
