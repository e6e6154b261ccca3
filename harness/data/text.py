"""Rows of text: what a model reads, and which targets count.

`packed`: the token stream (every document followed by end of text) cut into rows of S + 1 tokens
that overlap by one, so that each token but the stream's first is a target exactly once.
`first_window`: the first S + 1 tokens of each document, one document per row (the paper's code).
Padding is what the mask excludes; it has no id of its own.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.data.keyed import row_order
from harness.data.shards import TextShards, prepare_text
from harness.data.tokenizer import Tokenizer, load_tokenizer
from harness.errors import HarnessError

__all__ = [
    "RowKind",
    "TextRows",
    "TextShards",
    "Tokenizer",
    "load_tokenizer",
    "prepare_text",
    "row_order",
]

RowKind = Literal["packed", "first_window"]
_CHUNK_TOKENS = 1 << 19
_KINDS: tuple[RowKind, ...] = ("packed", "first_window")


class TextRows:
    """The rows of `shards` at a context of S tokens, addressed by row id.

    drop_last leaves out the partial last row of packed text (for training). Raises HarnessError
    for an unknown kind of rows, or when there is not one row.
    """

    def __init__(
        self,
        shards: TextShards,
        *,
        context: int,
        rows: RowKind = "packed",
        drop_last: bool = False,
    ) -> None:
        if rows not in _KINDS:
            raise HarnessError("no such kind of rows", given=rows, allowed=_KINDS)
        if context < 1:
            raise HarnessError("the context must be at least 1 token", given=str(context))
        self.shards = shards
        self.context = context
        self.rows = rows
        self._starts, self._lengths = self._layout(drop_last=drop_last)
        if len(self) == 0:
            raise HarnessError(
                f"{shards.name} ({shards.split}) has {len(shards.tokens)} tokens: not one row",
                hint=f"use more data, or less context than {context}",
            )

    def _layout(self, *, drop_last: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self.rows == "packed":
            starts = np.arange(0, len(self.shards.tokens) - 1, self.context)
            lengths = np.minimum(len(self.shards.tokens) - starts, self.context + 1)
            whole = lengths > self.context
            return (starts[whole], lengths[whole]) if drop_last else (starts, lengths)
        starts = self.shards.offsets[:-1]
        lengths = np.minimum(np.diff(self.shards.offsets), self.context + 1)
        return starts[lengths > 1], lengths[lengths > 1]

    def __len__(self) -> int:
        return len(self._starts)

    def get(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return tokens int64[B, S + 1] and mask bool[B, S] of the rows `ids` int64[B].

        Inputs are `tokens[:, :-1]`, targets `tokens[:, 1:]`; mask says which targets count. Where
        a row has ended, tokens are end of text. Raises IndexError for an id out of range.
        """
        ids = np.asarray(ids, np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= len(self)):
            raise IndexError(f"row ids must be in [0, {len(self)})")
        columns = np.arange(self.context + 1)
        inside = columns < self._lengths[ids, None]  # (B, S + 1)
        places = np.where(inside, self._starts[ids, None] + columns, 0)
        tokens = np.where(inside, self.shards.tokens[places], self.shards.end_of_text)
        return tokens.astype(np.int64), inside[:, 1:]

    def documents(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the document index int64[B] that the first token of each row belongs to."""
        found = np.searchsorted(self.shards.offsets, self._starts[ids], side="right") - 1
        return np.asarray(found, np.int64)

    def row_bytes(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return int64[B]: the bytes of text that the counting targets of each row stand for."""
        tokens, mask = self.get(ids)
        return np.asarray((self.shards.token_bytes[tokens[:, 1:]] * mask).sum(axis=1), np.int64)

    def target_documents(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the document index int64[B, S] of each target; past a row's end, of the last."""
        places = self._starts[ids, None] + 1 + np.arange(self.context)
        last = len(self.shards.tokens) - 1
        offsets = self.shards.offsets
        return np.asarray(np.searchsorted(offsets, np.minimum(places, last), side="right") - 1)

    def target_count(self) -> int:
        """Number of targets that count, over all rows."""
        return int((self._lengths - 1).sum())

    def target_bytes(self) -> int:
        """Bytes of text that all counting targets stand for: the denominator of bits per byte."""
        step = max(1, _CHUNK_TOKENS // self.context)
        starts = range(0, len(self), step)
        chunks = (np.arange(start, min(start + step, len(self))) for start in starts)
        return sum(int(self.row_bytes(ids).sum()) for ids in chunks)
