"""From the exhibits of suites to a verdict on each of the paper's claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from harness.analysis.claims import (
    distance,
    downstream,
    features,
    growth,
    passes,
    scaling,
    thinking,
)
from harness.analysis.claims.adjusting import adjusted
from harness.analysis.claims.candidate import Candidate, distinct
from harness.analysis.claims.claim import (
    Claim,
    ClaimVerdict,
    Finding,
    Magnitude,
    Part,
    Status,
)
from harness.analysis.claims.deciding import deciding
from harness.analysis.claims.grounds import Shown
from harness.analysis.exhibits.suites import SuiteExhibits
from harness.quantities import counted


@dataclass(frozen=True)
class _Judged:
    claim: Claim
    found: Callable[[Sequence[Shown]], list[Candidate]]


#: The paper's claims in the order they are reported.
_CLAIMS = tuple(
    _Judged(module.CLAIM, module.found)
    for module in (scaling, thinking, passes, downstream, distance, growth, features)
)
CLAIMS: tuple[Claim, ...] = tuple(each.claim for each in _CLAIMS)


def judge(shown: Sequence[SuiteExhibits]) -> list[ClaimVerdict]:
    """One verdict per claim, over all suites together, whatever their order.

    The same comparison of the same runs counts once. Suites without results give no finding.
    """
    suites = [Shown(each) for each in shown]
    verdicts = [weigh(each.claim, each.found(suites)) for each in _CLAIMS]
    return [
        verdict
        if verdict.decided
        else replace(verdict, deciding=deciding(verdict.claim.name, suites))
        for verdict in verdicts
    ]


def weigh(claim: Claim, candidates: Sequence[Candidate]) -> ClaimVerdict:
    """What comparisons come to, those that may decide adjusted for each other."""
    findings = adjusted(distinct(candidates))
    findings.sort(key=lambda f: (not f.confirmatory, claim.parts.index(f.part)))
    parts = tuple(_part(name, findings) for name in claim.parts)
    return ClaimVerdict(
        claim=claim,
        status=_status(findings, parts),
        reason=_reason(findings, parts),
        parts=parts,
        findings=tuple(findings),
        magnitude=_magnitude(findings),
    )


def _part(name: str, findings: Sequence[Finding]) -> Part:
    """More than half one way, and none the other."""
    own = [f for f in findings if f.part == name]
    counts = Counter(f.bears for f in own if f.confirmatory)
    favor, against, open_ = counts["for"], counts["against"], counts["undecided"]
    half = (favor + against + open_) / 2
    status: Status = "undecided" if own else "not tested"
    if favor > half and not against:
        status = "supported"
    elif against > half and not favor:
        status = "not supported"
    return Part(name, status, favor, against, open_)


def _status(findings: Sequence[Finding], parts: Sequence[Part]) -> Status:
    """Supported by all parts, not supported by any."""
    if not findings:
        return "not tested"
    statuses = {part.status for part in parts}
    if statuses == {"supported"}:
        return "supported"
    return "not supported" if "not supported" in statuses else "undecided"


def _reason(findings: Sequence[Finding], parts: Sequence[Part]) -> str:
    if not findings:
        return "no suite with results compares this"
    explored = sum(not f.confirmatory for f in findings)
    if explored == len(findings):
        return f"only exploratory findings, {explored} of them, and those never decide"
    said = "; ".join(_part_words(part, several=len(parts) > 1) for part in parts)
    return f"{said}; {counted(explored, 'exploratory finding')} beside" if explored else said


def _part_words(part: Part, *, several: bool) -> str:
    name = f"{part.name}: " if several else ""
    if not part.total:
        return f"{name}no finding that may decide"
    disagree = ", which disagree" if part.favor and part.against else ""
    return (
        f"{name}of {counted(part.total, 'finding')} that may decide {part.favor} for, "
        f"{part.against} against, {part.undecided} undecided{disagree}"
    )


def _magnitude(findings: Iterable[Finding]) -> Magnitude | None:
    """None where no finding that may decide has an interval beside a number of the paper."""
    sides: Counter[str] = Counter()
    for finding in findings:
        bounds, paper = finding.interval, finding.paper
        if finding.confirmatory and bounds is not None and paper is not None:
            side = "inside" if paper in bounds else "above" if paper > bounds.high else "below"
            sides[side] += 1
    if not sides:
        return None
    return Magnitude(sides["inside"], sides["above"], sides["below"])
