"""Rank statistics of grouped numbers: Spearman's correlation and the area under the ROC curve.

Each takes `counts` (B, groups), how often every group (a document) is drawn: ones give the
statistic itself, multinomial draws its resamples. Ties share the mean of their ranks. Numbers
that are not finite have no rank: with one of them among the given there is no statistic.
"""

from __future__ import annotations

from math import isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Groups = NDArray[np.int64]


def rank_correlations(x: ArrayLike, y: ArrayLike, groups: Groups, counts: Floats) -> Floats:
    """Spearman's correlation (B,) of pairs (n,); NaN where one side does not vary."""
    found = np.full(len(counts), np.nan)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return found
    first, second = _dense(x), _dense(y)
    for index, drawn in enumerate(counts):
        weights = drawn[groups]
        middle = weights.sum() / 2  # the mean rank, whatever the ties
        one, other = (_midranks(dense, weights) - middle for dense in (first, second))
        weighted = weights * one
        spread = (weighted @ one) * (weights @ (other * other))
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
    dense = _dense(np.concatenate([lower, higher]))
    size = int(dense.max()) + 1 if len(dense) else 0
    below, above = dense[: len(lower)], dense[len(lower) :]
    for index, drawn in enumerate(counts):
        low = np.bincount(below, drawn[groups[0]], minlength=size)
        high = np.bincount(above, drawn[groups[1]], minlength=size)
        pairs = low.sum() * high.sum()
        if pairs > 0:
            found[index] = high @ (np.cumsum(low) - low / 2) / pairs
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


def _dense(values: ArrayLike) -> Groups:
    """The rank of each value among the distinct ones."""
    return np.asarray(np.unique(np.asarray(values), return_inverse=True)[1], np.int64).reshape(-1)


def _midranks(dense: Groups, weights: Floats) -> Floats:
    each = np.bincount(dense, weights)
    return np.asarray((np.cumsum(each) - each / 2)[dense])
