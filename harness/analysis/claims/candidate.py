"""A comparison before its claim has seen all others: how its interval and verdict would widen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from scipy.special import stdtr, stdtrit

from harness.analysis.claims.claim import LEVEL, Bearing, Bounds, Evidence, Finding
from harness.analysis.exhibits.pattern import MIN_SEEDS
from harness.analysis.exhibits.samples import Interval
from harness.quantities import counted

#: From an adjusted interval and p to what the finding says, and why.
Reading = Callable[[Bounds, float], tuple[Bearing, str]]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A finding as its section has it, `at` other levels, and its two-sided `p` of no effect.

    `key` is the same for the same comparison of the same runs, whatever suite shows it.
    `untrusted` ones stay exploratory whoever else shows them. Without `p` nothing is rejected.
    `open` says why what was found decides nothing: something of it is missing, or no number. The
    comparison was planned all the same, so it counts among the others, as undecided.
    """

    finding: Finding
    key: tuple[object, ...]
    p: float | None
    at: Callable[[float], Bounds | None]
    read: Reading
    untrusted: bool = False
    open: str = ""


@dataclass(frozen=True)
class Widening:
    """An estimate's 95 % interval over a few training seeds, at any level, and its p against null.

    Each side is stretched by Student's t of `seeds` - 1 degrees: as wide as it has to be where
    seeds are all that scatters, wider where documents or images are.
    """

    estimate: float
    interval: Interval
    seeds: int
    null: float = 0.0

    def at(self, level: float) -> Bounds:
        """The interval at a level between 0 and 1."""
        factor = _quantile(level, self._freedom) / _quantile(LEVEL, self._freedom)
        center, (low, high) = self._center, self.interval
        return Bounds(
            center - (center - low) * factor, center + (high - center) * factor, level, True
        )

    @cached_property
    def p(self) -> float:
        """Two-sided: the interval at 1 - p just reaches `null`."""
        center, (low, high) = self._center, self.interval
        distance = center - self.null
        side = center - low if distance > 0 else high - center
        if side <= 0:
            return 1.0
        t = abs(distance) / side * _quantile(LEVEL, self._freedom)
        return float(2 * stdtr(self._freedom, -t))

    @property
    def _freedom(self) -> int:
        return max(1, self.seeds - 1)

    @property
    def _center(self) -> float:
        """The estimate, or the middle where the interval does not hold it."""
        low, high = self.interval
        return self.estimate if low < self.estimate < high else (low + high) / 2


@lru_cache(maxsize=1024)
def _quantile(level: float, freedom: int) -> float:
    """Of Student's t, two-sided."""
    return float(stdtrit(freedom, 0.5 + level / 2))


def reading(*, null: str = "0", little: tuple[float, str] | None = None) -> Reading:
    """For: the whole interval lies above 0, which is written `null`.

    Against: the whole of it lies below 0, or below what counts as `little`: (0.05, "+5 %").
    """
    limit, written = (0.0, null) if little is None else little

    def read(bounds: Bounds, p: float) -> tuple[Bearing, str]:
        if bounds.low > 0:
            small = f", but below {written}" if bounds.high < limit else ""
            return "for", f"the whole interval is above {null}{small}"
        if bounds.high < limit:
            return "against", f"the whole interval is below {written}"
        return "undecided", f"the interval reaches from below {null} to above {written}"

    return read


def too_few(seeds: int) -> str:
    """Why so many training seeds decide nothing; empty where they may."""
    return "" if seeds >= MIN_SEEDS else f"{counted(seeds, 'training seed')}, {MIN_SEEDS} needed"


def joined(*reasons: str) -> str:
    """Those that there are, in one line."""
    return "; ".join(dict.fromkeys(filter(None, reasons)))


def evidence_of(reason: str) -> Evidence:
    return "exploratory" if reason else "confirmatory"


def widened(
    finding: Finding,
    key: tuple[object, ...],
    read: Reading,
    *,
    untrusted: bool = False,
    open_: str = "",
) -> Candidate:
    """A candidate whose interval is a mean's over training seeds, as `Widening` has it."""
    bounds = finding.interval
    if bounds is None or finding.estimate is None:
        return unweighed(finding, key, untrusted=untrusted, open_=open_)
    wider = Widening(finding.estimate, (bounds.low, bounds.high), finding.sample.seeds)
    return Candidate(finding, key, wider.p, wider.at, read, untrusted, open_)


def unweighed(
    finding: Finding, key: tuple[object, ...], *, untrusted: bool = False, open_: str = ""
) -> Candidate:
    """A candidate without an interval, at any level: undecided, for its own reason."""
    return Candidate(finding, key, None, lambda level: None, reading(), untrusted, open_)


def distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Each comparison once, with all suites that show it.

    Where they disagree whether it may decide it may, unless one of them is not to be trusted; a
    section that shows it goes before one that only asks for it.
    """
    groups: dict[tuple[object, ...], list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault((candidate.finding.claim, *candidate.key), []).append(candidate)
    found = []
    for group in groups.values():
        kept = max(group, key=_preferred)
        suites = tuple(dict.fromkeys(name for c in group for name in c.finding.suites))
        source = replace(kept.finding.source, suites=suites)
        found.append(replace(kept, finding=replace(kept.finding, source=source)))
    return found


def _preferred(candidate: Candidate) -> tuple[bool, bool, bool]:
    finding = candidate.finding
    return candidate.untrusted, finding.confirmatory, finding.estimate is not None
