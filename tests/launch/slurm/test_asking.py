"""What is said where Slurm is not there, does not answer, or has no accounting."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.launch.slurm import commands
from harness.launch.slurm.commands import NoSlurm, SlurmJob
from tests.launch.slurm.desk import TOY, Desk
from tests.launch.slurm.fake_slurm import FakeSlurm


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def submitted(desk: Desk) -> Path:
    suite = desk.suite({"a": TOY}, seeds=[0, 1])
    desk.submit(suite)
    return suite


# --- a controller that does not answer -------------------------------------------------------


@pytest.mark.parametrize("how", ["slurm_load_jobs error: Unable to contact controller", "hang"])
def test_status_is_of_the_records_then_and_says_so(
    how: str, desk: Desk, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "_TIMEOUT_SECONDS", 0.2)
    suite = submitted(desk)
    running, queued = desk.folders(suite)
    running.set_status("running", step=3, total_steps=20)
    slurm.break_(how=how)
    before = contents(desk.results)
    found = desk.ask("status", suite)
    states = {row["run_id"]: row["state"] for row in found["runs"]}
    assert states == {running.run_id: "running", queued.run_id: "queued"}
    said = "scontrol did not answer in 0.2 s" if how == "hang" else f"scontrol failed: {how}"
    assert found["slurm_trouble"] == said
    assert said in " ".join(desk.call("status", suite.name)[1].split())
    assert contents(desk.results) == before


@pytest.mark.parametrize("verb", ["submit", "retry", "cancel", "run"])
def test_nothing_is_changed_then(verb: str, desk: Desk, slurm: FakeSlurm) -> None:
    suite = submitted(desk)
    slurm.break_()
    before = contents(desk.results)
    options = ["--profile", desk.profile()] if verb in ("submit", "retry") else []
    message = desk.refused(verb, suite, *options)
    assert "Unable to contact slurm controller" in message
    assert contents(desk.results) == before
    slurm.mend()
    assert {row["state"] for row in desk.status(suite).values()} == {"queued"}


def test_a_new_suite_is_not_begun_then(desk: Desk, slurm: FakeSlurm) -> None:
    slurm.break_()
    desk.refused("submit", desk.suite({"a": TOY}), "--profile", desk.profile())
    assert not desk.results.exists()


def test_another_cluster_is_not_asked_for_what_it_cannot_know(desk: Desk, slurm: FakeSlurm) -> None:
    """Two clusters may share a home: the other's job of the same id is a stranger's."""
    suite = submitted(desk)
    slurm.configure(ClusterName="other")
    slurm.set("1000_0", "FAILED", node="n9")
    slurm.forget("1000_1", accounting=True)
    rows = desk.status(suite)
    assert {row["state"] for row in rows.values()} == {"queued"}
    assert {row["reason"] for row in rows.values()} == {"on cluster fake: ask there, this is other"}
    assert desk.ask("cancel", suite) == {"suite": "suite", "cancelled": {}, "out_of_reach": 2}
    assert not slurm.calls("scancel")
    assert not desk.submit(suite)["jobs"]
    assert len(desk.claimed(suite)) == 2


# --- no Slurm on this machine ----------------------------------------------------------------


def test_a_suite_cannot_be_submitted_where_there_is_no_slurm(desk: Desk, no_slurm: None) -> None:
    message = desk.refused("submit", desk.suite({"a": TOY}), "--profile", desk.profile())
    assert "the command scontrol is not on this machine" in message
    assert "login node" in message
    assert not desk.results.exists()


def test_claimed_runs_are_left_alone_where_there_is_no_slurm(
    desk: Desk, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = submitted(desk)
    monkeypatch.setenv("PATH", str(desk.folder))
    message = desk.refused("run", suite)
    assert "some of these runs were submitted to Slurm, which is not on this machine" in message
    assert "remove runs/*/claim.json" in message
    found = desk.ask("status", suite)
    assert found["counts"] == {"queued": 2}
    assert "scontrol is not on this machine" in found["slurm_trouble"]
    assert len(desk.claimed(suite)) == 2


def test_what_was_never_submitted_asks_no_slurm(desk: Desk, no_slurm: None) -> None:
    suite = desk.suite({"a": TOY})
    assert desk.ask("status", suite)["slurm_trouble"] is None
    assert desk.ask("cancel", suite)["cancelled"] == {}


# --- what the commands print -----------------------------------------------------------------


def test_the_controller_goes_before_accounting(desk: Desk, slurm: FakeSlurm) -> None:
    submitted(desk)
    slurm.set("1000_0", "RUNNING", node="n1")
    slurm.forget("1000_1")
    slurm.set("1000_1", "CANCELLED", node="n2", by="12")
    found = commands.jobs_of(["1000_0", "1000_1", "1000_7", "5_0"])
    assert found == {
        "1000_0": SlurmJob("RUNNING", "n1"),
        "1000_1": SlurmJob("CANCELLED", "n2", "by user 12"),
    }
    assert commands.jobs_of(["77_0"]) == {}, "squeue fails where it knows none of those asked for"
    slurm.configure(accounting=False)
    assert set(commands.jobs_of(["1000_0", "1000_1"])) == {"1000_0"}


def test_accounting_is_asked_only_for_what_is_forgotten(desk: Desk, slurm: FakeSlurm) -> None:
    submitted(desk)
    commands.jobs_of(["1000_0", "1000_1"])
    assert not slurm.calls("sacct")
    slurm.forget("1000_1")
    slurm.forget_calls()
    commands.jobs_of(["1000_0", "1000_1"])
    assert (len(slurm.calls("squeue")), len(slurm.calls("sacct"))) == (1, 1)


@pytest.mark.parametrize(
    ("written", "indices"),
    [
        ("7_[0-3]", [0, 1, 2, 3]),
        ("7_[2-5%2]", [2, 3, 4, 5]),
        ("7_[0,2-3,9%1]", [0, 2, 3, 9]),
        ("7_4", [4]),
    ],
)
def test_rows_of_several_elements_are_read(written: str, indices: list[int]) -> None:
    assert list(commands._elements(written)) == [f"7_{index}" for index in indices]


def test_thousands_of_ids_are_asked_for_in_parts(desk: Desk, slurm: FakeSlurm) -> None:
    submitted(desk)
    slurm.forget_calls()
    found = commands.jobs_of([f"{job}_0" for job in range(1000, 2001)])
    assert "1000_0" in found
    assert [len(call[-1].split(",")) for call in slurm.calls("squeue")] == [500, 500, 1]


def test_the_job_of_a_name(desk: Desk, slurm: FakeSlurm) -> None:
    submitted(desk)
    name = slurm.elements()["1000_0"]["name"]
    assert commands.job_named(name) == "1000"
    slurm.set("1000_0", "COMPLETED", node="n1")
    slurm.forget()
    assert commands.job_named(name) == "1000"
    assert commands.job_named("another") is None
    slurm.configure(accounting=False)
    assert commands.job_named(name) is None


def test_requeueing_what_slurm_requeued_is_fine(desk: Desk, slurm: FakeSlurm) -> None:
    submitted(desk)
    slurm.set("1000_0", "RUNNING", node="n1")
    commands.requeue("1000_0")
    assert slurm.elements()["1000_0"]["state"] == "PENDING"
    commands.requeue("1000_0")
    with pytest.raises(NoSlurm, match="Invalid job id"):
        commands.requeue("77")
