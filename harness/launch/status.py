"""Where every run of a suite stands: from its records first, from Slurm second."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.launch.claims import Claim, claiming, owner_of
from harness.launch.missing import claims_of
from harness.launch.pending import merged, standing
from harness.launch.slurm.commands import NoSlurm, SlurmJob
from harness.launch.slurm.settle import element_id, explain, look_up, settle
from harness.launch.slurm.submission import Submission
from harness.planning.budget import run_cost
from harness.planning.planned import PlannedRun, Suite
from harness.records import RunFolder, read_json

#: States in which nobody need do anything.
ACTIVE = ("queued", "running", "evaluating")
_TAIL_BYTES = 4096
_QUEUED = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "SUBMITTING")


@dataclass(frozen=True)
class RunStatus:
    """One run: what state it is in, where, how far, how long still, and why.

    `state`: planned, queued, running, evaluating, evaluate (trained, evaluations missing), done,
    failed, stopped or changed (done by other source code or data). `share` of the training budget
    is done; `left_seconds` are of training, at the speed so far.
    """

    run_id: str
    name: str
    state: str
    job: str | None = None
    node: str | None = None
    step: int | None = None
    total_steps: int | None = None
    share: float | None = None
    left_seconds: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class SuiteStatus:
    """Every run, in the suite's order; `trouble` is why Slurm could not be asked."""

    runs: tuple[RunStatus, ...]
    trouble: str | None = None

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for run in self.runs:
            found[run.state] = found.get(run.state, 0) + 1
        return found


def status_of(suite: Suite, results: Path) -> SuiteStatus:
    """Look at every run; the ends of jobs that could not record them are recorded on the way."""
    runs = merged(suite.runs)
    claims = claims_of(runs, results)
    trouble = None
    jobs: dict[str, SlurmJob | None] = {}
    if claims:
        try:
            jobs = look_up(claims, results)
        except NoSlurm as error:
            trouble = error.problem
    over = {r: claims[r] for r, job in jobs.items() if job is None or job.is_over}
    unsettled = _settle(over, results)
    found = []
    for run_id, (run, evaluations) in runs.items():
        job = None if run_id in over else jobs.get(run_id)
        status = _status(run, evaluations, results, job, claims.get(run_id))
        if run_id in unsettled:
            state, reason = _explained(run_id, claims[run_id], results, jobs[run_id])
            status = replace(status, state=state, reason=reason)
        found.append(status)
    return SuiteStatus(tuple(found), trouble)


def _settle(over: dict[str, Claim], results: Path) -> Collection[str]:
    """Record the ends of jobs that are gone; returns those that this user may not write."""
    if not over:
        return ()
    try:
        with claiming(results):
            settle(claims_of(over, results), results)
    except (HarnessError, PermissionError):
        return over
    return ()


def _explained(
    run_id: str, claim: Claim, results: Path, job: SlurmJob | None
) -> tuple[str, str | None]:
    submission = Submission(results, claim.submission)
    if element_id(submission, claim) is None:
        return "planned", None
    return explain(submission, claim, job)


def _status(
    run: PlannedRun,
    evaluations: Collection[str],
    results: Path,
    job: SlurmJob | None,
    claim: Claim | None,
) -> RunStatus:
    folder = RunFolder(results, run.run_id)
    stands = standing(run, evaluations, results)
    status = RunStatus(run.run_id, run.name, stands)
    if stands == "new" and claim is None and not folder.path.exists():
        return replace(status, state="planned", total_steps=run_cost(run).steps)
    state, reason = _recorded(folder, stands, evaluations)
    owner = owner_of(folder)
    if owner is not None:
        status = replace(status, job=owner.job, node=owner.node)
    if job is not None and claim is not None:
        element = element_id(Submission(results, claim.submission), claim)
        status = replace(status, job=element, node=job.node or None)
        if job.state in _QUEUED:
            state, reason = "queued", "; ".join(filter(None, (reason, job.reason)))
            status = replace(status, node=None)
        elif state != "done":
            state, reason = ("evaluating" if folder.training.exists() else "running"), None
    status = replace(status, state=state, reason=reason or None)
    return (
        status
        if stands in ("done", "changed")
        else replace(status, **_progress(run, folder, state))
    )


def _recorded(
    folder: RunFolder, stands: str, evaluations: Collection[str]
) -> tuple[str, str | None]:
    """The state by the records alone, and its reason."""
    if stands in ("done", "changed"):
        return stands, None
    if stands == "evaluate":
        for evaluation in map(folder.evaluation, evaluations):
            if not evaluation.is_done() and evaluation.error.exists():
                return "failed", f"evaluation {evaluation.path.name}: " + str(
                    read_json(evaluation.error)["reason"]
                )
        return "evaluate", None
    status = folder.status()
    if status.state == "running" and not folder.claim.exists():
        with folder.hold() as free:
            if free:
                return "stopped", "its process is gone; it goes on from its last checkpoint"
    return status.state, status.reason


def _progress(run: PlannedRun, folder: RunFolder, state: str) -> dict[str, Any]:
    """Step, share and time left, from the last line of the log."""
    total = run_cost(run).steps
    line = _last_line(folder.train_log)
    if line is None:
        return {"total_steps": total}
    step, seconds = int(line["step"]), float(line["time"]["seconds"])
    budget = run.spec.budget.seconds
    share = seconds / budget if budget is not None else step / total if total else None
    left = None
    if state == "running" and share:
        left = seconds * (1 - min(1.0, share)) / share
    return {"step": step, "total_steps": total, "share": share, "left_seconds": left}


def _last_line(path: Path) -> dict[str, Any] | None:
    """The last complete line of a log, read from its end."""
    try:
        with path.open("rb") as handle:
            handle.seek(0, 2)
            handle.seek(max(0, handle.tell() - _TAIL_BYTES))
            lines = handle.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        try:
            found: dict[str, Any] = json.loads(line)
        except ValueError:
            continue
        return found
    return None
