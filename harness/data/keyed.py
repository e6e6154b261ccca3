"""Keyed randomness for data: the same key gives the same bits on any machine and numpy version."""

from __future__ import annotations

import functools
import hashlib

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError


def keyed_words(count: int, *key: str | int) -> NDArray[np.uint64]:
    """Return `count` uniform 64-bit words of the Philox stream that `key` names.

    Raw words, because numpy promises their stability, but not that of `Generator`'s methods.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    philox = np.random.Philox(key=int.from_bytes(digest, "little"))
    return np.asarray(philox.random_raw(count), dtype=np.uint64)


def keyed_fraction(*key: str | int) -> float:
    """Return one number in [0, 1) that depends on `key` alone."""
    return float(keyed_words(1, *key)[0] >> np.uint64(11)) / 2.0**53


class Draws:
    """A stream of small integers under one key, for generators that draw a varying number."""

    def __init__(self, *key: str | int) -> None:
        self._key = key
        self._block = 0
        self._words: list[int] = []

    def below(self, bound: int) -> int:
        """Return the next integer in [0, bound); the bias is under bound / 2**64."""
        if not self._words:
            words = keyed_words(256, *self._key, self._block)
            self._words = words[::-1].tolist()
            self._block += 1
        return self._words.pop() % bound

    def between(self, low: int, high: int) -> int:
        """Return the next integer in [low, high], both ends included."""
        return low + self.below(high - low + 1)


@functools.lru_cache(maxsize=4)
def _permutation(n_rows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    order = np.argsort(keyed_words(n_rows, "row order", seed, epoch), kind="stable")
    return order.astype(np.int64)


def row_order(n_rows: int, *, batch_size: int, seed: int, step: int) -> NDArray[np.int64]:
    """Return the row ids int64[batch_size] of optimization step `step`, counted from 0.

    Every epoch is a fresh permutation keyed by (seed, epoch), so each row comes once per epoch;
    a batch may straddle epochs. The place follows from `step` alone: resuming needs no state.
    Raises HarnessError when there are no rows.
    """
    if n_rows < 1:
        raise HarnessError("there are no rows to train on", hint="use more data or less context")
    assert batch_size >= 1
    assert step >= 0
    parts = []
    start, end = step * batch_size, (step + 1) * batch_size
    while start < end:
        epoch, offset = divmod(start, n_rows)
        take = min(end - start, n_rows - offset)
        parts.append(_permutation(n_rows, seed, epoch)[offset : offset + take])
        start += take
    return np.concatenate(parts)
