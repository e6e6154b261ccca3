"""Log probabilities of continuations, in batches that change no number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.evals.context import EvalContext
from harness.noise import NoiseSource
from harness.protocol import Prediction, TextBatch

Tokens = tuple[int, ...]
#: Log probability, and whether greedy decoding would have written the same.
Score = tuple[float, bool]

#: Rows are padded to a multiple of this, or to the context, so that rows of few lengths are
#: predicted together. A row's length decides which noise it draws: it follows from the request.
PADDING = 16


@dataclass(frozen=True)
class Asking:
    """Whom requests are put to, and how: a model, its thinking, its noise."""

    context: EvalContext
    thinking: Any
    noise: NoiseSource
    batch_size: int
    max_length: int
    end_of_text: int


@dataclass(frozen=True)
class Piece:
    """To score: `wanted`, whose last token follows `given`. Its noise is drawn as row `row`, of at
    least `positions`.
    """

    row: int
    given: Tokens
    wanted: Tokens
    positions: int = 0

    @property
    def key(self) -> str:
        return _digest("score", (self.row, self.positions), self.given, self.wanted).hex()


def row_of(tokens: Sequence[int]) -> int:
    """The row whose noise a request that begins with `tokens` draws."""
    return int.from_bytes(_digest("row", tokens)[:8], "little") >> 1


def pieces_of(context: Sequence[int], continuation: Sequence[int], max_length: int) -> list[Piece]:
    """A continuation after a non-empty context, as lm-eval's `hf` models cut it.

    The context is cut on the left to fit. A continuation longer than the model's context, which
    `hf` refuses, is windowed as a text is.
    """
    if len(continuation) > max_length:
        return windows_of(continuation, context[-1], max_length)
    whole = (*context, *continuation)[-(max_length + 1) :]
    return [Piece(row_of(context), whole[:-1], tuple(continuation))]


def side_by_side(pieces: Iterable[Piece]) -> list[Piece]:
    """The same, each as long as the longest of its row: what is drawn for a row may depend on how
    long it is, and the continuations of a context are to be compared under the same draws.
    """
    pieces = list(pieces)
    longest: dict[int, int] = {}
    for piece in pieces:
        longest[piece.row] = max(longest.get(piece.row, 0), _rounded(len(piece.given)))
    return [replace(piece, positions=longest[piece.row]) for piece in pieces]


def windows_of(tokens: Sequence[int], prefix: int, max_length: int) -> list[Piece]:
    """A text after the token `prefix`, in lm-eval's rolling windows: each token scored once."""
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    windows = get_rolling_token_windows(
        list(tokens), prefix_token=prefix, max_seq_len=max_length, context_len=1
    )
    pieces = []
    for context, wanted in map(make_disjoint_window, windows):
        whole = (*context, *wanted)
        pieces.append(Piece(row_of(whole), whole[:-1], tuple(wanted)))
    return pieces


def score(pieces: Iterable[Piece], asking: Asking) -> Iterator[dict[Piece, Score]]:
    """The scores of every batch as it is done; pieces that differ in their last token share it.

    Batches hold rows of one padded length, longest first.
    """
    shared: dict[tuple[int, Tokens, int], list[Piece]] = {}
    for piece in dict.fromkeys(pieces):
        length = padded_length(piece, asking)
        shared.setdefault((piece.row, piece.given, length), []).append(piece)
    rows = sorted(
        shared.items(), key=lambda item: (-padded_length(item[1][0], asking), item[0][1::-1])
    )
    for _, alike in groupby(rows, key=lambda item: padded_length(item[1][0], asking)):
        together = [of_row for _, of_row in alike]
        for start in range(0, len(together), asking.batch_size):
            yield _scored(together[start : start + asking.batch_size], asking)


def _scored(rows: Sequence[Sequence[Piece]], asking: Asking) -> dict[Piece, Score]:
    """Every row's pieces, which differ in their last token alone or in how much is wanted."""
    batch = batch_of([of_row[0] for of_row in rows], asking)
    with asking.context.inference():
        values = asking.context.adapter.predict(batch, asking.thinking, asking.noise).value
    found = {}
    for logits, of_row in zip(values, rows, strict=True):
        for piece in of_row:
            found[piece] = _score_of(piece, logits)
    return found


def batch_of(pieces: Sequence[Piece], asking: Asking) -> TextBatch:
    """Pieces as rows, padded on the right, where causal models do not see it."""
    length = max(padded_length(piece, asking) for piece in pieces)
    tokens = np.full((len(pieces), length + 1), asking.end_of_text, np.int64)
    mask = np.zeros((len(pieces), length), bool)
    for index, piece in enumerate(pieces):
        end = len(piece.given)
        tokens[index, : end + 1] = (*piece.given, piece.wanted[-1])
        mask[index, end - len(piece.wanted) : end] = True
    device = asking.context.device
    rows = torch.tensor([piece.row for piece in pieces], dtype=torch.int64, device=device)
    return TextBatch(torch.from_numpy(tokens).to(device), torch.from_numpy(mask).to(device), rows)


def predict(pieces: Sequence[Piece], asking: Asking) -> Prediction:
    """One prediction of all of them, to measure what it costs."""
    return asking.context.adapter.predict(batch_of(pieces, asking), asking.thinking, asking.noise)


def padded_length(piece: Piece, asking: Asking) -> int:
    """Positions predicted for a piece."""
    return min(max(_rounded(len(piece.given)), piece.positions), asking.max_length)


def _rounded(positions: int) -> int:
    return -(-positions // PADDING) * PADDING


def _score_of(piece: Piece, logits: Tensor) -> Score:
    """From the logits (S, V) of its row."""
    end = len(piece.given)
    own = logits[end - len(piece.wanted) : end].float()  # (wanted, V)
    wanted = torch.tensor(piece.wanted, device=own.device)
    chosen = own.log_softmax(-1).gather(1, wanted[:, None]).double().sum()
    return float(chosen), bool((own.argmax(-1) == wanted).all())


def _digest(kind: str, *parts: Sequence[int]) -> bytes:
    digest = hashlib.blake2b(kind.encode(), digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + np.fromiter(part, "<i8").tobytes())
    return digest.digest()
