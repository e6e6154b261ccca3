"""What is handed out, in which arrays, how much at once, and what a refusal leaves: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from harness.launch.claims import claim_of
from harness.launch.slurm import submit
from harness.launch.slurm.submission import Submission
from harness.launch.status import status_of
from harness.planning.suite import load_suite
from harness.records import RunFolder, read_json
from tests.launch.room import HARNESS
from tests.launch.slurm.desk import TOY, Desk, train
from tests.launch.slurm.fake_slurm import FakeSlurm


def sizes(said: dict[str, object]) -> list[int]:
    jobs = said["jobs"]
    assert isinstance(jobs, list)
    return [len(job["runs"]) for job in jobs]


# --- arrays ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cluster", "profile", "expected"),
    [
        ({}, {}, [7]),
        ({"MaxArraySize": "3"}, {}, [3, 3, 1]),
        ({"SchedulerParameters": "bf_interval=30,max_array_tasks=4"}, {}, [4, 3]),
        ({"MaxArraySize": "3"}, {"max_array_size": 5}, [3, 3, 1]),
        ({"MaxArraySize": "5"}, {"max_array_size": 3}, [3, 3, 1]),
        ({"MaxArraySize": "1"}, {}, [1] * 7),
    ],
)
def test_arrays_are_as_large_as_cluster_and_profile_allow(
    cluster: dict[str, str],
    profile: dict[str, int],
    expected: list[int],
    desk: Desk,
    slurm: FakeSlurm,
) -> None:
    slurm.configure(**cluster)
    suite = desk.suite({"a": TOY}, seeds=list(range(7)))
    said = desk.submit(suite, **profile)
    assert sizes(said) == expected
    elements = [desk.element(folder) for folder in desk.folders(suite)]
    assert sorted(elements) == sorted(slurm.elements())


def test_a_cluster_without_arrays_is_told(desk: Desk, slurm: FakeSlurm) -> None:
    slurm.configure(MaxArraySize="0")
    suite = desk.suite({"a": TOY})
    assert "no job arrays" in desk.refused("submit", suite, "--profile", desk.profile())


def test_long_runs_come_first(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"short": TOY, "long": TOY | {"budget": {"steps": 99}}}, seeds=[0, 1])
    (job,) = desk.submit(suite)["jobs"]
    lengths = [RunFolder(desk.results, run).spec for run in job["runs"]]
    assert [read_json(path)["budget"]["steps"] for path in lengths] == [99, 99, 20, 20]


# --- limits ----------------------------------------------------------------------------------

ASSOCIATION = {"user": "", "Account": "energy", "Partition": "", "MaxSubmitJobs": 5}
QOS = {"name": "long", "Name": "long", "MaxSubmitJobsPerUser": 3, "GrpSubmitJobs": ""}


@pytest.mark.parametrize(
    ("enforced", "profile", "submitted"),
    [
        ("none", {"account": "energy", "qos": "long"}, 8),
        ("associations", {"account": "energy", "qos": "long"}, 8),
        ("associations,limits", {"account": "energy"}, 5),
        ("associations,limits,qos,safe", {"account": "energy", "qos": "long"}, 3),
        ("associations,limits", {"account": "other"}, 8),
        ("associations,limits", {}, 5),
        ("associations,limits", {"account": "energy", "max_submitted": 4}, 4),
        ("none", {"max_submitted": 2}, 2),
    ],
)
def test_no_more_is_submitted_than_one_may(
    enforced: str,
    profile: dict[str, str | int],
    submitted: int,
    desk: Desk,
    slurm: FakeSlurm,
) -> None:
    with slurm.state() as state:
        mine = ASSOCIATION | {"user": state["user"]}
    slurm.configure(AccountingStorageEnforce=enforced, associations=[mine], qos=[QOS])
    suite = desk.suite({"a": TOY}, seeds=list(range(8)))
    said = desk.submit(suite, **profile)
    assert sizes(said) == [submitted]
    assert len(said["waiting"]) == 8 - submitted
    assert len(desk.claimed(suite)) == submitted


def test_what_is_queued_counts_and_the_rest_comes_later(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY}, seeds=list(range(8)))
    assert sizes(desk.submit(suite, max_submitted=5)) == [5]
    full = desk.submit(suite, max_submitted=5)
    assert not full["jobs"]
    assert len(full["waiting"]) == 3
    done = [desk.element(folder) for folder in desk.folders(suite) if claim_of(folder)][:2]
    for element in done:
        slurm.set(element, "COMPLETED", node="n1")
    assert sizes(desk.submit(suite, max_submitted=5)) == [2], "the two that ended, or two others"


# --- refusals --------------------------------------------------------------------------------

POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


def test_a_refusal_of_the_first_array_leaves_nothing(desk: Desk, slurm: FakeSlurm) -> None:
    slurm.configure(MaxArraySize="2")
    slurm.refuse(POLICY)
    suite = desk.suite({"a": TOY}, seeds=[0, 1, 2])
    message = desk.refused("submit", suite, "--profile", desk.profile())
    assert f"sbatch refused the jobs: Batch job submission failed: {POLICY}" in message
    assert desk.claimed(suite) == []
    assert not slurm.elements()
    assert not [path for path in (desk.results / "submissions").iterdir() if path.is_dir()]
    assert {row["state"] for row in desk.status(suite).values()} == {"planned"}
    assert sizes(desk.submit(suite)) == [2, 1]


def test_a_refusal_of_the_second_keeps_the_first(desk: Desk, slurm: FakeSlurm) -> None:
    slurm.configure(MaxArraySize="2")
    slurm.refuse(POLICY, after=1)
    suite = desk.suite({"a": TOY}, seeds=[0, 1, 2, 3, 4])
    message = desk.refused("submit", suite, "--profile", desk.profile())
    assert "submitted before that: job 1000" in message
    assert "the same command submits the rest" in message
    assert len(desk.claimed(suite)) == 2
    states = [row["state"] for row in desk.status(suite).values()]
    assert sorted(states) == ["planned"] * 3 + ["queued"] * 2
    assert sizes(desk.submit(suite)) == [2, 1]


def test_runs_that_could_not_be_submitted_are_what_they_were(desk: Desk, slurm: FakeSlurm) -> None:
    """A refused retry can be tried again: the failures are still known."""
    suite = desk.suite({"a": TOY, "b": TOY | {"batch_size": 2}})
    desk.submit(suite)
    for folder in desk.folders(suite):
        slurm.set(desk.element(folder), "FAILED", node="n1", reason="NonZeroExitCode")
    before = {run: row["reason"] for run, row in desk.status(suite).items()}
    slurm.refuse(POLICY)
    desk.refused("retry", suite)
    after = desk.status(suite)
    assert {row["state"] for row in after.values()} == {"failed"}
    assert {run: row["reason"] for run, row in after.items()} == before
    assert sizes(desk.ask("retry", suite)) == [2]


def test_an_array_that_a_busy_controller_took_is_not_refused(desk: Desk, slurm: FakeSlurm) -> None:
    slurm.refuse("Socket timed out on send/recv operation", taken=True)
    suite = desk.suite({"a": TOY}, seeds=[0, 1])
    assert sizes(desk.submit(suite)) == [2]
    assert {row["job"] for row in desk.status(suite).values()} == {"1000_0", "1000_1"}


def test_options_that_sbatch_does_not_know_are_told(desk: Desk, slurm: FakeSlurm) -> None:
    profile = desk.profile(sbatch={"frobnicate": "yes"})
    message = desk.refused("submit", desk.suite({"a": TOY}), "--profile", profile)
    assert "unrecognized option '--frobnicate=yes'" in message


def test_runs_that_the_profile_cannot_have_are_named(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY | {"batch_size": 4, "accumulate": 2}})
    message = desk.refused("submit", suite, "--profile", desk.profile(nodes=4))
    assert "e/a seed 0: batch_size 4 cannot be cut into equal parts for 4 processes" in message
    suite = desk.suite({"b": TOY | {"threads": 8}})
    message = desk.refused("submit", suite, "--profile", desk.profile(cpus_per_task=4))
    assert "e/b seed 0 has 8 threads, and the profile gives 4 cores" in message
    assert not slurm.calls("sbatch")
    assert not list(desk.results.glob("runs/*"))


# --- again -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "REQUEUED", "COMPLETING", "SUSPENDED"])
def test_what_slurm_has_is_left_alone(state: str, desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY}, seeds=[0, 1])
    desk.submit(suite)
    for element in slurm.elements():
        slurm.set(element, state, node="" if state == "PENDING" else "n1")
    again = desk.submit(suite)
    assert not again["jobs"]
    assert len(again["claimed"]) == 2
    assert len(slurm.calls("sbatch")) == 1


def test_all_that_is_missing_is_submitted_and_nothing_else(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY}, seeds=[0, 1, 2, 3])
    runs, folders = desk.runs(suite), desk.folders(suite)
    train(folders[0], runs[0], evaluated=True)
    train(folders[1], runs[1])
    folders[2].set_status("failed", "it broke", step=3, total_steps=20)
    with folders[3].hold() as held:
        assert held
        said = desk.submit(suite)
    assert said["found_done"] == [folders[0].run_id]
    assert said["held"] == [folders[3].run_id]
    assert sorted(said["jobs"][0]["runs"]) == sorted(f.run_id for f in folders[1:3])
    states = [row["state"] for row in desk.status(suite).values()]
    assert states == ["done", "queued", "queued", "planned"]
    assert folders[1].status().state == "done", "status is of training"


def test_a_jobs_variables_rule_no_command(
    desk: Desk, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Submitted from inside a job, by a user whose shell filters what squeue shows."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SBATCH_PARTITION", "debug")
    monkeypatch.setenv("SQUEUE_PARTITION", "debug")
    suite = desk.suite({"a": TOY})
    desk.submit(suite, partition="gpu")
    assert "SBATCH_PARTITION" not in slurm.rules("sbatch")
    assert "SLURM_JOB_ID" not in slurm.rules("sbatch")
    assert [row["state"] for row in desk.status(suite).values()] == ["queued"]
    assert "SQUEUE_PARTITION" not in slurm.rules("squeue")
    assert os.environ["SLURM_JOB_ID"] == "7"


# --- a submitter that dies -------------------------------------------------------------------


def kill_around_sbatch(desk: Desk, slurm: FakeSlurm, suite: Path, *, before: bool) -> None:
    """sbatch kills who calls it, before or after it has done its work."""
    real = (slurm.bin / "sbatch").read_text().removeprefix("#!/bin/sh\nexec ")
    body = "kill -9 $PPID\n" if before else f"{real.strip()}\nkill -9 $PPID\n"
    (slurm.bin / "sbatch").write_text(f"#!/bin/sh\n{body}")
    command = [HARNESS, "submit", suite.name, "--profile", desk.profile()]
    killed = subprocess.run(command, cwd=desk.folder, capture_output=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    (slurm.bin / "sbatch").write_text(f"#!/bin/sh\nexec {real}")


@pytest.mark.parametrize("memory", ["squeue", "sacct"])
def test_an_array_whose_number_was_lost_is_found_by_its_name(
    memory: str, desk: Desk, slurm: FakeSlurm
) -> None:
    suite = desk.suite({"a": TOY}, seeds=[0, 1, 2])
    kill_around_sbatch(desk, slurm, suite, before=False)
    slurm.forget_calls()
    if memory == "sacct":
        for index, element in enumerate(slurm.elements()):
            slurm.set(element, "COMPLETED" if index else "FAILED", node="n1", exit="3:0")
        slurm.forget()
        rows = desk.status(suite).values()
        assert {row["state"] for row in rows} == {"failed"}
        assert {row["job"] for row in rows} == {"1000_0", "1000_1", "1000_2"}
    else:
        assert not desk.submit(suite)["jobs"]
        assert {row["state"] for row in desk.status(suite).values()} == {"queued"}
    named = [call for call in slurm.calls("squeue") if any("--name=" in word for word in call)]
    assert len(named) == 1, "once for the whole array"


def test_what_was_never_submitted_is_given_back(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY}, seeds=[0, 1])
    kill_around_sbatch(desk, slurm, suite, before=True)
    assert len(desk.claimed(suite)) == 2
    assert {row["state"] for row in desk.status(suite).values()} == {"planned"}
    assert desk.claimed(suite) == []
    assert sizes(desk.submit(suite)) == [2]


def test_who_looks_on_meanwhile_takes_nothing_back(
    desk: Desk, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first claim to sbatch's last answer; the second array's has not come yet."""
    slurm.configure(MaxArraySize="2")
    suite = desk.suite({"a": TOY}, seeds=[0, 1, 2])
    looked: list[dict[str, int]] = []

    def look() -> None:
        looked.append(status_of(load_suite(suite), desk.results).counts())

    claim_all, send = submit._claim_all, submit.send

    def claim_all_and_look(submission: Submission) -> None:
        claim_all(submission)
        assert Submission(desk.results, submission.id).is_being_submitted()
        look()

    def look_and_send(submission: Submission, array: int) -> str:
        look()
        return send(submission, array)

    monkeypatch.setattr(submit, "_claim_all", claim_all_and_look)
    monkeypatch.setattr(submit, "send", look_and_send)
    assert sizes(desk.submit(suite)) == [2, 1]
    assert looked == [{"queued": 3}] * 3
    assert len(desk.claimed(suite)) == 3


