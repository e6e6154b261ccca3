"""`harness publish` as it is called: what it prints, how it ends, and what it takes."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from harness.cli import app
from harness.errors import HarnessError
from harness.launch.job import Job
from harness.launch.missing import work_of
from harness.launch.pending import prepare
from harness.launch.status import status_of
from harness.launch.stop import StopFlag
from harness.launch.worker import work
from harness.planning.planned import Suite
from harness.publishing import shelf
from harness.records import RunFolder, read_json
from tests.publishing.trained import TEXT, files_below, suite_in, write_all, write_trained

PLACE = Path("published") / "amd-epyc-1-thread"
#: Publishes the suite in the folder that is given, and says what it had to import.
PUBLISH = """
import sys
from harness import cli
sys.argv = ["harness", "publish", "suite.yaml", "--results", ".", "--json"]
try:
    cli.main()
finally:
    heavy = ("torch", "diffusers", "lm_eval", "sklearn", "pandas", "matplotlib")
    print([name for name in heavy if name in sys.modules], file=sys.stderr)
"""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.chdir(tmp_path)
    return suite_in(tmp_path)


def publish(*options: str) -> Result:
    return CliRunner().invoke(app, ["publish", "suite.yaml", "--results", ".", *options])


def test_it_says_what_is_where(suite: Suite) -> None:
    write_all(suite.runs, Path())
    result = publish()
    files = files_below(PLACE)
    size = sum(map(len, files.values()))
    assert result.exit_code == 0
    assert result.stdout == (
        f"AMD EPYC (1 thread): 8 runs (8 new), 16 evaluations, {len(files)} files, "
        f"{size / 1e3:.3g} kB in {PLACE}\n"
    )
    assert result.stderr == ""
    assert "8 runs (8 unchanged)" in publish().stdout


def test_nothing_to_publish_is_a_failure_and_leaves_no_folder(suite: Suite) -> None:
    result = publish()
    assert result.exit_code == 1
    assert result.stdout == "Nothing is published.\n"
    assert "8 runs left out, not finished:\n  text/transformer++ size=a seed 0: planned" in (
        result.stderr
    )
    assert "and 3 more\n" in result.stderr
    assert not Path("published").exists()


def test_what_is_not_done_yet_is_no_failure(suite: Suite) -> None:
    run = suite.runs[0]
    folder = write_trained(run, Path())
    folder.evaluation(run.evaluations[0].eval_id).done.unlink()
    result = publish()
    assert result.exit_code == 0
    label = run.evaluations[0].label
    assert f"1 evaluation left out, not done:\n  {run.name}: {label}\n" in result.stderr
    assert "7 runs left out, not finished" in result.stderr


def test_what_is_refused_is_a_failure_with_a_way_out(suite: Suite) -> None:
    first, second, *_ = suite.runs
    write_all((first, second), Path())
    publish()
    write_trained(first, Path(), shift=1.0)
    write_trained(second, Path(), digest="0ld")
    result = publish()
    assert result.exit_code == 1
    assert f"1 run left out, published before with other numbers:\n  {first.name}: " in (
        result.stderr
    )
    assert "--replace" in result.stderr
    assert f"other source code or data than now:\n  {second.name}\n" in result.stderr
    assert "--changed" in result.stderr
    assert publish("--changed", "--replace").exit_code == 0


def test_json_has_every_run_with_what_became_of_it(suite: Suite) -> None:
    first, *others = suite.runs
    write_all(others, Path())
    result = publish("--json")
    found = json.loads(result.stdout)
    (device,) = found["devices"]
    assert (device["folder"], device["device"]) == (str(PLACE), "AMD EPYC (1 thread)")
    assert (device["runs"], device["evaluations"]) == (7, 14)
    assert device["files"] == len(files_below(PLACE))
    assert [run["state"] for run in found["runs"]] == ["unfinished", *["new"] * 7]
    assert found["runs"][0] == {
        **{"run": first.run_id, "name": first.name, "state": "unfinished", "device": None},
        **{"folder": None, "evaluations": 0, "files": 0, "bytes": 0, "missing": []},
        **{"reasons": ["planned"], "leftover": None},
    }


def test_what_of_before_could_not_be_removed_is_said(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(suite.runs[:1], Path())
    publish()
    write_all(suite.runs[:1], Path(), shift=1.0)
    with monkeypatch.context() as patch:
        patch.setattr(shelf.shutil, "rmtree", lambda *_, **__: None)
        result = publish("--replace")
    (left,) = [path for path in PLACE.iterdir() if path.name.startswith(".")]
    assert result.exit_code == 0
    assert "1 updated" in result.stdout
    assert f"could not be removed; nothing reads them:\n  {left}\n" in result.stderr


def test_a_full_disk_is_one_message_and_goes_on_later(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(suite.runs, Path())
    real = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        if suite.runs[3].run_id in str(self):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        result = publish()
    assert isinstance(result.exception, HarnessError), "`main` prints it and ends with 2"
    assert "No space left on device" in str(result.exception)
    assert sorted(path.name for path in PLACE.iterdir()) == sorted(
        run.run_id for run in suite.runs[:3]
    )
    assert "(5 new, 3 unchanged)" in publish().stdout


def test_two_at_once_publish_every_run_once(suite: Suite) -> None:
    write_all(suite.runs, Path())
    both = [
        subprocess.Popen([sys.executable, "-c", PUBLISH], stdout=-1, stderr=-1, text=True)
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    states = [[run["state"] for run in json.loads(out)["runs"]] for out, _ in ended]
    assert sorted(states) == [["new"] * 8, ["unchanged"] * 8]
    assert [err for _, err in ended] == ["[]\n", "[]\n"], "it needs no library that takes seconds"
    assert sorted(path.name for path in PLACE.iterdir()) == sorted(r.run_id for r in suite.runs)


def test_published_runs_are_still_to_be_done_where_they_are_not(suite: Suite) -> None:
    write_all(suite.runs, Path())
    publish()
    shutil.rmtree("runs")
    assert len(work_of(suite, Path()).missing) == 8
    assert status_of(suite, Path()).counts() == {"planned": 8}
    listed = CliRunner().invoke(app, ["ls", "runs", "--results", ".", "--json"])
    assert json.loads(listed.stdout) == []


def test_a_run_as_workers_leave_it_loses_nothing(tmp_path: Path) -> None:
    suite = suite_in(tmp_path, TEXT.replace("seeds: [0, 1]", "seeds: [0]"))
    run = suite.runs[0]
    wanted = {e.eval_id: e.spec for e in run.evaluations}
    prepare(run, wanted, tmp_path, 0.0)
    job = Job(run.run_id, tuple(wanted), device="cpu", command=("harness", "run", "suite.yaml"))
    assert work(tmp_path, job, stop=StopFlag(), emit=lambda event: None).how == "done"
    command = ["publish", str(tmp_path / "suite.yaml"), "--results", str(tmp_path)]
    assert CliRunner().invoke(app, command).exit_code == 0
    folder = RunFolder(tmp_path, run.run_id)
    (place,) = (tmp_path / "published").glob(f"*/{run.run_id}")
    for name in ("spec.json", "provenance.json", "training.json"):
        assert read_json(place / name) == read_json(folder.path / name)
    for eval_id in wanted:
        own, kept = folder.path / "evals" / eval_id, place / "evals" / eval_id
        assert {path.name for path in own.iterdir()} == {path.name for path in kept.iterdir()}
        for name in ("measurements.jsonl", "by_document.npz", "spec.json", "done.json"):
            assert (kept / name).read_bytes() == (own / name).read_bytes()
