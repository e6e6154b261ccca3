"""What a rate means in budget: the cost ratio at equal loss, and where the two curves cross."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from harness.analysis.rates.points import Estimate, Floats, Interval, order_interval
from harness.analysis.rates.power_law import PowerLaw, Rows
from harness.analysis.rates.rate import ScalingRate

Side: TypeAlias = Literal["candidate", "baseline"]

_SIDES: tuple[Side, Side] = ("candidate", "baseline")
_CROSSOVER_GRID = 512
_MAX_DECADES = 1.0


@dataclass(frozen=True, slots=True)
class EqualLoss:
    """Cost ratio (baseline's x over candidate's x) at one loss: > 1 if the candidate saves.

    `x_candidate` and `x_baseline` are the budgets; `ratio.label` says if one lies outside its
    family's points, and past one decade the ratio is refused (None with the reason).
    """

    loss: float | None
    ratio: Estimate
    x_candidate: float | None
    x_baseline: float | None


@dataclass(frozen=True, slots=True)
class Crossover:
    """The last budget, within both families' points, at which the fitted curves cross.

    `budget.value` is None with reason "none in range …" if they do not; `above` names the family
    with the lower loss beyond it (or throughout), `share` the resamples that cross the same way.
    """

    budget: Estimate
    above: Side | None
    share: float | None


def equal_loss(rate: ScalingRate, *, loss: float | None = None) -> EqualLoss:
    """Compute-equivalent gain of a fitted rate, at `loss` or the lowest loss both curves reach.

    The interval is a percentile interval over the rate's own resamples, at its unadjusted level;
    in planted experiments a 95 % one covers 90-93 %, least where noise is constant in the loss.
    """
    laws = _laws(rate)
    if laws is None:
        return EqualLoss(loss, _missing(rate, why=_unfitted(rate)), None, None)
    if loss is None:
        loss = max(law.predict(fit.high) for law, fit in zip(laws, rate.fits, strict=True))
    xs = [law.invert(loss) for law in laws]
    if xs[0] is None or xs[1] is None:
        never = _SIDES[0] if xs[0] is None else _SIDES[1]
        why = f"the {never}'s fitted curve never reaches a loss of {loss:.4g}"
        return EqualLoss(loss, _missing(rate, why=why), xs[0], xs[1])
    beyond = [fit.decades_beyond(x) for fit, x in zip(rate.fits, (xs[0], xs[1]), strict=True)]
    farthest = max(beyond)
    label = rate.rho.label
    if farthest > 1e-9:
        side = _SIDES[beyond.index(farthest)]
        label += f", extrapolated {farthest:.1f} decades beyond the {side}'s points"
    if farthest > _MAX_DECADES:
        why = f"refused: {label.split(', ')[-1]}, at most {_MAX_DECADES:g}"
        return EqualLoss(loss, _missing(rate, why=why), xs[0], xs[1])
    interval = _ratio_interval(rate, loss=loss)
    why = "" if interval else "no interval: no resamples, or too many never reach this loss"
    ratio = Estimate(xs[1] / xs[0], interval, rate.rho.points, rate.rho.seeds, label, why)
    return EqualLoss(loss, ratio, xs[0], xs[1])


def crossover(rate: ScalingRate) -> Crossover:
    """Where the fitted curves cross between the largest first and smallest last point."""
    laws = _laws(rate)
    if laws is None:
        return Crossover(_missing(rate, why=_unfitted(rate)), None, None)
    low, high = max(fit.low for fit in rate.fits), min(fit.high for fit in rate.fits)
    if low >= high:
        return Crossover(_missing(rate, why="the families' points do not overlap"), None, None)
    grid = np.geomspace(low, high, _CROSSOVER_GRID)
    gap = np.array([[laws[0].predict(x) - laws[1].predict(x) for x in grid.tolist()]])
    if not gap.any():
        return Crossover(_missing(rate, why="none in range: the curves coincide"), None, None)
    above: Side = "candidate" if gap[0, -1] < 0 else "baseline"
    sign = 1.0 if above == "candidate" else -1.0
    x = float(_last_crossings(sign * gap, grid=grid)[0])
    draws = _resampled(rate)
    if not np.isfinite(x):
        why = f"none in range: {above} lower throughout"
        return Crossover(_missing(rate, why=why), above, None)
    if draws is None:
        why = "no interval: too few runs to resample"
        budget = Estimate(x, None, rate.rho.points, rate.rho.seeds, rate.rho.label, why)
        return Crossover(budget, above, None)
    gaps = _curves(draws[0], grid=grid) - _curves(draws[1], grid=grid)
    crossings = np.sort(_last_crossings(sign * gaps, grid=grid))
    share = float(np.isfinite(crossings).mean())
    interval = order_interval(crossings, level=rate.bootstrap.level, method="bootstrap")
    why = "" if interval else f"no interval: only {share:.0%} of resamples cross in range"
    budget = Estimate(x, interval, rate.rho.points, rate.rho.seeds, rate.rho.label, why)
    return Crossover(budget, above, share)


def _last_crossings(gap: Floats, *, grid: Floats) -> Floats:
    """Per row of gap (B, G), the last x where it turns from >= 0 to < 0.

    -inf where it is negative throughout, +inf where it ends non-negative.
    """
    falls = (gap[:, :-1] >= 0) & (gap[:, 1:] < 0)
    last = falls.shape[1] - 1 - falls[:, ::-1].argmax(-1)
    row = np.arange(len(gap))
    before, after = gap[row, last], gap[row, last + 1]
    found = falls.any(-1)
    part = np.where(found, before, 0.0) / np.where(found, before - after, 1.0)
    log_x = np.log(grid[last]) + part * np.log(grid[last + 1] / grid[last])
    x = np.where(found, np.exp(log_x), -np.inf)
    return np.where(gap[:, -1] >= 0, np.inf, x)


def _curves(rows: Rows, *, grid: Floats) -> Floats:
    """Losses of every row at every x of the grid: (B, G)."""
    return rows.predict(grid[:, None]).T


def _ratio_interval(rate: ScalingRate, *, loss: float) -> Interval | None:
    draws = _resampled(rate)
    if draws is None:
        return None
    levels = np.full(len(draws[0].exponent), loss)
    ours, theirs = draws[0].invert(levels), draws[1].invert(levels)
    both_reach, neither = np.isfinite(ours) & np.isfinite(theirs), np.isinf(ours) & np.isinf(theirs)
    ratio = np.where(np.isinf(ours), 0.0, np.inf)
    ratio[both_reach] = theirs[both_reach] / ours[both_reach]
    # Where neither reaches the loss the ratio could be anything: count it against both bounds.
    level = rate.bootstrap.level
    worst = order_interval(np.sort(np.where(neither, 0.0, ratio)), level=level, method="bootstrap")
    best = order_interval(
        np.sort(np.where(neither, np.inf, ratio)), level=level, method="bootstrap"
    )
    if worst is None or best is None or worst.low <= 0:
        return None
    return Interval(low=worst.low, high=best.high, level=level, method="bootstrap")


def _laws(rate: ScalingRate) -> tuple[PowerLaw, PowerLaw] | None:
    ours, theirs = rate.fits
    if not (ours.identified and theirs.identified) or ours.law is None or theirs.law is None:
        return None
    return ours.law, theirs.law


def _resampled(rate: ScalingRate) -> tuple[Rows, Rows] | None:
    draws = rate.draws
    if draws is None or draws.candidate is None or draws.baseline is None:
        return None
    return draws.candidate, draws.baseline


def _unfitted(rate: ScalingRate) -> str:
    named = zip(_SIDES, rate.fits, strict=True)
    return "; ".join(f"{side} {fit.reason}" for side, fit in named if not fit.identified)


def _missing(rate: ScalingRate, *, why: str) -> Estimate:
    return Estimate(None, None, rate.rho.points, rate.rho.seeds, rate.rho.label, why)
