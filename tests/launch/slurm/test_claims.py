"""Of two who want a run, one gets it, and nobody takes it from them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.launch.claims import Claim, claim_of, claiming, give_back, owner_of, release, take
from harness.records import RunFolder, read_json, write_json
from tests.launch.slurm.desk import TOY, Desk
from tests.launch.slurm.fake_slurm import FakeSlurm

MINE, THEIRS = Claim("20260101-000000-aaaa", 0, 3), Claim("20260101-000000-bbbb", 1, 0)

#: Waits for the starting signal, then takes every run that it gets.
RACER = """
import sys, time
from pathlib import Path
from harness.launch.claims import Claim, take
from harness.records import RunFolder
name, results, start = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
print("ready", flush=True)
while not start.exists():
    time.sleep(0)
for index in range(50):
    if take(RunFolder(results, f"run-{index}"), Claim(name, 0, index)):
        print(index, flush=True)
"""


def test_of_processes_that_race_for_a_run_exactly_one_wins(tmp_path: Path) -> None:
    start = tmp_path / "start"
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, f"racer-{number}", str(tmp_path), str(start)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    start.touch()
    won = [set(map(int, racer.communicate(timeout=60)[0].split())) for racer in racers]
    assert sum(map(len, won)) == 50
    assert set.union(*won) == set(range(50))
    for number, indices in enumerate(won):
        for index in indices:
            claim = claim_of(RunFolder(tmp_path, f"run-{index}"))
            assert claim == Claim(f"racer-{number}", 0, index)
    assert not list(tmp_path.glob("runs/*/.claim.*")), "nothing temporary is left"


def test_only_its_holder_releases_a_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "run")
    assert claim_of(folder) is None
    assert take(folder, MINE)
    assert not take(folder, THEIRS)
    release(folder, THEIRS)
    give_back(folder, THEIRS)
    assert claim_of(folder) == MINE
    release(folder, MINE)
    release(folder, MINE)
    assert claim_of(folder) is None
    assert take(folder, THEIRS)


@pytest.mark.parametrize("before", [None, "failed", "stopped", "running"])
def test_what_is_given_back_is_what_it_was(before: str | None, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "run")
    if before is not None:
        write_json(folder.status_path, {"state": before, "reason": "why", "step": 7, "since": 1.5})
    written = folder.status()
    assert take(folder, MINE)
    folder.change_status("queued")
    give_back(folder, MINE)
    assert folder.status() == written
    assert claim_of(folder) is None


def test_what_its_job_has_changed_since_is_not_undone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "run")
    assert take(folder, MINE)
    folder.set_status("running", step=3, total_steps=9)
    give_back(folder, MINE)
    assert folder.status().state == "running"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"submission": "a"}'])
def test_a_damaged_claim_is_named(content: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "run")
    folder.path.mkdir(parents=True)
    folder.claim.write_text(content)
    with pytest.raises(HarnessError, match=r"run/claim\.json: this is no claim"):
        claim_of(folder)


def test_claiming_is_for_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        claiming(tmp_path),
        pytest.raises(HarnessError, match=r"submitting from these results for 0\.1 s"),
        claiming(tmp_path, wait_seconds=0.1),
    ):
        raise AssertionError("both are claiming")
    with claiming(tmp_path):
        pass


def test_others_jobs_that_slurm_does_not_show_are_left_alone(desk: Desk, slurm: FakeSlurm) -> None:
    """A cluster may show everyone their own jobs only; settling the rest would end them."""
    suite = desk.suite({"a": TOY})
    (folder,) = desk.folders(suite)
    desk.submit(suite)
    record = desk.submission(folder).record
    write_json(record, read_json(record) | {"user": "somebody-else"})
    slurm.forget(accounting=True)
    folder.set_status("running", step=3, total_steps=20)
    row = desk.status(suite)[folder.run_id]
    assert row["state"] == "running"
    assert "somebody-else" in row["reason"]
    assert not desk.submit(suite)["jobs"]
    assert desk.claimed(suite) == [folder.run_id]


def test_a_job_that_came_to_nothing_is_still_known(desk: Desk, slurm: FakeSlurm) -> None:
    """It died in `setup`: its log, and its profile for a retry, are found by its claim."""
    suite = desk.suite({"a": TOY})
    (folder,) = desk.folders(suite)
    desk.submit(suite, partition="special")
    logs = desk.submission(folder).logs
    (logs / "1000_0_0_log.out").write_text("module: command not found\n")
    slurm.set("1000_0", "FAILED", node="n1", exit="127:0")
    desk.status(suite)
    owner = owner_of(folder)
    assert owner is not None
    assert (owner.job, owner.node) == ("1000_0", "n1")
    assert "module: command not found" in desk.call("logs", folder.run_id)[1]
    assert desk.call("logs", "1000_0")[1] == desk.call("logs", folder.run_id)[1]
    assert len(desk.ask("retry", suite)["jobs"]) == 1
    assert desk.submission(folder).profile.partition == "special"


def test_a_submitter_does_not_wait_for_who_looks_on(desk: Desk, slurm: FakeSlurm) -> None:
    """status gives up settling where another is submitting, and says what it would have written."""
    suite = desk.suite({"a": TOY})
    (folder,) = desk.folders(suite)
    desk.submit(suite)
    slurm.set("1000_0", "TIMEOUT", node="n1")
    desk.monkeypatch.setattr("harness.launch.status._PATIENCE_SECONDS", 0.0)
    began = time.monotonic()
    with claiming(desk.results):
        row = desk.status(suite)[folder.run_id]
    assert time.monotonic() - began < 60
    assert row["state"] == "stopped"
    assert "reached its limit" in row["reason"]
    assert desk.claimed(suite) == [folder.run_id]


def test_a_file_server_that_made_the_link_and_says_it_exists_is_believed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "run")
    assert take(folder, MINE)
    assert take(folder, MINE), "the answer to the first request was lost, and it was sent again"
    assert not take(folder, THEIRS)


def test_a_file_system_without_links_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    with pytest.raises(HarnessError, match="cannot link files"):
        take(RunFolder(tmp_path, "run"), MINE)
    assert not list((tmp_path / "runs" / "run").iterdir())
