"""Prompts, answers and windows: token by token, by lm-eval's own functions, and what is refused."""

from __future__ import annotations

import json
import os
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.data.corpora.question_shards import question_shards
from harness.data.corpora.questions import load_questions
from harness.data.text import TextRows, prepare_text
from harness.errors import HarnessError
from harness.evals.likelihood import evaluate_likelihood
from harness.evals.text_sets import text_set
from harness.planning.eval_spec import LikelihoodEval
from harness.protocol import TextBatch
from harness.records import Measurement
from harness.registry import adapter as find_adapter
from tests.data.corpora.asked import ANSWER, PROMPT, ROWS, write_questions
from tests.evals.test_evaluators import context_of
from tests.training.tiny import CORPUS, spec_of

pytestmark = pytest.mark.usefixtures("corpus")
SHARED = Path(__file__).parents[2] / os.environ.get("HARNESS_SHARED", "../shared") / "data"


@pytest.fixture
def questions(tmp_path: Path) -> str:
    return write_questions(tmp_path)


def asked(data: str, thinking: Any, **changes: Any) -> LikelihoodEval:
    given: dict[str, Any] = {"prompt": PROMPT, "answer": ANSWER, "windows": "rolling"}
    return LikelihoodEval(data=data, split="test", thinking=thinking, **given | changes)


def trained_thinking(name: str) -> Any:
    record = find_adapter(name)
    return record.trained_thinking(record.config.model_validate(spec_of(name).config))


def by_name(found: list[Measurement], noise_seed: int = 0) -> dict[str, Measurement]:
    return {m.name: m for m in found if m.noise_seed in (None, noise_seed)}


# --- losses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["transformer_pp_text", "ebt_text"])
def test_losses_are_those_of_single_rows_token_by_token(
    name: str, questions: str, tmp_path: Path
) -> None:
    """Bytes are their own tokens, so every window and target is written out by hand here."""
    context = context_of(spec_of(name), tmp_path)
    thinking = trained_thinking(name)
    found = by_name(
        evaluate_likelihood(asked(questions, thinking, batch_size=3), context, tmp_path)
    )
    noise = context.noise(0, f"{questions}/test")
    nats: dict[str, list[float]] = {"loss": [], "answer_loss": []}
    row = 0
    for document in (r for r in ROWS if r["answer"]):
        prompt = f"Question: {document['question']}\nAnswer:".encode()
        tokens = list(prompt + f" {document['answer']}".encode())
        for begin in range(0, len(tokens), 16):
            end = min(begin + 16, len(tokens))
            window = ([256] if end <= 16 else []) + tokens[max(0, end - 17) : end]
            padded = torch.tensor([window + [256] * (17 - len(window))])
            batch = TextBatch(padded, torch.ones(1, 16, dtype=torch.bool), torch.tensor([row]))
            with context.inference():
                logits = context.adapter.predict(batch, thinking, noise).value
            chances = logits[0].double().log_softmax(-1)
            for place in range(begin, end):
                column = len(window) - 2 - (end - 1 - place)
                value = -float(chances[column, tokens[place]])
                nats["loss"].append(value)
                if place >= len(prompt):
                    nats["answer_loss"].append(value)
            row += 1
    for metric, values in nats.items():
        measured = found[metric]
        assert measured.n == len(values)
        assert measured.value == pytest.approx(np.mean(values), rel=1e-5)
        prefix = metric.removesuffix("loss")
        assert found[f"{prefix}perplexity"].value == pytest.approx(exp(np.mean(values)), rel=1e-5)
        bits = found[f"{prefix}bits_per_byte"].value
        assert bits == pytest.approx(np.mean(values) / log(2), rel=1e-5), "a byte is a token"
        assert measured.tags["documents"] == 3
        assert measured.tags["skipped"] == 2
    assert found["loss"].tags["tokens"] == "all"
    assert found["answer_loss"].tags["tokens"] == "answer"
    assert found["unigram_answer_loss"].n == found["answer_loss"].n


