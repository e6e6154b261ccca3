"""What a suite takes under a profile: hours, array layout, wall time, storage. Pure arithmetic."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from harness.planning.planned import RunCost
from harness.planning.speed import Source, Speed

#: Slurm's own default of MaxArraySize.
MAX_ARRAY_SIZE = 1001
#: Of a parameter in a checkpoint: its weight and AdamW's two moments, each float32.
BYTES_PER_PARAMETER = 12


@dataclass(frozen=True)
class Job:
    """What the job of one run holds, and how many there may be at once.

    `cores` and `gpus` are over all its nodes. A run may have `attempts` of `attempt_seconds` of
    training each.
    """

    nodes: int
    gpus: int
    cores: int
    attempt_seconds: float
    attempts: int
    slots: int
    array_size: int = MAX_ARRAY_SIZE


@dataclass(frozen=True)
class RunTime:
    """A run's training seconds, and from what they follow; None where its speed is unknown.

    `setting` names it but for its seed. `seconds` is the whole run's, `left` what is not trained
    yet: 0 where only evaluations are missing, or nothing (then it is not `to_do`).
    """

    run_id: str
    setting: str
    seconds: float | None
    left: float | None
    to_do: bool
    source: Source | None
    speed: Speed | None


def training_seconds(cost: RunCost, budget: float | None, speed: Speed | None) -> float | None:
    """A whole run's: its `budget` in seconds, or its steps at a speed."""
    if budget is not None:
        return budget
    if cost.steps is None or speed is None:
        return None
    return cost.steps * speed.seconds_per_step


@dataclass(frozen=True)
class Total:
    """Training seconds of some runs, without the `unknown` ones; None where all are unknown."""

    runs: int
    unknown: int
    seconds: float | None


def total(seconds: Iterable[float | None]) -> Total:
    """The sum of what is known: not 0 where the rest has no training left."""
    found = list(seconds)
    known = [each for each in found if each is not None]
    missing = len(found) - len(known)
    return Total(len(found), missing, None if missing and not any(known) else sum(known))


@dataclass(frozen=True)
class Layout:
    """Elements of each array, and the wall seconds until all have run; None where none is known."""

    arrays: tuple[int, ...]
    wall_seconds: float | None
    longest_seconds: float | None


def layout(seconds: Sequence[float | None], job: Job) -> Layout:
    """One element per run, the longest first; runs of unknown length take part in no time.

    Each array has `slots` of its own, as Slurm has it.
    """
    full, rest = divmod(len(seconds), job.array_size)
    arrays = (job.array_size,) * full + ((rest,) if rest else ())
    known = [each for each in seconds if each is not None]
    if len(known) < len(seconds) and not any(known):
        return Layout(arrays, None, None)
    ordered = sorted(known, reverse=True)
    starts = range(0, len(ordered), job.array_size)
    ends = [makespan(ordered[i : i + job.array_size], job.slots) for i in starts]
    return Layout(arrays, max(ends, default=0.0), max(known, default=0.0))


def makespan(seconds: Iterable[float], slots: int) -> float:
    """When the last run ends if each, longest first, starts in the slot that is free first."""
    ends = [0.0] * slots
    for each in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def attempts(seconds: float, job: Job) -> int:
    """Attempts that training takes: each reaches the time limit but the last."""
    return max(1, ceil(seconds / job.attempt_seconds))


@dataclass(frozen=True)
class Overdue:
    """A run that needs more attempts than it may have; `attempt_seconds` each would be enough."""

    run: RunTime
    attempts: int
    attempt_seconds: float


def overdue(times: Iterable[RunTime], job: Job) -> tuple[Overdue, ...]:
    """The runs to do that end before they are trained."""
    return tuple(
        Overdue(run, needed, run.left / job.attempts)
        for run in times
        if run.to_do and run.left is not None and (needed := attempts(run.left, job)) > job.attempts
    )


@dataclass(frozen=True)
class Storage:
    """Bytes of checkpoints: of all runs, of those to do, and the most while they are written."""

    total: int
    to_do: int
    peak: int


def checkpoint_bytes(cost: RunCost) -> int:
    """One checkpoint of a run."""
    return BYTES_PER_PARAMETER * cost.parameters + cost.replay_checkpoint_bytes


def storage(costs: Sequence[tuple[RunCost, bool]], *, kept: int, slots: int) -> Storage:
    """Each run, and whether it is to do, keeps `kept` checkpoints, and one more while it writes."""
    to_do = sorted((checkpoint_bytes(cost) for cost, is_left in costs if is_left), reverse=True)
    everything = kept * sum(checkpoint_bytes(cost) for cost, _ in costs)
    return Storage(everything, kept * sum(to_do), everything + sum(to_do[:slots]))


@dataclass(frozen=True)
class Estimate:
    """What a suite takes; `job`, `layout` and `overdue` where runs become jobs."""

    times: tuple[RunTime, ...]
    to_do: Total
    whole: Total
    storage: Storage
    job: Job | None = None
    layout: Layout | None = None
    overdue: tuple[Overdue, ...] = ()


def estimate(
    times: Sequence[RunTime], costs: Sequence[RunCost], *, kept: int, job: Job | None
) -> Estimate:
    """Add up `times` and `costs`, which are of the same runs; `kept` checkpoints stay of each."""
    left = [run.left for run in times if run.to_do]
    marked = [(cost, run.to_do) for run, cost in zip(times, costs, strict=True)]
    return Estimate(
        times=tuple(times),
        to_do=total(left),
        whole=total(run.seconds for run in times),
        storage=storage(marked, kept=kept, slots=1 if job is None else job.slots),
        job=job,
        layout=None if job is None else layout(left, job),
        overdue=() if job is None else overdue(times, job),
    )
