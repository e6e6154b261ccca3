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
from harness.analysis.claims.distrust import distrusted
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

    The same comparison of the same runs counts once. A section counts with all that it compares
    once any of it is finished; those without results give no finding.
    """
    untrusted = distrusted([each.suite for each in shown])
    suites = [Shown(each, untrusted) for each in shown]
    verdicts = [weigh(each.claim, each.found(suites)) for each in _CLAIMS]
    return [
        verdict if verdict.decided else replace(verdict, deciding=deciding(verdict, suites))
        for verdict in verdicts
    ]


def weigh(claim: Claim, candidates: Sequence[Candidate]) -> ClaimVerdict:
    """What comparisons come to, those that may decide adjusted for each other."""
    findings = adjusted(distinct(candidates))
    findings.sort(key=lambda f: (not f.confirmatory, _place(claim, f.part)))
    parts = tuple(_part(name, findings) for name in claim.parts)
    shown = _shown_together(claim, findings) if claim.together else ()
    return ClaimVerdict(
        claim=claim,
        status=_status(parts, shown),
        reason=_reason(claim, findings, parts, shown),
        parts=parts,
        findings=tuple(findings),
        magnitude=_magnitude(findings),
    )


def _place(claim: Claim, part: str) -> int:
    """Of a finding's part; what the claim does not name comes last."""
    return claim.parts.index(part) if part in claim.parts else len(claim.parts)


def _part(name: str, findings: Sequence[Finding]) -> Part:
    counts = Counter(f.bears for f in findings if f.part == name and f.confirmatory)
    favor, against, open_ = counts["for"], counts["against"], counts["undecided"]
    return Part(name, _majority(favor, against, open_), favor, against, open_)


def _majority(favor: int, against: int, open_: int) -> Status:
    """More than half one way, and none the other."""
    half = (favor + against + open_) / 2
    if favor > half and not against:
        return "supported"
    if against > half and not favor:
        return "not supported"
    return "undecided" if half else "not tested"


def _shown_together(claim: Claim, findings: Sequence[Finding]) -> tuple[Status, ...]:
    """Of everything that may show all parts at once, whether it does."""
    each: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        if finding.confirmatory:
            each.setdefault(finding.together, []).append(finding)
    return tuple(_all([_part(name, own) for name in claim.parts]) for own in each.values())


def _all(parts: Sequence[Part]) -> Status:
    """Supported by all parts, not supported by any."""
    statuses = {part.status for part in parts}
    if len(statuses) == 1:
        return statuses.pop()
    return "not supported" if "not supported" in statuses else "undecided"


def _status(parts: Sequence[Part], shown: Sequence[Status]) -> Status:
    if not shown:
        return _all(parts)
    counts = Counter(shown)
    favor, against = counts["supported"], counts["not supported"]
    return _majority(favor, against, len(shown) - favor - against)


# --- why --------------------------------------------------------------------------------------


def _reason(
    claim: Claim, findings: Sequence[Finding], parts: Sequence[Part], shown: Sequence[Status]
) -> str:
    if not findings:
        return "no suite with results compares this"
    explored = sum(not f.confirmatory for f in findings)
    if explored == len(findings):
        return f"only exploratory findings, {explored} of them, and those never decide"
    if len(parts) > _SHORT:
        said = _by_status(parts)
    else:
        said = "; ".join(_part_words(part, several=len(parts) > 1) for part in parts)
    if len(shown) > 1:
        counts = Counter(shown)
        said += (
            f"; of {counted(len(shown), claim.together)} {counts['supported']} for the claim in "
            f"all parts, {counts['not supported']} against it in one"
        )
    return f"{said}; {counted(explored, 'exploratory finding')} beside" if explored else said


#: More parts than this are told by their status, each with its counts where it has any.
_SHORT = 2


def _by_status(parts: Sequence[Part]) -> str:
    """`supported along data on text (2, 0, 0); not tested along …`."""
    statuses: tuple[Status, ...] = ("supported", "not supported", "undecided", "not tested")
    said = []
    for status in statuses:
        own = [part for part in parts if part.status == status]
        names = [
            part.name + (f" ({', '.join(map(str, part.counts))})" if part.total else "")
            for part in own
        ]
        said += [f"{status} along {', '.join(names)}"] if own else []
    return "; ".join(said)


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
