"""Rank statistics of grouped numbers: Spearman's correlation and the area under the ROC curve.

Each takes `counts` (B, groups), how often every group (a document) is drawn: ones give the
statistic itself, multinomial draws its resamples. Ties share the mean of their ranks. Numbers
that are not finite have no rank: with one of them among the given there is no statistic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Groups = NDArray[np.int64]

#: Numbers of a table of ranks, and of a chunk of draws: what both may take of memory.
_TABLE, _CHUNK = 2**26, 2**20
#: Fewer draws than this are not worth a table.
_WORTH = 16


def rank_correlations(x: ArrayLike, y: ArrayLike, groups: Groups, counts: Floats) -> Floats:
    """Spearman's correlation (B,) of pairs (n,); NaN where one side does not vary."""
    return np.asarray(each_rank_correlation([x], y, groups, counts)[0])


def each_rank_correlation(
    xs: Sequence[ArrayLike], y: ArrayLike, groups: Groups, counts: Floats
) -> Floats:
    """`rank_correlations` (k, B) of several with the same `y`, which is ranked once."""
    y, sides = np.asarray(y), [np.asarray(x) for x in xs]
    found = np.full((len(sides), len(counts)), np.nan)
    known = [index for index, x in enumerate(sides) if np.isfinite(x).all()]
    if not (known and np.isfinite(y).all()):
        return found
    many = counts.shape[1] * len(y) > _TABLE or len(counts) < _WORTH
    ranked = {index: (_Running if many else _Table)(sides[index], groups) for index in known}
    against = (_Running if many else _Table)(y, groups)
    step = max(1, _CHUNK // max(1, len(y)))
    for start in range(0, len(counts), step):
        drawn = counts[start : start + step]
        weights = drawn[:, groups]  # (b, n)
        middle = weights.sum(1, keepdims=True) / 2  # the mean rank, whatever the ties
        other = against.midranks(drawn)
        other -= middle
        # Halves and whole numbers: sums are exact in any order.
        weighted = weights * other
        spread = _dots(weighted, other)
        for index, side in ranked.items():
            one = side.midranks(drawn)
            one -= middle
            shared = _dots(weighted, one)
            both = spread * _dots(weights * one, one)
            varies = both > 0
            found[index, start : start + step][varies] = shared[varies] / both[varies] ** 0.5
    return found


def _dots(x: Floats, y: Floats) -> Floats:
    """Row by row (B,)."""
    return np.asarray(np.einsum("bn,bn->b", x, y))


def areas(
    lower: ArrayLike, higher: ArrayLike, groups: tuple[Groups, Groups], counts: Floats
) -> Floats:
    """(B,): the probability that one of `higher` exceeds one of `lower`, ties half (AUROC).

    `groups` are those of each; NaN where one side has nothing drawn.
    """
    found = np.full(len(counts), np.nan)
    lower, higher = np.asarray(lower), np.asarray(higher)
    if not (np.isfinite(lower).all() and np.isfinite(higher).all()):
        return found
    size = counts.shape[1]
    wins = np.zeros((size, size))  # of pairs of groups (higher's, lower's)
    for group, own in _by_group(lower, groups[0]):
        wins[:, group] = np.bincount(groups[1], _below(higher, own), minlength=size)
    low, high = (counts @ np.bincount(own, minlength=size) for own in groups)
    drawn = low * high > 0
    won = np.einsum("bg,bg->b", counts @ wins, counts)
    found[drawn] = won[drawn] / (low * high)[drawn]
    return found


def correlations_within(
    x: ArrayLike, y: ArrayLike, groups: Groups, *, least: int = 5
) -> tuple[Floats, Floats]:
    """Spearman's correlation inside each group, and its pairs: the weight of a mean over groups.

    Groups of fewer than `least` pairs, or where one side does not vary, have weight 0.
    """
    x, y = np.asarray(x), np.asarray(y)
    size = int(groups.max()) + 1 if len(groups) else 0
    values, pairs = np.zeros(size), np.zeros(size)
    order = np.argsort(groups, kind="stable")
    ends = np.cumsum(np.bincount(groups, minlength=size))
    for group, own in enumerate(np.split(order, ends[:-1]) if size else ()):
        if len(own) >= least:
            value = spearman(x[own], y[own])
            if value is not None:
                values[group], pairs[group] = value, len(own)
    return values, pairs


def spearman(x: ArrayLike, y: ArrayLike) -> float | None:
    """Spearman's correlation; None where one side does not vary."""
    groups = np.zeros(len(np.asarray(x)), np.int64)
    return finite(rank_correlations(x, y, groups, np.ones((1, 1)))[0])


def auroc(lower: ArrayLike, higher: ArrayLike) -> float | None:
    """The probability that one of `higher` exceeds one of `lower`; None where a side is empty."""
    first, second = (np.zeros(len(np.asarray(side)), np.int64) for side in (lower, higher))
    return finite(areas(lower, higher, (first, second), np.ones((1, 1)))[0])


def finite(value: float) -> float | None:
    """The number, or None: what is not finite is missing."""
    return float(value) if isfinite(value) else None


def _by_group(values: NDArray[Any], groups: Groups) -> Iterator[tuple[int, NDArray[Any]]]:
    """Each group that has values, with them in order."""
    order = np.lexsort((values, groups))
    present, starts = np.unique(groups[order], return_index=True)
    parts = np.split(values[order], starts[1:]) if len(present) else []
    for group, own in zip(present, parts, strict=True):
        yield int(group), own


def _below(values: NDArray[Any], others: NDArray[Any]) -> Floats:
    """How many of `others`, which are in order, lie below each value; ties count half."""
    left = np.searchsorted(others, values, side="left")
    return np.asarray((left + np.searchsorted(others, values, side="right")) / 2)


class _Table:
    """How many of each group lie below each value (n, groups): ranks of many draws are a product.

    Counts and halves are whole in float32 up to 8 million.
    """

    def __init__(self, values: NDArray[Any], groups: Groups) -> None:
        order = np.argsort(values, kind="stable")
        ordered, n = values[order], len(values)
        upto = np.zeros((n + 1, int(groups.max()) + 1 if n else 0), "f4")
        upto[np.arange(1, n + 1), groups[order]] = 1
        np.cumsum(upto, axis=0, out=upto)
        left, right = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
        self.below = (upto[left] + upto[right]) / 2

    def midranks(self, counts: Floats) -> Floats:
        """Weighted ranks (b, n)."""
        used = counts[:, : self.below.shape[1]].astype("f4")
        return np.asarray((used @ self.below.T).astype(np.float64))


class _Running:
    """Values in order, once for every draw: ranks are running sums of weights."""

    def __init__(self, values: NDArray[Any], groups: Groups) -> None:
        self.order = np.argsort(values, kind="stable")
        self.groups = np.asarray(groups)[self.order]
        ordered = values[self.order]
        self.starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(values)])
        self.ties = np.diff(np.append(self.starts, len(values)))

    def midranks(self, counts: Floats) -> Floats:
        """Weighted ranks (b, n): the weight below each value and half of that of its ties."""
        found = np.empty((len(counts), len(self.order)))
        if len(self.order):
            each = np.add.reduceat(counts[:, self.groups], self.starts, axis=1)
            ranks = np.repeat(np.cumsum(each, axis=1) - each / 2, self.ties, axis=1)
            found[:, self.order] = ranks
        return found
