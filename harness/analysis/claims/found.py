"""What a claim's module hands over: its comparisons, and what had to be left out."""

from __future__ import annotations

from dataclasses import dataclass

from harness.analysis.claims.candidate import Candidate


@dataclass(frozen=True)
class Found:
    """Comparisons of all suites, before they are adjusted for each other; notes in words."""

    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...] = ()
