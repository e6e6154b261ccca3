"""What became of claimed runs whose jobs are gone: their status and its reason, and the claim back.

A task that ends by itself records its end and gives its run back. What is left here are jobs that
could not: killed, out of memory, out of time, on a node that died, cancelled while they waited, or
forgotten by Slurm.
"""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.launch.claims import Claim, Owner, give_back, own, owner_of, release
from harness.launch.slurm.commands import SlurmJob, cluster_name, jobs_of
from harness.launch.slurm.profile import Profile
from harness.launch.slurm.submission import Submission
from harness.records import RunFolder

_OUT_OF_MEMORY = re.compile(r"oom.?kill|memory limit", re.IGNORECASE)
_LINES = 50
#: Where sbatch has not answered yet, its submitter is at work.
SUBMITTING = SlurmJob("SUBMITTING")
#: The state of a job that Slurm may not show to this user.
UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Assignment:
    """A claimed run and its job: Slurm's `element`, None where it never came to Slurm."""

    submission: Submission
    claim: Claim
    element: str | None
    job: SlurmJob | None

    @property
    def is_over(self) -> bool:
        return self.job is None or self.job.is_over


def settle(claims: Mapping[str, Claim], results: Path) -> dict[str, Assignment]:
    """Run id -> the job that has it still; runs whose jobs are gone are settled and given back.

    To be called while claiming. Raises NoSlurm where Slurm does not answer.
    """
    found = look_up(claims, results)
    settle_over(found, results)
    return {run_id: each for run_id, each in found.items() if not each.is_over}


def settle_over(assignments: Mapping[str, Assignment], results: Path) -> None:
    """Record the ends of those that are over, and give their runs back. While claiming."""
    for run_id, assignment in assignments.items():
        if assignment.is_over:
            _end(RunFolder(results, run_id), assignment)


def look_up(claims: Mapping[str, Claim], results: Path) -> dict[str, Assignment]:
    """Run id -> its job, and what Slurm says of it. Raises NoSlurm where it does not answer."""
    arrays = {(claim.submission, claim.array) for claim in claims.values()}
    submissions = {name: Submission(results, name) for name, _ in arrays}
    here = cluster_name() if arrays else ""
    sent = {(name, array): _sent(submissions[name], array, here) for name, array in arrays}
    elements: dict[str, str] = {}
    for run_id, claim in claims.items():
        job_id, _ = sent[claim.submission, claim.array]
        if job_id is not None:
            elements[run_id] = f"{job_id}_{claim.index}"
    jobs = jobs_of(elements.values())
    found = {}
    for run_id, claim in claims.items():
        submission, element = submissions[claim.submission], elements.get(run_id)
        _, stand_in = sent[claim.submission, claim.array]
        job = stand_in if element is None else jobs.get(element) or _hidden(submission)
        found[run_id] = Assignment(submission, claim, element, job)
    return found


def _sent(submission: Submission, array: int, here: str) -> tuple[str | None, SlurmJob | None]:
    """An array's Slurm id, or what stands for its jobs where this Slurm cannot tell of them."""
    if not submission.record.exists():
        return None, None
    there = submission.plan.cluster
    if there != here:  # which has jobs of its own under the same ids
        return None, SlurmJob(UNKNOWN, reason=f"on cluster {there}: ask there, this is {here}")
    job_id = submission.known_job_id(array)
    if job_id is None and submission.is_being_submitted():
        return None, SUBMITTING
    if job_id is None:  # who submitted may have noted it since
        job_id = submission.job_id(array)
    return job_id, None if job_id is not None else _hidden(submission)


def _hidden(submission: Submission) -> SlurmJob | None:
    """Jobs that Slurm does not know may be another user's, of which it tells others nothing."""
    if not submission.record.exists() or submission.user == getpass.getuser():
        return None
    return SlurmJob(UNKNOWN, reason=f"{submission.user}'s job, which Slurm does not show to others")


