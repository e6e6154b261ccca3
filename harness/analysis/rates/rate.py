"""How much faster one family's loss falls along an axis than another's: rate, interval, verdict.

L(x) = E + A x^-a per family; the rate is a_candidate / a_baseline - 1. The ratio of raw log-log
slopes mixes E and A into a, so it is reported only as the "apparent slope ratio".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from zlib import crc32

import numpy as np

from harness.analysis.rates.points import (
    Estimate,
    Family,
    Floats,
    Interval,
    Point,
    are_paired,
    arrange,
    counted_p,
    draw_sources,
    order_interval,
)
from harness.analysis.rates.power_law import (
    MIN_FIT_POINTS,
    PowerLawFit,
    Rows,
    fit_family,
    fit_rows,
    log_slopes,
)
from harness.analysis.rates.sensitivity import (
    huber_exponent,
    profile_interval,
    shared_floor_exponents,
)
from harness.analysis.rates.verdict import Axis, Gate, Verdict, decide, gate_design
from harness.quantities import counted

Resampling: TypeAlias = Literal[
    "residuals pooled over points",
    "whole runs (points share runs)",
    "whole seeds along trajectories (not one run per budget)",
]


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How the interval is made.

    `trajectory`: points are evaluation steps of one run per seed, and whole seeds are resampled
    across all points (three seeds under-cover: 81 % for a nominal 95 %, five 88 %). `seed` is keyed
    by the axis' name.
    """

    resamples: int = 1999
    level: float = 0.95
    seed: int = 0
    trajectory: bool = False


DEFAULT_BOOTSTRAP = Bootstrap()


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The largest point predicted from the others: `error` is predicted / observed - 1."""

    x: float
    observed: float
    predicted: float | None
    error: float | None
    decades_beyond: float
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Resampled fits (None if a family cannot be fitted), sorted rates and slope ratios (B,)."""

    candidate: Rows | None
    baseline: Rows | None
    rates: Floats | None
    apparent: Floats


@dataclass(frozen=True, slots=True)
class ScalingRate:
    """One axis' comparison. `rho` and `apparent` carry interval, n, seeds, label and reason.

    `p` is two-sided against a rate of 0; `p_adjusted` and the interval of `rho` are adjusted once
    `holm` has seen all axes. `fits` and `held_out` are (candidate, baseline).
    """

    axis: Axis
    rho: Estimate
    apparent: Estimate
    verdict: Verdict
    gate: Gate
    p: float | None
    p_adjusted: float | None
    profile: Interval | None
    huber: float | None
    shared_floor: float | None
    fits: tuple[PowerLawFit, PowerLawFit]
    held_out: tuple[HeldOut, HeldOut]
    paired: bool
    resampling: Resampling
    bootstrap: Bootstrap
    at_bound: float | None
    draws: Draws | None = field(repr=False, compare=False)

    @property
    def caveat(self) -> str:
        """That a check does not bear the rate out, where it has the other sign; else empty."""
        value = self.rho.value
        if value is None:
            return ""
        checks = (("with one E for both", self.shared_floor), ("under Huber loss", self.huber))
        others = [
            f"{words} it is {100 * other:+.1f} %".replace("-", "−")
            for words, other in checks
            if other is not None and (other > 0) != (value > 0)
        ]
        return f"the rate's sign depends on the fit: {', '.join(others)}" if others else ""


