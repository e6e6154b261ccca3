"""lm-eval's own `hf` model on an export, against the run it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from harness.evals.context import EvalContext
from harness.export.files import export
from harness.launch.trained import trained as load_trained
from harness.noise import NoiseSource
from harness.protocol import Single, TextBatch
from harness.records import RunFolder, write_json
from tests.training.tiny import spec_of, trained

CONTEXT, END = 16, 256
#: Sums of log probabilities of up to a few hundred float32 tokens.
CLOSE = {"rel": 1e-5, "abs": 1e-4}

CONTINUED = [
    ("energy step", " noise"),
    ("energy step", " think"),  # the same context again
    ("", "learn to descend"),  # no context at all
    ("token", " a"),
    ("token ", "b"),  # a space that lm-eval moves to the continuation
    ("the loss of a model that", " learns"),  # cut: longer than the context
    ("x" * 40, " descend a step"),
    ("energy", " a loss of 16 b."),  # as long as the context, which is cut away
    ("naïve “quotes” and 漢", "字 😀"),
]
TEXTS = [
    "",
    "a",
    "energy noise tok",  # one window exactly
    "energy noise toke",  # and one token more
    "model learn descend think loss energy step noise image token" * 3,
    "naïve “quotes” and 漢字 😀 that are many bytes",
]
PROMPTS = [
    ("energy", {"until": [" "], "max_gen_toks": 6}),
    ("noise image tok", {"until": ["zzz"], "max_gen_toks": 8}),
    ("a text that is longer than the context", {"until": ["\n", "e"], "max_gen_toks": 5}),
    ("model learn descend think loss", {"until": ["zzz"], "max_gen_toks": 15}),
    ("é", {"until": [], "max_gen_toks": 10}),
]


@pytest.fixture(scope="module")
def context(corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> EvalContext:
    """A run of Transformer++ long enough for its words to be greedy ones."""
    spec = spec_of(
        "transformer_pp_text",
        task={"context": CONTEXT},
        budget={"steps": 250},
        optimizer={"lr": 1e-2},
    )
    results = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(corpus_folder)
        folder, _ = trained(spec, results)
    write_json(folder.spec, spec.model_dump(mode="json"))
    return load_trained(folder, torch.device("cpu"), results)


@pytest.fixture(scope="module")
def exported(context: EvalContext, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "llama"
    results = context.cache.parent
    export(RunFolder(results, context.spec.run_id), results, out, "hf")
    return out


@pytest.fixture(scope="module", params=[1, 4])
def hf(exported: Path, request: pytest.FixtureRequest) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(exported), device="cpu", dtype="float32", batch_size=request.param)


def requests(kind: str, given: list[Any]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [
        Instance(request_type=kind, doc={}, arguments=each, idx=index)
        for index, each in enumerate(given)
    ]


# --- brute force -----------------------------------------------------------------------------


class Plain:
    """One text at a time, one forward pass a number; nothing batched, padded or kept."""

    def __init__(self, context: EvalContext) -> None:
        self.adapter = context.adapter

    def logits(self, tokens: list[int]) -> torch.Tensor:
        """Logits (S, V) after each of at most a context of tokens."""
        assert 0 < len(tokens) <= CONTEXT
        row = torch.tensor([[*tokens, 0]])
        batch = TextBatch(row, torch.ones(1, len(tokens), dtype=torch.bool), torch.zeros(1).long())
        with torch.no_grad():
            value: torch.Tensor = self.adapter.predict(batch, Single(), NoiseSource(0)).value[0]
        return value

    def score(self, tokens: list[int], wanted: int) -> tuple[float, bool]:
        """Of the last `wanted` tokens, given what fits of those before: the sum, and if greedy."""
        kept = tokens[-(CONTEXT + 1) :]
        found, targets = self.logits(kept[:-1])[-wanted:], torch.tensor(kept[-wanted:])
        chosen = found.log_softmax(-1).gather(1, targets[:, None])
        return float(chosen.sum()), bool((found.argmax(-1) == targets).all())

    def continued(self, prompt: str, continuation: str) -> tuple[float, bool]:
        if prompt:
            moved = len(prompt) - len(prompt.rstrip())
            prompt, continuation = (
                prompt[: len(prompt) - moved],
                prompt[len(prompt) - moved :] + (continuation),
            )
        before = list(prompt.encode()) or [END]
        return self.score([*before, *continuation.encode()], len(continuation.encode()))

    def rolling(self, text: str) -> float:
        """Windows of a context of targets, the last as full as can be; each target once."""
        tokens, total = [END, *text.encode()], 0.0
        for first in range(1, len(tokens), CONTEXT):
            end = min(first + CONTEXT, len(tokens))
            total += self.score(tokens[:end], end - first)[0]
        return total

    def generated(self, prompt: str, until: list[str], max_gen_toks: int) -> str:
        tokens = list(prompt.encode())[-(CONTEXT - max_gen_toks) :]
        made: list[int] = []
        while len(made) < max_gen_toks:
            made.append(int(self.logits(tokens + made)[-1].argmax()))
            if made[-1] == END or any(u.encode() in bytes(made) for u in until):
                break
        text = bytes(t for t in made if t != END).decode(errors="replace")
        for stop in until:
            text = text.split(stop)[0]
        return text


def test_continuations(hf: Any, context: EvalContext) -> None:
    found = hf.loglikelihood(requests("loglikelihood", CONTINUED))
    expected = [Plain(context).continued(*each) for each in CONTINUED]
    assert [score for score, _ in found] == pytest.approx([s for s, _ in expected], **CLOSE)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_greedy_continuations_are_told(hf: Any, context: EvalContext) -> None:
    text = Plain(context).generated("energy step", [], 5)
    asked = [("energy step", text), ("energy step", text[:-1] + "\x01")]
    found = hf.loglikelihood(requests("loglikelihood", asked))
    assert [greedy for _, greedy in found] == [True, False]


def test_texts_in_windows(hf: Any, context: EvalContext) -> None:
    found = hf.loglikelihood_rolling(requests("loglikelihood_rolling", [(t,) for t in TEXTS]))
    assert found == pytest.approx([Plain(context).rolling(text) for text in TEXTS], **CLOSE)


def test_generated_texts(hf: Any, context: EvalContext) -> None:
    found = hf.generate_until(requests("generate_until", PROMPTS))
    expected = [Plain(context).generated(prompt, **how) for prompt, how in PROMPTS]
    assert found == expected
    assert len(set(expected)) > 2, "the model says something"
