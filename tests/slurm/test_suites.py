"""Suites through a real Slurm: all that is missing, each run once, whoever submits when."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from harness.launch.claims import claim_of
from harness.launch.slurm.commands import own_environment
from harness.records import RunFolder, read_json, read_jsonl
from tests.launch.room import HARNESS, Room
from tests.slurm.cluster import Cluster, running
from tests.slurm.configuration import Options
from tests.slurm.yard import Yard, slow

pytestmark = pytest.mark.slurm

TOY = {"adapter": "toy"}
TWENTY = {"a": TOY, "b": TOY | {"batch_size": 2}}


def folders(yard: Room, suite: Path) -> list[RunFolder]:
    return [RunFolder(yard.results, run.run_id) for run in yard.runs(suite)]


def starts(yard: Yard, suite: Path) -> Counter[str]:
    """Run -> how often a job began it."""
    return Counter({f.run_id: yard.events(f).count("start") for f in folders(yard, suite)})


def test_twenty_runs_end_to_end(yard: Yard) -> None:
    suite = yard.suite(TWENTY, seeds=list(range(10)))
    said = yard.submit(suite, array_parallelism=4)
    (job,) = said["jobs"]
    assert len(job["runs"]) == 20
    first = yard.ask("status", suite)
    assert set(first["counts"]) <= {"queued", "running", "evaluating", "done"}
    assert len({run["job"] for run in first["runs"]}) == 20

    assert yard.wait_over(suite) == {"done": 20}
    for folder in folders(yard, suite):
        assert folder.status().state == "done"
        assert all(e.exists() for e in folder.path.glob("evals/*/done.json"))
        recorded = read_json(folder.provenance)
        assert recorded["command"][:2] == ["harness", "submit"]
        assert yard.events(folder) == ["start", "end"]
    again = yard.submit(suite)
    assert not again["jobs"]
    assert len(again["found_done"]) == 20
    logs = subprocess.run(
        [HARNESS, "logs", folder.run_id], cwd=yard.folder, capture_output=True, text=True
    )
    assert "attempt 1" in logs.stdout
    assert "done" in logs.stdout


def test_submitting_twice_leaves_alone_what_is_queued_or_running(yard: Yard) -> None:
    suite = yard.suite({"slow": slow(6), "raises": TOY | {"config": {"raise_at": 3}}})
    first = yard.submit(suite, array_parallelism=1)
    again = yard.submit(suite)
    assert not again["jobs"]
    assert sorted(again["claimed"]) == sorted(first["jobs"][0]["runs"])

    assert yard.wait_over(suite) == {"done": 1, "failed": 1}
    bad = yard.folder_of(suite, "raises")
    assert bad.status().reason == "RuntimeError: the toy broke [/it]"
    (retried,) = yard.ask("retry", suite)["jobs"]
    assert retried["runs"] == [bad.run_id]
    yard.wait_over(suite)
    (resubmitted,) = yard.submit(suite)["jobs"]
    assert resubmitted["runs"] == [bad.run_id], "failed runs are submitted again, and no others"
    yard.wait_over(suite)
    assert starts(yard, suite) == {bad.run_id: 3, yard.folder_of(suite, "slow").run_id: 1}


def test_two_people_submitting_at_once_run_nothing_twice(yard: Yard) -> None:
    suite = yard.suite(TWENTY, seeds=[0, 1, 2])
    profile = yard.profile()
    people = [yard.begin("submit", suite.name, "--profile", profile) for _ in range(2)]
    said = [json.loads(person.communicate(timeout=120)[0]) for person in people]
    submitted = [run for each in said for job in each["jobs"] for run in job["runs"]]
    assert sorted(submitted) == sorted(f.run_id for f in folders(yard, suite))
    assert yard.wait_over(suite) == {"done": 6}
    assert set(starts(yard, suite).values()) == {1}


def test_a_run_that_is_worked_on_here_is_left_alone_and_the_other_way_round(yard: Yard) -> None:
    suite = yard.suite({"slow": slow(8), "toy": TOY})
    here, other = yard.folder_of(suite, "slow"), yard.folder_of(suite, "toy")
    process = yard.start(suite, "--workers", "1")
    yard.wait(here.train_log.exists, "training here")
    said = yard.submit(suite)
    assert said["held"] == [here.run_id]
    assert [job["runs"] for job in said["jobs"]] == [[other.run_id]]
    code, summary = yard.finish(process)
    endings = {"done": 0, "held": 1}  # the toy is done here only if Slurm has finished it before
    assert code == endings[summary["endings"][other.run_id]]
    assert summary["endings"][here.run_id] == "done"
    assert yard.wait_over(suite) == {"done": 2}
    assert starts(yard, suite) == {other.run_id: 1, here.run_id: 0}


@pytest.mark.parametrize("moment", ["before sbatch", "after sbatch"])
def test_a_submitter_killed_around_sbatch_leaves_no_duplicate(moment: str, yard: Yard) -> None:
    """sbatch is a script that kills the submitter, before or after it has done its work."""
    suite = yard.suite({"toy": TOY, "slow": slow(5)})
    bin_folder = yard.folder / "bin"
    bin_folder.mkdir()
    fake = bin_folder / "sbatch"
    kill = "kill -9 $PPID"
    real = subprocess.run(["which", "sbatch"], capture_output=True, text=True).stdout.strip()
    body = f"{kill}; exit 1" if moment == "before sbatch" else f'{real} "$@"; {kill}'
    fake.write_text(f"#!/bin/sh\n{body}\n")
    fake.chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    command = [HARNESS, "submit", suite.name, "--profile", yard.profile()]
    killed = subprocess.run(command, cwd=yard.folder, env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert all(claim_of(folder) for folder in folders(yard, suite))

    said = yard.submit(suite)
    if moment == "before sbatch":
        assert len(said["jobs"]) == 1
    else:
        assert not said["jobs"], "the array is found by its name"
    assert yard.wait_over(suite) == {"done": 2}
    assert set(starts(yard, suite).values()) == {1}


def test_editing_the_tree_changes_no_queued_job(yard: Yard) -> None:
    """The adapter breaks between submission and start."""
    suite = yard.suite({"toy": TOY})
    yard.cluster.run("scontrol", "update", "PartitionName=low", "State=DOWN")
    try:
        yard.submit(suite)
        source = yard.folder / "site" / "toy_network.py"
        source.write_text("raise RuntimeError('edited')\n")
    finally:
        yard.cluster.run("scontrol", "update", "PartitionName=low", "State=UP")
    counts = yard.wait_over(suite)
    assert counts == {"changed": 1}, "done, by the source that was copied and is no more"
    assert yard.folder_of(suite, "toy").status().state == "done"


def test_cancel_ends_what_waits_and_what_runs_and_both_go_on_later(yard: Yard) -> None:
    suite = yard.suite({"slow": slow(15), "other": slow(15, batch_size=2)}, evaluations={})
    yard.submit(suite, array_parallelism=1)
    running = yard.wait(
        lambda: next((f for f in folders(yard, suite) if f.train_log.exists()), None), "a run"
    )
    said = yard.ask("cancel", suite)
    assert len(said["cancelled"]) == 2
    assert yard.wait_over(suite) == {"stopped": 2}
    for folder in folders(yard, suite):
        reason = folder.status().reason
        assert reason is not None
        assert "cancelled" in reason
    reached = max(int(path.name[5:]) for path in running.checkpoints.glob("step-*"))
    assert reached > 0
    assert not yard.ask("cancel", suite)["cancelled"]

    yard.submit(suite)
    assert yard.wait_over(suite) == {"done": 2}
    lines = [line["step"] for line in read_jsonl(running.train_log)]
    assert lines == sorted(set(lines)), "the log goes on where the checkpoint was"


def test_jobs_whose_records_were_purged_are_told_so(yard: Yard) -> None:
    suite = yard.suite({"toy": TOY})
    yard.submit(suite)
    folder = yard.folder_of(suite, "toy")
    claim = claim_of(folder)
    assert claim is not None
    array = yard.results / "submissions" / claim.submission / f"array-{claim.array}.json"
    yard.wait(lambda: folder.status().state == "done", "the end")
    yard.wait(lambda: not folder.claim.exists(), "the claim back")
    # As if the run had not ended, and Slurm had forgotten its job.
    folder.training.unlink()
    folder.set_status("running", step=3, total_steps=20)
    array.write_text(json.dumps({"job_id": "1", "time": time.time()}))
    attempts = yard.results / "submissions" / claim.submission / "attempts"
    (attempts / "0-0.jsonl").unlink()
    folder.claim.write_text(json.dumps({"submission": claim.submission, "array": 0, "index": 0}))
    (status,) = yard.ask("status", suite)["runs"]
    assert status["state"] == "stopped"
    assert str(status["reason"]).startswith("Slurm knows job 1_0 no longer: ")
    assert not folder.claim.exists()


def test_the_jobs_own_variables_do_not_reach_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SBATCH_PARTITION", "high")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("SLURM_CONF", "/kept")
    with own_environment():
        assert {"SLURM_JOB_ID", "SBATCH_PARTITION", "WORLD_SIZE"}.isdisjoint(os.environ)
        assert os.environ["SLURM_CONF"] == "/kept"
    assert os.environ["SLURM_JOB_ID"] == "7"


@pytest.fixture
def small_arrays(slurm_installed: None) -> object:
    with running(Options(max_array_size=4)) as cluster:
        yield cluster


def test_arrays_are_split_at_the_clusters_limit(small_arrays: Cluster, room: Room) -> None:
    yard = Yard(room.folder, small_arrays)
    suite = yard.suite(TWENTY, seeds=list(range(5)), evaluations={})
    said = yard.submit(suite)
    assert [len(job["runs"]) for job in said["jobs"]] == [4, 4, 2]
    assert len({job["job"] for job in said["jobs"]}) == 3
    assert yard.wait_over(suite) == {"done": 10}


def test_the_submit_limit_leaves_the_rest_for_later(yard: Yard) -> None:
    suite = yard.suite(TWENTY, seeds=[0, 1, 2], evaluations={})
    said = yard.submit(suite, max_submitted=4)
    assert len(said["jobs"][0]["runs"]) == 4
    assert len(said["waiting"]) == 2
    yard.wait_over(suite)
    assert len(yard.submit(suite, max_submitted=4)["jobs"][0]["runs"]) == 2
    assert yard.wait_over(suite) == {"done": 6}
