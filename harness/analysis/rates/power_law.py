"""Fit L(x) = E + A x^-a: many rows at once, robustly, or two families with one E.

Objective: squared residuals of the loss with weights 1 / L², which to first order are squared
residuals of the log loss. For a given exponent a, the best E, A >= 0 have a closed form
(non-negative least squares in two columns), so the fit is a search over a alone.
"""

from dataclasses import dataclass

import numpy as np

from harness.analysis.rates.points import Family, Floats
from harness.quantities import counted

MIN_EXPONENT, MAX_EXPONENT = 0.01, 4.0
MIN_FIT_POINTS = 4
_GRID = np.geomspace(MIN_EXPONENT, MAX_EXPONENT, 80)
_POLISH_STEPS = 36
_CHUNK_ROWS = 20_000
_LARGEST_LOG = 690.0
_TINY = 1e-300


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """L(x) = floor + scale · x^-exponent, all >= 0 (E, A and a of the formula)."""

    floor: float
    scale: float
    exponent: float

    def predict(self, x: float) -> float:
        """Loss at x."""
        return float(self.floor + self.scale * x**-self.exponent)

    def invert(self, loss: float) -> float | None:
        """The x at which the curve has this loss; None if it never does (or beyond 1e300)."""
        if loss <= self.floor or self.scale <= 0:
            return None
        power = -np.log((loss - self.floor) / self.scale) / self.exponent
        return float(np.exp(power)) if abs(power) < _LARGEST_LOG else None


@dataclass(frozen=True, slots=True)
class PowerLawFit:
    """A fitted curve, the range it was fitted on, and why it is not identified ("" if it is).

    `law` is None below three points; `sigma` is the pooled standard deviation of log loss within
    points (None with one seed).
    """

    law: PowerLaw | None
    points: int
    seeds: int
    low: float
    high: float
    sigma: float | None
    reason: str

    @property
    def identified(self) -> bool:
        """True if the points determine E, A and a away from their bounds."""
        return not self.reason

    def decades_beyond(self, x: float) -> float:
        """How many decades x lies outside the fitted points; 0 inside."""
        return max(0.0, float(np.log10(x / self.high)), float(np.log10(self.low / x)))


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Fits of many rows, each array (B,). `scale` belongs to (x / center)^-exponent."""

    floor: Floats
    scale: Floats
    exponent: Floats
    center: float
    bounded: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

    def law(self, row: int) -> PowerLaw:
        """One row's curve in plain units of x."""
        exponent = float(self.exponent[row])
        return PowerLaw(
            floor=float(self.floor[row]),
            scale=float(self.scale[row]) * self.center**exponent,
            exponent=exponent,
        )

    def predict(self, x: float | Floats) -> Floats:
        """Loss of every row at x, a number or one per row (or broadcastable with (B,))."""
        log_ratio = np.log(np.asarray(x, dtype=np.float64) / self.center)
        return self.floor + self.scale * np.exp(-self.exponent * log_ratio)

    def invert(self, loss: Floats) -> Floats:
        """The x of each row at which it has the loss given for it; +inf where it never does."""
        gap = loss - self.floor
        reached = (gap > 0) & (self.scale > 0)
        ratio = np.where(reached, gap, 1.0) / np.where(reached, self.scale, 1.0)
        # An exponent at its lower bound can ask for 10^400: that is "never" as well.
        power = np.minimum(-np.log(ratio) / self.exponent + np.log(self.center), _LARGEST_LOG)
        return np.where(reached & (power < _LARGEST_LOG), np.exp(power), np.inf)


