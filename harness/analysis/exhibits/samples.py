"""A model's number on one set, per training seed and per document, and two models' difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.analysis.intervals import over_seeds
from harness.analysis.resampling import MIN_DOCUMENTS, joint_losses, percentiles

Interval = tuple[float, float]

#: Number under which the seeds are drawn: the same for every model and set.
_DRAWN_AS = 1
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Sample:
    """`by_seed`: training seed -> value, mean over noise seeds.

    `sums`: training seed -> (documents,), which divided by the sum of `weights` (documents,) add up
    to the value; None where no documents are kept. `rows` are the documents, where sums of equally
    many can be of others.
    """

    by_seed: Mapping[int, float]
    sums: Mapping[int, NDArray[np.float64]] | None = None
    weights: NDArray[np.float64] | None = None
    rows: NDArray[np.int64] | None = None

    @property
    def value(self) -> float:
        return float(np.mean(list(self.by_seed.values())))

    @property
    def documents(self) -> int | None:
        return None if self.weights is None else int((self.weights > 0).sum())

    def interval(self) -> Interval | None:
        """95 %: seeds, then documents drawn again; t over seeds without documents.

        None with one seed and no documents, and where no draw differs from another: what all
        documents have alike leaves open how rare the others are.
        """
        draws = _draws([self], list(self.by_seed))
        if draws is not None:
            return _spread(draws[:, 0])
        return _t_interval(list(self.by_seed.values()))

    def minus(self, other: Sample) -> Difference | None:
        """Paired by training seed, and by document where both keep the same; None without seeds
        in common.
        """
        seeds = [seed for seed in self.by_seed if seed in other.by_seed]
        if not seeds:
            return None
        each = [self.by_seed[seed] - other.by_seed[seed] for seed in seeds]
        draws = _draws([self, other], seeds)
        interval = _t_interval(each) if draws is None else _spread(draws[:, 0] - draws[:, 1])
        return Difference(float(np.mean(each)), interval, len(seeds), draws is not None)

    def gain_over(self, other: Sample) -> Difference | None:
        """How much lower than `other`, as a fraction of it: a ratio of sums, paired as `minus`.

        None without seeds in common, and where `other` is 0.
        """
        seeds = [seed for seed in self.by_seed if seed in other.by_seed]
        if not seeds or any(other.by_seed[seed] == 0 for seed in seeds):
            return None
        ours, theirs = ([s.by_seed[seed] for seed in seeds] for s in (self, other))
        draws = _draws([self, other], seeds)
        if draws is None or draws[:, 1].min() <= 0:
            each = [1 - own / their for own, their in zip(ours, theirs, strict=True)]
            interval = _t_interval(each)
        else:
            interval = _spread(1 - draws[:, 0] / draws[:, 1])
        return Difference(1 - sum(ours) / sum(theirs), interval, len(seeds), draws is not None)


@dataclass(frozen=True)
class Difference:
    """`value` with its 95 % interval, None where there is none (`Sample.interval`)."""

    value: float
    interval: Interval | None
    seeds: int
    by_document: bool

    @property
    def sign(self) -> int:
        """-1 or 1 where the interval lies below or above 0, else 0."""
        if self.interval is None:
            return 0
        low, high = self.interval
        return int(low > 0) - int(high < 0)


def within(interval: Interval | None, low: float, high: float) -> Interval | None:
    """An interval cut at what is possible."""
    return None if interval is None else (max(low, interval[0]), min(high, interval[1]))


def _t_interval(values: list[float]) -> Interval | None:
    mean = over_seeds(values)
    if mean.low is None or mean.high is None:
        return None
    return _unless_alike((mean.low, mean.high))


def _spread(draws: NDArray[np.float64]) -> Interval | None:
    return None if _unless_alike((draws.min(), draws.max())) is None else percentiles(draws)


def _unless_alike(bounds: Interval) -> Interval | None:
    """None for bounds that rounding alone tells apart."""
    low, high = bounds
    return bounds if high - low > _ROUNDING * max(1.0, abs(low), abs(high)) else None


def _draws(samples: list[Sample], seeds: list[int]) -> NDArray[np.float64] | None:
    """(resamples, samples), the same seeds and documents for all; None where these differ."""
    weights, rows = samples[0].weights, samples[0].rows
    for sample in samples:
        if sample.sums is None or sample.weights is None or not set(seeds) <= set(sample.sums):
            return None
        if weights is None or not np.array_equal(weights, sample.weights):
            return None
        if rows is not None and sample.rows is not None and not np.array_equal(rows, sample.rows):
            return None
    assert weights is not None
    counted = weights > 0
    if counted.sum() < MIN_DOCUMENTS:
        return None
    sums = np.array([[s.sums[seed][counted] for s in samples if s.sums] for seed in seeds])
    return joint_losses(sums, weights[counted], models=_DRAWN_AS)
