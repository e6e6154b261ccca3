"""Cancel a suite's jobs, and give back what had not begun."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.launch.claims import claiming
from harness.launch.missing import claims_of
from harness.launch.pending import merged
from harness.launch.slurm import commands
from harness.launch.slurm.commands import SlurmJob
from harness.launch.slurm.settle import look_up, settle, settle_over
from harness.planning.planned import Suite


@dataclass
class Cancelled:
    """Run id -> the job element that was cancelled; `ending` of them are still at it.

    `out_of_reach` runs are just being submitted, or on another cluster.
    """

    elements: dict[str, str] = field(default_factory=dict)
    ending: int = 0
    out_of_reach: int = 0


def cancel(suite: Suite, results: Path) -> Cancelled:
    """Cancel every job that a run of the suite is with. Raises NoSlurm without a cluster."""
    results = results.resolve()
    done = Cancelled()
    if not claims_of(merged(suite.runs), results):
        return done
    with claiming(results):
        claims = claims_of(merged(suite.runs), results)
        for run_id, assignment in settle(claims, results).items():
            if assignment.element is None:
                done.out_of_reach += 1
            else:
                done.elements[run_id] = assignment.element
        commands.cancel(list(done.elements.values()))
        found = look_up({run_id: claims[run_id] for run_id in done.elements}, results)
        for run_id, assignment in found.items():
            if assignment.job is None:  # Slurm drops an element that waited
                found[run_id] = replace(assignment, job=SlurmJob("CANCELLED"))
        settle_over(found, results)
        done.ending = sum(not assignment.is_over for assignment in found.values())
    return done
