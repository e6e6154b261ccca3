"""A claim of the paper, the findings that bear on it, and the verdict they come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.planning.sections import PaperExhibit

Status = Literal["supported", "not supported", "undecided", "not tested"]
Bearing = Literal["for", "against", "undecided"]
Evidence = Literal["confirmatory", "exploratory"]
#: What an estimate is a number of: fractions are printed in per cent, trends in points per unit.
Unit = Literal["fraction", "dB", "×", "nats", "points", "share", "bits", "score"]

LEVEL = 0.95

#: What each status means, of every claim; a claim's `definition` says what its findings are.
STATUSES: dict[Status, str] = {
    "supported": "of the findings that may decide, more than half are for the claim and none is "
    "against it; a claim of several parts needs this of each, and one that a model has to show at "
    "once in several parts needs it of more than half of the models that are compared",
    "not supported": "of the findings that may decide, more than half are against the claim and "
    "none is for it; of several parts one such part suffices",
    "undecided": "findings may decide, but they are too few, too uncertain, lack something, or "
    "disagree; or some parts are decided and others are not",
    "not tested": "no finding may decide it: there is none, or all are exploratory",
}


@dataclass(frozen=True)
class Claim:
    """What the paper claims, restated; `definition` says what is for and what is against it.

    `paper` is the paper's number in words, `parts` what it takes, `suites` the shipped ones that
    are made to decide it, and `limits` what they need for that. `together` names what has to show
    all parts at once; empty where each part stands for itself.
    """

    name: str
    title: str
    statement: str
    paper: str
    exhibits: tuple[PaperExhibit, ...]
    parts: tuple[str, ...]
    definition: str
    suites: str
    limits: str = ""
    together: str = ""


@dataclass(frozen=True)
class Bounds:
    """An interval at its level; `adjusted` for all of the claim's findings that may decide."""

    low: float
    high: float
    level: float = LEVEL
    adjusted: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Ratio:
    """The candidate's cost over the baseline's, with its 95 % interval where there is one."""

    value: float | None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Costs:
    """`of` says what the ratios compare; training costs are of all runs that are compared."""

    of: str
    nfe: Ratio = Ratio(None)
    flops: Ratio = Ratio(None)
    seconds: Ratio = Ratio(None)
    training_flops: float | None = None
    training_seconds: float | None = None


@dataclass(frozen=True)
class Sample:
    """What a finding stands on: `n` of what, the fewest training seeds, and points of a trend."""

    n: int
    of: str
    seeds: int
    points: int | None = None


@dataclass(frozen=True)
class Source:
    """Where a comparison is shown and what it was made of.

    `suites` are all that show it, of the same `runs`; `section` and `stem` are those of the first.
    """

    suites: tuple[str, ...]
    section: str
    stem: str
    device: tuple[str, ...]
    scale: str
    runs: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Finding:
    """One comparison that bears on a claim.

    `estimate` is in `unit`, and what is above 0 (100 of passes) speaks for the claim; `paper` is
    the paper's number in the same unit. `p` is two-sided and adjusted as the interval is. An
    exploratory finding never decides, and `reason` says why it is one. `caveat` is what else could
    turn it. `shown_by` is what shows the parts of a claim together: findings of equal ones are read
    as one.
    """

    claim: str
    part: str
    source: Source
    what: str
    candidate: str
    baseline: str
    estimate: float | None
    unit: Unit
    interval: Bounds | None
    paper: float | None
    sample: Sample
    costs: Costs
    evidence: Evidence
    reason: str
    bears: Bearing = "undecided"
    p: float | None = None
    caveat: str = ""
    shown_by: tuple[object, ...] = field(default=(), repr=False)

    @property
    def together(self) -> tuple[object, ...]:
        """What shows the parts of a claim: where nothing is said, the same model of the runs."""
        return self.shown_by or (self.candidate, self.baseline, self.runs)

    @property
    def confirmatory(self) -> bool:
        return self.evidence == "confirmatory"

    @property
    def suites(self) -> tuple[str, ...]:
        return self.source.suites

    @property
    def section(self) -> str:
        return self.source.section

    @property
    def stem(self) -> str:
        return self.source.stem

    @property
    def device(self) -> tuple[str, ...]:
        return self.source.device

    @property
    def scale(self) -> str:
        return self.source.scale

    @property
    def runs(self) -> tuple[str, ...]:
        return self.source.runs


@dataclass(frozen=True)
class Part:
    """One part of a claim, its status, and how many findings that may decide are what."""

    name: str
    status: Status
    favor: int
    against: int
    undecided: int

    @property
    def counts(self) -> tuple[int, int, int]:
        """For, against, undecided."""
        return self.favor, self.against, self.undecided

    @property
    def total(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class Magnitude:
    """Where the paper's number lies against the intervals of findings that may decide."""

    inside: int
    above: int
    below: int

    @property
    def total(self) -> int:
        return self.inside + self.above + self.below


@dataclass(frozen=True)
class Deciding:
    """A suite that may decide a claim once it is run, and what is still missing of it.

    `flops` are those of training the runs; None where seconds are their budget.
    """

    suite: str
    command: str
    runs: int
    evaluations: int
    flops: float | None


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim's status at the scale run, its reason, and everything it stands on.

    Findings that may decide come first. `deciding` are the unfinished suites that may decide it.
    """

    claim: Claim
    status: Status
    reason: str
    parts: tuple[Part, ...]
    findings: tuple[Finding, ...]
    magnitude: Magnitude | None = None
    deciding: tuple[Deciding, ...] = ()

    @property
    def decided(self) -> bool:
        return self.status in ("supported", "not supported")

    @property
    def caveats(self) -> tuple[str, ...]:
        """What could turn a finding that may decide."""
        return tuple(
            f"{finding.what} ({', '.join(finding.suites)}): {finding.caveat}."
            for finding in self.confirmatory
            if finding.caveat
        )

    @property
    def remedy(self) -> str:
        """What would help where no unfinished suite may decide it; empty where one may."""
        if self.decided or self.deciding:
            return ""
        return (
            "of the suites given none that is unfinished may decide it. Made for it: "
            f"{self.claim.suites}{self.claim.limits and f' ({self.claim.limits})'}. More seeds, "
            "points and documents narrow the intervals."
        )

    def count(self, bears: Bearing) -> int:
        """Of the findings that may decide."""
        return sum(finding.bears == bears for finding in self.confirmatory)

    @property
    def confirmatory(self) -> tuple[Finding, ...]:
        """The findings that may decide."""
        return tuple(f for f in self.findings if f.confirmatory)

    @property
    def exploratory(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if not f.confirmatory)

    @property
    def scales(self) -> tuple[str, ...]:
        """The scales run, of the findings that may decide, or of all where none may; each once."""
        return tuple(dict.fromkeys(f.scale for f in self.confirmatory or self.findings))

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(d for f in self.findings for d in f.device))

    @property
    def text(self) -> str:
        """`undecided at the scale run`; what was not tested has no scale."""
        return self.status if self.status == "not tested" else f"{self.status} at the scale run"
