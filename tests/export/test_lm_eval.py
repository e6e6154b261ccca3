"""lm-eval's own `hf` model on an export, against the run it came from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.data.tokenizer import load_tokenizer
from harness.evals.context import EvalContext
from harness.export.files import export
from harness.launch.trained import trained as load_trained
from harness.noise import NoiseSource
from harness.protocol import Single, TextBatch
from harness.records import RunFolder, write_json
from tests.training.tiny import spec_of, trained

CONTEXT = 16
TASKS = Path(__file__).parents[2] / "harness" / "data" / "tasks"
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


def trained_bpe(folder: Path) -> str:
    """A small BPE of the corpus, whose tokens begin with spaces as GPT-2's do."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(folder / "train.jsonl")], trainer)
    tokenizer.save(str(folder / "bpe.json"))
    return str(folder / "bpe.json")


@pytest.fixture(scope="module", params=["bytes", "bpe"])
def context(
    corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> EvalContext:
    """A run of Transformer++ long enough for it to say something."""
    folder = tmp_path_factory.mktemp("corpus")
    shutil.copy(corpus_folder / "train.jsonl", folder)
    spec = spec_of(
        "transformer_pp_text",
        task={
            "context": CONTEXT,
            "tokenizer": "bytes" if request.param == "bytes" else trained_bpe(folder),
        },
        budget={"steps": 250},
        optimizer={"lr": 1e-2},
    )
    results = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run, _ = trained(spec, results)
    write_json(run.spec, spec.model_dump(mode="json"))
    return load_trained(run, torch.device("cpu"), results)


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
        self.text = load_tokenizer(context.spec.task.tokenizer)
        self.end = self.text.end_of_text

    def encode(self, text: str) -> list[int]:
        return [int(token) for token in self.text.encode(text.encode())]

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
        """A space at the prompt's end belongs to the continuation."""
        whole = self.encode(prompt + continuation)
        before = len(self.encode(prompt.rstrip()))
        return self.score(whole if before else [self.end, *whole], len(whole) - before)

    def rolling(self, text: str) -> float:
        """Windows of a context of targets, the last as full as can be; each target once."""
        tokens, total = [self.end, *self.encode(text)], 0.0
        for first in range(1, len(tokens), CONTEXT):
            end = min(first + CONTEXT, len(tokens))
            total += self.score(tokens[:end], end - first)[0]
        return total

    def generated(self, prompt: str, until: list[str], max_gen_toks: int) -> str:
        tokens, made = self.encode(prompt)[-(CONTEXT - max_gen_toks) :], list[int]()
        text = ""
        while len(made) < max_gen_toks and not any(stop in text for stop in until):
            made.append(int(self.logits(tokens + made)[-1].argmax()))
            if made[-1] == self.end:
                break
            text = self.text.decode(np.array(made)).decode(errors="replace")
        return min((text.split(stop)[0] for stop in until), key=len, default=text)


def test_continuations(hf: Any, context: EvalContext) -> None:
    found = hf.loglikelihood(requests("loglikelihood", CONTINUED))
    expected = [Plain(context).continued(*each) for each in CONTINUED]
    assert [score for score, _ in found] == pytest.approx([s for s, _ in expected], **CLOSE)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_greedy_continuations_are_told(hf: Any, context: EvalContext) -> None:
    text = Plain(context).generated("energy step", [], 5)
    asked = [("energy step", text), ("energy step", text + "\x01")]
    found = hf.loglikelihood(requests("loglikelihood", asked))
    told = [greedy for _, greedy in found]
    assert told == [Plain(context).continued(*each)[1] for each in asked]
    if context.spec.task.tokenizer == "bytes":  # a BPE may cut its own words otherwise
        assert told == [True, False]


def test_texts_in_windows(hf: Any, context: EvalContext) -> None:
    found = hf.loglikelihood_rolling(requests("loglikelihood_rolling", [(t,) for t in TEXTS]))
    assert found == pytest.approx([Plain(context).rolling(text) for text in TEXTS], **CLOSE)


def test_generated_texts(hf: Any, context: EvalContext) -> None:
    found = hf.generate_until(requests("generate_until", PROMPTS))
    expected = [Plain(context).generated(prompt, **how) for prompt, how in PROMPTS]
    assert found == expected
    assert len(set(expected)) > 2, "the model says something"


# --- our own model of lm-eval ----------------------------------------------------------------


@pytest.fixture(scope="module")
def ours(context: EvalContext) -> Any:
    from harness.evals.language_model import AdapterLM

    return AdapterLM(context, Single(), batch_size=4)


def test_our_own_model_scores_continuations_alike(hf: Any, ours: Any) -> None:
    asked = requests("loglikelihood", CONTINUED)
    theirs, found = hf.loglikelihood(asked), ours.loglikelihood(asked)
    assert [score for score, _ in found] == pytest.approx([s for s, _ in theirs], **CLOSE)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in theirs]


def test_our_own_model_scores_texts_alike(hf: Any, ours: Any) -> None:
    asked = requests("loglikelihood_rolling", [(text,) for text in TEXTS])
    theirs = hf.loglikelihood_rolling(asked)
    assert ours.loglikelihood_rolling(asked) == pytest.approx(theirs, **CLOSE)


def test_our_own_model_writes_alike(hf: Any, ours: Any) -> None:
    asked = requests("generate_until", PROMPTS)
    assert ours.generate_until(asked) == hf.generate_until(asked)


def test_a_shipped_task_has_the_same_results(hf: Any, ours: Any) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    def evaluated(model: Any) -> dict[str, Any]:
        manager = TaskManager(include_path=str(TASKS), include_defaults=False)
        found = simple_evaluate(
            model=model, tasks=["harness_dyck"], limit=12, task_manager=manager, bootstrap_iters=0
        )
        scores = [
            score
            for sample in found["samples"]["harness_dyck"]
            for score, _ in sample["filtered_resps"]
        ]
        return found["results"]["harness_dyck"] | {"scores": scores}

    theirs, found = evaluated(hf), evaluated(ours)
    assert found["scores"] == pytest.approx(theirs["scores"], **CLOSE)
    assert len(found["scores"]) == 12 * 4
    assert found["acc,none"] == theirs["acc,none"]
