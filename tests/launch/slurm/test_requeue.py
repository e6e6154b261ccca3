"""Why a job was asked to stop, read from scontrol; and what is done about it."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Any

import pytest

from harness.launch.claims import claim_of
from harness.launch.slurm import commands, requeue
from harness.launch.slurm.attempt import Attempt
from harness.launch.slurm.requeue import after_stop, why_stopped
from harness.records import RunFolder
from tests.launch.slurm.desk import TOY, Desk
from tests.launch.slurm.fake_slurm import FakeSlurm

MINUTE, HOUR = 60, 3600


def ago(seconds: float) -> str:
    return (datetime.now() - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def job(state: str = "RUNNING", *, limit: str, ran: float, **more: str) -> dict[str, str]:
    return {
        "JobState": state,
        "TimeLimit": limit,
        "StartTime": ago(ran),
        "PreemptTime": "None",
    } | more


#: Situation -> the job, whether the signal was the warning (120 s before the limit), and why.
SITUATIONS: dict[str, tuple[dict[str, str], bool, str]] = {
    "warned before 12 hours": (job(limit="12:00:00", ran=12 * HOUR - 121), True, "time limit"),
    "a minute early": (job(limit="12:00:00", ran=12 * HOUR - 185), True, "time limit"),
    "warned before days": (job(limit="2-00:00:00", ran=48 * HOUR - 130), True, "time limit"),
    "warned before 10 min": (job(limit="00:10:00", ran=8 * MINUTE), True, "time limit"),
    "any warning in 1 min": (job(limit="00:01:00", ran=15), True, "time limit"),
    "early in 12 hours": (job(limit="12:00:00", ran=HOUR), True, "preempted"),
    "early in 10 min": (job(limit="00:10:00", ran=MINUTE), True, "preempted"),
    "preempted in 1 min": (
        job(limit="00:01:00", ran=15, PreemptTime=ago(1)),
        True,
        "preempted",
    ),
    "preempted at the limit": (
        job(limit="00:10:00", ran=9 * MINUTE, PreemptTime=ago(1)),
        True,
        "preempted",
    ),
    "preempted by SIGTERM": (
        job(limit="12:00:00", ran=HOUR, PreemptTime=ago(1)),
        False,
        "preempted",
    ),
    "preempted before it was requeued": (
        job(limit="00:10:00", ran=8 * MINUTE, PreemptTime=ago(HOUR)),
        True,
        "time limit",
    ),
    "without a limit": (job(limit="UNLIMITED", ran=HOUR), True, "preempted"),
    "no start": (job(limit="12:00:00", ran=0, StartTime="Unknown"), True, "preempted"),
    "cancelled": (job("CANCELLED", limit="12:00:00", ran=HOUR), False, "ended by Slurm"),
    "requeued": (job("PENDING", limit="12:00:00", ran=HOUR), True, "ended by Slurm"),
    "out of time": (job("TIMEOUT", limit="00:10:00", ran=HOUR), False, "ended by Slurm"),
    "completing": (job("COMPLETING", limit="00:10:00", ran=HOUR), False, "ended by Slurm"),
    "SIGTERM at the limit": (job(limit="00:10:00", ran=590), False, "time limit"),
    "SIGTERM by hand": (job(limit="12:00:00", ran=HOUR), False, "asked to stop"),
    "warned, and no answer": ({}, True, "time limit"),
    "SIGTERM, and no answer": ({}, False, "asked to stop"),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_why(situation: str) -> None:
    details, warned, why = SITUATIONS[situation]
    assert why_stopped(details, warned=warned, signal_seconds=120) == why


@pytest.fixture
def attempt(desk: Desk, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> Attempt:
    """A run in training, in an element's only process."""
    suite = desk.suite({"a": TOY})
    desk.submit(suite, max_timeouts=1)
    (folder,) = desk.folders(suite)
    slurm.set("1000_0", "RUNNING", node="n1")
    folder.set_status("running", step=7, total_steps=20)
    variables = {"JOB_ID": "1000", "ARRAY_JOB_ID": "1000", "ARRAY_TASK_ID": "0"}
    for name, value in (variables | {"JOB_NODELIST": "n1"}).items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setattr(requeue.time, "sleep", lambda seconds: None)
    made = Attempt(desk.submission(folder), 0)
    made.begin()
    return made


def state_of(folder: RunFolder) -> tuple[str, str | None]:
    status = folder.status()
    assert status.step == 7, "the step is kept"
    return status.state, status.reason


