"""A trained text adapter as a language model of lm-eval.

Requests are cut, truncated and windowed as lm-eval's `hf` models do. What differs, or is left open
there:

- An empty context, and the first token of a text, are conditioned on end of text, as in training.
- A continuation longer than the model's context, which `hf` refuses, is windowed as a text is.
- An EBT draws noise. A request's draws are keyed by its context (in windows, by their tokens), and
  a document's continuations of one context are padded to the longest of them, so that they are
  scored under the same distributions, and neither batch size nor order changes a score.
- `is_greedy` compares with the argmax of the final distribution, after thinking.
- Generation is greedy. Prompts are cut on the left to leave room for what is generated: 256 tokens
  unless the task says, and half the context where that would fill it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np
import torch
from lm_eval.api.model import TemplateLM
from tqdm import tqdm

from harness.data.tokenizer import load_tokenizer
from harness.errors import HarnessError
from harness.evals.context import EvalContext
from harness.evals.generation import Prompt, generate, prompt_of, write_some
from harness.evals.prediction_cost import prediction_cost
from harness.evals.responses import responses_of
from harness.evals.scoring import (
    Asking,
    Piece,
    Score,
    Tokens,
    padded_length,
    pieces_of,
    predict,
    score,
    side_by_side,
    windows_of,
)
from harness.planning.spec import NextTokenTask
from harness.protocol import TextShape

#: Requests whose cost is measured.
_PROBED = 8
Cost = dict[str, float | int | None]


class AdapterLM(TemplateLM):  # type: ignore[misc]
    """The adapter of `context` under one thinking and one noise seed.

    Answers are kept on disk by weights and setting (`harness.evals.responses`), batch by batch.
    HarnessError for an adapter that is no language model.
    """

    def __init__(
        self, context: EvalContext, thinking: Any, *, batch_size: int = 32, noise_seed: int = 0
    ) -> None:
        super().__init__()
        task, shape = context.spec.task, context.shape
        if not isinstance(task, NextTokenTask) or not isinstance(shape, TextShape):
            raise HarnessError(
                f"lm-eval's tasks are for language models, and this run's task is {task.kind}",
                given=context.spec.run_id,
            )
        self.text = load_tokenizer(task.tokenizer)
        self.asking = Asking(
            context,
            thinking,
            context.noise(noise_seed, "lm_task"),
            batch_size,
            shape.context,
            self.text.end_of_text,
        )
        self.vocab_size = shape.vocab_size
        self.noise_seed = noise_seed
        self.responses = responses_of(
            context, thinking, noise_seed=noise_seed, tokenizer=self.text.digest
        )
        self.asked: dict[str, dict[Piece | Prompt, int]] = {}
        self.cut: dict[str, list[bool]] = {}
        self._encoded = lru_cache(maxsize=4096)(self._encode)

    # --- what lm-eval asks a model about itself ----------------------------------------------

    @property
    def eot_token_id(self) -> int:
        return self.text.end_of_text

    @property
    def max_length(self) -> int:
        return self.asking.max_length

    @property
    def batch_size(self) -> int:
        return self.asking.batch_size

    @property
    def device(self) -> torch.device:
        return self.asking.context.device

    @property
    def tokenizer_name(self) -> str:
        return f"{self.text.name}-{self.text.digest[:12]}"

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval adds to the `config` of its results."""
        context = self.asking.context
        return {
            "run": context.spec.run_id,
            "adapter": f"{context.record.name} {context.record.version}",
            "model_sha": context.weights,
            "thinking": self.asking.thinking.model_dump(mode="json"),
            "noise_seed": self.noise_seed,
        }

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """The text's tokens; no special token is ever among them."""
        return list(self._encoded(string))

    def _encode(self, string: str) -> Tokens:
        return tuple(self.text.encode(string.encode()).tolist())

    def tok_decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; bytes that are no text become U+FFFD."""
        return self.text.decode(np.asarray(tokens, np.int64)).decode(errors="replace")

    # --- lm-eval's three requests ------------------------------------------------------------

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[Score]:
        """(log probability, whether it is the greedy one) of every continuation."""
        cut = []
        for request in requests:
            context, continuation = request.args
            pair = self._encode_pair(context, continuation) if context else None
            given, wanted = pair or ([], self.tok_encode(continuation))
            given = given or [self.prefix_token_id]  # white space alone is moved to what follows
            if not wanted:
                raise HarnessError(
                    f"task {request.task_name} asks how probable a continuation without tokens is",
                    given=repr((context[-60:], continuation)),
                )
            cut.append((given, wanted))
            self._note_cut(request, len(given) + len(wanted) > self.max_length + 1)
        tasks = [request.task_name for request in requests]
        documents = [(request.task_name, request.doc_id) for request in requests]
        return self._scores(self._pieces(cut, documents), tasks)

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], **kwargs: Any
    ) -> list[Score]:
        cut = [(given, wanted) for _, given, wanted in requests]
        return self._scores(self._pieces(cut, [None] * len(cut)), [None] * len(cut))

    def _pieces(
        self, cut: Sequence[tuple[list[int], list[int]]], documents: Sequence[Any]
    ) -> list[list[Piece]]:
        """The pieces of each (context, continuation), beside the others of its document."""
        pieces: list[list[Piece]] = [[] for _ in cut]
        of_document: dict[Any, list[tuple[int, Piece]]] = {}
        for index, (pair, document) in enumerate(zip(cut, documents, strict=True)):
            own = of_document.setdefault(document, [])
            own += [(index, piece) for piece in pieces_of(*pair, self.max_length)]
        for own in of_document.values():
            alike = side_by_side(piece for _, piece in own)
            for (index, _), piece in zip(own, alike, strict=True):
                pieces[index].append(piece)
        return pieces

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Log probability of every text: windows in which each token is scored once."""
        cut = [
            windows_of(self.tok_encode(request.args[0]), self.prefix_token_id, self.max_length)
            for request in requests
        ]
        scores = self._scores(cut, [request.task_name for request in requests])
        return [total for total, _ in scores]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """The greedy text after every prompt, up to a stop string or end of text."""
        prompts = []
        for request in requests:
            tokens = self.tok_encode(request.args[0])
            prompts.append(prompt_of(tokens, request.args[1], self.asking))
            self._note_cut(request, len(tokens) > len(prompts[-1].tokens))
        found, new = self._kept(prompts)
        with _bar(len(new), "generating") as bar:
            for batch in generate(new, self.asking, self.tok_decode):
                self._keep({prompt.key: list(answer) for prompt, answer in batch.items()})
                found |= batch
                bar.update(len(batch))
        for request, prompt in zip(requests, prompts, strict=True):
            self._note(request.task_name, prompt, found[prompt][1])
        return [found[prompt][0] for prompt in prompts]

    # --- answers, kept and new ---------------------------------------------------------------

    def _scores(
        self, requests: Sequence[Sequence[Piece]], tasks: Sequence[str | None]
    ) -> list[Score]:
        """The score of each request from those of its pieces."""
        found, new = self._kept(piece for pieces in requests for piece in pieces)
        with _bar(len(new), "scoring") as bar:
            for batch in score(new, self.asking):
                self._keep({piece.key: list(answer) for piece, answer in batch.items()})
                found |= batch
                bar.update(len(batch))
        scores = []
        for pieces, task in zip(requests, tasks, strict=True):
            for piece in pieces:
                self._note(task, piece, padded_length(piece, self.asking))
            own = [found[piece] for piece in pieces]
            scores.append((sum(total for total, _ in own), all(greedy for _, greedy in own)))
        return scores

    def _kept(self, requests: Iterable[Any]) -> tuple[dict[Any, Any], list[Any]]:
        """Answers from disk, and the requests that have none."""
        found: dict[Any, Any] = {}
        new: dict[Any, None] = {}
        for request in requests:
            answer = None if self.responses is None else self.responses.get(request.key)
            if answer is None:
                new[request] = None
            else:
                found[request] = tuple(answer)
        return found, list(new)

    def _keep(self, answers: Mapping[str, Any]) -> None:
        if self.responses is not None:
            self.responses.add(answers)

    # --- what is told of a task --------------------------------------------------------------

    def _note_cut(self, request: Any, cut: bool) -> None:
        self.cut.setdefault(request.task_name, []).append(cut)

    def share_cut(self, task: str) -> float | None:
        """The share of a task's requests whose context was cut to fit; None for whole texts."""
        cut = self.cut.get(task)
        return None if cut is None else sum(cut) / len(cut)

    # --- cost --------------------------------------------------------------------------------

    def _note(self, task: str | None, request: Piece | Prompt, predictions: int) -> None:
        if task is not None:
            self.asked.setdefault(task, {})[request] = predictions

    def cost(self, task: str, documents: int) -> Cost:
        """Cost per prediction of a task that was asked, measured on its first requests, or on
        prompts of median length.

        A prediction is a position of a scored row, or a generated token (end of text too) with its
        share of the prompt. `predictions` are those that a document takes, had nothing been kept on
        disk.
        """
        asked = self.asked[task]
        prompts = [prompt for prompt in asked if isinstance(prompt, Prompt)]
        if prompts:
            total = sum(asked.values())
            cost = self._cost_of_writing(prompts, total / len(prompts))
        else:
            pieces = [piece for piece in asked if isinstance(piece, Piece)]
            rows = {(p.row, p.given, p.positions): asked[p] for p in pieces}
            total = sum(rows.values())
            probed = pieces[:_PROBED]
            length = max(padded_length(piece, self.asking) for piece in probed)
            cost = self._measured(lambda: predict(probed, self.asking), len(probed) * length)
        return cost | {"predictions": total / documents}

    def _cost_of_writing(self, prompts: Sequence[Prompt], mean: float) -> Cost:
        """Per token where `mean` tokens are written: between one, which reads the prompt, and as
        many as that, rounded up.
        """
        median = sorted(len(prompt.tokens) for prompt in prompts)[len(prompts) // 2]
        alike = [prompt for prompt in prompts if len(prompt.tokens) == median][:_PROBED]
        most = ceil(mean)
        longest = self._measured(lambda: write_some(alike, self.asking, most), len(alike))
        if most == 1:
            return longest
        first = self._measured(lambda: write_some(alike, self.asking, 1), len(alike))
        share = (mean - 1) / (most - 1)
        return longest | {
            name: ((1 - share) * (first[name] or 0) + share * value) / mean
            for name in ("flops", "flops_vocabulary", "seconds")
            if (value := longest[name]) is not None
        }

    def _measured(self, once: Any, predictions: int) -> Cost:
        return prediction_cost(
            self.asking.context,
            once,
            predictions=predictions,
            repeats=1,
            vocab_size=self.vocab_size,
        )


def _bar(total: int, what: str) -> Any:
    """Progress, on a terminal alone."""
    return tqdm(total=total, desc=what, disable=total == 0 or not sys.stderr.isatty(), leave=False)
