"""The adapter as lm-eval's language model: scores by brute force, windows, generation, answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from harness.cost import FlopCounter
from harness.errors import HarnessError
from harness.evals.context import EvalContext
from harness.evals.language_model import AdapterLM
from harness.evals.scoring import PADDING, Piece, pieces_of, row_of, windows_of
from harness.protocol import Descent, Single, TextBatch
from tests.evals.test_evaluators import context_of
from tests.training.tiny import spec_of

pytestmark = pytest.mark.usefixtures("corpus")

CONTEXT = 40
END = 256
THINKING = {
    "transformer_pp_text": Single(),
    "ebt_text": Descent(steps=2, samples=3, noise_std=0.3),
}
#: Empty and short contexts, shared ones, spaces at the seam, and more than the model can see.
PAIRS = [
    ("", " energy"),
    ("The model thinks", " a lot"),
    ("The model thinks", " a bit"),
    ("The model thinks ", "twice"),
    ("Steps lower the energy of", " x"),
    ("Steps lower the energy of", " y"),
    ("word " * 12, " and so on"),
    ("word " * 12, "z" * CONTEXT),
    ("two words", "long " * 25),
    ("é", "ü"),
    (" \n", "after white space alone"),
]


@dataclass
class Request:
    """What an lm-eval instance is to a model."""

    args: tuple[Any, ...]
    task_name: str = "test"
    doc_id: int = 0


def asked(*arguments: tuple[Any, ...]) -> list[Request]:
    return [Request(each) for each in arguments]


def context_for(adapter: str, folder: Path, **changes: Any) -> EvalContext:
    task = {"context": CONTEXT} | changes.pop("task", {})
    return context_of(spec_of(adapter, task=task, **changes), folder)


def model(context: EvalContext, **options: Any) -> AdapterLM:
    return AdapterLM(context, THINKING[context.spec.adapter], **options)


def chances(lm: AdapterLM, given: list[int], *, row: int) -> torch.Tensor:
    """Log probabilities (S, V) in float64 after each of `given`, alone and without padding."""
    tokens = torch.tensor([[*given, 0]])
    batch = TextBatch(tokens, torch.ones(1, len(given), dtype=torch.bool), torch.tensor([row]))
    with lm.asking.context.inference():
        value = lm.asking.context.adapter.predict(batch, lm.asking.thinking, lm.asking.noise).value
    return value[0].double().log_softmax(-1)


def brute_force(lm: AdapterLM, context: str, continuation: str) -> tuple[float, bool]:
    """Token by token, by the definition: only what is seen differs from a longer model's."""
    spaces = len(context) - len(context.rstrip())
    moved = context[len(context) - spaces :] + continuation
    before = list(context.rstrip().encode()) or [END]
    after = list(moved.encode())
    if len(after) <= CONTEXT:
        seen = (before + after)[-(CONTEXT + 1) :]
        windows = [(seen[:-1], after, row_of(before))]
    else:
        first = [before[-1], *after[:CONTEXT]]
        windows = [(first[:-1], first[1:], row_of(first))]
        for start in range(CONTEXT, len(after), CONTEXT):
            wanted = after[start : start + CONTEXT]
            end = start + len(wanted)
            seen = after[end - CONTEXT - 1 : end]
            windows.append((seen[:-1], wanted, row_of(seen)))
    total, greedy = 0.0, True
    for given, wanted, row in windows:
        own = chances(lm, given, row=row)[-len(wanted) :]
        total += float(sum(own[i, token] for i, token in enumerate(wanted)))
        greedy &= own.argmax(-1).tolist() == wanted
    return total, greedy


@pytest.mark.parametrize("adapter", THINKING)
def test_scores_are_those_of_a_brute_force_computation(adapter: str, tmp_path: Path) -> None:
    lm = model(context_for(adapter, tmp_path))
    found = lm.loglikelihood(asked(*PAIRS))
    for (total, greedy), pair in zip(found, PAIRS, strict=True):
        expected, expected_greedy = brute_force(lm, *pair)
        assert total == pytest.approx(expected, rel=1e-5), pair
        assert greedy == expected_greedy, pair


