"""What a design can decide, before anything is trained: simulated sampling ranges of the rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from harness.analysis.rates.points import Floats, Interval
from harness.analysis.rates.power_law import MIN_FIT_POINTS, fit_rows
from harness.quantities import counted


@dataclass(frozen=True, slots=True)
class Truth:
    """The world a design is simulated in.

    `rate`: a_candidate / a_baseline - 1; `exponent`: the baseline's a; `floor`: E, fitted
    separately per family; `reducible`: loss above the floor at the smallest x; `sigma`: standard
    deviation of one run's loss. Losses are in one unit, such as nats.
    """

    rate: float = 0.35
    exponent: float = 0.3
    floor: float = 1.8
    reducible: float = 1.2
    sigma: float = 0.005


STATED_TRUTH = Truth()


@dataclass(frozen=True, slots=True)
class DesignRange:
    """Where the estimated rate falls under a stated truth, for a design of points and seeds.

    `interval` is the sampling range of the estimate (None with a reason if the design cannot
    identify a fit); `at_bound` the share of simulations with a parameter at its bound.
    """

    interval: Interval | None
    points: int
    seeds: int
    decades: float
    truth: Truth
    simulations: int
    at_bound: float
    reason: str = ""

    @property
    def half_width(self) -> float | None:
        """Half the width of the range, as a fraction (0.1 = 10 points)."""
        return None if self.interval is None else self.interval.half_width

    @property
    def label(self) -> str:
        """The design and truth in words, to print beside the range."""
        size = f"{counted(self.points, 'point')} × {counted(self.seeds, 'seed')}"
        return (
            f"sampling range for a true {self.truth.rate:+.0%} at sigma {self.truth.sigma:g} of a "
            f"loss of {self.truth.floor + self.truth.reducible:g}: "
            f"{size} over {self.decades:.1f} decades"
        )


def simulate_interval(
    xs: Sequence[float],
    *,
    seeds: int,
    truth: Truth = STATED_TRUTH,
    simulations: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> DesignRange:
    """The range in which the fitted rate falls for runs at `xs` with `seeds` each.

    Single level: each simulation plants losses, fits both families as the analysis does and keeps
    the rate; the range is a percentile interval over simulations. Raises ValueError for x that
    are not positive, or fewer than one seed or 40 simulations.
    """
    x = np.unique(np.asarray(xs, dtype=np.float64))
    if len(x) == 0 or not (np.isfinite(x).all() and x[0] > 0):
        raise ValueError(f"xs = {list(xs)!r}: give finite, positive budgets")
    if seeds < 1 or simulations < 40:
        raise ValueError(
            f"seeds = {seeds}, simulations = {simulations}: at least 1 and 40 are needed"
        )
    return _simulate(tuple(float(v) for v in x), seeds, truth, simulations, level, seed)


@lru_cache(maxsize=128)
def _simulate(
    xs: tuple[float, ...], seeds: int, truth: Truth, simulations: int, level: float, seed: int
) -> DesignRange:
    x = np.array(xs)
    interval, at_bound, reason = None, 0.0, ""
    if len(x) < MIN_FIT_POINTS:
        reason = f"{counted(len(x), 'point')} for 3 parameters"
    else:
        rng = np.random.default_rng([seed, len(xs), seeds])
        candidate = plant(x, truth=truth, exponent=truth.exponent * (1 + truth.rate))
        baseline = plant(x, truth=truth, exponent=truth.exponent)
        fits = []
        for curve in (candidate, baseline):
            noise = rng.normal(0, truth.sigma, (simulations, len(x), seeds))
            # A loss stays positive however large a sigma the user states.
            loss = np.maximum(curve[:, None] + noise, 1e-6 * curve[:, None])
            weight = (loss**-2.0).sum(-1)
            fits.append(fit_rows(x, level=(1 / loss).sum(-1) / weight, weight=weight))
        rates = fits[0].exponent / fits[1].exponent - 1
        low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
        method = f"{simulations} single-level simulations"
        interval = Interval(low=float(low), high=float(high), level=level, method=method)
        at_bound = float((fits[0].bounded | fits[1].bounded).mean())
    return DesignRange(
        interval=interval,
        points=len(x),
        seeds=seeds,
        decades=float(np.log10(x[-1] / x[0])),
        truth=truth,
        simulations=simulations,
        at_bound=at_bound,
        reason=reason,
    )


def plant(x: Floats, *, truth: Truth, exponent: float) -> Floats:
    """Noise-free losses (n,) of a family with this exponent in the world of `truth`."""
    losses: Floats = truth.floor + truth.reducible * (x / x[0]) ** -exponent
    return losses