def test_batch_size_changes_nothing_and_documents_sum_to_the_loss(
    questions: str, tmp_path: Path
) -> None:
    context = context_of(spec_of("ebt_text"), tmp_path)
    thinking = trained_thinking("ebt_text")
    found = []
    for size in (1, 4):
        spec = asked(questions, thinking, batch_size=size, noise_seeds=(0, 5))
        found.append(evaluate_likelihood(spec, context, tmp_path / str(size)))
    for one, other in zip(*found, strict=True):
        assert (one.name, one.noise_seed, one.n) == (other.name, other.noise_seed, other.n)
        assert one.value == pytest.approx(other.value, rel=1e-5)
    with np.load(tmp_path / "4" / "by_document.npz") as stored:
        kept = {name: stored[name] for name in stored.files}
    assert kept["sums"].shape == kept["answer_sums"].shape == (2, 3)
    for index, seed in enumerate((0, 5)):
        own = by_name(found[1], seed)
        for prefix in ("", "answer_"):
            loss = kept[f"{prefix}sums"][index].sum() / kept[f"{prefix}n"].sum()
            assert own[f"{prefix}loss"].value == pytest.approx(loss, rel=1e-12)
    assert not np.allclose(kept["sums"][0], kept["sums"][1]), "noise seeds differ"
    assert (kept["answer_n"] < kept["n"]).all()


def test_an_answer_that_no_row_reaches_is_missing_not_zero(questions: str, tmp_path: Path) -> None:
    """The paper's rows end after the context: a longer prompt loses its answer."""
    spec = spec_of("transformer_pp_text", task={"rows": "first_window"})
    context = context_of(spec, tmp_path)
    given = asked(questions, trained_thinking("transformer_pp_text"), windows="as_trained")
    found = by_name(evaluate_likelihood(given, context, tmp_path))
    assert found["loss"].n == 3 * 16
    assert found["answer_loss"].n == 0
    assert found["answer_loss"].value is None
    assert found["answer_bits_per_byte"].value is None
    assert found["bigram_answer_loss"].value is None


def test_packed_rows_count_end_of_text_among_all_tokens_and_never_in_answers(
    questions: str, tmp_path: Path
) -> None:
    context = context_of(spec_of("transformer_pp_text"), tmp_path)
    thinking = trained_thinking("transformer_pp_text")
    rolling = text_set(asked(questions, thinking), context)
    packed = text_set(asked(questions, thinking, windows="as_trained"), context)
    # 3 documents: packed rows count their ends, but nothing predicts the stream's first token.
    assert packed.rows.target_count() == rolling.rows.target_count() + 3 - 1
    assert packed.answers is not None
    assert rolling.answers is not None
    assert packed.answers.target_count() == rolling.answers.target_count()
    assert packed.bytes == rolling.bytes - 1


def test_a_limit_of_rolling_windows_counts_documents(questions: str, tmp_path: Path) -> None:
    context = context_of(spec_of("transformer_pp_text"), tmp_path)
    spec = asked(questions, trained_thinking("transformer_pp_text"), limit=2)
    found = by_name(evaluate_likelihood(spec, context, tmp_path))
    assert found["loss"].tags["documents"] == 2
    lengths = [len(f"Question: {r['question']}\nAnswer: {r['answer']}") for r in (ROWS[0], ROWS[3])]
    assert found["loss"].n == sum(lengths)


def test_questions_that_were_trained_on_are_refused(tmp_path: Path) -> None:
    words = " ".join(f"word{number}" for number in range(40))
    (tmp_path / "train.txt").write_text(words)
    (tmp_path / "qa.jsonl").write_text(json.dumps({"question": words, "answer": "yes"}))
    spec = spec_of("transformer_pp_text", task={"data": f"file:{tmp_path}/train.txt"})
    given = asked(f"file:{tmp_path}/qa.jsonl", trained_thinking("transformer_pp_text"))
    with pytest.raises(HarnessError, match="not disjoint"):
        evaluate_likelihood(given, context_of(spec, tmp_path), tmp_path)


