"""How a job ended is its run's state and reason, also where the run could not say so itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.launch.claims import claim_of
from harness.records import read_json, write_json
from tests.launch.slurm.desk import TOY, Desk, train
from tests.launch.slurm.fake_slurm import FakeSlurm

#: State -> what Slurm says with it, the run's state, and its reason.
ENDS: dict[str, tuple[dict[str, str], str, str]] = {
    "TIMEOUT": ({}, "stopped", " reached its limit of 60 min on n1 before a checkpoint"),
    "DEADLINE": ({}, "stopped", " reached its limit of 60 min on n1 before a checkpoint"),
    "OUT_OF_MEMORY": (
        {"exit": "0:125"},
        "failed",
        " ran out of memory on n1; the profile asks for ",
    ),
    "NODE_FAIL": ({}, "stopped", " failed: n1"),
    "BOOT_FAIL": ({}, "stopped", " failed: n1"),
    "PREEMPTED": ({}, "stopped", " was preempted on n1 and not requeued"),
    "CANCELLED": ({"by": "1007"}, "stopped", " was cancelled"),
    "COMPLETED": ({}, "failed", " ended without finishing the run"),
    "FAILED": ({"exit": "3:0", "reason": "NonZeroExitCode"}, "failed", " failed on n1 ("),
    "killed": ({"exit": "0:9"}, "failed", "; killed, perhaps for memory"),
}
#: What only accounting says.
ACCOUNTED = {
    "CANCELLED": " was cancelled (by user 1007)",
    "FAILED": " failed on n1 (exit code 3:0)",
}


@pytest.mark.parametrize("work", ["training", "evaluating"])
@pytest.mark.parametrize("memory", ["controller", "accounting"])
def test_ends_are_told(memory: str, work: str, desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY}, seeds=list(range(len(ENDS))))
    folders = dict(zip(ENDS, desk.folders(suite), strict=True))
    if work == "evaluating":
        for run, folder in zip(desk.runs(suite), folders.values(), strict=True):
            train(folder, run)
    desk.submit(suite)
    elements = {end: desk.element(folder) for end, folder in folders.items()}
    for end, element in elements.items():
        details = ENDS[end][0]
        if memory == "controller" and end == "killed":
            details = {"reason": "RaisedSignal:9(Killed)"}
        slurm.set(element, "FAILED" if end == "killed" else end, node="n1", **details)
    if memory == "accounting":
        slurm.forget()

    rows = desk.status(suite)
    for end, folder in folders.items():
        _, expected, said = ENDS[end]
        if memory == "accounting":
            said = ACCOUNTED.get(end, said)
        row = rows[folder.run_id]
        assert said in row["reason"], end
        assert f"job {elements[end]}" in row["reason"]
        assert row["state"] == expected, end
        assert (row["job"], row["node"]) == (elements[end], "n1")
        assert folder.status().state == ("done" if work == "evaluating" else expected)
    assert desk.claimed(suite) == []
    assert desk.status(suite) == rows, "it is recorded"
    assert sum(len(job["runs"]) for job in desk.submit(suite)["jobs"]) == len(ENDS)


def test_what_both_have_forgotten_is_stopped(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY}, seeds=[0, 1])
    desk.submit(suite)
    begun, waiting = desk.folders(suite)
    submission, claim = desk.submission(begun), claim_of(begun)
    assert claim is not None
    submission.note(claim, "start", restart=0)
    slurm.forget(accounting=True)
    rows = desk.status(suite)
    assert {row["state"] for row in rows.values()} == {"stopped"}
    assert rows[begun.run_id]["reason"].endswith("no longer: its record is gone")
    assert "cancelled while it waited" in rows[waiting.run_id]["reason"]


def test_elements_that_never_began_are_one_row_of_accounting(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY}, seeds=list(range(6)))
    desk.submit(suite, array_parallelism=2)
    slurm.set("1000_3", "TIMEOUT", node="n1")
    for index in (0, 1, 2, 4, 5):
        slurm.set(f"1000_{index}", "CANCELLED", by="0")
    slurm.forget()
    reasons = {desk.element(f): f.run_id for f in desk.folders(suite)}
    rows = desk.status(suite)
    cancelled = "job {} was cancelled (by user 0)"
    for index in (0, 1, 2, 4, 5):
        element = f"1000_{index}"
        assert rows[reasons[element]]["reason"] == cancelled.format(element)
    assert "reached its limit" in rows[reasons["1000_3"]]["reason"]


def test_a_job_that_the_controller_lost_is_not_running(desk: Desk, slurm: FakeSlurm) -> None:
    """Accounting still says so of jobs that were lost with a controller's state."""
    suite = desk.suite({"a": TOY}, seeds=[0, 1])
    desk.submit(suite)
    slurm.set("1000_0", "RUNNING", node="n1")
    slurm.forget()
    assert {row["state"] for row in desk.status(suite).values()} == {"stopped"}
    assert desk.claimed(suite) == []