@pytest.mark.parametrize("adapter", THINKING)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_neither_batch_size_nor_order_changes_a_score(
    adapter: str, batch_size: int, tmp_path: Path
) -> None:
    context = context_for(adapter, tmp_path)
    together = model(context, batch_size=64).loglikelihood(asked(*PAIRS))
    apart = model(context, batch_size=batch_size).loglikelihood(asked(*PAIRS[::-1]))[::-1]
    for one, other in zip(together, apart, strict=True):
        assert one[0] == pytest.approx(other[0], rel=1e-6)
        assert one[1] == other[1]


def test_thinking_changes_scores_and_noise_seeds_do(tmp_path: Path) -> None:
    context = context_for("ebt_text", tmp_path)
    scores = [
        model(context, noise_seed=seed).loglikelihood(asked(*PAIRS[:3])) for seed in (0, 1, 0)
    ]
    assert scores[0] == scores[2]
    assert scores[0] != scores[1]
    more = AdapterLM(context, Descent(steps=4)).loglikelihood(asked(*PAIRS[:3]))
    assert more != scores[0]


def test_what_is_greedy_is_the_argmax(tmp_path: Path) -> None:
    lm = model(context_for("ebt_text", tmp_path))
    own = chances(lm, list(b"The model"), row=row_of(b"The model"))
    best = int(own[-1].argmax())
    pieces = [
        Piece(row_of(b"The model"), tuple(b"The model"), (token,)) for token in (best, best ^ 1)
    ]
    assert [greedy for _, greedy in lm._scores([[p] for p in pieces], [None] * 2)] == [True, False]


def test_continuations_of_a_context_are_scored_under_one_distribution(tmp_path: Path) -> None:
    """Over all next bytes, the chances after a context add up to one."""
    lm = model(context_for("ebt_text", tmp_path))
    cut = [pieces_of(b"The model", [token], CONTEXT) for token in range(257)]
    total = sum(torch.tensor(score).double().exp() for score, _ in lm._scores(cut, [None] * 257))
    assert float(total) == pytest.approx(1.0, abs=1e-5)


def test_long_and_short_continuations_are_scored_under_the_same_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a million numbers on, rows are drawn from another generator."""
    lm = model(context_for("ebt_text", tmp_path))
    monkeypatch.setattr("harness.noise._LONG", 24 * lm.vocab_size)
    context, short, long = "The model is", " ", " thinking for long"
    one, other = (score for score, _ in lm.loglikelihood(asked((context, short), (context, long))))
    given = [*context.encode(), *long.encode()]
    padded = [*given, *[END] * (-len(given) % PADDING)]
    own = chances(lm, padded, row=row_of(context.encode()))
    start, end = len(context) - 1, len(given) - 1
    assert one == pytest.approx(float(own[start, ord(" ")]), rel=1e-5)
    expected = sum(float(own[i, given[i + 1]]) for i in range(start, end))
    assert other == pytest.approx(expected, rel=1e-5)
    assert one != pytest.approx(lm.loglikelihood(asked((context, short)))[0][0], rel=1e-5)


# --- long texts ------------------------------------------------------------------------------


def test_windows_by_hand() -> None:
    """As in lm-eval's own documentation of `loglikelihood_rolling`."""
    windows = windows_of(range(10), prefix=99, max_length=4)
    assert [(w.given, w.wanted) for w in windows] == [
        ((99, 0, 1, 2), (0, 1, 2, 3)),
        ((3, 4, 5, 6), (4, 5, 6, 7)),
        ((5, 6, 7, 8), (8, 9)),
    ]
    (cut,) = pieces_of(range(10), (10, 11), 4)
    assert (cut.given, cut.wanted) == ((7, 8, 9, 10), (10, 11)), "cut on the left"


@hypothesis.given(st.integers(0, 30), st.integers(1, 30), st.integers(1, 8))
def test_each_token_is_scored_once_with_what_context_fits(
    before: int, count: int, max_length: int
) -> None:
    """Tokens are their own places, so that a window tells where it was cut."""
    context, continuation = range(-1, before), range(before, before + count)
    for pieces in (
        pieces_of(context, continuation, max_length),
        windows_of(continuation, before - 1, max_length),
    ):
        assert [token for piece in pieces for token in piece.wanted] == list(continuation)
        for piece in pieces:
            end = piece.wanted[-1]
            assert list(piece.given) == list(range(end - len(piece.given), end))
            assert len(piece.wanted) <= len(piece.given) <= max_length
    if count <= max_length:
        (piece,) = pieces_of(context, continuation, max_length)
        assert len(piece.given) == min(before + count, max_length)


