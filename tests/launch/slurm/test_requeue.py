"""Why a job was asked to stop, read from scontrol; and what is done about it."""

from __future__ import annotations

import os
import subprocess
import threading
from datetime import datetime, timedelta
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.launch.claims import claim_of
from harness.launch.slurm import commands, requeue, task
from harness.launch.slurm.attempt import Attempt
from harness.launch.slurm.profile import Profile
from harness.launch.slurm.requeue import after_stop, why_stopped
from harness.launch.slurm.script import array_script
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


def unanswered(*, limit: str, ran: float) -> dict[str, str]:
    """What a process knows of its job by itself."""
    return {"TimeLimit": limit, "StartTime": ago(ran)}


def situations() -> dict[str, tuple[dict[str, str], bool, str]]:
    """Situation -> the job as of now, whether the signal was the warning (120 s before the limit),
    and why.
    """
    return {
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
        "early, and no answer": (unanswered(limit="12:00:00", ran=HOUR), True, "preempted"),
        "late, and no answer": (
            unanswered(limit="12:00:00", ran=12 * HOUR - 90),
            True,
            "time limit",
        ),
        "SIGTERM, and no answer": (unanswered(limit="12:00:00", ran=HOUR), False, "ended by Slurm"),
    }


@pytest.mark.parametrize("situation", situations())
def test_why(situation: str) -> None:
    details, warned, why = situations()[situation]
    profile = Profile(time=60, signal_seconds=120)
    assert why_stopped(details, warned=warned, profile=profile) == why


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
    assert str(reason).startswith(
        "reached its limit of 60 min once more than max_timeouts (1) allows at step 7; submit"
    )
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
    assert "preempted at step 7, and could not be requeued: scontrol failed" in str(reason)
    assert claim_of(attempt.folder) is None


def test_sigterm_while_the_controller_is_away_leaves_the_claim_to_the_record(
    attempt: Attempt, slurm: FakeSlurm
) -> None:
    """Slurm may have requeued the job itself, and the next attempt must find its claim."""
    slurm.break_()
    assert after_stop(attempt, warned=False) == 0
    assert claim_of(attempt.folder) == attempt.claim
    assert attempt.submission.attempts(attempt.claim)[-1]["event"] == "ended by Slurm"


def test_a_task_without_slurms_commands_has_its_script_requeue_it(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container. The script's end, run by a shell, does it and keeps the exit code."""
    with monkeypatch.context() as patch:
        patch.setenv("PATH", os.fspath(attempt.folder.path))
        assert after_stop(attempt, warned=True) == 0
    assert state_of(attempt.folder) == ("queued", "preempted at step 7, requeued")
    text = array_script(attempt.submission, 0)
    end = text.partition("# teardown\n")[2]
    for expected in ("requeue 1000", ""):
        script = f'scontrol() {{ echo "$@"; }}\n(exit 7)\n{end}'
        ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
        assert (ended.stdout.strip(), ended.returncode) == (expected, 7)


def test_a_job_that_is_lost_again_and_again_is_given_up(
    attempt: Attempt, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that brings down its node would go through all of them; a step gained counts anew."""
    lost = []
    for restart in range(1, 4):
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
        again = Attempt(attempt.submission, 0)
        again.begin()
        lost.append(again.is_lost())
    assert lost == [False, True, True]
    (attempt.folder.checkpoints / "step-5").mkdir(parents=True)
    again.begin()
    assert not again.is_lost()


def test_the_watch_outlives_the_file_servers_trouble(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([OSError(5, "Input/output error"), HarnessError("no claim"), True, False])
    ended = threading.Event()

    def is_ours() -> bool:
        answer = next(answers, False)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(attempt, "is_ours", is_ours)
    monkeypatch.setattr(task, "_WATCH_SECONDS", 0.01)
    monkeypatch.setattr(os, "_exit", lambda code: ended.set())
    watch = task._Watch(attempt)
    assert ended.wait(10)
    watch.over.set()
    watch.thread.join(10)


def test_a_claim_that_a_node_does_not_see_yet_is_waited_for(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = attempt.folder.claim.rename(attempt.folder.path / "hidden")
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            hidden.rename(attempt.folder.claim)

    monkeypatch.setattr("harness.launch.slurm.attempt.time.sleep", sleep)
    assert attempt.finds_its_claim()
    assert len(waits) == 3
    assert not list(attempt.folder.path.glob(".tmp*"))


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
    from harness.launch.stop import StopFlag
    from harness.launch.worker import Ending

    desk.monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    Attempt(attempt.submission, 0).begin()
    assert not attempt.is_ours()
    for how in ("stopped", "held", "failed"):
        assert task._finish(attempt, Ending(how, "too late"), StopFlag()) == 0  # type: ignore[arg-type]
    assert claim_of(attempt.folder) == attempt.claim
    assert state_of(attempt.folder) == ("running", None)