def scaling_rate(
    candidate: Sequence[Point],
    *,
    baseline: Sequence[Point],
    axis: Axis,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> ScalingRate:
    """Compare two families along one axis, all other axes held.

    Raises ValueError for points that cannot be arranged (see `arrange`) or a level outside (0, 1).
    Everything the points cannot answer is None with a reason, never an error.
    """
    if not 0 < bootstrap.level < 1 or bootstrap.resamples < 40:
        raise ValueError(
            f"level = {bootstrap.level}, resamples = {bootstrap.resamples}:"
            " a level between 0 and 1 and at least 40 resamples are needed"
        )
    families = arrange(candidate), arrange(baseline)
    fits = fit_family(families[0]), fit_family(families[1])
    paired = are_paired(*families, trajectory=bootstrap.trajectory)
    draws = _draw(families, axis=axis, bootstrap=bootstrap, paired=paired)
    gate = gate_design(
        axis,
        xs=(tuple(families[0].x), tuple(families[1].x)),
        seeds=min(f.seeds for f in families),
        resamples=bootstrap.resamples,
    )
    rho = _rate(fits, draws=draws, level=bootstrap.level, gate=gate)
    rates = None if draws is None else draws.rates
    p = None if rho.interval is None or rates is None else counted_p(rates, null=0.0)
    at_bound = _share_at_bound(draws)
    independent = not (bootstrap.trajectory or any(f.shares_runs for f in families))
    profile, huber, shared = _checks(
        families, fits=fits, level=bootstrap.level, independent=independent
    )
    return ScalingRate(
        axis=axis,
        rho=rho,
        apparent=_apparent(families, draws=draws, level=bootstrap.level, gate=gate),
        verdict=decide(rho, gate=gate, at_bound=at_bound),
        gate=gate,
        p=p,
        p_adjusted=p,
        profile=profile,
        huber=huber,
        shared_floor=shared,
        fits=fits,
        held_out=(_hold_out(families[0]), _hold_out(families[1])),
        paired=paired,
        resampling=_resampling_name(bootstrap, independent=independent),
        bootstrap=bootstrap,
        at_bound=at_bound,
        draws=draws,
    )


def _draw(
    families: tuple[Family, Family], *, axis: Axis, bootstrap: Bootstrap, paired: bool
) -> Draws | None:
    """Resample both families' losses and refit; None if a family shows no scatter to resample."""
    rng = np.random.default_rng([bootstrap.seed, crc32(axis.encode())])
    rows: list[Rows | None] = []
    slopes: list[Floats] = []
    sources = None
    if min(family.points for family in families) < 2:
        return None
    for family in families:
        if sources is None or not paired:
            sources = draw_sources(
                family,
                resamples=bootstrap.resamples,
                rng=rng,
                trajectory=bootstrap.trajectory,
            )
        if sources is None:
            return None
        center = family.mean_log()
        log_loss = center[family.point] + family.residuals()[sources]
        mean_log = np.add.reduceat(log_loss, family.starts, -1) / family.counts
        slopes.append(log_slopes(family.x, mean_log=mean_log))
        level, weight = family.collapse(np.exp(log_loss))
        rows.append(fit_rows(family.x, level=level, weight=weight) if family.points >= 3 else None)
    rates = None
    if rows[0] is not None and rows[1] is not None:
        rates = np.sort(rows[0].exponent / rows[1].exponent - 1)
    return Draws(candidate=rows[0], baseline=rows[1], rates=rates, apparent=_slope_ratios(*slopes))


def _slope_ratios(candidate: Floats, baseline: Floats) -> Floats:
    """Sorted ratio - 1; +inf where the baseline's loss does not fall, so no ratio has meaning."""
    falls = baseline > 0
    ratio = np.where(falls, candidate / np.where(falls, baseline, 1.0) - 1, np.inf)
    return np.sort(ratio)


def _share_at_bound(draws: Draws | None) -> float | None:
    """Share of resamples in which a parameter of either family sits at its bound."""
    if draws is None or draws.candidate is None or draws.baseline is None:
        return None
    return float((draws.candidate.bounded | draws.baseline.bounded).mean())


def _rate(
    fits: tuple[PowerLawFit, PowerLawFit], *, draws: Draws | None, level: float, gate: Gate
) -> Estimate:
    why = "; ".join(
        f"{name} {fit.reason}"
        for name, fit in zip(("candidate", "baseline"), fits, strict=True)
        if not fit.identified
    )
    value, interval = None, None
    laws = fits[0].law, fits[1].law
    if not why and laws[0] is not None and laws[1] is not None:
        value = laws[0].exponent / laws[1].exponent - 1
        if draws is None or draws.rates is None:
            why = "no interval: too few runs to resample"
        else:
            interval = order_interval(draws.rates, level=level, method="bootstrap")
            why = "" if interval else f"no interval: {len(draws.rates)} resamples are too few"
    return Estimate(value, interval, gate.points, gate.seeds, gate.label, why)


def _apparent(
    families: tuple[Family, Family], *, draws: Draws | None, level: float, gate: Gate
) -> Estimate:
    points, seeds = gate.points, gate.seeds
    label = "apparent slope ratio"
    if gate.label == "exploratory":
        label += ", exploratory"
    if points < 2:
        return Estimate(None, None, points, seeds, label, "a slope needs two points")
    slope = [float(log_slopes(f.x, mean_log=f.mean_log()[None])[0]) for f in families]
    if slope[1] <= 0:
        why = "the baseline's loss does not fall"
        return Estimate(None, None, points, seeds, label, why)
    value = slope[0] / slope[1] - 1
    if draws is None:
        why = "no interval: too few runs to resample"
        return Estimate(value, None, points, seeds, label, why)
    interval = order_interval(draws.apparent, level=level, method="bootstrap")
    why = "" if interval else "no interval: the baseline's slope is not clear of zero"
    return Estimate(value, interval, points, seeds, label, why)


def _checks(
    families: tuple[Family, Family],
    *,
    fits: tuple[PowerLawFit, PowerLawFit],
    level: float,
    independent: bool,
) -> tuple[Interval | None, float | None, float | None]:
    """Profile interval, Huber rate and shared-E rate, where both fits are identified."""
    laws = fits[0].law, fits[1].law
    if not (fits[0].identified and fits[1].identified) or laws[0] is None or laws[1] is None:
        return None, None, None
    exponents = laws[0].exponent, laws[1].exponent
    profile = None
    if independent:
        profile = profile_interval(
            families[0], baseline=families[1], exponents=exponents, level=level
        )
    robust = [huber_exponent(f, start=law) for f, law in zip(families, laws, strict=True) if law]
    shared = shared_floor_exponents(families[0], baseline=families[1], starts=(laws[0], laws[1]))
    return profile, robust[0] / robust[1] - 1, shared[0] / shared[1] - 1


def _hold_out(family: Family) -> HeldOut:
    """Predict the largest point from the rest."""
    observed = float(np.exp(family.mean_log()[-1]))
    largest = float(family.x[-1])
    if family.points < MIN_FIT_POINTS:
        why = f"{counted(family.points, 'point')}: nothing left to fit without the largest"
        return HeldOut(largest, observed, None, None, 0.0, why)
    rest = family.without_largest()
    law = fit_family(rest).law
    assert law is not None
    predicted = law.predict(largest)
    beyond = float(np.log10(largest / rest.x[-1]))
    why = "past one decade beyond the fitted points" if beyond > 1 + 1e-9 else ""
    return HeldOut(largest, observed, predicted, predicted / observed - 1, beyond, why)


def _resampling_name(bootstrap: Bootstrap, *, independent: bool) -> Resampling:
    if bootstrap.trajectory:
        return "whole seeds along trajectories (not one run per budget)"
    if not independent:
        return "whole runs (points share runs)"
    return "residuals pooled over points"
