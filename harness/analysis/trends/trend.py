"""From gains at several x to one of four words: grows, shrinks, undecided, descriptive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.analysis.resampling import percentiles
from harness.analysis.trends.permutation import RankCorrelation, rank_correlation
from harness.quantities import counted

Floats = NDArray[np.float64]
Reading = Literal["grows", "shrinks", "undecided", "descriptive"]

ALPHA = 0.05
#: Fewer training seeds at a point than this give no verdict.
MIN_SEEDS = 3


@dataclass(frozen=True)
class Trend:
    """`slope` and `intercept` by least squares; `interval` of the slope, 95 %, by resampling.

    `reading` is "grows" or "shrinks" where the slope's interval and the ranks' p both exclude
    chance and point the same way, "descriptive" where there are too few points or training seeds
    for any verdict.
    `rest` are slope and intercept without the largest x: how much hangs on one point.
    `left_out` names points without a number.
    """

    slope: float | None
    intercept: float | None
    interval: tuple[float, float] | None
    ranks: RankCorrelation
    reading: Reading
    reason: str
    rest: tuple[float, float] | None = None
    left_out: tuple[str, ...] = ()

    @property
    def without_farthest(self) -> float | None:
        """The slope without the largest x."""
        return None if self.rest is None else self.rest[0]

    @property
    def points(self) -> int:
        return self.ranks.points


def trend(
    x: Sequence[float],
    y: Sequence[float],
    *,
    x_draws: Floats | None,
    y_draws: Floats | None,
    seeds: int,
    enough: tuple[int, str],
) -> Trend:
    """The trend of `y` over `x`, each of at least `seeds`; a verdict needs `(8, "set")` points.

    Draws are (resamples, points), the same resamples of both; `x_draws` None: x is known;
    `y_draws` None: no interval.
    """
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    ranks = rank_correlation(x, y)
    needed, noun = enough
    finite = bool(np.isfinite([*xs, *ys]).all())
    if len(xs) < 2 or not finite or np.ptp(xs) == 0:
        reason = f"{counted(len(xs), noun)}: no slope"
        if not finite:
            reason = "a value is not finite: no slope"
        return Trend(None, None, None, ranks, "descriptive", reason)
    fitted, nearer = _line(xs, ys), xs < xs.max()
    assert fitted is not None, "x varies"
    slope, intercept = fitted
    interval = None
    if y_draws is not None:
        drawn = slopes(xs[None] if x_draws is None else x_draws, y_draws)
        if np.isfinite(drawn).all():
            interval = percentiles(drawn)
    few = _too_few(len(xs), needed, noun) or _too_few(seeds, MIN_SEEDS, "training seed")
    reading, reason = _read(interval, ranks)
    if few:
        reading, reason = "descriptive", few
    rest = _line(xs[nearer], ys[nearer])
    return Trend(slope, intercept, interval, ranks, reading, reason, rest)


def _line(x: Floats, y: Floats) -> tuple[float, float] | None:
    """Slope and intercept by least squares; None where x does not vary."""
    slope = float(slopes(x[None], y[None])[0])
    return (slope, float(y.mean() - slope * x.mean())) if np.isfinite(slope) else None


def slopes(x: Floats, y: Floats) -> Floats:
    """Least-squares slope of each row of `y` (B, n) over that of `x`, (B, n) or (1, n): (B,)."""
    centred = x - x.mean(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = (centred * y).sum(1) / (centred * centred).sum(1)
    return found


def _too_few(number: int, needed: int, noun: str) -> str:
    return f"{counted(number, noun)}, {needed} needed" if number < needed else ""


def _read(interval: tuple[float, float] | None, ranks: RankCorrelation) -> tuple[Reading, str]:
    if interval is None:
        return "undecided", "no interval of the slope"
    if ranks.rho is None or ranks.p is None:
        return "undecided", "no rank correlation: one side does not vary"
    said = f"rank correlation {ranks.rho:+.2f}, p {shown_p(ranks.p)}".replace("-", "−")
    low, high = interval
    if low <= 0 <= high:
        return "undecided", f"the slope's interval holds 0; {said}"
    if ranks.p > ALPHA:
        return "undecided", f"the slope's interval excludes 0, the order may be chance: {said}"
    if (low > 0) != (ranks.rho > 0):
        return "undecided", f"slope and ranks point apart: {said}"
    return ("grows" if low > 0 else "shrinks"), f"the slope's interval excludes 0; {said}"


def shown_p(p: float) -> str:
    """`= 0.012`, two significant digits, or `< 0.001`."""
    return f"= {p:.2g}" if p >= 0.001 else "< 0.001"
