"""Holm's step-down over all comparisons of a claim, with the intervals that it implies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.analysis.claims.candidate import Candidate, joined
from harness.analysis.claims.claim import LEVEL, Finding


def adjusted(candidates: Sequence[Candidate]) -> list[Finding]:
    """The findings in order, those that may decide adjusted for their number and read.

    As `rates.holm` does: of k, the j-th smallest p gets an interval at 1 - alpha / (k - j + 1);
    from the first that is not rejected on, all get that one's. A comparison without p, or that
    lacks something of its plan, has p = 1: which there are is fixed by the plan of what was begun,
    whatever was found. Of exploratory findings nothing is read.
    """
    alpha = 1 - LEVEL
    found = [_as_found(candidate) for candidate in candidates]
    members = [i for i, finding in enumerate(found) if finding.confirmatory]
    p = {i: 1.0 if (own := candidates[i].p) is None or candidates[i].open else own for i in members}
    running, stopped, share = 0.0, False, alpha
    for rank, i in enumerate(sorted(members, key=lambda i: p[i])):
        remaining = len(members) - rank
        running = max(running, min(1.0, remaining * p[i]))
        if not stopped:
            share = alpha / remaining
            stopped = p[i] > share * (1 + 1e-12)
        found[i] = _read(candidates[i], p=running, level=1 - share)
    return found


def _as_found(candidate: Candidate) -> Finding:
    finding = candidate.finding
    if finding.confirmatory or not candidate.open:
        return finding
    return replace(finding, reason=joined(finding.reason, candidate.open))


def _read(candidate: Candidate, *, p: float, level: float) -> Finding:
    bounds, finding = candidate.at(level), candidate.finding
    if candidate.open or bounds is None:
        lacking = "" if finding.reason else "no interval at this level: too few resamples"
        reason = joined(candidate.open or lacking, finding.reason)
        return replace(finding, interval=bounds, p=None, bears="undecided", reason=reason)
    bears, reason = candidate.read(bounds, p)
    reason = joined(reason, finding.reason)
    return replace(finding, interval=bounds, p=p, bears=bears, reason=reason)
