"""Means over training seeds with Student's t interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from statistics import mean, stdev

from scipy.special import stdtrit

LEVEL = 0.95
#: exp of more overflows.
MAX_NATS = 700.0


@dataclass(frozen=True)
class SeedMean:
    """Mean over training seeds; `half_width` of the 95 % t interval, None for one seed."""

    value: float
    half_width: float | None
    seeds: int

    @property
    def low(self) -> float | None:
        return None if self.half_width is None else self.value - self.half_width

    @property
    def high(self) -> float | None:
        return None if self.half_width is None else self.value + self.half_width


def over_seeds(values: Sequence[float]) -> SeedMean:
    """Mean and 95 % t interval of one value per training seed; ValueError where there is none."""
    if not values:
        raise ValueError("no values")
    if len(values) == 1:
        return SeedMean(float(values[0]), None, 1)
    quantile = float(stdtrit(len(values) - 1, 0.5 + LEVEL / 2))
    half = quantile * stdev(values) / len(values) ** 0.5
    return SeedMean(float(mean(values)), half, len(values))


def perplexity(nats: float) -> float | None:
    """exp of a loss in nats; None beyond what a float holds."""
    return exp(nats) if nats < MAX_NATS else None