def test_without_accounting_an_end_is_told_by_the_controller(desk: Desk, slurm: FakeSlurm) -> None:
    slurm.configure(accounting=False)
    suite = desk.suite({"a": TOY}, seeds=[0, 1])
    desk.submit(suite)
    first, second = desk.folders(suite)
    slurm.set(desk.element(first), "OUT_OF_MEMORY", node="n1")
    rows = desk.status(suite)
    assert rows[first.run_id]["state"] == "failed"
    assert rows[second.run_id]["state"] == "queued"


def test_what_the_job_itself_recorded_goes_before_slurms_word(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY})
    (folder,) = desk.folders(suite)
    desk.submit(suite)
    claim = claim_of(folder)
    assert claim is not None
    desk.submission(folder).note(claim, "end", ending="stopped", reason="asked to, at step 7")
    slurm.set("1000_0", "COMPLETED", node="n1")
    row = desk.status(suite)[folder.run_id]
    assert (row["state"], row["reason"]) == ("stopped", "asked to, at step 7")


def test_the_last_words_are_those_of_the_job(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY})
    (folder,) = desk.folders(suite)
    desk.submit(suite)
    log = desk.submission(folder).logs / "1000_0_0_log.out"
    log.write_text("No module named 'torch'\nsrun: error: n1: task 0: Exited with exit code 1\n\n")
    slurm.set("1000_0", "FAILED", node="n1", reason="NonZeroExitCode")
    assert desk.status(suite)[folder.run_id]["reason"].endswith(": No module named 'torch'")


def test_evaluations_of_other_suites_are_not_blamed(desk: Desk, slurm: FakeSlurm) -> None:
    """Two suites share a run; a job that was to do the evaluations of one of them fails."""
    suite = desk.suite({"a": TOY})
    (run,), (folder,) = desk.runs(suite), desk.folders(suite)
    train(folder, run)
    desk.submit(suite)
    other = folder.evaluation("0123456789ab")
    write_json(other.spec, {})
    slurm.set("1000_0", "FAILED", node="n1")
    desk.status(suite)
    (own,) = [planned.eval_id for planned in run.evaluations]
    assert folder.evaluation(own).error.exists()
    assert not other.error.exists()


def test_a_failed_evaluation_that_is_queued_again_is_queued(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY})
    (run,), (folder,) = desk.runs(suite), desk.folders(suite)
    train(folder, run)
    error = folder.evaluation(run.evaluations[0].eval_id).error
    write_json(error, {"reason": "it broke", "time": 0})
    assert "it broke" in desk.status(suite)[folder.run_id]["reason"]
    assert len(desk.ask("retry", suite, "--profile", desk.profile())["jobs"]) == 1
    row = desk.status(suite)[folder.run_id]
    assert (row["state"], row["reason"]) == (
        "queued",
        "waits behind jobs of higher priority",
    )
    slurm.break_()
    assert desk.status(suite)[folder.run_id]["state"] == "queued"


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_a_requeued_run_says_why_it_waits(state: str, desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY})
    (folder,) = desk.folders(suite)
    desk.submit(suite)
    folder.set_status("queued", "preempted at step 5, requeued", step=5, total_steps=20)
    node = {"node": "n2"} if state == "RUNNING" else {"reason": "BeginTime"}
    slurm.set("1000_0", state, **node)
    row: dict[str, Any] = desk.status(suite)[folder.run_id]
    if state == "RUNNING":
        assert (row["state"], row["node"], row["reason"]) == ("running", "n2", None)
    else:
        assert (
            row["reason"] == "preempted at step 5, requeued; waits a moment, as every requeued job"
        )
        assert row["state"] == "queued"


