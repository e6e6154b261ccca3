"""What an energy evaluation looks at: a set's rows, as they are, shuffled, and random.

The counterparts are made here, so that any tokenizer and any frames have them: `shuffled` is the
row's own tokens or frames in a keyed random order, `random` tokens uniform over the vocabulary or
frames of numbers uniform between the row's least and greatest. They stand where the real ones do
and count to the same documents, so that comparisons are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from harness.data.corpora.overlap import overlap_with_training
from harness.data.disjoint import Overlap
from harness.data.documents import Documents, texts_digest
from harness.data.keyed import keyed_words
from harness.data.tensors import video_batch
from harness.data.tokenizer import END_OF_TEXT, Tokenizer, load_tokenizer
from harness.data.video import ClipRows
from harness.errors import HarnessError
from harness.evals.clip_sets import ClipSet, clip_set
from harness.evals.context import EvalContext
from harness.evals.text_sets import TextSet, text_set
from harness.planning.eval_spec import EnergyEval
from harness.planning.spec import NextTokenTask
from harness.protocol import TextBatch, TextShape, VideoBatch

CONTENTS = ("real", "shuffled", "random")
#: Clips of a video set whose energies are kept whole.
CLIPS_KEPT = 3
#: Bytes of the longest character in UTF-8.
_MAX_BYTES = 4

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """A batch with the document (B, S) that each prediction counts to, and which ones count."""

    batch: Any
    owners: Ints
    counts: NDArray[np.bool_]


@dataclass(frozen=True)
class Example:
    """A text or clip kept whole: the rows it is cut into, and a piece to print per prediction."""

    name: str
    content: str
    pieces: tuple[str, ...]
    rows: Rows
    noise: str
    in_training: bool | None = None


class Subject(Protocol):
    """A set in one modality; `unit` is of its losses, `documents` their number."""

    @property
    def unit(self) -> str: ...

    @property
    def vocab_size(self) -> int | None: ...

    @property
    def documents(self) -> int: ...

    def batches(self, size: int) -> Iterator[Rows]: ...

    def counterpart(self, batch: Any, content: str, seed: int) -> Any:
        """The batch itself, or what stands in its place under one noise seed."""

    def losses(self, value: Tensor, batch: Any) -> Tensor:
        """(B, S) of predictions (B, S, ...)."""

    def entropies(self, value: Tensor) -> Tensor | None:
        """(B, S) in nats, where predictions are distributions."""

    def examples(self) -> list[Example]: ...


def subject_of(spec: EnergyEval, context: EvalContext) -> Subject:
    """The set that `spec` names. HarnessError where it overlaps the training split."""
    if isinstance(context.shape, TextShape):
        return TextSubject(spec, context, text_set(spec, context))
    return VideoSubject(spec, context, clip_set(spec, context))


# --- text ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TextSubject:
    """Tokens and the cross-entropy of each."""

    spec: EnergyEval
    context: EvalContext
    covered: TextSet
    unit = "nats/token"

    @property
    def vocab_size(self) -> int:
        assert isinstance(self.context.shape, TextShape)
        return self.context.shape.vocab_size

    @property
    def documents(self) -> int:
        return len(self.covered.rows.shards)

    def batches(self, size: int) -> Iterator[Rows]:
        for batch, owners in self.covered.batches(size, self.context.device):
            yield Rows(batch, owners, batch.mask.cpu().numpy())

    def counterpart(self, batch: TextBatch, content: str, seed: int) -> TextBatch:
        """Rows with the tokens up to their last target replaced."""
        if content == "real":
            return batch
        tokens, mask = batch.tokens.cpu().numpy().copy(), batch.mask.cpu().numpy()
        for row, covered, number in zip(tokens, mask, batch.rows.tolist(), strict=True):
            size = int(np.flatnonzero(covered)[-1]) + 2 if covered.any() else 0
            key = (content, self.spec.data, self.spec.split, seed, number)
            row[:size] = other_tokens(row[:size], content, self.vocab_size, key)
        return replace(batch, tokens=torch.from_numpy(tokens).to(batch.tokens.device))

    def losses(self, value: Tensor, batch: TextBatch) -> Tensor:
        targets = batch.tokens[:, 1:]
        flat = F.cross_entropy(value.float().flatten(0, 1), targets.flatten(), reduction="none")
        return flat.view(targets.shape)

    def entropies(self, value: Tensor) -> Tensor:
        logs = value.float().log_softmax(-1)
        return -logs.exp().mul_(logs).sum(-1)

    def examples(self) -> list[Example]:
        """The texts given, each with its counterparts, cut into rows as packed text is.

        A text starts after end of text where the task packs documents, else with its first token,
        which is then not predicted. HarnessError where that leaves nothing to predict.
        """
        task = self.context.spec.task
        assert isinstance(task, NextTokenTask)
        tokenizer = load_tokenizer(task.tokenizer)
        before = [tokenizer.end_of_text] if task.rows == "packed" else []
        seen = self._in_training()
        found = []
        for index, text in enumerate(self.spec.texts):
            own = tokenizer.encode(text.encode())
            if len(before) + len(own) < 2:
                raise HarnessError(
                    "a text of one token has nothing to predict where rows are first windows",
                    given=text,
                )
            for content in CONTENTS:
                key = (content, "text", text)
                ids = own if content == "real" else other_tokens(own, content, self.vocab_size, key)
                stream = np.concatenate([np.asarray(before, np.int64), ids])
                names = pieces(tokenizer, ids)[1 - len(before) :]
                rows = self._windows(stream, tokenizer.end_of_text)
                known = index in seen if content == "real" else None
                found.append(Example(text, content, names, rows, f"text/{text}", known))
        return found

    def _windows(self, stream: Ints, end_of_text: int) -> Rows:
        assert isinstance(self.context.shape, TextShape)
        size, device = self.context.shape.context, self.context.device
        starts = np.arange(0, len(stream) - 1, size)
        places = starts[:, None] + np.arange(size + 1)
        inside = places < len(stream)
        tokens = np.where(inside, stream[np.minimum(places, len(stream) - 1)], end_of_text)
        mask = inside[:, 1:]
        rows = torch.arange(len(starts), device=device)
        batch = TextBatch(
            torch.from_numpy(tokens).to(device), torch.from_numpy(mask).to(device), rows
        )
        return Rows(batch, np.zeros(mask.shape, np.int64), mask)

    def _in_training(self) -> set[int]:
        """Which of the given texts share a word 13-gram with the training split."""
        every = range(len(self.spec.texts))
        if not every or self._shared(every).disjoint:
            return set()
        return {index for index in every if not self._shared([index]).disjoint}

    def _shared(self, indices: Sequence[int]) -> Overlap:
        texts = tuple(self.spec.texts[index].encode() for index in indices)
        names = tuple(f"text {index}" for index in indices)
        given = Documents("texts", "given", names, texts, texts_digest(texts), "the suite", "")
        training = self.context.spec.task.data
        return overlap_with_training(training, evaluation=given, cache=self.context.cache)


def other_tokens(tokens: Ints, content: str, vocab_size: int, key: Sequence[str | int]) -> Ints:
    """`tokens` in a random order, or as many uniform over the vocabulary; a function of `key`."""
    words = keyed_words(len(tokens), "energy", *key)
    if content == "shuffled":
        return tokens[np.argsort(words, kind="stable")]
    return np.asarray(words % np.uint64(vocab_size), np.int64)


def pieces(tokenizer: Tokenizer, tokens: Ints) -> tuple[str, ...]:
    """What each token prints as: a character that several make stands at the first of them.

    The others print as nothing; bytes that are no text as hex, end of text by its name.
    """
    found: list[str] = []
    while len(found) < len(tokens):
        at = len(found)
        if tokens[at] == tokenizer.end_of_text:
            found.append(END_OF_TEXT)
            continue
        ahead = tokens[at : at + _MAX_BYTES]
        ends = np.flatnonzero(ahead == tokenizer.end_of_text)
        ahead = ahead[: ends[0]] if len(ends) else ahead
        found += _character(tokenizer, ahead) or [tokenizer.decode(ahead[:1]).hex()]
    return tuple(found)


def _character(tokenizer: Tokenizer, ahead: Ints) -> list[str] | None:
    """The text of the fewest first tokens that have one, and nothing for all but the first."""
    for size in range(1, len(ahead) + 1):
        try:
            text = tokenizer.decode(ahead[:size]).decode()
        except UnicodeDecodeError:
            continue
        if "\ufffd" not in text:
            return [text, *[""] * (size - 1)]
    return None


# --- video -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class VideoSubject:
    """Frames and the smooth-L1 error of each; a clip is a document."""

    spec: EnergyEval
    context: EvalContext
    covered: ClipSet
    unit = "smooth L1"
    vocab_size = None

    @property
    def rows(self) -> ClipRows:
        return self.covered.rows

    @property
    def documents(self) -> int:
        return len(self.rows.clips.pixels)

    def batches(self, size: int) -> Iterator[Rows]:
        for start in range(0, len(self.covered.ids), size):
            yield self._of(self.covered.ids[start : start + size])

    def counterpart(self, batch: VideoBatch, content: str, seed: int) -> VideoBatch:
        if content == "real":
            return batch
        frames = batch.frames.cpu().numpy().copy()
        for index, number in enumerate(batch.rows.tolist()):
            key = ("energy", content, self.spec.data, self.spec.split, seed, number)
            frames[index] = _other_frames(frames[index], content, key)
        return replace(batch, frames=torch.from_numpy(frames).to(batch.frames.device))

    def losses(self, value: Tensor, batch: VideoBatch) -> Tensor:
        errors = F.smooth_l1_loss(value.float(), batch.frames[:, 1:].float(), reduction="none")
        return errors.flatten(2).mean(2)

    def entropies(self, value: Tensor) -> None:
        return None

    def examples(self) -> list[Example]:
        """The first clips, whole, each with its counterparts under the first noise seed."""
        found = []
        for clip in range(min(CLIPS_KEPT, self.documents)):
            rows = self._of(np.arange(clip * self.rows.windows, (clip + 1) * self.rows.windows))
            names = tuple(str(frame + 2) for frame in range(rows.counts.size))
            for content in CONTENTS:
                batch = self.counterpart(rows.batch, content, self.spec.noise_seeds[0])
                purpose = f"{self.spec.data}/{self.spec.split}"
                own = replace(rows, batch=batch)
                found.append(Example(f"clip {clip + 1}", content, names, own, purpose))
        return found

    def _of(self, ids: Ints) -> Rows:
        shape = len(ids), self.rows.context
        owners = np.broadcast_to((ids // self.rows.windows)[:, None], shape)
        return Rows(video_batch(self.rows, ids, self.context.device), owners, np.ones(shape, bool))


def _other_frames(
    frames: NDArray[np.float32], content: str, key: Sequence[str | int]
) -> NDArray[np.float32]:
    if content == "shuffled":
        return frames[np.argsort(keyed_words(len(frames), *key), kind="stable")]
    uniform = (keyed_words(frames.size, *key) >> np.uint64(11)).astype(np.float64) / 2.0**53
    low, high = float(frames.min()), float(frames.max())
    return (low + (high - low) * uniform).astype(np.float32).reshape(frames.shape)