@pytest.mark.parametrize("adapter", THINKING)
def test_a_long_text_is_the_sum_of_its_windows(adapter: str, tmp_path: Path) -> None:
    lm = model(context_for(adapter, tmp_path))
    texts = ["", "short", "The model thinks about every token of this text. " * 3]
    found = lm.loglikelihood_rolling(asked(*((text,) for text in texts)))
    assert found[0] == 0
    for text, total in zip(texts[1:], found[1:], strict=True):
        tokens = list(text.encode())
        expected = 0.0
        for start in range(0, len(tokens), CONTEXT):
            end = min(start + CONTEXT, len(tokens))
            seen = [END, *tokens][: end + 1] if start == 0 else tokens[end - CONTEXT - 1 : end]
            own = chances(lm, seen[:-1], row=row_of(seen))
            expected += sum(float(own[i - end, tokens[i]]) for i in range(start, end))
        assert total == pytest.approx(expected, rel=1e-5)


# --- generation ------------------------------------------------------------------------------

STOP = {"until": ["\n\n"], "max_gen_toks": 12}


def greedy_text(lm: AdapterLM, prompt: str, count: int, *, room: int = CONTEXT) -> list[int]:
    """The argmax of a fresh decoder fed everything, token by token."""
    tokens = list(prompt.encode())[-(room - count) :] or [END]
    row, written = torch.tensor([row_of(tokens)]), []
    adapter: Any = lm.asking.context.adapter
    for _ in range(count):
        decoder = adapter.decoder(row, lm.asking.thinking, lm.asking.noise)
        with lm.asking.context.inference():
            fed = decoder.feed(torch.tensor([[*tokens, *written]]))
        written.append(int(fed.value.argmax()))
    return written


@pytest.mark.parametrize("adapter", THINKING)
def test_generation_is_the_argmax_token_by_token(adapter: str, tmp_path: Path) -> None:
    lm = model(context_for(adapter, tmp_path), batch_size=2)
    prompts = ["energy", "tokens", "a model", "", "word " * 20, "images"]
    found = lm.generate_until(asked(*((prompt, STOP) for prompt in prompts)))
    for prompt, text in zip(prompts, found, strict=True):
        written = greedy_text(lm, prompt, 12)
        if END in written:
            written = written[: written.index(END)]
        assert text == bytes(written).decode(errors="replace").split("\n\n")[0]
    assert any(found)


class Writes:
    """An adapter whose next token is the next of a given text; no network."""

    def __init__(self, text: list[int]) -> None:
        self.text = text

    def eval(self) -> None: ...

    def train(self) -> None: ...

    def decoder(self, rows: torch.Tensor, thinking: Any, noise: Any) -> Any:
        self.fed: list[torch.Tensor] = []
        return self

    def feed(self, tokens: torch.Tensor) -> Any:
        from harness.protocol import Passes, Prediction

        self.fed.append(tokens)
        token = self.text[min(len(self.fed) - 1, len(self.text) - 1)]
        value = torch.zeros(len(tokens), 257)
        value[:, token] = 1
        return Prediction(value, None, Passes(1, 1, 0))


def writing(text: list[int], folder: Path) -> AdapterLM:
    context = context_for("transformer_pp_text", folder)
    adapter: Any = Writes(text)
    return AdapterLM(replace(context, adapter=adapter), Single())


def test_generation_ends_at_stop_strings_end_of_text_and_the_limit(tmp_path: Path) -> None:
    lm = writing([*b"one. two\n\nthree", END, *b"four"], tmp_path)

    def written(**settings: Any) -> str:
        return lm.generate_until(asked(("say", settings)))[0]

    assert written(until=["\n\n"], max_gen_toks=30) == "one. two"
    assert written(until=["two", "one. "], max_gen_toks=30) == "", "whichever comes first"
    assert written(until="three", max_gen_toks=30) == "one. two\n\n"
    assert written(until=[], max_gen_toks=30) == "one. two\n\nthree"
    assert written(max_gen_toks=4) == "one."
    assert written() == "one. two\n\nthree", "a limit that would fill the context is half of it"


