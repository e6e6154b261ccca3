"""What equal quality costs each model, and how far the models' best settings lie apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

import numpy as np

from harness.analysis.exhibits.denoising import DenoisingExhibit, DenoisingRow
from harness.analysis.exhibits.downstream import Verdict
from harness.analysis.exhibits.image_sums import Floats, Together, interval_of, together
from harness.analysis.exhibits.samples import Interval
from harness.protocol import Descent, Diffusion

Cost = Literal["nfe", "flops", "seconds"]
COSTS: tuple[Cost, ...] = ("nfe", "flops", "seconds")
#: Settings this close to an adapter's best PSNR count as equal to it, so that the cheapest of them
#: is compared and not the one that wins by a rounding.
TOLERANCE_DB = 0.1
_Places = np.ndarray[tuple[int], np.dtype[np.int64]]
#: What makes a setting the cheaper one, in words.
BY_COST = "FLOPs, then NFE"
#: Passes of the paper's DiT for each one of its EBT (Figs 10 and 12).
HUNDRED = 100


@dataclass(frozen=True, eq=False)
class EqualQuality:
    """A model's cheapest setting within `TOLERANCE_DB` of its best, and the cheapest setting of
    model `against` that is at least as good within that tolerance; ratios are other over row.

    Both are chosen on the training `seeds` and the `images` that both models have, where `psnr` is
    the row's; each on its own, and the counts are 0, where they have none in common. `chosen`
    (resamples, 2) are the two that the same procedure finds in every resample, as positions in
    `own` and `others`, -1 where the other model has none; None without resamples.
    """

    row: DenoisingRow
    against: str
    other: DenoisingRow | None
    own: tuple[DenoisingRow, ...]
    others: tuple[DenoisingRow, ...]
    psnr: float
    seeds: int
    images: int
    chosen: np.ndarray[tuple[int, int], np.dtype[np.int64]] | None

    def ratio(self, cost: Cost) -> float | None:
        return None if self.other is None else cost_ratio(self.row, self.other, cost)

    def ratio_interval(self, cost: Cost) -> Interval | None:
        """The 95 % interval over resamples; infinite where the other never gets there."""
        if self.chosen is None or any(getattr(r, cost) is None for r in (*self.own, *self.others)):
            return None
        own = np.array([getattr(r, cost) for r in self.own], np.float64)
        theirs = np.array([*(getattr(r, cost) for r in self.others), inf], np.float64)
        ratios = theirs[self.chosen[:, 1]] / own[self.chosen[:, 0]]
        low, high = np.quantile(ratios, [0.025, 0.975], method="inverted_cdf")
        return float(low), float(high)

    @property
    def never(self) -> float | None:
        """The share of resamples in which the other model never gets there."""
        return None if self.chosen is None else float((self.chosen[:, 1] < 0).mean())


@dataclass(frozen=True)
class Gap:
    """`row` against `other`, paired by seed and image: PSNR of both over the training `seeds` and
    the `images` that both have, their difference in dB, and its verdict.

    Without a seed or an image in common all are missing. The interval is None where errors of
    images are not kept, or too few.
    """

    row: DenoisingRow
    other: DenoisingRow
    psnr: tuple[float, float] | None
    interval: Interval | None
    seeds: int
    images: int

    @property
    def difference(self) -> float | None:
        return None if self.psnr is None else self.psnr[0] - self.psnr[1]

    @property
    def verdict(self) -> Verdict:
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return "undecided"
        return "better" if self.interval[0] > 0 else "worse"

    def ratio(self, cost: Cost) -> float | None:
        return cost_ratio(self.row, self.other, cost)


def cost_ratio(row: DenoisingRow, other: DenoisingRow, cost: Cost) -> float | None:
    """The other's cost over the row's; None where either is missing."""
    own, theirs = getattr(row, cost), getattr(other, cost)
    return None if own is None or theirs is None else float(theirs) / float(own)


def equal_quality(exhibit: DenoisingExhibit) -> list[EqualQuality]:
    """At each place, each model's best row against the cheapest equal of every other."""
    return [_equal(own, others) for own, others in _pairs(exhibit)]


def best_gaps(exhibit: DenoisingExhibit) -> list[Gap]:
    """At each place, each model's highest PSNR less that of every later model, and less each
    reference's.
    """
    found = []
    for place in exhibit.places:
        models = [highest(rows) for rows in _by_model(exhibit.at(place))]
        for index, row in enumerate(models):
            against = (*models[index + 1 :], *exhibit.references(place))
            found += [gap(row, other) for other in against]
    return found


