"""Verdicts over several axes at once: Holm's step-down, with the intervals it implies."""

from collections.abc import Sequence
from dataclasses import replace

from harness.analysis.rates.points import order_interval
from harness.analysis.rates.rate import ScalingRate
from harness.analysis.rates.verdict import decide


def holm(rates: Sequence[ScalingRate], *, level: float = 0.95) -> tuple[ScalingRate, ...]:
    """The same rates, in order, with adjusted p, interval and verdict.

    The family is every axis whose design passed its gate, fitted or not (p = 1 without a fit), so
    the number of axes never depends on the losses. The j-th smallest of k p-values gets an
    interval at 1 - (1 - level) / (k - j + 1); from the first one not rejected on, all get that
    one's, so an interval excludes 0 exactly where Holm rejects. Rates outside the family come back
    as they were, unadjusted and exploratory.
    """
    alpha = 1 - level
    members = [i for i, rate in enumerate(rates) if rate.gate.passed]
    p = {i: 1.0 if (own := rates[i].p) is None else own for i in members}
    adjusted = list(rates)
    running, stopped = 0.0, False
    share = alpha
    for rank, i in enumerate(sorted(members, key=lambda i: p[i])):
        remaining = len(members) - rank
        running = max(running, min(1.0, remaining * p[i]))
        if not stopped:
            share = alpha / remaining
            stopped = p[i] > share * (1 + 1e-12)
        adjusted[i] = _adjust(rates[i], p_adjusted=running, level=1 - share, axes=len(members))
    return tuple(adjusted)


def _adjust(rate: ScalingRate, *, p_adjusted: float, level: float, axes: int) -> ScalingRate:
    rho = rate.rho
    if rho.interval is not None and rate.draws is not None and rate.draws.rates is not None:
        plural = "axis" if axes == 1 else "axes"
        interval = order_interval(
            rate.draws.rates, level=level, method=f"bootstrap, Holm over {axes} {plural}"
        )
        why = "" if interval else f"no interval: too few resamples for {100 * level:.4g} %"
        rho = replace(rho, interval=interval, reason=why)
    return replace(
        rate,
        rho=rho,
        p_adjusted=None if rate.p is None else p_adjusted,
        verdict=decide(rho, gate=rate.gate, at_bound=rate.at_bound),
    )
