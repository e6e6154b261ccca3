"""What a suite takes, from its costs, its records and a profile."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.launch.pending import Standing
from harness.launch.slurm.profile import Profile
from harness.launch.throughput import work_of_run
from harness.planning.estimate import (
    MAX_ARRAY_SIZE,
    Estimate,
    Job,
    RunTime,
    estimate,
    training_seconds,
)
from harness.planning.planned import PlannedRun, RunCost
from harness.planning.speed import Hardware, Measured, Speed, speed
from harness.records import KEPT_CHECKPOINTS, RunFolder

#: Nothing is left to do: a run changed since is redone only where that is asked for.
FINISHED: tuple[Standing, ...] = ("done", "changed")
#: No training is left to do.
TRAINED: tuple[Standing, ...] = (*FINISHED, "evaluate")


def estimate_suite(
    runs: Mapping[str, PlannedRun],
    costs: Mapping[str, RunCost],
    states: Mapping[str, Standing],
    measured: Sequence[Measured],
    results: Path,
    profile: Profile | None = None,
    *,
    max_array_size: int = MAX_ARRAY_SIZE,
) -> Estimate:
    """Time and storage of runs (by id) at measured speeds; the layout of jobs under a profile.

    `max_array_size` is the cluster's, where the profile names none.
    """
    hardware = Hardware() if profile is None else hardware_of(profile)
    job = None if profile is None else job_of(profile, runs.values(), max_array_size)
    speeds: dict[str, Speed | None] = {}
    times = []
    for run_id, run in runs.items():
        work = work_of_run(run)
        if work.id not in speeds:
            speeds[work.id] = speed(work, measured, hardware)
        times.append(_time(run, costs[run_id], states[run_id], speeds[work.id], results))
    return estimate(times, list(costs.values()), kept=KEPT_CHECKPOINTS, job=job)


def _time(
    run: PlannedRun, cost: RunCost, state: Standing, found: Speed | None, results: Path
) -> RunTime:
    budget = run.spec.budget.seconds
    seconds = training_seconds(cost, budget, found)
    share = _share_left(run, cost, state, results)
    source = "budget" if budget is not None else None if found is None else found.source
    return RunTime(
        run_id=run.run_id,
        setting=run.setting,
        seconds=seconds,
        left=0.0 if share == 0 else None if seconds is None else share * seconds,
        to_do=state not in FINISHED,
        source=source,
        speed=None if budget is not None else found,
    )


def _share_left(run: PlannedRun, cost: RunCost, state: Standing, results: Path) -> float:
    """Of the run's training, from its newest checkpoint on."""
    if state in TRAINED:
        return 0.0
    if state == "new" or not cost.steps:
        return 1.0
    return max(0.0, 1 - (RunFolder(results, run.run_id).newest_step() or 0) / cost.steps)


def hardware_of(profile: Profile) -> Hardware:
    """What the runs of a profile train on."""
    named = (profile.constraint, profile.gres, profile.nodelist, profile.partition)
    return Hardware(
        processes=profile.processes,
        wanted=" ".join(text for text in named if text),
        flops_per_second=profile.flops_per_second,
    )


def job_of(profile: Profile, runs: Iterable[PlannedRun], max_array_size: int) -> Job:
    """The job that a profile makes of a run."""
    threads = max((run.spec.threads for run in runs), default=1)
    return Job(
        nodes=profile.nodes,
        gpus=profile.nodes * _gpus_per_node(profile),
        cores=profile.processes * (profile.cpus_per_task or threads),
        attempt_seconds=60.0 * profile.time - profile.signal_seconds,
        attempts=profile.max_timeouts + 1,
        slots=profile.array_parallelism,
        array_size=profile.max_array_size or max_array_size,
    )


def _gpus_per_node(profile: Profile) -> int:
    if profile.gpus_per_node or profile.gres is None:
        return profile.gpus_per_node
    counts = re.findall(r"gpu(?::[a-zA-Z][^:,]*)?(?::(\d+))?(?:,|$)", profile.gres)
    return sum(int(count or 1) for count in counts)