def test_rolling_text_predicts_every_token_once(tmp_path: Path) -> None:
    context = context_of(spec_of("transformer_pp_text"), tmp_path)
    thinking = trained_thinking("transformer_pp_text")
    spec = LikelihoodEval(data=CORPUS, split="validation", thinking=thinking, windows="rolling")
    found = by_name(evaluate_likelihood(spec, context, tmp_path))
    lines = Path("validation.jsonl").read_text().splitlines()
    assert found["loss"].n == sum(len(json.loads(line)["text"]) for line in lines)
    assert found["loss"].tags["windows"] == "rolling"
    assert "answer_loss" not in found


# --- windows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 16, 33, 1000])
def test_windows_are_those_of_lm_eval(size: int, tmp_path: Path) -> None:
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    shards = prepare_text(CORPUS, "validation", tokenizer="bytes", cache=tmp_path)
    rows = TextRows(shards, context=size, rows="rolling")
    tokens, mask = rows.get(np.arange(len(rows)))
    owners = rows.documents(np.arange(len(rows)))
    row = 0
    for document in range(len(shards)):
        own = shards.tokens[shards.offsets[document] : shards.offsets[document + 1] - 1].tolist()
        for window in get_rolling_token_windows(own, shards.end_of_text, size, 1):
            given, wanted = make_disjoint_window(window)
            first = int(mask[row].argmax())
            assert tokens[row, : first + 1].tolist() == given
            assert tokens[row, 1:][mask[row]].tolist() == wanted
            assert owners[row] == document
            row += 1
    assert row == len(rows)


def test_pairs_are_encoded_as_lm_eval_does(questions: str, tmp_path: Path) -> None:
    """With a tokenizer whose tokens span words, so that the border matters."""
    from lm_eval.api.model import TemplateLM

    file = SHARED / "tokenizer_neox" / "20B_tokenizer.json"
    if not file.is_file():
        pytest.skip("no tokenizer: HARNESS_SHARED is not there")
    from harness.data.tokenizer import load_tokenizer

    class Encoder(TemplateLM):
        backend = "causal"
        eot_token_id = 0
        loglikelihood_rolling = generate_until = _loglikelihood_tokens = None  # type: ignore[assignment]

        def tok_encode(self, string: str, **_: Any) -> list[int]:
            return load_tokenizer(str(file)).encode(string.encode()).tolist()

    loaded = load_questions(questions, "test", PROMPT, ANSWER)
    shards, own = question_shards(loaded, tokenizer=str(file), folder=tmp_path)
    for index, row in enumerate(r for r in ROWS if r["answer"]):
        part = slice(shards.offsets[index], shards.offsets[index + 1] - 1)
        expected = Encoder()._encode_pair(f"Question: {row['question']}\nAnswer: ", row["answer"])
        assert shards.tokens[part][~own[part]].tolist() == expected[0]
        assert shards.tokens[part][own[part]].tolist() == expected[1]
        assert not own[part.stop], "end of text is no answer's"


REAL = {
    "gsm8k/test.jsonl": (PROMPT, ANSWER, 1319),
    "squad_xquad_en/xquad.en.json": (
        "Question: {context}\n{question}\nAnswer: ",
        "{answers[0].text}",
        1190,
    ),
    "bigbench_dyck/bigbench_dyck_languages.jsonl": ("{context} ", "{continuation}", 1000),
    "mathqa/math_qa.jsonl": ("{query}", "{choices[gold]}", 2983),
    "arc/ARC-Easy.validation.arrow": ("Question: {question}\nAnswer: ", "{choices.text[0]}", 570),
}


@pytest.mark.parametrize("file", REAL)
def test_real_questions(file: str, tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("no shared data: HARNESS_SHARED is not there")
    prompt, answer, count = REAL[file]
    context = context_of(spec_of("transformer_pp_text", task={"context": 64}), tmp_path)
    thinking = trained_thinking("transformer_pp_text")
    spec = asked(f"file:{SHARED}/{file}", thinking, prompt=prompt, answer=answer, limit=4)
    covered = text_set(spec, context)
    assert len(covered.rows.shards) == count
    found = by_name(evaluate_likelihood(spec, context, tmp_path))
    assert found["loss"].tags["documents"] == found["answer_loss"].tags["documents"] == 4
    assert 0 < found["answer_loss"].n < found["loss"].n
