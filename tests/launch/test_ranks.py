"""One run's work in two processes: one record of it, and the true reason where it fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.records import RunFolder, read_json, read_jsonl
from tests.launch.ranked import EVALUATION, prepared, worked
from tests.training.together import PATIENCE_SECONDS, environment, two_ranks

pytestmark = pytest.mark.usefixtures("corpus")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def measured(folder: RunFolder) -> dict[str, float]:
    lines = folder.evaluation(EVALUATION.eval_id).read()
    return {line["name"]: line["value"] for line in lines}


def test_torchrun_ends_and_evaluates_what_one_process_began(tmp_path: Path) -> None:
    folder = prepared(tmp_path)
    assert worked(folder, stop_at=10).how == "stopped"
    assert read_json(folder.provenance)["processes"] == 1
    done = subprocess.run(
        [*TORCHRUN, "-m", "tests.launch.ranked", "whole", str(tmp_path)],
        env=environment(),
        timeout=PATIENCE_SECONDS,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert [read_json(tmp_path / f"whole-{rank}.json")["how"] for rank in (0, 1)] == ["done"] * 2

    assert folder.status().state == "done"
    assert folder.status().step == 20
    assert read_json(folder.provenance)["processes"] == "1+2"
    assert [line["step"] for line in read_jsonl(folder.train_log)] == [1, 10, 20]
    alone = prepared(tmp_path / "alone")
    assert worked(alone).how == "done"
    found = measured(folder)
    assert found.keys() == measured(alone).keys() > {"loss"}
    assert found == pytest.approx(measured(alone), rel=1e-5)


def ending(folder: Path, case: str, rank: int) -> tuple[str, str]:
    found = read_json(folder / f"{case}-{rank}.json")
    assert found["seconds"] < 120, "nobody waits for a rank that is gone"
    return found["how"], found["reason"]


def the_run(results: Path) -> RunFolder:
    (run,) = (results / "runs").iterdir()
    return RunFolder(results, run.name)


def test_a_rank_that_fails_ends_all_with_its_own_reason(tmp_path: Path) -> None:
    """They may join again for another run, unless it is dead."""
    with two_ranks("failing", tmp_path, module="tests.launch.ranked", codes=(0, 7)):
        pass
    endings = [ending(tmp_path, "held", rank) for rank in (0, 1)]
    assert endings == [("held", "another process works on it")] * 2
    assert the_run(tmp_path / "held").status().state == "planned"

    told = ("failed", "rank 1: ArithmeticError: two and two")
    assert [ending(tmp_path, "raising", rank) for rank in (0, 1)] == [told] * 2
    run = the_run(tmp_path / "raising")
    assert (run.status().state, run.status().reason) == told
    assert worked(run).how == "done", "nothing half-written is in the way"

    told = ("failed", "another process of the run ended and gave no reason; see logs")
    assert ending(tmp_path, "dying", 0) == told
    assert not (tmp_path / "dying-1.json").exists()
    status = the_run(tmp_path / "dying").status()
    assert (status.state, status.reason) == told