def hundredfold(exhibit: DenoisingExhibit) -> list[Gap]:
    """The paper's comparison: a descent of k passes against as many times 100 calls of DDIM."""
    return [
        gap(row, other)
        for place in exhibit.places
        for row in exhibit.at(place)
        if isinstance(row.thinking, Descent) and row.thinking.samples == 1 and row.nfe is not None
        for other in exhibit.at(place)
        if isinstance(other.thinking, Diffusion)
        and other.sampler == "ddim"
        and other.nfe == HUNDRED * row.nfe
    ]


def gap(row: DenoisingRow, other: DenoisingRow) -> Gap:
    both = _together((row, other))
    if both is None:
        return Gap(row, other, None, None, 0, 0)
    own, theirs = map(float, both.values)
    interval = None if both.draws is None else interval_of(both.draws[:, 0] - both.draws[:, 1])
    seeds = len(both.seeds) or row.seeds
    return Gap(row, other, (own, theirs), interval, seeds, both.images)


def _together(rows: Sequence[DenoisingRow]) -> Together | None:
    """Over what all have; where a row keeps no images, over seeds alone if all saw as many."""
    each = [row.each for row in rows if row.each is not None]
    if len(each) == len(rows):
        return together(each)
    trained = [set(row.by_seed) for row in rows if row.thinking is not None]
    seeds = tuple(sorted(set.intersection(*trained)))
    if not seeds or len({row.images for row in rows}) > 1:
        return None
    values = [
        row.psnr.value if row.thinking is None else np.mean([row.by_seed[s] for s in seeds])
        for row in rows
    ]
    return Together(np.array(values), None, seeds, rows[0].images)


def highest(rows: Sequence[DenoisingRow]) -> DenoisingRow:
    """The setting of highest PSNR."""
    return max(rows, key=lambda row: row.psnr.value)


def by_cost(row: DenoisingRow) -> tuple[float, float]:
    """What makes a setting cheaper than another: FLOPs, then NFE."""
    return inf if row.flops is None else row.flops, inf if row.nfe is None else row.nfe


def cheapest_best(rows: Sequence[DenoisingRow]) -> DenoisingRow:
    """The cheapest setting within the tolerance of the highest PSNR."""
    quality = np.array([row.psnr.value for row in rows])
    return rows[int(_cheapest(rows, quality[None], quality.max()[None])[0])]


def _pairs(
    exhibit: DenoisingExhibit,
) -> Iterator[tuple[list[DenoisingRow], list[DenoisingRow]]]:
    for place in exhibit.places:
        models = _by_model(exhibit.at(place))
        yield from ((own, other) for own in models for other in models if other is not own)


def _by_model(rows: Sequence[DenoisingRow]) -> list[list[DenoisingRow]]:
    names = dict.fromkeys(row.adapter for row in rows)
    return [[row for row in rows if row.adapter == name] for name in names]


def _equal(own: Sequence[DenoisingRow], others: Sequence[DenoisingRow]) -> EqualQuality:
    both = _together((*own, *others))
    values = np.array([r.psnr.value for r in (*own, *others)]) if both is None else both.values
    best, found = (int(each[0]) for each in _chosen(own, others, values[None]))
    chosen = None
    if both is not None and both.draws is not None:
        chosen = np.stack(_chosen(own, others, both.draws), 1)
    return EqualQuality(
        own[best],
        others[0].adapter,
        None if found < 0 else others[found],
        own=tuple(own),
        others=tuple(others),
        psnr=float(values[best]),
        seeds=0 if both is None else len(both.seeds),
        images=0 if both is None else both.images,
        chosen=chosen,
    )


def _chosen(
    own: Sequence[DenoisingRow], others: Sequence[DenoisingRow], quality: Floats
) -> tuple[_Places, _Places]:
    """Per line of `quality` (lines, own and others), the best of the first and its equal."""
    first, second = quality[:, : len(own)], quality[:, len(own) :]
    top = first.max(1)
    return _cheapest(own, first, top), _cheapest(others, second, top)


def _cheapest(rows: Sequence[DenoisingRow], quality: Floats, top: Floats) -> _Places:
    """Per line of `quality` (lines, rows), the cheapest row within tolerance of `top` (lines,) or
    above it; -1 where there is none.
    """
    order = np.array(sorted(range(len(rows)), key=lambda index: by_cost(rows[index])))
    equal = quality[:, order] >= top[:, None] - TOLERANCE_DB
    return np.where(equal.any(1), order[equal.argmax(1)], -1)
