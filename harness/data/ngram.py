"""Add-one unigram, bigram and trigram models: the floor that any network should beat.

They see exactly what a model sees: the context within a row and the targets that count. They also
give a model-free distance of an evaluation set from the training set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.text import TextRows
from harness.errors import HarnessError

ORDERS = (1, 2, 3)
#: N-grams are fitted on at most this many tokens, the first ones of the training text.
FITTED_TOKENS = 1 << 24
_CHUNK_TOKENS = 1 << 19
_NO_TOKEN = -1


@dataclass(frozen=True, eq=False)
class Counts:
    """How often each key was seen: sorted `keys` int64[K] and their `counts` int64[K]."""

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]

    def of(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the count of each of `keys`, 0 where it was never seen."""
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, self.counts[places], 0)


@dataclass(frozen=True, eq=False)
class NGrams:
    """p(y | context) = (count(context, y) + 1) / (count(context) + V), for three orders.

    grams[o] counts context and target of order o, contexts[o] the context alone. `fitted_tokens`
    is None where the whole text was counted, else how many of its first tokens.
    """

    vocab_size: int
    tokenizer_digest: str
    grams: dict[int, Counts]
    contexts: dict[int, Counts]
    fitted_tokens: int | None = None

    def loss(
        self, rows: TextRows, ids: NDArray[np.int64] | None = None
    ) -> dict[int, tuple[float, int]]:
        """Return {order: (sum of nats, number of targets)} over the counting targets of `rows`.

        `ids`: the rows to cover, all of them by default.
        A row's first target has one token of context, so there the trigram is the bigram. Raises
        HarnessError when `rows` were made with another tokenizer.
        """
        if rows.shards.tokenizer_digest != self.tokenizer_digest:
            raise HarnessError("the n-grams were fitted with another tokenizer than these rows")
        sums = dict.fromkeys(ORDERS, 0.0)
        n = 0
        for older, newer, target in _triples(rows, ids):
            n += len(target)
            nats = {order: self._nats(order, older, newer, target) for order in ORDERS}
            nats[3] = np.where(older == _NO_TOKEN, nats[2], nats[3])
            for order in ORDERS:
                sums[order] += float(nats[order].sum())
        return {order: (sums[order], n) for order in ORDERS}

    def _nats(
        self,
        order: int,
        older: NDArray[np.int64],
        newer: NDArray[np.int64],
        target: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        context = _context(order, older, newer, vocab_size=self.vocab_size)
        seen = self.contexts[order].of(context)
        hits = self.grams[order].of(context * self.vocab_size + target)
        return np.log(seen + self.vocab_size) - np.log(hits + 1)


def fit_ngrams(rows: TextRows) -> NGrams:
    """Count the unigrams, bigrams and trigrams of `rows`, of the first FITTED_TOKENS; exact.

    A trigram lies within one row: a row's first target, which has one token of context, counts
    for the unigram and the bigram only.
    """
    vocab_size = rows.shards.vocab_size
    assert vocab_size**3 < 2**63, "trigram keys must fit 64 bits"
    count = max(1, FITTED_TOKENS // rows.context)
    ids = np.arange(min(len(rows), count))
    columns = [np.concatenate(parts) for parts in zip(*_triples(rows, ids), strict=True)]
    fitted_tokens = len(columns[0]) if len(ids) < len(rows) else None
    grams, contexts = {}, {}
    for order in ORDERS:
        older, newer, target = columns
        if order == 3:
            full = older != _NO_TOKEN
            older, newer, target = older[full], newer[full], target[full]
        context = _context(order, older, newer, vocab_size=vocab_size)
        grams[order] = _counted(context * vocab_size + target)
        contexts[order] = _counted(context)
    return NGrams(vocab_size, rows.shards.tokenizer_digest, grams, contexts, fitted_tokens)


def _context(
    order: int, older: NDArray[np.int64], newer: NDArray[np.int64], *, vocab_size: int
) -> NDArray[np.int64]:
    if order == 1:
        return np.zeros_like(newer)
    return newer if order == 2 else older * vocab_size + newer


def _counted(keys: NDArray[np.int64]) -> Counts:
    unique, counts = np.unique(keys, return_counts=True)
    if len(unique) == 0:
        # One impossible key, so that lookups need no special case.
        return Counts(np.array([-1]), np.array([0]))
    return Counts(unique, counts)


_Triple = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def _triples(rows: TextRows, ids: NDArray[np.int64] | None = None) -> Iterator[_Triple]:
    """Yield (token before last, last token, target) of every counting target, in chunks."""
    ids = np.arange(len(rows)) if ids is None else ids
    step = max(1, _CHUNK_TOKENS // (rows.context + 1))
    for start in range(0, len(ids), step):
        tokens, mask = rows.get(ids[start : start + step])
        older = np.full(mask.shape, _NO_TOKEN)
        older[:, 1:] = tokens[:, :-2]
        yield older[mask], tokens[:, :-1][mask], tokens[:, 1:][mask]
