"""What a cluster does to runs: each ends as if nothing had happened, or says what did."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.records import RunFolder, read_json, read_jsonl
from tests.launch.room import Room, has_checkpoint
from tests.slurm import processes
from tests.slurm.cluster import Cluster, running
from tests.slurm.configuration import Options
from tests.slurm.yard import Yard, assert_as_undisturbed, slow
from tests.training.tiny import CONFIGS, trained

pytestmark = pytest.mark.slurm

TRAINED = {"evaluations": {}}


def begun(yard: Yard, folder: RunFolder, *, times: int = 1) -> None:
    """Wait until the run was started so often, and has trained a little since."""
    yard.wait(lambda: yard.events(folder).count("start") >= times, f"start {times}")
    size = folder.train_log.stat().st_size if folder.train_log.exists() else 0

    def has_grown() -> bool:
        return folder.train_log.exists() and folder.train_log.stat().st_size > size

    yard.wait(has_grown, "a step")


def tasks_of(yard: Yard, element: str) -> list[int]:
    """The processes of a run that an array element's job has started."""
    job_id = yard.cluster.run("squeue", "--noheader", "--format=%A", f"--jobs={element}")
    found = []
    for path in Path("/proc").iterdir():
        try:
            environment = (path / "environ").read_bytes().split(b"\0")
            command = (path / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        is_task = b"harness.launch.slurm.task" in command and not command.startswith(b"srun")
        if is_task and f"SLURM_JOB_ID={job_id}".encode() in environment:
            found.append(int(path.name))
    return found


def test_a_preempted_run_checkpoints_requeues_and_goes_on(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = yard.suite({"slow": slow(15)}, **TRAINED)
    folder = yard.folder_of(suite, "slow")
    yard.submit(suite, max_timeouts=0, checkpoint_seconds=600)
    begun(yard, folder)
    hog = yard.cluster.submit(
        "sleep 3", "--partition=high", "--nodes=2", "--exclusive", folder=yard.folder
    )
    yard.wait(lambda: yard.states(suite) == {"queued": 1}, "the run to be queued again")
    assert "preempted at step" in str(folder.status().reason)
    assert has_checkpoint(folder)
    yard.cluster.wait_state(hog, "COMPLETED")
    assert yard.wait_over(suite) == {"done": 1}
    assert yard.events(folder) == ["start", "preempted", "start", "end"]
    assert_as_undisturbed(yard, yard.runs(suite), monkeypatch)


def test_reaching_the_time_limit_is_counted_and_bounded(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two suites at once: one may reach the limit a few times, the other not once."""
    # Slurm looks every 30 s, and warns as much too early: here after 20 to 50 s, once training.
    limit = {"time": 1, "signal_seconds": 10, "checkpoint_seconds": 600}
    patient = yard.suite({"slow": slow(60)}, name="patient", **TRAINED)
    strict = yard.suite({"slow": slow(300)}, name="strict", **TRAINED)
    yard.submit(patient, max_timeouts=6, **limit)
    yard.submit(strict, max_timeouts=0, **limit)

    assert yard.wait_over(strict) == {"stopped": 1}
    folder = yard.folder_of(strict, "slow")
    assert str(folder.status().reason).startswith("reached its limit of 1 min once more than")
    assert has_checkpoint(folder)
    assert yard.wait_over(patient, seconds=400) == {"done": 1}
    events = yard.events(yard.folder_of(patient, "slow"))
    assert 1 <= events.count("time limit") <= 6
    assert set(events) == {"start", "time limit", "end"}
    assert_as_undisturbed(yard, yard.runs(patient), monkeypatch)


def test_scontrol_requeue_runs_on_from_the_checkpoint(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = yard.suite({"slow": slow(12)}, **TRAINED)
    folder = yard.folder_of(suite, "slow")
    yard.submit(suite, checkpoint_seconds=600)
    begun(yard, folder)
    yard.cluster.run("scontrol", "requeue", yard.job(folder))
    assert yard.wait_over(suite) == {"done": 1}
    assert yard.events(folder) == ["start", "ended by Slurm", "start", "end"]
    assert_as_undisturbed(yard, yard.runs(suite), monkeypatch)


def test_a_run_in_a_container_without_slurm_is_requeued_by_its_script(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = yard.suite({"slow": slow(10)}, **TRAINED)
    folder = yard.folder_of(suite, "slow")
    yard.submit(suite, container="env PATH=/no/commands", checkpoint_seconds=600)
    begun(yard, folder)
    yard.cluster.run("scancel", "--signal=USR2", yard.job(folder))
    assert yard.wait_over(suite) == {"done": 1}
    assert yard.events(folder) == ["start", "preempted", "start", "end"]
    assert_as_undisturbed(yard, yard.runs(suite), monkeypatch)


def test_a_run_whose_node_dies_goes_on_elsewhere_and_its_old_copy_ends(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node is lost to Slurm, and its task lives on: two copies, until the new one begins."""
    suite = yard.suite({"slow": slow(60)}, **TRAINED)
    folder = yard.folder_of(suite, "slow")
    yard.submit(suite)
    begun(yard, folder)
    yard.wait(lambda: has_checkpoint(folder), "a checkpoint")
    element = yard.job(folder)
    (old,) = tasks_of(yard, element)
    node = yard.cluster.node_of(element)
    yard.cluster.kill_node(node, tasks=False)
    yard.wait(lambda: yard.events(folder).count("start") == 2, "a second start")
    assert Path(f"/proc/{old}").exists()
    assert processes.holds_within(lambda: not Path(f"/proc/{old}").exists(), 30.0)
    assert yard.wait_over(suite) == {"done": 1}
    assert yard.events(folder) == ["start", "start", "end"]
    assert_as_undisturbed(yard, yard.runs(suite), monkeypatch)


def test_a_killed_task_fails_with_the_reason_and_goes_on_when_retried(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = yard.suite({"slow": slow(12)}, **TRAINED)
    folder = yard.folder_of(suite, "slow")
    yard.submit(suite, checkpoint_seconds=1)
    begun(yard, folder)
    yard.wait(lambda: has_checkpoint(folder), "a checkpoint")
    (task,) = tasks_of(yard, yard.job(folder))
    os.kill(task, signal.SIGKILL)
    assert yard.wait_over(suite) == {"failed": 1}
    reason = str(folder.status().reason)
    assert "failed on 127.0.0." in reason
    yard.ask("retry", suite)
    assert yard.wait_over(suite) == {"done": 1}
    assert yard.events(folder) == ["start", "start", "end"]
    assert_as_undisturbed(yard, yard.runs(suite), monkeypatch)


@pytest.fixture
def strict_memory(slurm_installed: None) -> Iterator[Cluster]:
    extra = [
        "JobAcctGatherType=jobacct_gather/linux",
        "JobAcctGatherFrequency=1",
        "JobAcctGatherParams=OverMemoryKill",
        "SelectTypeParameters=CR_Core_Memory",
    ]
    with running(Options(extra=extra)) as cluster:
        yield cluster


def test_running_out_of_memory_is_the_reason(strict_memory: Cluster, room: Room) -> None:
    yard = Yard(room.folder, strict_memory)
    suite = yard.suite({"slow": slow(20)}, **TRAINED)
    yard.submit(suite, mem="150M")
    assert yard.wait_over(suite) == {"failed": 1}
    reason = str(yard.folder_of(suite, "slow").status().reason)
    assert reason.endswith("; the profile asks for mem: 150M")
    assert "ran out of memory on 127.0.0." in reason


def test_a_job_that_never_comes_to_its_run_says_what_it_printed(yard: Yard) -> None:
    suite = yard.suite({"toy": {"adapter": "toy"}}, **TRAINED)
    yard.submit(suite, setup=["echo 'no such module: torch-9' >&2", "exit 3"])
    assert yard.wait_over(suite) == {"failed": 1}
    (status,) = yard.ask("status", suite)["runs"]
    assert "no such module: torch-9" in status["reason"]


def test_the_rank_that_fails_gives_the_reason(yard: Yard) -> None:
    adapter = {"adapter": "toy", "config": {"raise_at": 3}}
    suite = yard.suite({"toy": adapter}, **TRAINED)
    yard.submit(suite, tasks_per_node=2)
    assert yard.wait_over(suite) == {"failed": 1}
    reason = str(yard.folder_of(suite, "toy").status().reason)
    assert reason.endswith("RuntimeError: the toy broke [/it]")


def test_two_tasks_train_a_run_as_one_process_does(yard: Yard) -> None:
    """Over two nodes, and interrupted: all ranks stop at one step and go on from it."""
    adapter = {"adapter": "ebt_text", "config": CONFIGS["ebt_text"], "budget": {"steps": 600}}
    suite = yard.suite({"ebt": adapter}, **TRAINED)
    folder = yard.folder_of(suite, "ebt")
    yard.submit(suite, nodes=2, checkpoint_seconds=600)
    begun(yard, folder)
    yard.cluster.run("scancel", "--signal=USR2", yard.job(folder))
    assert yard.wait_over(suite) == {"done": 1}
    assert yard.events(folder) == ["start", "preempted", "start", "end"]
    assert read_json(folder.provenance)["processes"] == 2
    (run,) = yard.runs(suite)
    reference, _ = trained(run.spec, yard.folder / "alone")
    for ours, theirs in zip(
        read_jsonl(folder.train_log)[:20], read_jsonl(reference.train_log)[:20], strict=True
    ):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
