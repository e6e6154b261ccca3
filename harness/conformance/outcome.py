"""What a check says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.conformance.subject import Subject

Verdict = Literal["passed", "failed", "not offered", "skipped"]


@dataclass(frozen=True)
class Outcome:
    """`reason` is what was found: a measured figure, what is wrong, or why nothing was checked."""

    verdict: Verdict
    reason: str


Check = Callable[[Subject], Outcome]


def passed(found: str) -> Outcome:
    return Outcome("passed", found)


def failed(reason: str) -> Outcome:
    return Outcome("failed", reason)


def not_offered(reason: str) -> Outcome:
    return Outcome("not offered", reason)


def within(found: float, limit: float, what: str) -> Outcome:
    """Passed where a relative difference is at most `limit`; a NaN fails."""
    text = f"{what}: relative difference {found:.1e}, allowed {limit:.0e}"
    return passed(text) if found <= limit else failed(text)