def test_prompts_are_cut_on_the_left(tmp_path: Path) -> None:
    lm = writing([END], tmp_path)
    lm.generate_until(asked(("x" * 30 + "y" * 30, {"max_gen_toks": 10})))
    adapter: Any = lm.asking.context.adapter
    assert bytes(adapter.fed[0][0].tolist()) == b"y" * (CONTEXT - 10)


def test_how_many_contexts_were_cut_is_told(tmp_path: Path) -> None:
    lm = model(context_for("transformer_pp_text", tmp_path))
    fits, cut = ("x" * (CONTEXT - 1), "yy"), ("x" * CONTEXT, "yy")
    lm.loglikelihood(asked(fits, cut))
    assert lm.share_cut("test") == 0.5
    assert lm.share_cut("other") is None


def test_generation_that_is_not_greedy_is_refused(tmp_path: Path) -> None:
    lm = writing([END], tmp_path)
    for settings in ({"do_sample": True, "temperature": 0.8}, {"temperature": 1}, {"num_beams": 4}):
        with pytest.raises(HarnessError, match="generation here is greedy"):
            lm.generate_until(asked(("say", settings)))


def test_an_adapter_without_a_decoder_scores_but_does_not_generate(tmp_path: Path) -> None:
    context = context_for("transformer_pp_text", tmp_path)
    whole: Any = context.adapter

    class Predicts:
        eval, train, predict = whole.eval, whole.train, whole.predict

    adapter: Any = Predicts()
    lm = AdapterLM(replace(context, adapter=adapter), Single())
    assert lm.loglikelihood(asked(PAIRS[1]))
    with pytest.raises(HarnessError, match="cannot generate text: it has no `decoder`"):
        lm.generate_until(asked(("say", {})))


def test_what_is_no_language_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="this run's task is denoising"):
        AdapterLM(context_of(spec_of("dit_image"), tmp_path), Single())


def test_an_empty_continuation_is_refused(tmp_path: Path) -> None:
    lm = model(context_for("transformer_pp_text", tmp_path))
    with pytest.raises(HarnessError, match="task test asks how probable a continuation without"):
        lm.loglikelihood(asked(("some text", "")))


# --- cost ------------------------------------------------------------------------------------


def test_cost_is_that_of_the_positions_predicted(tmp_path: Path) -> None:
    context = context_for("ebt_text", tmp_path)
    lm = model(context)
    lm.loglikelihood(asked(("x" * 15, "y"), ("x" * 15, "z"), ("x" * 30, "yz")))
    cost = lm.cost("test", documents=2)
    assert cost["predictions"] == (PADDING + 2 * PADDING) / 2, "what is shared is predicted once"
    assert cost["nfe"] == 6
    plan = context.record.prediction_flops(
        context.config, replace(context.shape, context=32), lm.asking.thinking
    )
    assert cost["flops"] == pytest.approx(plan.total / 32, rel=0.02)


@pytest.mark.parametrize("adapter", THINKING)
@pytest.mark.parametrize("stops", [[1], [3, 4, 3], [20, 24]])
def test_cost_of_generation_is_that_of_all_that_was_written(
    adapter: str, stops: list[int], tmp_path: Path
) -> None:
    """FLOPs of a task's documents are those counted while they were written one by one."""
    lm = model(context_for(adapter, tmp_path), batch_size=1)
    prompts = [bytes([65 + i] * 12).decode() for i in range(len(stops))]
    with FlopCounter(vocab_size=lm.vocab_size) as counter:
        lm.generate_until(
            asked(*((p, {"max_gen_toks": n}) for p, n in zip(prompts, stops, strict=True)))
        )
    predicted = [greedy_text(lm, p, n) for p, n in zip(prompts, stops, strict=True)]
    expected = [own.index(END) + 1 if END in own else len(own) for own in predicted]
    cost = lm.cost("test", documents=len(stops))
    assert cost["predictions"] == sum(expected) / len(stops)
    assert cost["predictions"] * cost["flops"] == pytest.approx(
        counter.total / len(stops), rel=0.02
    )


def test_end_of_text_is_a_prediction_too(tmp_path: Path) -> None:
    lm = writing([END], tmp_path)
    lm.generate_until(asked(("say", {"max_gen_toks": 10})))
    assert list(lm.asked["test"].values()) == [1]
    assert lm.cost("test", documents=1)["predictions"] == 1
