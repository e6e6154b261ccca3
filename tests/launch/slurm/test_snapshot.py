"""The source that jobs run is a copy, and they run it in the environment that it was made in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.launch.claims import claim_of
from harness.launch.slurm import snapshot
from harness.provenance import git_state
from harness.records import read_json, write_json
from tests.launch.slurm.desk import TOY, Desk, train
from tests.launch.slurm.fake_slurm import FakeSlurm


def start_task(desk: Desk, element: str) -> subprocess.CompletedProcess[str]:
    """The job's process, as the script of its array would start it."""
    (folder,) = desk.folders(desk.folder / "suite.yaml")
    submission = desk.submission(folder)
    array, _, index = element.partition("_")
    variables = {
        "PYTHONPATH": f"{submission.code}:{os.environ['PYTHONPATH']}",
        "SLURM_ARRAY_JOB_ID": array,
        "SLURM_ARRAY_TASK_ID": index,
        "SLURM_JOB_ID": array,
    }
    return subprocess.run(
        [sys.executable, "-P", "-m", "harness.launch.slurm.task", str(submission.path), "0"],
        cwd=desk.folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_job_runs_the_source_that_was_submitted(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY}, evaluations={})
    (folder,) = desk.folders(suite)
    desk.submit(suite)
    submission = desk.submission(folder)
    copied = {path.name for path in submission.code.iterdir()}
    assert copied == {"harness", "snapshot.json", "toy_network.py", "toy_records.py"}
    assert not list(submission.code.rglob("*.pyc"))
    (desk.folder / "site" / "toy_network.py").write_text("raise RuntimeError('edited')\n")
    done = start_task(desk, "1000_0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert folder.status().state == "done"
    assert claim_of(folder) is None
    recorded = read_json(folder.provenance)
    assert recorded["git"] == git_state(), "of the tree that was copied; the copy has none"
    assert recorded["command"][:3] == ["harness", "submit", "suite.yaml"]
    assert [json.loads(line)["event"] for line in attempts(desk, submission.id)] == ["start", "end"]


def attempts(desk: Desk, submission: str) -> list[str]:
    log = desk.results / "submissions" / submission / "attempts" / "0-0.jsonl"
    return log.read_text().splitlines()


@pytest.mark.parametrize("work", ["training", "evaluating"])
def test_another_environment_fails_the_run_with_the_reason(
    work: str, desk: Desk, slurm: FakeSlurm
) -> None:
    suite = desk.suite({"a": TOY})
    (run,), (folder,) = desk.runs(suite), desk.folders(suite)
    if work == "evaluating":
        train(folder, run)
    desk.submit(suite)
    taken = desk.submission(folder).code / "snapshot.json"
    recorded = read_json(taken)
    recorded["environment"] |= {"numpy": "0.1", "python": "3.0"}
    write_json(taken, recorded)
    done = start_task(desk, "1000_0")
    assert done.returncode == 1
    slurm.set("1000_0", "FAILED", node="n1")
    row = desk.status(suite)[folder.run_id]
    assert row["state"] == "failed"
    assert "the environment changed since the submission: python 3.0 -> 3." in row["reason"]
    assert ", numpy 0.1 -> " in row["reason"]
    assert claim_of(folder) is None


@pytest.mark.parametrize(
    ("profile", "checked"),
    [({}, True), ({"python": "python3"}, False), ({"container": "c"}, False)],
)
def test_versions_are_held_to_where_the_interpreter_is_the_same(
    profile: dict[str, str], checked: bool, desk: Desk, slurm: FakeSlurm
) -> None:
    suite = desk.suite({"a": TOY})
    desk.submit(suite, **profile)
    code = desk.submission(desk.folders(suite)[0]).code
    assert (read_json(code / "snapshot.json")["environment"] is not None) == checked
    with pytest.raises(HarnessError, match="not the submission's copy"):
        snapshot.check_environment(code)  # here, the tree's own source runs


def test_a_job_whose_run_was_taken_back_ends_at_once(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY})
    (folder,) = desk.folders(suite)
    desk.submit(suite)
    submission, claim = desk.submission(folder), folder.claim.read_text()
    other = json.loads(claim) | {"submission": "20300101-000000-ffff"}
    desk.monkeypatch.setattr(desk, "submission", lambda folder: submission)
    folder.claim.write_text(json.dumps(other))
    done = start_task(desk, "1000_0")
    assert done.returncode == 0
    assert f"run {folder.run_id} is not this job's" in done.stdout
    assert not folder.owner.exists()
    assert folder.status().state == "queued"


def test_an_editors_leftovers_do_not_keep_the_source_from_being_copied(
    desk: Desk, slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / ".#model.py").symlink_to("someone@nowhere:1")
    (package / "gone.py").symlink_to("nowhere")
    snapshot._copy(package, tmp_path / "copy")
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["__init__.py"]
    (tmp_path / "file").touch()
    with pytest.raises(HarnessError, match="the source cannot be copied"):
        snapshot._copy(package, tmp_path / "file" / "copy")