def details(slurm: FakeSlurm, **changes: Any) -> None:
    slurm.set("1000_0", changes.pop("state", "RUNNING"), node="n1", details=job(**changes))


def test_preemption_costs_nothing(attempt: Attempt, slurm: FakeSlurm) -> None:
    for _ in range(4):
        details(slurm, limit="12:00:00", ran=HOUR, PreemptTime=ago(1))
        assert after_stop(attempt, warned=True) == 0
        assert state_of(attempt.folder) == ("queued", "preempted at step 7, requeued")
        assert slurm.elements()["1000_0"]["state"] == "PENDING"
        assert claim_of(attempt.folder) == attempt.claim


def test_the_limit_is_reached_as_often_as_the_profile_says(
    attempt: Attempt, slurm: FakeSlurm
) -> None:
    details(slurm, limit="00:10:00", ran=9 * MINUTE)
    assert after_stop(attempt, warned=True) == 0
    assert state_of(attempt.folder) == ("queued", "time limit at step 7, requeued")
    details(slurm, limit="00:10:00", ran=9 * MINUTE)
    assert after_stop(attempt, warned=True) == 1
    state, reason = state_of(attempt.folder)
    assert state == "stopped"
    assert str(reason).startswith("reached its limit of 60 min 2 times (max_timeouts 1) at step 7")
    assert claim_of(attempt.folder) is None
    assert slurm.elements()["1000_0"]["state"] == "RUNNING", "it ends by itself"


def test_what_slurm_ends_is_left_to_its_records(attempt: Attempt, slurm: FakeSlurm) -> None:
    details(slurm, state="CANCELLED", limit="12:00:00", ran=HOUR)
    with slurm.state() as state:
        state["elements"]["1000_0"]["details"]["JobState"] = "CANCELLED"
    assert after_stop(attempt, warned=False) == 0
    assert claim_of(attempt.folder) == attempt.claim
    assert state_of(attempt.folder) == ("running", None)


def test_a_signal_by_hand_stops_the_run(attempt: Attempt, slurm: FakeSlurm) -> None:
    details(slurm, limit="12:00:00", ran=HOUR)
    assert after_stop(attempt, warned=False) == 1
    assert state_of(attempt.folder) == (
        "stopped",
        "stopped by a signal at step 7; submit again to go on",
    )
    assert claim_of(attempt.folder) is None


def test_what_slurm_has_requeued_already_needs_no_second(
    attempt: Attempt, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    details(slurm, limit="12:00:00", ran=HOUR)
    told = commands.details("1000")
    monkeypatch.setattr(commands, "details", lambda job_id: told)
    slurm.set("1000_0", "PENDING")
    assert after_stop(attempt, warned=True) == 0
    assert state_of(attempt.folder)[0] == "queued"


def test_a_controller_that_is_away_is_asked_again_and_then_given_up(
    attempt: Attempt, slurm: FakeSlurm
) -> None:
    slurm.break_()
    slurm.forget_calls()
    assert after_stop(attempt, warned=True) == 1
    tries = [call for call in slurm.calls("scontrol") if "requeue" in call]
    assert len(tries) == requeue._TRIES
    state, reason = state_of(attempt.folder)
    assert state == "stopped"
    assert "time limit at step 7, and could not be requeued: scontrol failed" in str(reason)
    assert claim_of(attempt.folder) is None


def test_times_are_read_whatever_form_the_user_likes(
    attempt: Attempt, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sbatch hands the variable on to jobs; `relative` times could not be read back."""
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    script = slurm.bin / "scontrol"
    script.write_text('#!/bin/sh\necho "JobState=$SLURM_TIME_FORMAT"\n')
    assert commands.details("1000") == {"JobState": "standard"}
    assert os.environ["SLURM_TIME_FORMAT"] == "relative"


def test_a_replaced_attempt_takes_nothing_back(attempt: Attempt, desk: Desk) -> None:
    """A copy on a node that Slurm lost ends late; the run is the next attempt's."""
    from harness.launch.slurm import task
    from harness.launch.stop import StopFlag
    from harness.launch.worker import Ending

    desk.monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    Attempt(attempt.submission, 0).begin()
    assert not attempt.is_ours()
    for how in ("stopped", "held", "failed"):
        assert task._finish(attempt, Ending(how, "too late"), StopFlag()) == 0  # type: ignore[arg-type]
    assert claim_of(attempt.folder) == attempt.claim
    assert state_of(attempt.folder) == ("running", None)
