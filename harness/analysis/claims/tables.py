"""Tables of verdicts on the paper's claims: one row per claim, and one per finding of a claim."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite, isnan

from harness.analysis.claims.claim import STATUSES, ClaimVerdict, Costs, Finding
from harness.analysis.claims.wording import (
    deciding_text,
    estimate_text,
    extremes_text,
    interval_text,
    magnitude_text,
    number_text,
    range_text,
    ratio_text,
    shown_parts,
)
from harness.analysis.tables.table import Cell, Table


def claims_table(verdicts: Sequence[ClaimVerdict], name: str = "claims") -> Table:
    """One row per claim: the paper's number, the status at the scale run, and what it stands on."""
    return Table(
        name=name,
        title="The paper's claims at the scales run",
        header=(
            *("claim", "paper", "status", "for, against, open", "exploratory"),
            *("estimates", "seeds", "NFE ×", "FLOPs ×", "time ×"),
        ),
        rows=[_claim_cells(verdict) for verdict in verdicts],
        data=[_claim_data(verdict) for verdict in verdicts],
        notes=[
            *(f"{status.capitalize()}: {words}." for status, words in STATUSES.items()),
            "Estimates: the lowest and the highest, of the findings that may decide. Costs: from "
            "the least to the most of these findings, the EBT's over what it is compared with.",
            *(note for verdict in verdicts for note in _claim_notes(verdict)),
        ],
        text_columns=3,
    )


def _claim_cells(verdict: ClaimVerdict) -> list[Cell]:
    several = len(verdict.parts) > 1
    by_part = shown_parts(verdict)
    estimates = [
        f"{part}: {text}" if several and part else text
        for part, findings in by_part.items()
        if (text := extremes_text(findings))
    ]
    findings = [finding for own in by_part.values() for finding in own]
    costs = [finding.costs for finding in findings]
    seeds = [float(finding.sample.seeds) for finding in findings]
    return [
        Cell(verdict.claim.title),
        Cell(verdict.claim.paper),
        Cell(verdict.status, bold=verdict.decided),
        Cell(_counts(verdict)),
        Cell(str(len(verdict.exploratory))),
        Cell("; ".join(estimates)),
        Cell(range_text(seeds)),
        Cell(range_text([cost.nfe.value for cost in costs])),
        Cell(range_text([cost.flops.value for cost in costs])),
        Cell(range_text([cost.seconds.value for cost in costs])),
    ]


def _counts(verdict: ClaimVerdict) -> str:
    """`2, 0, 1`, per part where there are two; of more parts in all."""
    counts = [part.counts for part in verdict.parts]
    if len(counts) > 2:
        counts = [(verdict.count("for"), verdict.count("against"), verdict.count("undecided"))]
    return "; ".join(", ".join(map(str, each)) for each in counts)


def _claim_notes(verdict: ClaimVerdict) -> Iterator[str]:
    title = verdict.claim.title
    yield f"{title}: {verdict.text}: {verdict.reason}."
    if verdict.scales:
        yield f"{title}: run at {'; '.join(verdict.scales)}; on {', '.join(verdict.devices)}."
    if verdict.magnitude is not None:
        yield f"{title}: {magnitude_text(verdict.magnitude)}"
    if verdict.deciding:
        ways = "; ".join(map(deciding_text, verdict.deciding))
        yield f"{title}: what may decide it and is not run: {ways}."
    yield from (f"{title}: {caveat}" for caveat in verdict.caveats)
    if verdict.remedy:
        yield f"{title}: {verdict.remedy}"


def _claim_data(verdict: ClaimVerdict) -> dict[str, object]:
    magnitude = verdict.magnitude
    return {
        "claim": verdict.claim.name,
        "title": verdict.claim.title,
        "paper": verdict.claim.paper,
        "status": verdict.status,
        "for": verdict.count("for"),
        "against": verdict.count("against"),
        "undecided": verdict.count("undecided"),
        "exploratory": len(verdict.exploratory),
        "parts": "; ".join(f"{part.name}: {part.status}" for part in verdict.parts),
        "paper_number_inside": None if magnitude is None else magnitude.inside,
        "paper_number_above": None if magnitude is None else magnitude.above,
        "paper_number_below": None if magnitude is None else magnitude.below,
        "scale": "; ".join(verdict.scales),
        "device": ", ".join(verdict.devices),
        "reason": verdict.reason,
        "decided_by": "; ".join(map(deciding_text, verdict.deciding)),
    }


def findings_table(verdict: ClaimVerdict, name: str | None = None) -> Table:
    """One row per finding of a claim, those that may decide first."""
    claim = verdict.claim
    return Table(
        name=name or f"claim-{claim.name}",
        title=f"{claim.title}: {verdict.text}",
        header=(
            *("suite", "finding", "model", "estimate", "interval", "paper", "n", "seeds"),
            *("NFE ×", "FLOPs ×", "time ×", "bears", "evidence", "reason"),
        ),
        rows=[_finding_cells(finding) for finding in verdict.findings],
        data=[_finding_data(finding) for finding in verdict.findings],
        notes=[claim.statement, claim.definition],
        text_columns=3,
    )


def _finding_cells(finding: Finding) -> list[Cell]:
    costs = finding.costs
    return [
        Cell(", ".join(finding.suites)),
        Cell(finding.what),
        Cell(finding.candidate),
        Cell(estimate_text(finding)),
        Cell(interval_text(finding)),
        Cell(number_text(finding.paper, finding.unit)),
        Cell(f"{finding.sample.n:,} {finding.sample.of}"),
        Cell(str(finding.sample.seeds)),
        *(Cell(ratio_text(ratio)) for ratio in (costs.nfe, costs.flops, costs.seconds)),
        Cell(finding.bears, bold=finding.bears != "undecided"),
        Cell(finding.evidence),
        Cell(finding.reason),
    ]


def _finding_data(finding: Finding) -> dict[str, object]:
    bounds, sample = finding.interval, finding.sample
    return {
        "claim": finding.claim,
        "part": finding.part,
        "suites": " ".join(finding.suites),
        "section": finding.section,
        "what": finding.what,
        "candidate": finding.candidate,
        "baseline": finding.baseline,
        "estimate": _number(finding.estimate),
        "unit": finding.unit,
        "low": None if bounds is None else _number(bounds.low),
        "high": None if bounds is None else _number(bounds.high),
        "level": None if bounds is None else bounds.level,
        "adjusted": None if bounds is None else bounds.adjusted,
        "p": finding.p,
        "paper": finding.paper,
        "n": sample.n,
        "of": sample.of,
        "seeds": sample.seeds,
        "points": sample.points,
        **_costs_data(finding.costs),
        "device": ", ".join(finding.device),
        "scale": finding.scale,
        "bears": finding.bears,
        "evidence": finding.evidence,
        "reason": finding.reason,
        "runs": " ".join(finding.runs),
    }


def _costs_data(costs: Costs) -> dict[str, object]:
    found: dict[str, object] = {"costs_of": costs.of}
    for name, ratio in (("nfe", costs.nfe), ("flops", costs.flops), ("seconds", costs.seconds)):
        low, high = ratio.interval or (None, None)
        found |= {
            f"{name}_ratio": ratio.value,
            f"{name}_ratio_low": low,
            f"{name}_ratio_high": high,
        }
    return found | {
        "training_flops": costs.training_flops,
        "training_seconds": costs.training_seconds,
    }


def _number(value: float | None) -> float | str | None:
    """`inf` and `-inf` in letters, which JSON has no number for; missing stays missing."""
    if value is None or isnan(value):
        return None
    return value if isfinite(value) else f"{value:g}"