def _end(folder: RunFolder, assignment: Assignment) -> None:
    submission, claim, element = assignment.submission, assignment.claim, assignment.element
    if element is None:
        give_back(folder, claim)
        return
    state, reason = explain(assignment)
    record_end(folder, submission.element(claim).eval_ids, state, reason)
    owner = owner_of(folder)
    if owner is None or owner.claim != claim:
        node = assignment.job.node if assignment.job is not None else ""
        own(folder, Owner(claim, element, node, job_id="", restart=0))
    release(folder, claim)


def record_end(
    folder: RunFolder, eval_ids: Iterable[str], state: Literal["failed", "stopped"], reason: str
) -> None:
    """Status is of training: after it, the evaluations that were left undone have the reason."""
    if not folder.training.exists():
        folder.change_status(state, reason)
        return
    for evaluation in map(folder.evaluation, eval_ids):
        if not evaluation.is_done():
            evaluation.note_end(state, reason)


def explain(assignment: Assignment) -> tuple[Literal["failed", "stopped"], str]:
    """The status of a run whose job ended without recording one, and why."""
    submission, claim, job = assignment.submission, assignment.claim, assignment.job
    profile = submission.profile
    element = f"job {assignment.element}"
    attempts = submission.attempts(claim)
    if attempts and attempts[-1]["event"] == "end":
        return attempts[-1]["ending"], attempts[-1]["reason"]
    recorded = RunFolder(submission.results, submission.element(claim).run_id).status()
    if recorded.state == "failed" and recorded.reason is not None:  # a rank beside the first
        return "failed", recorded.reason
    if job is None and not attempts:
        return "stopped", (
            f"Slurm knows {element} no longer: it was cancelled while it waited, or its record "
            "is gone"
        )
    if job is None:
        return "stopped", f"Slurm knows {element} no longer: its record is gone"
    node = f" on {job.node}" if job.node else ""
    detail = f" ({job.reason})" if job.reason else ""
    lines = _printed(assignment)
    said = _last_words(lines)
    match job.state:
        case "TIMEOUT" | "DEADLINE":
            return "stopped", (
                f"{element} reached its limit of {profile.time} min{node} before a checkpoint "
                f"could be written (warning: {profile.signal_seconds} s before)"
            )
        case "OUT_OF_MEMORY":
            return "failed", f"{element} ran out of memory{node}; {_memory(profile)}"
        case "NODE_FAIL" | "BOOT_FAIL":
            return "stopped", f"the node of {element} failed: {job.node or 'unknown'}"
        case "CANCELLED" | "REVOKED":
            return "stopped", f"{element} was cancelled{detail}"
        case "PREEMPTED":
            return "stopped", f"{element} was preempted{node} and not requeued"
        case "COMPLETED":
            return "failed", f"{element} ended without finishing the run{said}"
    if any(map(_OUT_OF_MEMORY.search, lines)):  # without cgroups Slurm calls it no more than FAILED
        return "failed", f"{element} ran out of memory{node}; {_memory(profile)}"
    hint = "; killed, perhaps for memory" if ":9" in job.reason else said
    return "failed", f"{element} failed{node}{detail}{hint}"


def _memory(profile: Profile) -> str:
    asked = "the partition's default" if profile.mem is None else f"mem: {profile.mem}"
    return f"the profile asks for {asked}"


def _printed(assignment: Assignment) -> list[str]:
    """What Slurm's side of the job printed at its end."""
    job_id = (assignment.element or "").partition("_")[0]
    return [
        line.strip()
        for path in assignment.submission.log_files(assignment.claim, job_id=job_id)
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:]
        if line.strip()
    ]


def _last_words(lines: list[str]) -> str:
    """The last line that is not Slurm's own, for what went wrong before the run's own log."""
    own = [line for line in lines if not re.match(r"(srun|slurmstepd\S*): |run \S+: ", line)]
    errors = [line for line in lines if "error: " in line]
    if not lines:
        return ": it printed nothing; did a line of `setup` end it?"
    return f": {(own or errors or lines)[-1]}"
