"""Holm's step-down over all comparisons of a claim, with the intervals that it implies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.analysis.claims.candidate import Candidate
from harness.analysis.claims.claim import LEVEL, Finding


def adjusted(candidates: Sequence[Candidate]) -> list[Finding]:
    """The findings in order, those that may decide adjusted for their number and read.

    As `rates.holm` does: of k, the j-th smallest p gets an interval at 1 - alpha / (k - j + 1);
    from the first that is not rejected on, all get that one's. A comparison without p has p = 1,
    so the number never depends on what was found. Exploratory findings stay as they were.
    """
    alpha = 1 - LEVEL
    found = [candidate.finding for candidate in candidates]
    members = [i for i, finding in enumerate(found) if finding.confirmatory]
    p = {i: 1.0 if (own := candidates[i].p) is None else own for i in members}
    running, stopped, share = 0.0, False, alpha
    for rank, i in enumerate(sorted(members, key=lambda i: p[i])):
        remaining = len(members) - rank
        running = max(running, min(1.0, remaining * p[i]))
        if not stopped:
            share = alpha / remaining
            stopped = p[i] > share * (1 + 1e-12)
        found[i] = _read(candidates[i], p=running, level=1 - share)
    return found


def _read(candidate: Candidate, *, p: float, level: float) -> Finding:
    bounds = candidate.at(level)
    if bounds is None:
        finding = candidate.finding
        why = finding.reason or "no interval at this level: too few resamples"
        return replace(finding, interval=None, p=None, bears="undecided", reason=why)
    bears, reason = candidate.read(bounds, p)
    reason = "; ".join(filter(None, (reason, candidate.finding.reason)))
    return replace(candidate.finding, interval=bounds, p=p, bears=bears, reason=reason)
