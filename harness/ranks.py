"""Rank statistics of grouped numbers: Spearman's correlation and the area under the ROC curve.

Each takes `counts` (B, groups), how often every group (a document) is drawn: ones give the
statistic itself, multinomial draws its resamples. Ties share the mean of their ranks. Numbers
that are not finite have no rank: with one of them among the given there is no statistic.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Groups = NDArray[np.int64]


def rank_correlations(x: ArrayLike, y: ArrayLike, groups: Groups, counts: Floats) -> Floats:
    """Spearman's correlation (B,) of pairs (n,); NaN where one side does not vary."""
    found = np.full(len(counts), np.nan)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return found
    first, second = _Sorted(np.asarray(x), groups), _Sorted(np.asarray(y), groups)
    there = second.places[first.order]
    for index, drawn in enumerate(counts):
        weights, one = first.midranks(drawn)
        other = second.midranks(drawn)[1][there]
        middle = weights.sum() / 2  # the mean rank, whatever the ties
        one -= middle
        other -= middle
        weighted = weights * one
        spread = (weighted @ one) * ((weights * other) @ other)
        if spread > 0:
            found[index] = (weighted @ other) / spread**0.5
    return found


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
    both = _Sorted(np.concatenate([lower, higher]), np.concatenate(groups))
    above = (both.order >= len(lower)).astype(float)
    for index, drawn in enumerate(counts):
        weights = drawn[both.groups]
        high = weights * above
        low = weights - high
        pairs = low.sum() * high.sum()
        if pairs > 0:
            found[index] = high @ both.middles(low) / pairs
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


class _Sorted:
    """Values in order, once for every resample: `order` sorts them, `places` is where each went."""

    def __init__(self, values: NDArray[Any], groups: Groups) -> None:
        self.order = np.argsort(values, kind="stable")
        self.places = np.empty_like(self.order)
        self.places[self.order] = np.arange(len(values))
        self.groups = np.asarray(groups)[self.order]
        ordered = values[self.order]
        self.starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(values)])
        self.ties = np.diff(np.append(self.starts, len(values)))

    def midranks(self, drawn: Floats) -> tuple[Floats, Floats]:
        """Weights and weighted ranks (n,) in order."""
        weights = drawn[self.groups]
        return weights, self.middles(weights)

    def middles(self, weights: Floats) -> Floats:
        """The weight below each value and half of that of its ties, from weights in order."""
        if len(self.starts) == len(weights):
            return np.asarray(np.cumsum(weights) - weights / 2)
        each = np.add.reduceat(weights, self.starts) if len(weights) else weights
        return np.asarray(np.repeat(np.cumsum(each) - each / 2, self.ties))