def project(shape: Floats, *, level: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """Best E >= 0, A >= 0 and the weighted squared error for level ≈ E + A·shape, last axis n."""
    total = weight.sum(-1)
    mean = (weight * level).sum(-1) / total
    shape_mean = (weight * shape).sum(-1) / total
    centered = shape - shape_mean[..., None]
    scale = (weight * centered * (level - mean[..., None])).sum(-1)
    scale = scale / np.maximum((weight * centered**2).sum(-1), _TINY)
    floor = mean - scale * shape_mean
    # With two columns the optimum lies on the face of the one constraint that is violated.
    no_floor = (weight * shape * level).sum(-1) / (weight * shape**2).sum(-1)
    scale = np.where(floor < 0, no_floor, scale)
    floor = np.where(floor < 0, 0.0, floor)
    floor = np.where(scale < 0, mean, floor)
    scale = np.where(scale < 0, 0.0, scale)
    error = (weight * (floor[..., None] + scale[..., None] * shape - level) ** 2).sum(-1)
    return floor, scale, error


def fit_rows(x: Floats, *, level: Floats, weight: Floats) -> Rows:
    """Fit every row of level (B, n) with weights (B, n) at the same x (n,), n >= 3."""
    center = float(np.exp(np.mean(np.log(x))))
    log_x = np.log(x) - np.log(center)
    parts = [
        _search(log_x, level=level[rows], weight=weight[rows])
        for rows in (slice(i, i + _CHUNK_ROWS) for i in range(0, len(level), _CHUNK_ROWS))
    ]
    exponent = np.concatenate(parts)
    floor, scale, _ = project(np.exp(-exponent[:, None] * log_x), level=level, weight=weight)
    edge = 1e-3
    bounded = (exponent < MIN_EXPONENT * (1 + edge)) | (exponent > MAX_EXPONENT * (1 - edge))
    bounded |= (floor <= 1e-9 * level.min(-1)) | (scale <= 0)
    return Rows(floor=floor, scale=scale, exponent=exponent, center=center, bounded=bounded)


def _search(log_x: Floats, *, level: Floats, weight: Floats) -> Floats:
    """The best exponent of each row (B,): grid, then between its neighbours where the error's
    derivative changes sign, which is found to more digits than the error's minimum.
    """
    best = _grid_errors(log_x, level=level, weight=weight).argmin(-1)
    low = np.log(_GRID[np.maximum(best - 1, 0)])
    high = np.log(_GRID[np.minimum(best + 1, len(_GRID) - 1)])
    for _ in range(_POLISH_STEPS):
        middle = (low + high) / 2
        shape = np.exp(-np.exp(middle)[:, None] * log_x)
        floor, scale, _ = project(shape, level=level, weight=weight)
        residual = floor[:, None] + scale[:, None] * shape - level
        # E and A are the best there are, so only the exponent itself moves the error.
        rises = (weight * residual * shape * log_x).sum(-1) * scale < 0
        low, high = np.where(rises, low, middle), np.where(rises, middle, high)
    exponent: Floats = np.exp((low + high) / 2)
    return exponent


def _grid_errors(log_x: Floats, *, level: Floats, weight: Floats) -> Floats:
    """Weighted squared error of every row at every exponent of the grid: (B, G)."""
    shape = np.exp(-np.outer(_GRID, log_x))  # (G, n)
    total = weight.sum(-1, keepdims=True)
    mean = (weight * level).sum(-1, keepdims=True) / total
    off = weight * (level - mean)
    s1, s2 = weight @ shape.T, weight @ (shape**2).T
    cross = off @ shape.T
    spread = np.maximum(s2 - s1**2 / total, _TINY)
    scale = cross / spread
    floor = mean - scale * s1 / total
    flat = (off * (level - mean)).sum(-1, keepdims=True)
    with_floor = flat - cross**2 / spread
    without_floor = (weight * level**2).sum(-1, keepdims=True) - (
        (weight * level) @ shape.T
    ) ** 2 / s2
    errors: Floats = np.where(floor < 0, without_floor, with_floor)
    return np.where(scale < 0, flat, errors)


def bound_reason(rows: Rows, *, row: int) -> str:
    """Which parameter of a row sits at its bound, in words; "" if none does."""
    exponent = rows.exponent[row]
    if rows.scale[row] <= 0:
        return "A at its bound 0: the loss does not fall"
    if not rows.bounded[row]:
        return ""
    if exponent < 2 * MIN_EXPONENT:
        return f"a at its bound {MIN_EXPONENT:g}"
    if exponent > MAX_EXPONENT / 2:
        return f"a at its bound {MAX_EXPONENT:g}"
    return "E at its bound 0"


def fit_family(family: Family) -> PowerLawFit:
    """Fit one family's points; with fewer than four the curve is determined, not tested.

    `reason` is "not identified: …" when a or E is at a bound or points are too few.
    """
    law, reason = None, ""
    if family.points >= 3:
        level, weight = family.collapse(family.loss[None])
        rows = fit_rows(family.x, level=level, weight=weight)
        law, reason = rows.law(0), bound_reason(rows, row=0)
    if family.points < MIN_FIT_POINTS:
        reason = f"{counted(family.points, 'point')} for 3 parameters"
    return PowerLawFit(
        law=law,
        points=family.points,
        seeds=family.seeds,
        low=float(family.x[0]),
        high=float(family.x[-1]),
        sigma=family.sigma(),
        reason=f"not identified: {reason}" if reason else "",
    )


def log_slopes(x: Floats, *, mean_log: Floats) -> Floats:
    """Least-squares slope of mean log loss (B, n) on log x, sign turned so that falling is > 0."""
    log_x = np.log(x) - np.mean(np.log(x))
    slopes: Floats = -(mean_log @ log_x) / float(log_x @ log_x)
    return slopes
