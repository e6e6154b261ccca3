"""Spearman's rank correlation of few points, with the p of all their permutations."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.typing import NDArray

#: Up to so many points every permutation is counted.
EXACT_POINTS = 12
DRAWS = 99_999

Whole = NDArray[np.int64]


@dataclass(frozen=True)
class RankCorrelation:
    """`rho`, with the two-sided p that no order is likelier than another; ties share mean ranks.

    p is the share of permutations at which |rho| is as large. Both are None where one side does
    not vary, or is not finite somewhere. `method` says how p was found.
    """

    rho: float | None
    p: float | None
    points: int
    method: str


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> RankCorrelation:
    """Exact for at most `EXACT_POINTS` points; beyond, (b + 1) / (B + 1) of B random orders."""
    n = len(x)
    assert n == len(y)
    if not np.isfinite([*x, *y]).all():
        return RankCorrelation(None, None, n, "a value is not finite")
    # Twice the ranks are whole numbers, ties or not.
    first, second = (_doubled_ranks(v) for v in (x, y))
    if n < 2 or len(set(x)) < 2 or len(set(y)) < 2:
        return RankCorrelation(None, None, n, "one side does not vary")
    first, second = np.asarray(first), np.asarray(second)
    middle = n * (n + 1) ** 2
    found = int(first @ second) - middle
    spread = (int(first @ first) - middle) * (int(second @ second) - middle)
    rho = found / spread**0.5
    if n <= EXACT_POINTS:
        counts = _pairings(tuple(sorted(first.tolist())), tuple(sorted(second.tolist())))
        extreme = np.abs(np.arange(len(counts)) - middle) >= abs(found)
        p = int(counts[extreme].sum()) / factorial(n)
        return RankCorrelation(rho, p, n, f"exact, all {n}! orders")
    random = np.random.Generator(np.random.Philox(key=20250702))
    orders = random.permuted(np.tile(second, (DRAWS, 1)), axis=1)
    beyond = int((np.abs(orders @ first - middle) >= abs(found)).sum())
    return RankCorrelation(rho, (beyond + 1) / (DRAWS + 1), n, f"{DRAWS:,} random orders")


def _doubled_ranks(values: Sequence[float]) -> Whole:
    """Twice the rank of each value; ties share the mean of theirs."""
    _, places, ties = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ends = np.cumsum(ties)
    return np.asarray((2 * ends - ties + 1)[places], np.int64)


@functools.lru_cache(maxsize=64)
def _pairings(first: tuple[int, ...], second: tuple[int, ...]) -> Whole:
    """How many of the n! pairings of two sorted lists have each sum of products, from 0 on.

    Goes through `first` with, for each set of partners used so far, the counts of each sum.
    """
    size = sum(a * b for a, b in zip(first, second, strict=True)) + 1
    start = np.zeros(size, np.int64)
    start[0] = 1
    layer: dict[int, Whole] = {0: start}
    for value in first:
        following: dict[int, Whole] = {}
        for used, counts in layer.items():
            for place, partner in enumerate(second):
                if not used >> place & 1:
                    into = following.setdefault(used | 1 << place, np.zeros(size, np.int64))
                    step = value * partner
                    into[step:] += counts[: size - step]
        layer = following
    (counts,) = layer.values()
    return counts
