"""Cancel a suite's jobs, and give back what had not begun."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from harness.launch.claims import claiming
from harness.launch.missing import claims_of
from harness.launch.pending import merged
from harness.launch.slurm import commands
from harness.launch.slurm.settle import element_id, settle
from harness.launch.slurm.submission import Submission
from harness.planning.planned import Suite


@dataclass
class Cancelled:
    """Run id -> the job element that was cancelled; `ending` of them are still at it."""

    elements: dict[str, str] = field(default_factory=dict)
    ending: int = 0


def cancel(suite: Suite, results: Path) -> Cancelled:
    """Cancel every job that a run of the suite is with. Raises NoSlurm without a cluster."""
    results = results.resolve()
    done = Cancelled()
    if not claims_of(merged(suite.runs), results):
        return done
    with claiming(results):
        claims = claims_of(merged(suite.runs), results)
        for run_id in settle(claims, results):
            claim = claims[run_id]
            element = element_id(Submission(results, claim.submission), claim)
            if element is not None:
                done.elements[run_id] = element
        commands.cancel(list(done.elements.values()))
        done.ending = len(settle({run: claims[run] for run in done.elements}, results))
    return done
