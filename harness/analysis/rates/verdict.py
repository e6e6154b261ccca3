"""From an interval to one of three words: the gate a design must pass, the verdict, its reason."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from harness.analysis.rates.points import Estimate
from harness.analysis.rates.simulation import simulate_interval
from harness.quantities import counted

Axis: TypeAlias = Literal["data", "parameters", "flops", "seconds", "depth", "width", "batch"]
Status: TypeAlias = Literal["faster", "not faster", "undecided"]
Label: TypeAlias = Literal["confirmatory", "exploratory"]

SPAN_AXES: tuple[Axis, ...] = ("data", "parameters", "flops", "seconds")
MIN_POINTS, MIN_SEEDS, MIN_DECADES = 5, 3, 2.0
MIN_RESAMPLES = 1000
MAX_HALF_WIDTH = 0.10
SMALL_RATE = 0.05
MAX_AT_BOUND = 0.05


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a design may yield a verdict; the reason if not. Decided without looking at losses.

    `half_width` is the simulated one, for axes that cannot span two decades.
    """

    passed: bool
    reason: str
    points: int
    seeds: int
    decades: float
    half_width: float | None = None

    @property
    def label(self) -> Label:
        """ "confirmatory" for a design that may decide, else "exploratory"."""
        return "confirmatory" if self.passed else "exploratory"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One of three words and why."""

    status: Status
    reason: str

    @property
    def text(self) -> str:
        """As a table prints it, such as "undecided: 3 points × 2 seeds"."""
        return f"{self.status}: {self.reason}"


def gate_design(
    axis: Axis, *, xs: tuple[tuple[float, ...], tuple[float, ...]], seeds: int, resamples: int
) -> Gate:
    """May these points (candidate, baseline) yield a verdict on this axis?

    All axes: 5 points and 3 seeds. Data, parameters, FLOPs, seconds: 2 decades. Depth, width and
    batch: a simulated half-width of at most 10 points, on the worse of the two families' points.
    """
    points = min(len(x) for x in xs)
    decades = min(float(np.log10(max(x) / min(x))) for x in xs)
    size = f"{counted(points, 'point')} × {counted(seeds, 'seed')}"
    half_width = None
    if points < MIN_POINTS or seeds < MIN_SEEDS:
        reason = size
    elif axis in SPAN_AXES:
        # Budgets rounded to whole steps may fall a hair short of two decades.
        enough = decades >= MIN_DECADES - 0.01
        reason = "" if enough else f"{size} over {decades:.3g} decades, {MIN_DECADES:g} needed"
    else:
        widths = [simulate_interval(x, seeds=seeds).half_width for x in set(xs)]
        half_width = max(width for width in widths if width is not None)
        reason = ""
        if half_width > MAX_HALF_WIDTH:
            reason = (
                f"{size}: simulated half-width {100 * half_width:.0f} points,"
                f" at most {100 * MAX_HALF_WIDTH:.0f} allowed"
            )
    if not reason and resamples < MIN_RESAMPLES:
        reason = f"{resamples} resamples, {MIN_RESAMPLES} needed"
    return Gate(not reason, reason, points, seeds, decades, half_width)


def decide(rate: Estimate, *, gate: Gate, at_bound: float | None) -> Verdict:
    """The verdict for a rate whose interval is already adjusted for the number of axes.

    Faster: lower bound > 0. Not faster: upper bound < +5 %. Else undecided.
    """
    if not gate.passed:
        return Verdict("undecided", gate.reason)
    interval = rate.interval
    if rate.value is None or interval is None:
        return Verdict("undecided", rate.reason)
    if at_bound is not None and at_bound > MAX_AT_BOUND:
        return Verdict(
            "undecided", f"not identified: a parameter at its bound in {at_bound:.0%} of resamples"
        )
    bounds = f"[{100 * interval.low:+.1f}, {100 * interval.high:+.1f}] %".replace("-", "−")
    shown = f"{100 * interval.level:.4g} % interval {bounds}"
    if interval.low > 0:
        small = "by less than 5 %, " if interval.high < SMALL_RATE else ""
        return Verdict("faster", f"{small}{shown}")
    if interval.high < SMALL_RATE:
        return Verdict("not faster", shown)
    return Verdict("undecided", shown)
