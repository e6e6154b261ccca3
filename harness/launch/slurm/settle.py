"""What became of claimed runs whose jobs are gone: their status and its reason, and the claim back.

A task that ends by itself records its end and gives its run back. What is left here are jobs that
could not: killed, out of memory, out of time, on a node that died, cancelled while they waited, or
forgotten by Slurm.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from harness.launch.claims import Claim, give_back, release
from harness.launch.slurm.commands import SlurmJob, jobs_of
from harness.launch.slurm.profile import Profile
from harness.launch.slurm.submission import Submission
from harness.records import RunFolder, write_json

_OUT_OF_MEMORY = re.compile(r"oom.?kill|memory limit", re.IGNORECASE)
_LINES = 50
#: Where sbatch has not answered yet, its submitter is at work.
SUBMITTING = SlurmJob("SUBMITTING")


def settle(claims: Mapping[str, Claim], results: Path) -> dict[str, SlurmJob]:
    """Run id -> the job that has it still; runs whose jobs are gone are settled and given back.

    To be called while claiming. Raises NoSlurm where Slurm does not answer.
    """
    found = {}
    for run_id, job in look_up(claims, results).items():
        if job is not None and not job.is_over:
            found[run_id] = job
        else:
            _end(RunFolder(results, run_id), claims[run_id], results, job)
    return found


def look_up(claims: Mapping[str, Claim], results: Path) -> dict[str, SlurmJob | None]:
    """Run id -> what Slurm says of its job; None where there is no such job."""
    of_submission: dict[str, Submission] = {}
    elements: dict[str, str] = {}
    found: dict[str, SlurmJob | None] = dict.fromkeys(claims)
    for run_id, claim in claims.items():
        submission = of_submission.setdefault(
            claim.submission, Submission(results, claim.submission)
        )
        element = element_id(submission, claim)
        if element is not None:
            elements[run_id] = element
        elif submission.is_being_submitted():
            found[run_id] = SUBMITTING
    jobs = jobs_of(elements.values())
    return found | {run_id: jobs.get(element) for run_id, element in elements.items()}


def element_id(submission: Submission, claim: Claim) -> str | None:
    """`347009_3`: the claimed run's job to Slurm; None where it was never submitted."""
    if not submission.record.exists():
        return None
    job_id = submission.job_id(claim.array)
    return None if job_id is None else f"{job_id}_{claim.index}"


def _end(folder: RunFolder, claim: Claim, results: Path, job: SlurmJob | None) -> None:
    submission = Submission(results, claim.submission)
    if submission.known_job_id(claim.array) is None:
        give_back(folder, claim)
        return
    state, reason = explain(submission, claim, job)
    if not folder.training.exists():
        folder.change_status(state, reason)
    else:  # status is of training: the evaluations that it left undone have the reason
        for evaluation in sorted((folder.path / "evals").glob("*/spec.json")):
            found = folder.evaluation(evaluation.parent.name)
            if not found.is_done():
                write_json(found.error, {"reason": reason, "time": time.time()})
    release(folder, claim)


def explain(
    submission: Submission, claim: Claim, job: SlurmJob | None
) -> tuple[Literal["failed", "stopped"], str]:
    """The status of a run whose job ended without recording one, and why."""
    profile = submission.profile
    element = f"job {submission.known_job_id(claim.array)}_{claim.index}"
    attempts = submission.attempts(claim)
    if attempts and attempts[-1]["event"] == "end":
        return attempts[-1]["ending"], attempts[-1]["reason"]
    if job is None:
        return "stopped", f"Slurm knows {element} no longer: its record is gone"
    node = f" on {job.node}" if job.node and job.node != "None assigned" else ""
    detail = f" ({job.reason})" if job.reason else ""
    lines = _printed(submission, claim)
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


def _printed(submission: Submission, claim: Claim) -> list[str]:
    """What Slurm's side of the job printed at its end."""
    return [
        line.strip()
        for path in submission.log_files(claim)
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:]
        if line.strip()
    ]


def _last_words(lines: list[str]) -> str:
    """The last line that is not Slurm's own, for what went wrong before the run's own log."""
    own = [line for line in lines if not re.match(r"(srun|slurmstepd\S*): ", line)]
    return f": {(own or lines)[-1]}" if lines else ""
