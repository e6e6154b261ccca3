"""Hand out what a suite is missing as Slurm job arrays, each run once, whoever submits when.

In this order, so that a crash anywhere leaves either nothing or something that can be found again:
specs, a copy of the source, what is going to be submitted, a claim per run, sbatch, its answer.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from harness.errors import HarnessError
from harness.launch.claims import Claim, claiming, give_back, release, take
from harness.launch.missing import MissingRun, Work, work_of
from harness.launch.slurm import commands
from harness.launch.slurm.limits import Limits, limits_of
from harness.launch.slurm.profile import Profile
from harness.launch.slurm.script import array_script, check_python, send
from harness.launch.slurm.snapshot import take_snapshot
from harness.launch.slurm.submission import Element, Plan, Submission, arrays_of, new_id
from harness.planning.estimate import MAX_ARRAY_SIZE
from harness.planning.planned import PlannedRun, Suite
from harness.provenance import user_command
from harness.records import RunFolder

Item = TypeVar("Item")
_WRITERS = 16


@dataclass
class Submitted:
    """What was handed out; `held` runs are being worked on here, `waiting` ones did not fit.

    `warnings` are sbatch's, of jobs that it took.
    """

    work: Work
    submission: Submission | None = None
    jobs: dict[int, str] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def submit(
    suite: Suite,
    results: Path,
    profile: Profile,
    *,
    redo_changed: bool = False,
    chosen: Callable[[MissingRun], bool] = lambda missing: True,
) -> Submitted:
    """Submit every run that is missing, `chosen`, and nobody is at; returns at once.

    Raises HarnessError, with nothing left claimed, where a run cannot be trained under the profile
    or sbatch refuses.
    """
    results = results.resolve()
    check_python(profile)
    limits = limits_of(profile)
    with ExitStack() as submitting:
        with claiming(results):
            done = Submitted(work_of(suite, results, redo_changed=redo_changed))
            ordered = in_order([m for m in done.work.missing if chosen(m)])
            profile = fitted(profile, [m.run for m in ordered])
            room = len(ordered) if limits.room is None else limits.room
            ordered, waiting = ordered[:room], ordered[room:]
            done.waiting = [missing.run.run_id for missing in waiting]
            ordered, done.held = _not_held(ordered, results)
            if not ordered:
                return done
            done.submission = _written(suite, results, profile, ordered, limits)
            # Before there are claims, so that nobody takes them for those of a crash.
            submitting.enter_context(done.submission.submitting())
            _claim_all(done.submission)
        _send(done)
    return done


def rehearse(
    suite: Suite,
    results: Path,
    profile: Profile,
    *,
    limits: Limits | None = None,
    redo_changed: bool = False,
) -> list[str]:
    """The exact sbatch scripts that `submit` would send now; nothing is written or claimed."""
    results = results.resolve()
    work = work_of(suite, results, redo_changed=redo_changed, look_only=True)
    ordered = in_order(work.missing)
    profile = fitted(profile, [m.run for m in ordered])
    limits = limits or Limits(profile.max_array_size or MAX_ARRAY_SIZE, profile.max_submitted)
    free, _ = _not_held(ordered[: limits.room], results)
    plan = _plan(suite, profile, free, limits)
    submission = Submission(results, new_id(), plan)
    return [array_script(submission, number) for number in range(len(plan.arrays))]


def in_order(missing: Sequence[MissingRun]) -> list[MissingRun]:
    """Longest first, so that no long run is left alone at the end of an array."""
    return sorted(missing, key=lambda m: -m.flops)


def fitted(profile: Profile, runs: Sequence[PlannedRun]) -> Profile:
    """The profile with its defaults filled in; HarnessError where a run cannot have it."""
    threads = max((run.spec.threads for run in runs), default=1)
    cpus = profile.cpus_per_task or threads
    for run in runs:
        if run.spec.threads > cpus:
            raise HarnessError(
                f"{run.name} has {run.spec.threads} threads, and the profile gives {cpus} cores",
                hint="raise cpus_per_task in the profile",
            )
        if run.spec.budget.seconds is not None and not profile.exclusive:
            raise HarnessError(
                f"{run.name} has a budget in seconds, which count only where it runs alone",
                hint="set `exclusive: true` in the profile",
            )
        try:
            run.spec.check_processes(profile.processes)
        except ValueError as error:
            raise HarnessError(
                f"{run.name}: {error}",
                hint="processes are the profile's nodes x tasks_per_node",
            ) from error
    return profile.model_copy(update={"cpus_per_task": cpus})


def _not_held(missing: Sequence[MissingRun], results: Path) -> tuple[list[MissingRun], list[str]]:
    """Without the runs that a process works on just now."""
    free: list[MissingRun] = []
    held: list[MissingRun] = []
    for each in missing:
        folder = RunFolder(results, each.run.run_id)
        if folder.lock.exists():
            with folder.hold() as ours:
                (free if ours else held).append(each)
        else:
            free.append(each)
    return free, [each.run.run_id for each in held]


def _plan(suite: Suite, profile: Profile, missing: Sequence[MissingRun], limits: Limits) -> Plan:
    elements = [Element(m.run.run_id, m.run.name, tuple(m.evaluations)) for m in missing]
    return Plan(
        suite.name,
        limits.cluster,
        user_command(),
        os.getcwd(),
        profile.model_dump(mode="json"),
        arrays_of(elements, limits.array_size),
    )


def _written(
    suite: Suite,
    results: Path,
    profile: Profile,
    missing: Sequence[MissingRun],
    limits: Limits,
) -> Submission:
    """Everything that comes before claims: specs, the source, what is going to be submitted."""
    _in_parallel(lambda each: each.begin(results), missing)
    submission = Submission(results, new_id(), _plan(suite, profile, missing, limits))
    own = profile.python is None and profile.venv is None and profile.container is None
    take_snapshot([m.run.record for m in missing], submission.code, same_python=own)
    submission.write()
    return submission


def _in_parallel(do: Callable[[Item], object], items: Iterable[Item]) -> None:
    """For work that waits for the disk: every file of a run is made to last on its own."""
    with ThreadPoolExecutor(_WRITERS) as pool:
        deque(pool.map(do, items), maxlen=0)


def _claim_all(submission: Submission) -> None:
    """Runs that a process has taken meanwhile are its own."""
    claims = [
        (RunFolder(submission.results, element.run_id), Claim(submission.id, number, index))
        for number, array in enumerate(submission.plan.arrays)
        for index, element in enumerate(array)
    ]
    _in_parallel(lambda each: _claim(*each), claims)


def _claim(folder: RunFolder, claim: Claim) -> None:
    assert take(folder, claim), f"{folder.run_id} is claimed, and nobody else is claiming"
    # Who holds the run and who claims it look at each other's mark after making their own.
    with folder.hold() as free:
        if not free:
            release(folder, claim)
        elif not folder.training.exists():
            folder.change_status("queued")


def _send(done: Submitted) -> None:
    """sbatch, array by array; what was not submitted is given back."""
    assert done.submission is not None
    submission = done.submission
    for number in range(len(submission.plan.arrays)):
        try:
            job_id, warning = _sent(submission, number)
        except HarnessError as error:
            for later in range(number, len(submission.plan.arrays)):
                _give_back(submission, later)
            if not done.jobs:  # its lock is open still, which some file systems keep as a file
                shutil.rmtree(submission.path, ignore_errors=True)
            raise _partly(error, done) from error
        submission.note_job(number, job_id)
        done.jobs[number] = job_id
        if warning and warning not in done.warnings:
            done.warnings.append(warning)


def _sent(submission: Submission, array: int) -> tuple[str, str]:
    """The array's Slurm id, also where a busy controller took it and its answer was lost.

    With it, what sbatch found strange.
    """
    try:
        return send(submission, array)
    except commands.NoSlurm:
        raise
    except HarnessError:
        with suppress(commands.NoSlurm):
            found = commands.job_named(submission.job_name(array))
            if found is not None:
                return found, ""
        raise


def _give_back(submission: Submission, array: int) -> None:
    for index, element in enumerate(submission.plan.arrays[array]):
        folder = RunFolder(submission.results, element.run_id)
        give_back(folder, Claim(submission.id, array, index))


def _partly(error: HarnessError, done: Submitted) -> HarnessError:
    """The same error, with what was submitted before it."""
    if not done.jobs:
        return error
    return HarnessError(
        f"{error.problem}; submitted before that: job {', '.join(done.jobs.values())}",
        where=error.where,
        hint="the same command submits the rest once the cluster takes it",
    )
