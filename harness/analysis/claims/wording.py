"""How estimates, intervals, costs and verdicts of claims are written."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from harness.analysis.claims.claim import (
    Bounds,
    ClaimVerdict,
    Costs,
    Deciding,
    Finding,
    Magnitude,
    Ratio,
    Unit,
)
from harness.quantities import counted, duration, si

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


def shown_parts(verdict: ClaimVerdict) -> dict[str, tuple[Finding, ...]]:
    """Each part's findings that may decide, or where none of it may, all of it.

    Of many parts only those with findings that may decide; where none of any may, all under "".
    """
    many = len(verdict.parts) > 2
    if many and not verdict.confirmatory:
        return {"": verdict.findings} if verdict.findings else {}
    found: dict[str, tuple[Finding, ...]] = {}
    for part in verdict.parts:
        own = tuple(f for f in verdict.findings if f.part == part.name)
        decide = tuple(f for f in own if f.confirmatory)
        if decide or (own and not many):
            found[part.name] = decide or own
    return found


def extremes_text(findings: Sequence[Finding]) -> str:
    """The lowest and the highest estimate with their intervals; never the best alone."""
    known = sorted((f for f in findings if f.estimate is not None), key=lambda f: f.estimate or 0.0)
    if not known:
        return ""
    ends = [known[0]] if len(known) == 1 else [known[0], known[-1]]
    text = " to ".join(f"{estimate_text(f)} {interval_text(f)}".strip() for f in ends)
    return text if known[0].confirmatory else f"{text} (exploratory)"


def range_text(values: Sequence[float | None]) -> str:
    """`0.01 to 0.333`, of those known; empty where none is."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = (f"{bound:.3g}" for bound in (min(known), max(known)))
    return low if low == high else f"{low} to {high}"


def magnitude_text(magnitude: Magnitude) -> str:
    """`The paper's number lies inside 2 of 24 intervals, above 22 and below none.`"""
    return (
        f"The paper's number lies inside {magnitude.inside} of "
        f"{counted(magnitude.total, 'interval')}, above {magnitude.above or 'none'} and below "
        f"{magnitude.below or 'none'}."
    )


def deciding_text(deciding: Deciding) -> str:
    """`harness run suites/paper/x.yaml (30 runs, 540 EFLOPs of training, 30 evaluations)`."""
    flops = "" if deciding.flops is None else f"{si(deciding.flops)}FLOPs of training"
    runs = f"{counted(deciding.runs, 'run')} to train" if deciding.runs else ""
    takes = (runs, flops if runs else "", counted(deciding.evaluations, "evaluation"))
    return f"{deciding.command} ({', '.join(filter(None, takes))})"
