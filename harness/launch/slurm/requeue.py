"""What to do after a signal: back into the queue, or an end; and which of the two, from Slurm.

Preemption costs a run nothing; reaching the time limit counts, up to the profile's max_timeouts.
The clock alone cannot tell them apart in a job of minutes, so the controller is asked.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from harness.launch.claims import release
from harness.launch.slurm import commands
from harness.launch.slurm.attempt import Attempt
from harness.launch.slurm.profile import Profile
from harness.launch.slurm.settle import record_end

#: The warning comes up to a minute early, and on the controller's next tick of half a minute.
_EARLY_SECONDS = 75
#: Half a minute in all: a controller that restarts is back by then.
_TRIES = 5

Why = Literal["preempted", "time limit", "ended by Slurm", "asked to stop"]


def after_stop(attempt: Attempt, *, warned: bool) -> int:
    """Decide, do and record it; returns the exit code. `warned`: the signal was the warning."""
    why = why_stopped(_job(attempt), warned=warned, profile=attempt.submission.profile)
    step = attempt.folder.status().step
    at = "" if step is None else f" at step {step}"
    if why == "ended by Slurm":
        # Cancelled, or requeued by Slurm itself: the claim stays until its record says which.
        attempt.note("ended by Slurm", step=step)
        return 0
    if why == "asked to stop":
        return stop(attempt, f"stopped by a signal{at}; submit again to go on")
    attempt.note(why, step=step)
    most = attempt.submission.profile.max_timeouts
    if why == "time limit" and _timeouts(attempt) > most:
        limit = attempt.submission.profile.time
        return stop(
            attempt,
            f"reached its limit of {limit} min once more than max_timeouts ({most}) allows{at}; "
            "submit again to go on, with more time",
        )
    return _requeue(attempt, f"{why}{at}, requeued")


def _job(attempt: Attempt) -> Mapping[str, str]:
    """What Slurm says of the job; where there is no answer, what this process knows of it."""
    for tried in range(_TRIES):
        try:
            return commands.details(attempt.job_id)
        except commands.NoSlurm:
            if not commands.available():  # a container without Slurm's commands
                break
            time.sleep(2**tried)
    began = datetime.fromtimestamp(attempt.began).isoformat(timespec="seconds")
    minutes = attempt.submission.profile.time
    return {"StartTime": began, "TimeLimit": f"{minutes // 60:02d}:{minutes % 60:02d}:00"}


def why_stopped(job: Mapping[str, str], *, warned: bool, profile: Profile) -> Why:
    """Read from `scontrol show job`. Where Slurm did not say a state, SIGTERM is left to it."""
    if job.get("JobState", "RUNNING" if warned else "") != "RUNNING":
        return "ended by Slurm"
    limit, start = _seconds(job.get("TimeLimit", "")), _moment(job.get("StartTime", ""))
    preempted = _moment(job.get("PreemptTime", ""))
    if preempted is not None and preempted >= (start or 0):  # not an earlier attempt's
        return "preempted"
    if limit is not None and start is not None:
        left = limit - (time.time() - start)
        if left <= (profile.signal_seconds if warned else 0) + _EARLY_SECONDS:
            return "time limit"
    return "preempted" if warned else "asked to stop"


def _seconds(limit: str) -> int | None:
    """Slurm's `D-HH:MM:SS`; None for UNLIMITED."""
    days, _, clock = limit.rpartition("-")
    parts = clock.split(":")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        return None
    hours, minutes, seconds = map(int, parts)
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _moment(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _timeouts(attempt: Attempt) -> int:
    attempts: list[dict[str, Any]] = attempt.submission.attempts(attempt.claim)
    return sum(attempt["event"] == "time limit" for attempt in attempts)


def _requeue(attempt: Attempt, reason: str) -> int:
    if not attempt.folder.training.exists():
        attempt.folder.change_status("queued", reason)
    if not commands.available():
        attempt.ask_script_to_requeue()
        return 0
    for tried in range(_TRIES):
        try:
            commands.requeue(attempt.job_id)
        except commands.NoSlurm as error:
            problem = error.problem
            time.sleep(2**tried)
        else:
            return 0
    return stop(
        attempt, f"{reason.removesuffix(', requeued')}, and could not be requeued: {problem}"
    )


def stop(attempt: Attempt, reason: str) -> int:
    """End here: the run stands as stopped, and whoever submits may have it."""
    record_end(attempt.folder, attempt.element.eval_ids, "stopped", reason)
    attempt.note("end", ending="stopped", reason=reason)
    release(attempt.folder, attempt.claim)
    return 1
