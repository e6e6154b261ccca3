"""One family's losses along one axis, and the resampling of their scatter."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Point:
    """The loss one training run reached at one budget.

    `x` is the nominal budget, shared by all seeds of a point, in the axis' own unit; `loss` is
    positive, in its own unit; `run` names the training run, so that points read off one run are
    known.
    """

    x: float
    seed: int
    loss: float
    run: str


@dataclass(frozen=True, slots=True)
class Interval:
    """Two bounds, their level (0.95 for 95 %) and how they were found."""

    low: float
    high: float
    level: float
    method: str

    @property
    def half_width(self) -> float:
        """Half the distance between the bounds."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with what it stands on; a missing value or interval has its reason in words."""

    value: float | None
    interval: Interval | None
    points: int
    seeds: int
    label: str
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Points sorted by x then seed: `x` (n,), and per entry (m,) its point, seed, run and loss."""

    x: Floats
    starts: Ints
    point: Ints
    seed: Ints
    run: Ints
    loss: Floats

    @property
    def points(self) -> int:
        """Number of distinct x."""
        return len(self.x)

    @property
    def counts(self) -> Ints:
        """Seeds at each point, (n,)."""
        return np.bincount(self.point, minlength=self.points).astype(np.intp)

    @property
    def seeds(self) -> int:
        """Seeds at the point that has the fewest."""
        return int(self.counts.min())

    @property
    def decades(self) -> float:
        """log10 of the largest x over the smallest."""
        return float(np.log10(self.x[-1] / self.x[0]))

    @property
    def shares_runs(self) -> bool:
        """True if some run supplies more than one point."""
        return len(np.unique(self.run)) < len(self.run)

    def mean_log(self) -> Floats:
        """Mean log loss of each point, (n,)."""
        return np.add.reduceat(np.log(self.loss), self.starts) / self.counts

    def residuals(self) -> Floats:
        """Log-loss deviations within each point, scaled by sqrt(n / (n - 1)), (m,).

        NaN marks an entry that is alone at its point: it says nothing about scatter.
        """
        counts = self.counts[self.point]
        deviation = np.log(self.loss) - self.mean_log()[self.point]
        scale = np.sqrt(counts / np.maximum(counts - 1, 1))
        return np.where(counts > 1, deviation * scale, np.nan)

    def sigma(self) -> float | None:
        """Standard deviation of the log loss within points, pooled; None without a second seed."""
        freedom = len(self.loss) - self.points
        if freedom == 0:
            return None
        deviation = np.log(self.loss) - self.mean_log()[self.point]
        return float(np.sqrt(np.sum(deviation**2) / freedom))

    def collapse(self, loss: Floats) -> tuple[Floats, Floats]:
        """Weighted mean loss and total weight of each point for losses (B, m): two (B, n).

        With weights 1 / L² these are all a least-squares fit of the losses needs.
        """
        inverse = 1 / loss
        weight = np.add.reduceat(inverse**2, self.starts, axis=-1)
        return np.add.reduceat(inverse, self.starts, axis=-1) / weight, weight

    def without_largest(self) -> "Family":
        """The family without its largest x."""
        keep = self.point < self.points - 1
        return Family(
            x=self.x[:-1],
            starts=self.starts[:-1],
            point=self.point[keep],
            seed=self.seed[keep],
            run=self.run[keep],
            loss=self.loss[keep],
        )


def arrange(points: Sequence[Point]) -> Family:
    """Sort points into a family.

    Raises ValueError for no points, for x or loss that is not finite and positive, and for two
    losses of one seed at one x.
    """
    if not points:
        raise ValueError("no points given: a scaling fit needs losses at several x")
    for one in points:
        if not (np.isfinite(one.x) and one.x > 0 and np.isfinite(one.loss) and one.loss > 0):
            raise ValueError(
                f"run {one.run!r}, seed {one.seed}: x = {one.x!r} and loss = {one.loss!r}"
                " must be finite and positive; leave a failed run out instead"
            )
    ordered = sorted(points, key=lambda one: (one.x, one.seed))
    for one, other in pairwise(ordered):
        if (one.x, one.seed) == (other.x, other.seed):
            raise ValueError(
                f"two losses for x = {one.x!r}, seed {one.seed}: runs {one.run!r} and"
                f" {other.run!r}; keep one"
            )
    x, starts, point = np.unique(
        np.array([one.x for one in ordered], dtype=np.float64),
        return_index=True,
        return_inverse=True,
    )
    names = {name: number for number, name in enumerate(dict.fromkeys(p.run for p in ordered))}
    return Family(
        x=x,
        starts=starts.astype(np.intp),
        point=point.astype(np.intp),
        seed=np.array([one.seed for one in ordered], dtype=np.intp),
        run=np.array([names[one.run] for one in ordered], dtype=np.intp),
        loss=np.array([one.loss for one in ordered], dtype=np.float64),
    )


def units(family: Family, *, trajectory: bool) -> Ints:
    """What is resampled whole, as a number per entry (m,): its seed if `trajectory`, else its run.

    Numbers follow first appearance, so two families with the same structure have equal arrays.
    """
    key = family.seed if trajectory else family.run
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.intp)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def are_paired(one: Family, other: Family, *, trajectory: bool) -> bool:
    """True if both families have the same seeds at the same ranks of x, from runs alike."""
    return (
        len(one.loss) == len(other.loss)
        and bool(np.array_equal(one.point, other.point))
        and bool(np.array_equal(one.seed, other.seed))
        and bool(
            np.array_equal(units(one, trajectory=trajectory), units(other, trajectory=trajectory))
        )
    )


def draw_sources(
    family: Family, *, resamples: int, rng: np.random.Generator, trajectory: bool
) -> Ints | None:
    """For each resample and entry, the entry whose residual it receives: (B, m).

    Runs of a single point draw from all such runs of all points (residuals pooled over points).
    Runs that supply several points are drawn whole, from the runs that supply the same points.
    None if some entry has no other to draw from.
    """
    unit = units(family, trajectory=trajectory)
    groups: dict[tuple[int, ...], list[Ints]] = {}
    for number in range(int(unit.max()) + 1):
        entries = np.flatnonzero(unit == number)
        covered = tuple(int(p) for p in family.point[entries])
        groups.setdefault(covered if len(covered) > 1 else (), []).append(entries)
    sources = np.empty((resamples, len(family.loss)), dtype=np.intp)
    for covered, members in sorted(groups.items(), key=lambda item: item[0]):
        table = np.stack(members)
        donors = table if covered else table[family.counts[family.point[table[:, 0]]] > 1]
        if len(donors) < 2 or bool((family.counts[family.point[donors]] < 2).any()):
            return None
        chosen = donors[rng.integers(len(donors), size=(resamples, len(table)))]
        sources[:, table] = chosen
    return sources


def order_interval(draws: Floats, *, level: float, method: str) -> Interval | None:
    """Percentile interval of sorted draws (B,) by counted order statistics.

    Its bounds exclude a value exactly when that value's counted p, 2 (b + 1) / (B + 1), is at
    most 1 - level. None if B is too small for the level or a bound is not finite.
    """
    # The small addition keeps 0.025 * 2000 from rounding down to 49.
    rank = int((1 - level) / 2 * (len(draws) + 1) + 1e-9)
    if rank < 1:
        return None
    low, high = float(draws[rank - 1]), float(draws[-rank])
    if not (np.isfinite(low) and np.isfinite(high)):
        return None
    return Interval(low=low, high=high, level=level, method=method)


def counted_p(draws: Floats, *, null: float) -> float:
    """Two-sided bootstrap p against `null`: 2 (b + 1) / (B + 1), b the smaller tail's count."""
    tail = min(int((draws <= null).sum()), int((draws >= null).sum()))
    return min(1.0, 2 * (tail + 1) / (len(draws) + 1))
