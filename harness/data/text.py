"""Rows of text: what a model reads, and which targets count.

`packed`: the token stream (every document followed by end of text) cut into rows of S + 1 tokens
that overlap by one, so that each token but the stream's first is a target exactly once.
`first_window`: the first S + 1 tokens of each document, one document per row (the paper's code).
`rolling`: each document alone, begun by end of text; its next S tokens are the targets of each row,
and a row that has fewer is filled up with the tokens before them (as lm-eval does it). No end of
text is a target. For evaluation.
Padding is what the mask excludes; it has no id of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.data.corpora.preparing import prepare_text
from harness.data.corpora.shards import TextShards
from harness.data.keyed import row_order
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

RowKind = Literal["packed", "first_window", "rolling"]
_CHUNK_TOKENS = 1 << 19
_KINDS: tuple[RowKind, ...] = ("packed", "first_window", "rolling")

#: Where each row starts, its tokens, and how many of its first targets an earlier row counts.
_Layout = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


class TextRows:
    """The rows of `shards` at a context of S tokens, addressed by row id.

    drop_last leaves out the partial last row of packed text (for training). `counting`, bool per
    token of the stream, leaves out the other targets. Raises HarnessError for an unknown kind of
    rows, or when there is not one row.
    """

    def __init__(
        self,
        shards: TextShards,
        *,
        context: int,
        rows: RowKind = "packed",
        drop_last: bool = False,
        counting: NDArray[np.bool_] | None = None,
    ) -> None:
        if rows not in _KINDS:
            raise HarnessError("no such kind of rows", given=rows, allowed=_KINDS)
        if context < 1:
            raise HarnessError("the context must be at least 1 token", given=str(context))
        self.shards = shards
        self.context = context
        self.rows = rows
        self._counting = counting
        self._starts, self._lengths, self._counted = self._layout(drop_last=drop_last)
        if len(self) == 0:
            raise HarnessError(
                f"{shards.name} ({shards.split}) has {len(shards.tokens)} tokens: not one row",
                hint=f"use more data, or less context than {context}",
            )

    def _layout(self, *, drop_last: bool) -> _Layout:
        if self.rows == "rolling":
            return self._rolling()
        if self.rows == "packed":
            starts = np.arange(0, len(self.shards.tokens) - 1, self.context)
            lengths = np.minimum(len(self.shards.tokens) - starts, self.context + 1)
            whole = lengths > self.context
            kept = whole if drop_last else np.ones_like(whole)
        else:
            starts = self.shards.offsets[:-1]
            lengths = np.minimum(np.diff(self.shards.offsets), self.context + 1)
            kept = lengths > 1
        return starts[kept], lengths[kept], np.zeros(int(kept.sum()), np.int64)

    def _rolling(self) -> _Layout:
        targets = np.maximum(np.diff(self.shards.offsets) - 1, 0)
        windows = -(-targets // self.context)
        owners = np.repeat(np.arange(len(windows)), windows)
        index = np.arange(len(owners)) - np.repeat(np.cumsum(windows) - windows, windows)
        ends = np.minimum((index + 1) * self.context, targets[owners])
        # Place -1 is the end of text before the document. Before the first one it is the stream's
        # last token, as numpy counts, which is end of text too.
        firsts = np.maximum(ends - self.context - 1, -1)
        counted = index * self.context - firsts - 1
        return self.shards.offsets[owners] + firsts, ends - firsts, counted

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
        mask = inside[:, 1:] & (columns[:-1] >= self._counted[ids, None])
        if self._counting is not None:
            mask &= self._counting[places[:, 1:]]
        return tokens.astype(np.int64), mask

    def documents(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the document index int64[B] that the first token of each row belongs to."""
        firsts = self._starts[ids] + (self.rows == "rolling")
        found = np.searchsorted(self.shards.offsets, firsts, side="right") - 1
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
        if self._counting is None:
            return int((self._lengths - 1 - self._counted).sum())
        return sum(int(self.get(ids)[1].sum()) for ids in self._chunks())

    def target_bytes(self) -> int:
        """Bytes of text that all counting targets stand for: the denominator of bits per byte."""
        return sum(int(self.row_bytes(ids).sum()) for ids in self._chunks())

    def _chunks(self) -> Iterator[NDArray[np.int64]]:
        step = max(1, _CHUNK_TOKENS // self.context)
        for start in range(0, len(self), step):
            yield np.arange(start, min(start + step, len(self)))
