"""Where every run of a suite stands: from its records first, from Slurm second."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.launch.claims import Claim, claiming, owner_of
from harness.launch.missing import claims_of
from harness.launch.pending import merged, standing_in
from harness.launch.slurm.commands import NoSlurm
from harness.launch.slurm.settle import UNKNOWN, Assignment, explain, look_up, settle_over
from harness.planning.planned import PlannedRun, Suite
from harness.records import RunFolder, Status

#: States in which nobody need do anything.
ACTIVE = ("queued", "running", "evaluating")
_TAIL_BYTES = 4096
#: Looking on does not wait for who submits as long as submitting does.
_PATIENCE_SECONDS = 5.0
_QUEUED = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "SUBMITTING")


#: Why Slurm lets a job wait, in words; what it says else stands as it is.
_WAITS = {
    "JobArrayTaskLimit": "waits: array_parallelism is reached",
    "Resources": "waits for free nodes",
    "Priority": "waits behind jobs of higher priority",
    "BeginTime": "waits a moment, as every requeued job",
    "PartitionConfig": "cannot start: asks for more than the partition has (PartitionConfig)",
    "BadConstraints": "cannot start: no node has what is asked for (BadConstraints)",
    "JobHeldUser": "held by its user: scontrol release",
    "JobHeldAdmin": "held by an administrator",
}


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
    assigned: dict[str, Assignment] = {}
    if claims:
        try:
            assigned = look_up(claims, results)
        except NoSlurm as error:
            trouble = error.problem
    over = {run_id: each for run_id, each in assigned.items() if each.is_over}
    unsettled = _settle(over, results)
    found = []
    for run_id, (run, evaluations) in runs.items():
        claim = None if run_id in over else claims.get(run_id)
        status = _status(run, evaluations, results, claim, assigned.get(run_id))
        if run_id in unsettled:
            state, reason = _explained(over[run_id])
            status = replace(status, state=state, reason=reason)
        found.append(status)
    return SuiteStatus(tuple(found), trouble)


def _settle(over: Mapping[str, Assignment], results: Path) -> Collection[str]:
    """Record the ends of jobs that are gone; returns those that cannot be written now."""
    if not over:
        return ()
    try:
        with claiming(results, wait_seconds=_PATIENCE_SECONDS):
            same = claims_of(over, results)
            settle_over({r: each for r, each in over.items() if same.get(r) == each.claim}, results)
    except (HarnessError, OSError):
        return over.keys()
    return ()


def _explained(assignment: Assignment) -> tuple[str, str | None]:
    return ("planned", None) if assignment.element is None else explain(assignment)


def _status(
    run: PlannedRun,
    evaluations: Collection[str],
    results: Path,
    claim: Claim | None,
    assignment: Assignment | None,
) -> RunStatus:
    folder = RunFolder(results, run.run_id)
    status = RunStatus(run.run_id, run.name, "planned")
    if not folder.path.exists():
        return replace(status, total_steps=run.cost.steps)
    recorded, owner = folder.status(), owner_of(folder)
    stands = standing_in(folder, recorded.state, run, evaluations)
    if owner is not None:
        status = replace(status, job=owner.job, node=owner.node or None)
    begun = owner is not None and owner.claim == claim
    if stands in ("done", "changed"):
        state, reason = str(stands), None
    elif stands == "evaluate":
        state, reason = _evaluating(folder, evaluations, claim, begun=begun)
    else:
        state, reason = _training(folder, recorded, claim)
    if assignment is not None and assignment.job is not None and not assignment.is_over:
        job = assignment.job
        status = replace(status, job=assignment.element, node=job.node or None)
        if job.state in _QUEUED:
            before = recorded.reason if recorded.state == "queued" else None
            waits = _WAITS.get(job.reason, job.reason)
            state, reason = "queued", "; ".join(filter(None, (before, waits)))
        elif job.state == UNKNOWN:
            reason = job.reason
        elif state != "done":
            state, reason = ("evaluating" if folder.training.exists() else "running"), None
    status = replace(status, state=state, reason=reason or None)
    return (
        status
        if stands in ("done", "changed")
        else replace(status, **_progress(run, folder, state))
    )


def _evaluating(
    folder: RunFolder, eval_ids: Collection[str], claim: Claim | None, *, begun: bool
) -> tuple[str, str | None]:
    """State and reason of a trained run by its records; `begun`: its claim's job has."""
    if claim is not None:
        return ("evaluating" if begun else "queued"), None
    for evaluation in map(folder.evaluation, eval_ids):
        ended = evaluation.ended()
        if ended is not None:
            state, reason = ended
            return state, f"evaluation {evaluation.path.name}: {reason}"
    return "evaluate", None


def _training(folder: RunFolder, recorded: Status, claim: Claim | None) -> tuple[str, str | None]:
    """State and reason of a run in training by its records."""
    if claim is None and recorded.state == "running" and _is_free(folder):
        return "stopped", "its process is gone; it goes on from its last checkpoint"
    if claim is None and recorded.state == "queued":  # its claim was removed by hand
        return ("stopped" if folder.train_log.exists() else "planned"), None
    return recorded.state, recorded.reason


def _is_free(folder: RunFolder) -> bool:
    """No process works on the run, as far as this user may see."""
    try:
        with folder.hold() as free:
            return free
    except HarnessError:
        return False


def _progress(run: PlannedRun, folder: RunFolder, state: str) -> dict[str, Any]:
    """Step, share and time left, from the last line of the log."""
    total = run.cost.steps
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
