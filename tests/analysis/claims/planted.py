"""Comparisons with known estimates and intervals, and the suites whose records tests write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.analysis.claims import passes, thinking
from harness.analysis.claims.candidate import Candidate, Reading, reading, widened
from harness.analysis.claims.claim import Bounds, Costs, Finding, Ratio, Sample, Source
from harness.analysis.exhibits.suites import SuiteExhibits, suite_exhibits
from harness.planning.planned import Suite

ONE, TWO = thinking.CLAIM, passes.CLAIM
NOTHING = reading()


def finding(estimate: float | None, half: float, **given: Any) -> Finding:
    """A finding of the thinking claim with interval estimate ± half at 95 %."""
    bounds = None if estimate is None else Bounds(estimate - half, estimate + half)
    defaults: dict[str, Any] = {
        "claim": "thinking",
        "part": "gain",
        "source": Source(("planted",), "Section", "stem", ("a device",), "a scale", ("run",)),
        "what": "gain",
        "candidate": "ebt",
        "baseline": "ebt, trained",
        "estimate": estimate,
        "unit": "fraction",
        "interval": bounds,
        "paper": 0.29,
        "sample": Sample(100, "documents", 3),
        "costs": Costs("one token", Ratio(2.0), Ratio(4.0), Ratio(3.0), 1e12, 60.0),
        "evidence": "confirmatory",
        "reason": "",
    }
    return Finding(**(defaults | given))


def planted(
    estimate: float | None,
    half: float = 0.01,
    *,
    key: object = None,
    read: Reading = NOTHING,
    seeds: int = 3,
    untrusted: bool = False,
    open_: str = "",
    **given: Any,
) -> Candidate:
    """A candidate of that finding; by default no other has its key."""
    sample = Sample(100, "documents", seeds)
    one = finding(estimate, half, sample=sample, **given)
    own = (object(),) if key is None else (key,)
    return widened(one, own, read, untrusted=untrusted, open_=open_)


def of_suite(candidate: Candidate, *names: str) -> Candidate:
    """The same comparison as other suites show it."""
    found = candidate.finding
    return replace(candidate, finding=replace(found, source=replace(found.source, suites=names)))


def shown(suite: Suite, results: Path, *, name: str | None = None) -> SuiteExhibits:
    """A suite's exhibits, under another name where one is given."""
    return suite_exhibits(replace(suite, name=name or suite.name), results)
