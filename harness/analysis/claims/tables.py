"""Tables of verdicts on the paper's claims: one row per claim, and one per finding of a claim."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from harness.analysis.claims.claim import (
    STATUSES,
    Bounds,
    ClaimVerdict,
    Costs,
    Finding,
    Ratio,
    Unit,
)
from harness.analysis.tables.table import Cell, Table
from harness.quantities import counted_range, duration, si

#: Factor, digits and unit that estimates are written with.
_FORMS: dict[Unit, tuple[float, int, str]] = {
    "fraction": (100.0, 1, " %"),
    "points": (100.0, 2, " points"),
    "share": (100.0, 1, " points"),
    "dB": (1.0, 2, " dB"),
    "nats": (1.0, 3, " nats"),
    "bits": (1.0, 3, " bits/byte"),
    "score": (1.0, 3, ""),
    "×": (1.0, 3, "×"),
}


def claims_table(verdicts: Sequence[ClaimVerdict], name: str = "claims") -> Table:
    """One row per claim: the paper's number, the status at the scale run, and its counts."""
    return Table(
        name=name,
        title="The paper's claims at the scales run",
        header=("claim", "paper", "status", "for", "against", "undecided", "exploratory", "reason"),
        rows=[_claim_cells(verdict) for verdict in verdicts],
        data=[_claim_data(verdict) for verdict in verdicts],
        notes=[f"{status.capitalize()}: {words}." for status, words in STATUSES.items()],
        text_columns=3,
    )


def _claim_cells(verdict: ClaimVerdict) -> list[Cell]:
    decided = verdict.status in ("supported", "not supported")
    return [
        Cell(verdict.claim.title),
        Cell(verdict.claim.paper),
        Cell(verdict.status, bold=decided),
        *(Cell(str(number)) for number in _counts(verdict)),
        Cell(verdict.reason),
    ]


def _counts(verdict: ClaimVerdict) -> tuple[int, int, int, int]:
    parts = verdict.parts
    favor, against = sum(p.favor for p in parts), sum(p.against for p in parts)
    return favor, against, sum(p.undecided for p in parts), len(verdict.exploratory)


def _claim_data(verdict: ClaimVerdict) -> dict[str, object]:
    favor, against, undecided, exploratory = _counts(verdict)
    magnitude = verdict.magnitude
    return {
        "claim": verdict.claim.name,
        "title": verdict.claim.title,
        "paper": verdict.claim.paper,
        "status": verdict.status,
        "for": favor,
        "against": against,
        "undecided": undecided,
        "exploratory": exploratory,
        "parts": "; ".join(f"{part.name}: {part.status}" for part in verdict.parts),
        "paper_number_inside": None if magnitude is None else magnitude.inside,
        "paper_number_above": None if magnitude is None else magnitude.above,
        "paper_number_below": None if magnitude is None else magnitude.below,
        "scale": "; ".join(verdict.scales),
        "device": "; ".join(verdict.devices),
        "reason": verdict.reason,
        "decided_by": "; ".join(each.command for each in verdict.deciding),
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
        notes=[claim.statement, claim.definition, *verdict.notes],
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
        "estimate": _finite(finding.estimate),
        "unit": finding.unit,
        "low": None if bounds is None else _finite(bounds.low),
        "high": None if bounds is None else _finite(bounds.high),
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


# --- how numbers are written -----------------------------------------------------------------


def number_text(value: float | None, unit: Unit) -> str:
    """`+1.2 %`, `−0.03 dB`, `12×`, `∞`; empty where missing."""
    if value is None:
        return ""
    if not isfinite(value):
        return "∞" if value > 0 else "−∞"
    return f"{_bare(value, unit)}{_FORMS[unit][2]}"


def estimate_text(finding: Finding) -> str:
    """The estimate with its unit; empty where missing."""
    return number_text(finding.estimate, finding.unit)


def interval_text(finding: Finding) -> str:
    """`[−1.0, +2.5] % (99 %)`, with its level; empty where missing."""
    return "" if finding.interval is None else bounds_text(finding.interval, finding.unit)


def bounds_text(bounds: Bounds, unit: Unit) -> str:
    """The same of any interval."""
    low, high = (_bare(bound, unit) for bound in (bounds.low, bounds.high))
    return f"[{low}, {high}]{_FORMS[unit][2]} ({100 * bounds.level:.4g} %)"


def _bare(value: float, unit: Unit) -> str:
    if not isfinite(value):
        return "∞" if value > 0 else "−∞"
    scale, digits, _ = _FORMS[unit]
    text = f"{value:.{digits}g}" if unit == "×" else f"{scale * value:+.{digits}f}"
    return text.replace("-", "−")


def ratio_text(ratio: Ratio) -> str:
    """`0.33 [0.2, 0.5]`; empty where missing."""
    if ratio.value is None and ratio.interval is None:
        return ""
    value = "" if ratio.value is None else f"{ratio.value:.3g}"
    if ratio.interval is None:
        return value
    low, high = ratio.interval
    return f"{value} [{low:.3g}, {high:.3g}]".strip()


def training_text(costs: Costs) -> str:
    """`4.5 T FLOPs, 9 min 20 s`: what training all runs of a finding took; empty if unknown."""
    flops = "" if costs.training_flops is None else f"{si(costs.training_flops)}FLOPs"
    seconds = "" if costs.training_seconds is None else duration(costs.training_seconds)
    return ", ".join(filter(None, (flops, seconds)))


def seeds_text(verdict: ClaimVerdict) -> str:
    """`3 seeds` or `2–3 seeds`, of all findings; empty without one."""
    seeds = [finding.sample.seeds for finding in verdict.findings]
    return counted_range(seeds, "seed") if seeds else ""


def _finite(value: float | None) -> float | None:
    """Missing where it is infinite: the reason says why."""
    return value if value is not None and isfinite(value) else None
