"""Checks beside the main fit: Huber loss, one E for both families, profile likelihood.

Each answers "would the rate change if …"; none of them decides a verdict.
"""

from collections.abc import Callable

import numpy as np

from harness.analysis.rates.points import Family, Floats, Interval
from harness.analysis.rates.power_law import MAX_EXPONENT, MIN_EXPONENT, PowerLaw, project

_SMALLEST_DELTA = 1e-3
_HUBER = 1.35
_BISECTIONS = 26
#: Digits of an exponent that a fit's flat bottom tells, whatever the processor.
_TOLD = 7
_TIGHT = 1e-12


def huber_exponent(family: Family, *, start: PowerLaw) -> float:
    """The exponent under Huber loss, delta = max(1e-3, 1.35 sigma), from the least-squares start.

    sigma is the scaled median absolute residual, which one stray run cannot inflate.
    """
    from scipy.optimize import least_squares

    center, log_ratio = _centered(family.x)
    log_x, loss = log_ratio[family.point], family.loss

    def residual(parameters: Floats) -> Floats:
        floor, log_scale, exponent = parameters
        curve: Floats = floor + np.exp(log_scale - exponent * log_x)
        return curve / loss - 1

    initial = np.array([start.floor, _log_scale(start, center=center), start.exponent])
    sigma = 1.4826 * float(np.median(np.abs(residual(initial))))
    found = least_squares(
        residual,
        initial,
        bounds=([0, -np.inf, MIN_EXPONENT], [np.inf, np.inf, MAX_EXPONENT]),
        loss="huber",
        f_scale=max(_SMALLEST_DELTA, _HUBER * sigma),
        x_scale=np.array([1.0, 1.0, 0.1]),
        jac="3-point",
        ftol=_TIGHT,
        xtol=_TIGHT,
        gtol=_TIGHT,
    )
    return _told(found.x[2])


def shared_floor_exponents(
    candidate: Family, *, baseline: Family, starts: tuple[PowerLaw, PowerLaw]
) -> tuple[float, float]:
    """Exponents (candidate, baseline) when both families must have the same E."""
    from scipy.optimize import least_squares

    families = (candidate, baseline)
    centers = [_centered(family.x) for family in families]
    grids = [log[family.point] for (_, log), family in zip(centers, families, strict=True)]

    def residual(parameters: Floats) -> Floats:
        parts = []
        for i, (log_x, family) in enumerate(zip(grids, families, strict=True)):
            log_scale, exponent = parameters[1 + 2 * i], parameters[2 + 2 * i]
            curve = parameters[0] + np.exp(log_scale - exponent * log_x)
            parts.append(curve / family.loss - 1)
        return np.concatenate(parts)

    rest: list[float] = []
    for law, (center, _) in zip(starts, centers, strict=True):
        rest += [_log_scale(law, center=center), law.exponent]
    low = [0.0, -np.inf, MIN_EXPONENT, -np.inf, MIN_EXPONENT]
    high = [np.inf, np.inf, MAX_EXPONENT, np.inf, MAX_EXPONENT]
    floors = sorted({law.floor for law in starts})
    tries = [
        least_squares(
            residual,
            np.array([floor, *rest]),
            bounds=(low, high),
            x_scale=np.array([1.0, 1.0, 0.1, 1.0, 0.1]),
            jac="3-point",
            ftol=_TIGHT,
            xtol=_TIGHT,
            gtol=_TIGHT,
        )
        for floor in floors
    ]
    best = min(tries, key=lambda one: float(one.cost))
    return _told(best.x[2]), _told(best.x[4])


def _told(exponent: float) -> float:
    return float(f"{exponent:.{_TOLD}g}")


def profile_interval(
    candidate: Family, *, baseline: Family, exponents: tuple[float, float], level: float
) -> Interval | None:
    """Profile-likelihood interval of a_candidate / a_baseline - 1, runs taken as independent.

    Error variance is the one within points, so the cut is a Student t squared with their pooled
    degrees of freedom. None if there is no variance to judge by or a side never reaches the cut.
    """
    from scipy.special import stdtrit

    sigmas = candidate.sigma(), baseline.sigma()
    if sigmas[0] is None or sigmas[1] is None or min(sigmas[0], sigmas[1]) <= 0:
        return None
    freedom = sum(len(family.loss) - family.points for family in (candidate, baseline))
    cut = float(stdtrit(freedom, (1 + level) / 2)) ** 2
    rise_candidate = _error_rise(candidate, sigma=sigmas[0], best=exponents[0])
    rise_baseline = _error_rise(baseline, sigma=sigmas[1], best=exponents[1])
    grid = np.geomspace(MIN_EXPONENT, MAX_EXPONENT, 400)
    near = np.flatnonzero(rise_baseline(grid) <= cut)
    if len(near) > 0:
        low, high = grid[max(near[0] - 1, 0)], grid[min(near[-1] + 1, len(grid) - 1)]
    else:
        low, high = exponents[1] * 0.98, exponents[1] * 1.02
    window = np.geomspace(low, high, 200)
    at_baseline = rise_baseline(window)

    def excess(log_ratio: float) -> float:
        total = at_baseline + rise_candidate(window * np.exp(log_ratio))
        return float(total.min()) - cut

    best = float(np.log(exponents[0] / exponents[1]))
    ends = [
        _crossing(excess, inside=best, outside=best + side * np.log(1e3)) for side in (-1.0, 1.0)
    ]
    if ends[0] is None or ends[1] is None:
        return None
    return Interval(
        low=float(np.exp(ends[0]) - 1),
        high=float(np.exp(ends[1]) - 1),
        level=level,
        method="profile likelihood",
    )


def _error_rise(family: Family, *, sigma: float, best: float) -> Callable[[Floats], Floats]:
    """Squared error over sigma², above its least value, as a function of exponents."""
    _, log_x = _centered(family.x)
    level, weight = family.collapse(family.loss[None])

    def rise(exponents: Floats) -> Floats:
        inside = np.clip(exponents, MIN_EXPONENT, MAX_EXPONENT)
        shape = np.exp(-inside[:, None] * log_x)
        error = project(shape, level=np.broadcast_to(level, shape.shape), weight=weight)[2]
        return (error - least) / sigma**2

    least = 0.0
    least = float(rise(np.array([best]))[0]) * sigma**2
    return rise


def _crossing(excess: Callable[[float], float], *, inside: float, outside: float) -> float | None:
    """Where `excess` turns positive between `inside` and `outside`; None if it does not."""
    if excess(outside) <= 0:
        return None
    for _ in range(_BISECTIONS):
        middle = (inside + outside) / 2
        if excess(middle) <= 0:
            inside = middle
        else:
            outside = middle
    return inside


def _centered(x: Floats) -> tuple[float, Floats]:
    """The geometric mean of x, and log(x / that mean)."""
    log_x = np.log(x)
    return float(np.exp(log_x.mean())), log_x - log_x.mean()


def _log_scale(law: PowerLaw, *, center: float) -> float:
    """log of A for (x / center)^-a."""
    return float(np.log(max(law.scale, 1e-300)) - law.exponent * np.log(center))
