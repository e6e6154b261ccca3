"""The fake that tests elsewhere use, held to what Slurm answers to the same command lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.launch.slurm import commands, limits
from harness.launch.slurm.commands import NoSlurm
from harness.launch.slurm.profile import Profile
from tests.launch.slurm.fake_slurm import FakeSlurm
from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.slurm

SCRIPT = """#!/bin/bash
#SBATCH --array=0-4%2
#SBATCH --job-name=contract-0
#SBATCH --output=/dev/null
#SBATCH --requeue
#SBATCH --time=5
test $SLURM_ARRAY_TASK_ID != 1 || exit 3
sleep 300
"""


def complaint(call: Callable[[], Any]) -> str:
    with pytest.raises(NoSlurm) as error:
        call()
    return error.value.problem


def submit(folder: Path, text: str = SCRIPT) -> str:
    path = folder / "contract.sh"
    path.write_text(text)
    return commands.call("sbatch", str(path)).split()[-1]


def answers(job: str, *, settled: Callable[[], None]) -> dict[str, Any]:
    """All that the harness asks, of an array in which 0 and 2 run, 1 failed, 3 and 4 wait."""

    def states() -> dict[str, str]:
        elements = [f"{job}_{index}" for index in range(6)]
        found = commands.jobs_of(elements)
        return {e.removeprefix(job): found[e].state for e in elements if e in found}

    asked: dict[str, Any] = {"begun": states()}
    asked["reason"] = commands.jobs_of([f"{job}_1"])[f"{job}_1"].reason
    asked["name"] = commands.job_named("contract-0") == job
    asked["no name"] = commands.job_named("no-such-name")
    shown = commands.details(f"{job}_0")
    asked["details"] = {key: shown[key] for key in ("ArrayJobId", "JobName", "JobState")}
    asked["details"]["ArrayJobId"] = shown["ArrayJobId"] == job
    asked["unknown details"] = complaint(lambda: commands.details("7"))
    asked["unknown job"] = commands.jobs_of(["7_0"])
    asked["unknown requeue"] = complaint(lambda: commands.requeue("7"))
    commands.requeue(f"{job}_4")
    asked["limits"] = limits.limits_of(Profile(time=5, max_submitted=100)).room
    commands.cancel([f"{job}_4", f"{job}_3", f"{job}_0", f"{job}_1", "7_0"])
    settled()
    ended = states()
    # Of elements that waited, accounting may tell late, or never.
    waited = {ended.pop(index) for index in ("_3", "_4") if index in ended}
    assert waited <= {"CANCELLED"}
    asked["cancelled"] = ended
    commands.cancel([f"{job}_2"])
    return asked


def test_the_fake_answers_as_slurm_does(
    idle_cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(tmp_path)
    wanted = {"0": "RUNNING", "1": "FAILED", "2": "RUNNING"}
    for index, state in wanted.items():
        idle_cluster.wait_state(f"{job}_{index}", state)

    def settled() -> None:
        idle_cluster.wait_state(f"{job}_0", "CANCELLED")

    real = answers(job, settled=settled)
    refusal = complaint(lambda: submit(tmp_path, SCRIPT.replace("0-4%2", "0-999%2")))
    unknown = complaint(lambda: submit(tmp_path, SCRIPT.replace("--requeue", "--frobnicate=1")))

    fake = FakeSlurm(tmp_path / "fake", monkeypatch)
    job = submit(tmp_path)
    fake.set(f"{job}_0", "RUNNING", node="n1")
    fake.set(f"{job}_1", "FAILED", node="n1", reason="NonZeroExitCode", exit="3:0")
    fake.set(f"{job}_2", "RUNNING", node="n2")
    assert answers(job, settled=lambda: None) == real
    fake.configure(MaxArraySize="101")
    assert complaint(lambda: submit(tmp_path, SCRIPT.replace("0-4%2", "0-999%2"))) == refusal
    told = complaint(lambda: submit(tmp_path, SCRIPT.replace("--requeue", "--frobnicate=1")))
    assert told == unknown
    assert not fake.misuses()
