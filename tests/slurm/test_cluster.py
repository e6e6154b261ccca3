"""The cluster that the other Slurm tests trust: it queues, accounts, preempts, breaks and ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm import processes
from tests.slurm.cluster import Cluster, ClusterError, running
from tests.slurm.configuration import NODES, Options

ROOT = Path(__file__).resolve().parents[2]
UNTIL_TOLD = "until [ -e go ]; do sleep 0.1; done"

pytestmark = pytest.mark.slurm


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory for a cluster: pytest's own are too long for sockets."""
    path = Path(tempfile.mkdtemp(prefix="hs-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_an_array_runs_on_both_nodes(idle_cluster: Cluster, tmp_path: Path) -> None:
    job = idle_cluster.submit(UNTIL_TOLD, "--array=0-1", "--exclusive", folder=tmp_path)
    idle_cluster.wait_state(job, "RUNNING")
    assert set(idle_cluster.states(job)) == {f"{job}_0", f"{job}_1"}
    assert sorted(idle_cluster.node_of(job).split()) == list(NODES)
    (tmp_path / "go").touch()
    idle_cluster.wait_state(job, "COMPLETED")
    idle_cluster.wait_idle()


def test_sacct_knows_how_jobs_ended(idle_cluster: Cluster, tmp_path: Path) -> None:
    ends = {idle_cluster.submit("exit 0", folder=tmp_path): "COMPLETED"}
    ends[idle_cluster.submit("exit 3", folder=tmp_path)] = "FAILED"
    ends[idle_cluster.submit("kill -9 $$", folder=tmp_path)] = "FAILED"
    asked = ",".join(ends)
    idle_cluster.wait(lambda: len(idle_cluster.accounted(asked)) == len(ends), 30.0, "3 jobs")
    idle_cluster.wait(lambda: not idle_cluster.run("squeue", "--noheader"), 30.0, "their end")
    idle_cluster.wait(
        lambda: {"PENDING", "RUNNING"}.isdisjoint(idle_cluster.accounted(asked).values()),
        30.0,
        "accounting, which lags",
    )
    assert idle_cluster.accounted(asked) == ends


def test_high_preempts_low_which_is_signalled_and_requeued(
    idle_cluster: Cluster, tmp_path: Path
) -> None:
    script = f"""
        [ -n "$SLURM_RESTART_COUNT" ] && exit 0
        trap 'echo signalled; scontrol requeue $SLURM_JOB_ID' USR2
        {UNTIL_TOLD}
    """
    whole = ("--nodes=2", "--exclusive")
    low = idle_cluster.submit(
        script, *whole, "--open-mode=append", "--signal=B:USR2@1", folder=tmp_path
    )
    idle_cluster.wait_state(low, "RUNNING")
    high = idle_cluster.submit(UNTIL_TOLD, *whole, "--partition=high", folder=tmp_path)
    idle_cluster.wait_state(high, "RUNNING")
    assert idle_cluster.state(low) == "PENDING"
    assert (tmp_path / f"{low}.log").read_text().count("signalled") == 1
    (tmp_path / "go").touch()
    idle_cluster.wait_state(high, "COMPLETED")
    idle_cluster.wait_state(low, "COMPLETED")


def test_a_job_moves_from_a_node_that_crashed(idle_cluster: Cluster, tmp_path: Path) -> None:
    job = idle_cluster.submit(UNTIL_TOLD, folder=tmp_path)
    idle_cluster.wait_state(job, "RUNNING")
    lost = idle_cluster.node_of(job)
    idle_cluster.kill_node(lost)
    assert not [each for each in processes.find(idle_cluster.directory) if each.node == lost]
    (other,) = set(NODES) - {lost}
    idle_cluster.wait(
        lambda: idle_cluster.node_state(lost).startswith("down"), 90.0, f"{lost} to be down"
    )
    idle_cluster.wait(lambda: idle_cluster.node_of(job) == other, 60.0, f"{job} on {other}")
    (tmp_path / "go").touch()
    idle_cluster.wait_state(job, "COMPLETED")
    idle_cluster.start_node(lost)
    idle_cluster.wait_idle()


def test_a_daemon_can_be_stopped_and_started(idle_cluster: Cluster) -> None:
    idle_cluster.stop_daemon("slurmctld")
    assert "slurmctld" not in idle_cluster.daemons()
    idle_cluster.start_daemon("slurmctld")
    idle_cluster.wait_idle()


def zombies() -> set[int]:
    """Our children that have ended and were not waited for."""
    children = map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
    return {pid for pid in children if not processes.alive(pid)}


@pytest.mark.usefixtures("slurm_installed")
def test_its_end_leaves_nothing(tmp_path: Path) -> None:
    before, others = dict(os.environ), zombies()  # of the session's cluster
    options = Options(max_array_size=4, kill_wait=3, extra=["KillWait=2"])
    with running(options) as own:
        assert os.environ["SLURM_CONF"] == str(own.conf)
        settings = own.run("scontrol", "show", "config").split("\n")
        assert any(line.split() == ["KillWait", "=", "2", "sec"] for line in settings)
        with pytest.raises(ClusterError, match="Invalid job array"):
            own.submit("true", "--array=0-4", folder=tmp_path)
        stubborn = own.submit(f"trap '' TERM; {UNTIL_TOLD}", "--array=0-3", folder=tmp_path)
        own.wait_state(stubborn, "RUNNING")
        assert {"slurmstepd", *processes.DAEMONS} <= {
            each.program for each in processes.find(own.directory)
        }
    assert processes.find(own.directory) == []
    assert not own.directory.exists()
    assert dict(os.environ) == before
    assert zombies() <= others


@pytest.mark.usefixtures("slurm_installed")
def test_a_daemon_that_dies_shows_its_log_and_keeps_its_files(short_path: Path) -> None:
    own = Cluster(short_path, Options(extra=["NoSuchSetting=1"]))
    with pytest.raises(ClusterError, match=r"ended with exit code 1; see (?s:.*)NoSuchSetting"):
        own.start()
    assert own.owns_directory()
    assert processes.find(short_path) == []


@pytest.mark.usefixtures("slurm_installed")
def test_up_outlives_its_command_until_down(short_path: Path) -> None:
    def call(verb: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "tests.slurm", verb, "--dir", str(short_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert not done.stderr
        return done.returncode, done.stdout

    try:
        for said in ("is up in", "is already up in"):
            code, output = call("up")
            assert code == 0
            assert said in output
            assert f"export SLURM_CONF={short_path}/slurm.conf" in output
        assert call("status")[0] == 0
    finally:
        code, output = call("down")
    assert (code, output) == (0, f"Slurm is down; {short_path} is deleted\n")
    assert processes.find(short_path) == []
    assert call("down") == (0, f"Slurm is not up in {short_path}: nothing to stop\n")
    assert call("status")[0] == 1