def test_claims_are_nobodys_while_their_submitter_is_at_work(desk: Desk, slurm: FakeSlurm) -> None:
    """Between the claim and sbatch's answer, others see that it is being submitted."""
    suite = desk.suite({"a": TOY}, seeds=[0, 1])
    desk.submit(suite)
    folder = desk.folders(suite)[0]
    submission = desk.submission(folder)
    answer = submission.path / "array-0.json"
    answer.unlink()
    slurm.forget(accounting=True)
    with Submission(desk.results, submission.id).submitting():
        assert {row["state"] for row in desk.status(suite).values()} == {"queued"}
        assert not desk.submit(suite)["jobs"]
        assert len(desk.claimed(suite)) == 2
    assert {row["state"] for row in desk.status(suite).values()} == {"planned"}


def test_a_spec_that_a_crash_left_empty_is_written_again(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY})
    (run,), (folder,) = desk.runs(suite), desk.folders(suite)
    evaluation = folder.evaluation(run.evaluations[0].eval_id)
    for path in (folder.spec, evaluation.spec):
        path.parent.mkdir(parents=True)
        path.touch()
    desk.submit(suite)
    assert read_json(folder.spec) == run.spec.model_dump(mode="json")
    assert read_json(evaluation.spec)["kind"] == "likelihood"
