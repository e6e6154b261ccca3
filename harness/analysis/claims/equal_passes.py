"""How many passes equal quality takes the other model, and whether that is beyond chance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import inf

import numpy as np
from numpy.typing import NDArray

from harness.analysis.claims.candidate import Widening, joined
from harness.analysis.claims.claim import LEVEL, Bearing, Bounds
from harness.analysis.exhibits.equal_quality import (
    HUNDRED,
    TOLERANCE_DB,
    EqualQuality,
    Gap,
    gap,
    highest,
)


@dataclass(frozen=True, eq=False)
class EqualPasses:
    """The ratio of passes at equal quality against a hundred.

    A ratio jumps between few values, and its resamples know nothing of how little three training
    seeds say beyond 95 %. So beside the ratio's own interval, whose settings every resample chooses
    anew, the PSNR of the other model with fewer than a hundred times the passes must be beyond
    chance within the tolerance, or not.
    """

    pair: EqualQuality

    @cached_property
    def cheaper(self) -> Gap | None:
        """The model's best less the other's best with fewer than a hundred times its passes."""
        passes = self.pair.row.nfe
        others = [
            other
            for other in self.pair.others
            if passes is not None and other.nfe is not None and other.nfe < HUNDRED * passes
        ]
        return gap(highest(self.pair.own), highest(others)) if others else None

    @property
    def lacking(self) -> str:
        """Why nothing can be decided; empty where something can."""
        if self._draws is None:
            return "no resamples: few images in common, or their errors not kept"
        if self.cheaper is None:
            return f"{self.pair.against} was not tried with fewer passes than {HUNDRED} times"
        return "" if self._quality is not None else "no interval of the difference in PSNR"

    @cached_property
    def p(self) -> float:
        """Two-sided, that the ratio is a hundred: the larger of the ratio's and of the PSNR's."""
        draws, quality = self._draws, self._quality
        if draws is None or quality is None:
            return 1.0
        below = int((draws < HUNDRED).sum())
        tail = min(below, len(draws) - below)
        return max(min(1.0, 2 * (tail + 1) / (len(draws) + 1)), quality.p)

    def at(self, level: float) -> Bounds | None:
        """The ratio's interval; infinite where the other never gets there."""
        draws = self._draws
        if draws is None or (1 - level) / 2 * (len(draws) + 1) < 1:
            return None
        shares = [(1 - level) / 2, (1 + level) / 2]
        low, high = np.quantile(draws, shares, method="inverted_cdf")
        return Bounds(float(low), float(high), level, True)

    def read(self, bounds: Bounds, p: float) -> tuple[Bearing, str]:
        """For: a hundred or more passes; against: fewer."""
        quality = self._quality
        if quality is None or bounds.low < HUNDRED <= bounds.high:
            return "undecided", f"the interval reaches from below {HUNDRED} to above it"
        within = quality.estimate < TOLERANCE_DB
        if p > 1 - LEVEL or within != (bounds.high < HUNDRED):
            return "undecided", f"whether fewer than {HUNDRED} are its equal may be chance"
        if bounds.high < HUNDRED:
            return "against", f"the whole interval is below {HUNDRED}"
        tried = max(other.nfe or 0.0 for other in self.pair.others)
        if tried < HUNDRED * (self.pair.row.nfe or inf):
            return "undecided", f"{self.pair.against} was tried with no more than {tried:g} passes"
        return "for", f"the whole interval is at or above {HUNDRED}"

    @property
    def words(self) -> str:
        """How often there is no equal, and what the best of fewer passes lacks."""
        never, cheaper = self.pair.never, self.cheaper
        often = "" if never is None else f"in {100 * never:.0f} % of resamples never its equal"
        if cheaper is None or cheaper.difference is None:
            return often
        name = f"{cheaper.other.adapter}, {cheaper.other.setting}"
        lacks = f"{cheaper.difference:+.2f} dB over {name}".replace("-", "−")
        return joined(often, lacks)

    @cached_property
    def _quality(self) -> Widening | None:
        found = self.cheaper
        if found is None or found.interval is None or found.difference is None:
            return None
        return Widening(found.difference, found.interval, found.seeds, null=TOLERANCE_DB)

    @cached_property
    def _draws(self) -> NDArray[np.float64] | None:
        """Ratios of NFE, other over own, in every resample; None without resamples or costs."""
        pair = self.pair
        if pair.chosen is None or any(row.nfe is None for row in (*pair.own, *pair.others)):
            return None
        own = np.array([row.nfe for row in pair.own], np.float64)
        theirs = np.array([*(row.nfe for row in pair.others), inf], np.float64)
        ratios: NDArray[np.float64] = theirs[pair.chosen[:, 1]] / own[pair.chosen[:, 0]]
        return ratios
