"""What sbatch would be given, compared whole; a rehearsal leaves nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.launch.slurm.desk import TOY, Desk
from tests.launch.slurm.fake_slurm import FakeSlurm

GOLDEN = Path(__file__).with_name("golden")
EVERYTHING = {
    "partition": "gpu",
    "account": "energy",
    "qos": "long",
    "constraint": "h100&nvlink",
    "nodelist": "n[1-4]",
    "exclude": "n3",
    "reservation": "spring",
    "gres": "scratch:100G",
    "nodes": 2,
    "tasks_per_node": 2,
    "cpus_per_task": 8,
    "gpus_per_node": 2,
    "mem": "64G",
    "time": "1-02:30:00",
    "signal_seconds": 300,
    "array_parallelism": 3,
    "exclusive": True,
    "setup": ["module load cuda/12.8", "ulimit -c 0"],
    "environment": {"NCCL_DEBUG": "WARN", "GREETING": 'it\'s $HOME; "quoted"', "THREADS": 8},
    "venv": "/envs/energy based",
    "container": "apptainer exec --nv 'an image.sif'",
    "sbatch": {"mail_type": "END,FAIL", "nice": 100, "overcommit": True, "spread-job": False},
    "srun": ["--mpi=none", "--cpu-bind=cores"],
}
PROFILES: dict[str, dict[str, Any]] = {"plain": {}, "everything": EVERYTHING}


def portable(text: str, desk: Desk) -> str:
    """Without what differs from place to place and from time to time."""
    text = re.sub(r"\b\d{8}-\d{6}-[0-9a-f]{4}\b", "ID", text.replace(str(desk.folder), "FOLDER"))
    return re.sub(r"\S+/bin/python(?= -u)", "PYTHON", text)


def rehearsed(desk: Desk, suite: Path, *options: str, **profile: Any) -> str:
    given = ["submit", suite.name, "--profile", desk.profile(**profile), "--dry-run", *options]
    code, out, error = desk.call(*given)
    assert code == 0, error
    return out


@pytest.mark.parametrize("name", PROFILES)
def test_the_script_is_this(name: str, desk: Desk, slurm: FakeSlurm) -> None:
    """Write it again with GOLDEN=write, and read the difference."""
    suite = desk.suite({"a": TOY}, seeds=[0, 1, 2, 3])
    found = portable(rehearsed(desk, suite, **PROFILES[name]), desk)
    golden = GOLDEN / f"{name}.sh"
    if os.environ.get("GOLDEN") == "write":
        golden.write_text(found)
    assert found == golden.read_text()


@pytest.mark.parametrize("name", PROFILES)
def test_the_script_is_a_shells_and_sbatch_takes_it(
    name: str, desk: Desk, slurm: FakeSlurm
) -> None:
    suite = desk.suite({"a": TOY})
    text = rehearsed(desk, suite, **PROFILES[name])
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    (job,) = desk.submit(suite, **PROFILES[name])["jobs"]
    assert job["job"] == "1000"
    written = (desk.submission(desk.folders(suite)[0]).logs / "1000_submission.sh").read_text()
    assert portable(written.strip(), desk) == portable(text.strip(), desk)


def test_a_rehearsal_leaves_nothing_behind_and_needs_no_slurm(desk: Desk, no_slurm: None) -> None:
    suite = desk.suite({"a": TOY}, seeds=[0, 1, 2])
    profile = desk.profile(max_array_size=2)
    before = sorted(desk.folder.rglob("*"))
    code, out, error = desk.call("submit", suite.name, "--profile", profile, "--dry-run")
    assert code == 0
    assert out.count("#SBATCH --array=0-1%2") == 1
    assert out.count("#SBATCH --array=0-0%1") == 1
    assert "the command scontrol is not on this machine" in error
    assert sorted(desk.folder.rglob("*")) == before


def test_a_rehearsal_asks_for_what_is_missing_and_settles_nothing(
    desk: Desk, slurm: FakeSlurm
) -> None:
    suite = desk.suite({"a": TOY}, seeds=[0, 1, 2])
    desk.submit(suite)
    dead, *alive = desk.folders(suite)
    slurm.set(desk.element(dead), "TIMEOUT", node="n1")
    for folder in alive:
        slurm.set(desk.element(folder), "RUNNING", node="n1")
    claimed = desk.claimed(suite)
    assert "--array=0-0%1" in rehearsed(desk, suite)
    assert desk.claimed(suite) == claimed
    for folder in alive:
        slurm.set(desk.element(folder), "FAILED", node="n1")
    assert "--array=0-2%3" in rehearsed(desk, suite)
    assert {folder.status().state for folder in desk.folders(suite)} == {"queued"}


def test_where_nothing_is_missing_there_is_no_script(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY})
    desk.submit(suite)
    code, out, error = desk.call("submit", suite.name, "--profile", desk.profile(), "--dry-run")
    assert (code, out) == (0, "")
    assert "no job would be submitted" in error
