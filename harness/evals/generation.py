"""Greedy generation: prompts of equal length together, each up to its stop string."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

import torch

from harness.capabilities import Generates
from harness.errors import HarnessError
from harness.evals.scoring import Asking, Tokens, row_of
from harness.protocol import Prediction

Decode = Callable[[Sequence[int]], str]
#: What lm-eval's `hf` models generate at most where the task does not say.
MAX_TOKENS = 256


@dataclass(frozen=True)
class Prompt:
    """Write at most `max_tokens` after `tokens`, up to one of `until`."""

    tokens: Tokens
    max_tokens: int
    until: tuple[str, ...]

    @property
    def key(self) -> str:
        asked = json.dumps(["generate", self.tokens, self.max_tokens, self.until])
        return hashlib.sha256(asked.encode()).hexdigest()[:32]


def prompt_of(tokens: Sequence[int], settings: Mapping[str, Any], asking: Asking) -> Prompt:
    """A request's prompt, cut on the left to leave room for what is generated.

    An empty one is end of text. At most half the context is generated where a task wants as much as
    it holds. HarnessError where a task wants sampling or beams.
    """
    from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

    wanted: Any = normalize_gen_kwargs(dict(settings), MAX_TOKENS)
    if wanted["do_sample"] or wanted.get("num_beams", 1) != 1:
        raise HarnessError(
            "the task wants sampled text or beams, and generation here is greedy",
            given=json.dumps(dict(settings), default=str),
            hint="give the task `generation_kwargs: {do_sample: false}` in a YAML of your own",
        )
    room = wanted["max_gen_toks"]
    if room >= asking.max_length:
        room = max(1, asking.max_length // 2)
    kept = tuple(tokens)[-(asking.max_length - room) :] or (asking.end_of_text,)
    until = handle_stop_sequences(wanted["until"], eos=None)
    return Prompt(kept, room, tuple(stop for stop in until if stop))


def generate(
    prompts: Iterable[Prompt], asking: Asking, decode: Decode
) -> Iterator[dict[Prompt, tuple[str, int]]]:
    """The text after every prompt, without its stop string, and how many predictions it took: one a
    token written, and one of end of text where it ended so.

    HarnessError where the adapter cannot extend a sequence.
    """
    adapter = asking.context.adapter
    if not isinstance(adapter, Generates):
        raise HarnessError(
            f"adapter {asking.context.record.name!r} cannot generate text: it has no `decoder`",
            hint="evaluate it on tasks of log likelihoods, or give it one (harness.capabilities)",
        )

    def alike(prompt: Prompt) -> tuple[int, int]:
        return -len(prompt.tokens), prompt.max_tokens

    ordered = sorted(dict.fromkeys(prompts), key=lambda p: (*alike(p), p.tokens, p.until))
    for _, of_length in groupby(ordered, key=alike):
        together = list(of_length)
        for start in range(0, len(together), asking.batch_size):
            yield _written(together[start : start + asking.batch_size], asking, decode)


def _written(
    prompts: Sequence[Prompt], asking: Asking, decode: Decode
) -> dict[Prompt, tuple[str, int]]:
    """Prompts of one length: token by token, until all have stopped."""
    from lm_eval.models.utils import postprocess_generated_text

    written: list[list[int]] = [[] for _ in prompts]
    predictions = [0] * len(prompts)
    going = set(range(len(prompts)))
    for tokens in _tokens(prompts, asking):
        for index in sorted(going):
            token = tokens[index]
            predictions[index] += 1
            if token == asking.end_of_text:
                going.discard(index)
                continue
            written[index].append(token)
            text = decode(written[index])
            if any(stop in text for stop in prompts[index].until):
                going.discard(index)
        if not going:
            break
    return {
        prompt: (postprocess_generated_text(decode(own), list(prompt.until), None), count)
        for prompt, own, count in zip(prompts, written, predictions, strict=True)
    }


def _tokens(prompts: Sequence[Prompt], asking: Asking) -> Iterator[list[int]]:
    """The greedy next token of every prompt, again and again."""
    predictions = _predictions(prompts, asking)
    for _ in range(prompts[0].max_tokens):
        with asking.context.inference():
            found = next(predictions)
        yield found.value.argmax(-1).tolist()


def _predictions(prompts: Sequence[Prompt], asking: Asking) -> Iterator[Prediction]:
    """Of the token after every prompt, and after what is greedily written; under the caller's
    inference mode.
    """
    adapter: Any = asking.context.adapter
    device = asking.context.device
    rows = torch.tensor([row_of(prompt.tokens) for prompt in prompts], device=device)
    fed = torch.tensor([prompt.tokens for prompt in prompts], device=device)
    decoder = adapter.decoder(rows, asking.thinking, asking.noise)
    while True:
        found: Prediction = decoder.feed(fed)
        yield found
        fed = found.value.argmax(-1)[:, None]


def write_some(prompts: Sequence[Prompt], asking: Asking, tokens: int) -> Prediction:
    """Write `tokens` after each prompt of one length, to measure what that costs."""
    *_, last = islice(_predictions(prompts, asking), tokens)
    return last