def test_progress_and_time_left_are_of_the_log(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY})
    (folder,) = desk.folders(suite)
    desk.submit(suite)
    slurm.set("1000_0", "RUNNING", node="n1")
    lines = [{"step": step, "time": {"seconds": 2.0 * step}} for step in (1, 5)]
    folder.train_log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 6')
    row = desk.status(suite)[folder.run_id]
    assert (row["step"], row["total_steps"], row["share"]) == (5, 20, 0.25)
    assert row["left_seconds"] == pytest.approx(30.0)


def test_a_claim_that_was_removed_by_hand_leaves_nothing_queued(
    desk: Desk, slurm: FakeSlurm
) -> None:
    """Else `status --watch` would wait for ever."""
    suite = desk.suite({"a": TOY}, seeds=[0, 1])
    new, begun = desk.folders(suite)
    desk.submit(suite)
    begun.train_log.write_text('{"step": 1, "time": {"seconds": 1}}\n')
    for folder in (new, begun):
        folder.claim.unlink()
    rows = desk.status(suite)
    assert [rows[f.run_id]["state"] for f in (new, begun)] == ["planned", "stopped"]
    assert read_json(new.status_path)["state"] == "queued", "looking on changes nothing"


def test_the_reason_that_a_rank_gave_stands(desk: Desk, slurm: FakeSlurm) -> None:
    """srun kills the first rank before it can note an end; another wrote the status."""
    suite = desk.suite({"a": TOY})
    (folder,) = desk.folders(suite)
    desk.submit(suite)
    folder.set_status("failed", "rank 1: RuntimeError: out of luck")
    slurm.set("1000_0", "FAILED", node="n1", reason="NonZeroExitCode")
    row = desk.status(suite)[folder.run_id]
    assert (row["state"], row["reason"]) == ("failed", "rank 1: RuntimeError: out of luck")


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("", "it printed nothing; did a line of `setup` end it?"),
        ("run a-1: x, attempt 1\nsrun: error: n1: task 0: Killed\n", "n1: task 0: Killed"),
        ("srun: error: no-such-image\nsrun: Terminating StepId=3.0\n", "error: no-such-image"),
        ("no module torch\nsrun: error: n1: task 0: Exited\n", "no module torch"),
    ],
)
def test_the_line_that_tells_most_is_told(
    printed: str, said: str, desk: Desk, slurm: FakeSlurm
) -> None:
    suite = desk.suite({"a": TOY})
    (folder,) = desk.folders(suite)
    desk.submit(suite)
    (desk.submission(folder).logs / "1000_0_0_log.out").write_text(printed)
    slurm.set("1000_0", "FAILED", node="n1", reason="NonZeroExitCode")
    assert str(desk.status(suite)[folder.run_id]["reason"]).endswith(said)


def test_a_journal_that_a_dying_node_cut_is_read_and_gone_on_with(
    desk: Desk, slurm: FakeSlurm
) -> None:
    suite = desk.suite({"a": TOY})
    (folder,) = desk.folders(suite)
    desk.submit(suite)
    submission, claim = desk.submission(folder), claim_of(folder)
    assert claim is not None
    submission.note(claim, "start")
    (log,) = (submission.path / "attempts").iterdir()
    with log.open("a") as file:
        file.write('{"event": "time li')
    submission.note(claim, "end", ending="stopped", reason="as it says")
    assert [event["event"] for event in submission.attempts(claim)] == ["start", "end"]
    slurm.set("1000_0", "FAILED", node="n1")
    assert desk.status(suite)[folder.run_id]["reason"] == "as it says"
