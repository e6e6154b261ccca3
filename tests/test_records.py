"""The run folder survives crashes: whole files, one holder, and damage that is named."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.records import (
    Measurement,
    RunFolder,
    append_jsonl,
    find_run,
    read_json,
    read_jsonl,
    write_json,
    write_text,
)

MEASUREMENT = Measurement(
    name="loss",
    value=1.5,
    n=10,
    unit="nats/token",
    higher_is_better=False,
    step=5,
    tokens_seen=80,
    train_seed=0,
    noise_seed=None,
    device="cpu",
    tags={"data": "builtin/docs"},
)


# --- atomic writes ---------------------------------------------------------------------------


def test_a_crash_before_the_rename_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "status.json"
    write_json(path, {"old": 1})

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_json(path, {"new": 2})
    assert read_json(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["status.json"], "no temporary file stays"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_is_not_json_leaves_the_old_file(tmp_path: Path, value: object) -> None:
    path = tmp_path / "status.json"
    write_json(path, {"old": 1})
    with pytest.raises((ValueError, TypeError)):
        write_json(path, {"new": value})
    assert read_json(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["status.json"]


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "ü")
    assert (tmp_path / "a" / "b.txt").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "a" / "b.txt").read_bytes() == "ü".encode()


@pytest.mark.parametrize("below", ["", "sub"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("no folder")
    results = tmp_path / "file" / below
    with pytest.raises(HarnessError, match=r"cannot write here: .*\n.*--results"):
        write_json(results / "status.json", {})
    with pytest.raises(HarnessError, match="cannot write here"), RunFolder(results, "r").hold():
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"{'a': 1}", b"\x00\x00"])
def test_damaged_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "status.json"
    path.write_bytes(content)
    with pytest.raises(HarnessError, match="not valid JSON") as caught:
        read_json(path)
    assert caught.value.where == str(path)


# --- JSONL -----------------------------------------------------------------------------------


def test_lines_are_appended_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "train.jsonl"
    assert read_jsonl(path) == []
    for step in range(3):
        append_jsonl(path, {"step": step, "text": "ü\n"})
    assert read_jsonl(path) == [{"step": s, "text": "ü\n"} for s in range(3)]


@pytest.mark.parametrize("cut", [1, 5, 12, 13])
def test_a_last_line_cut_short_is_left_out(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "train.jsonl"
    last = '{"step": 2, "x": 1}\n'
    path.write_text('{"step": 1}\n' + last[:cut])
    assert read_jsonl(path) == [{"step": 1}]


def test_a_last_line_without_its_newline_counts(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}')
    assert read_jsonl(path) == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize("line", [b'{"step": ', b"5", b"[]", b"\xff\xff", b"\x00"])
def test_a_broken_line_in_the_middle_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    with pytest.raises(HarnessError) as caught:
        read_jsonl(path)
    assert caught.value.where == f"{path}:2"


# --- claims ----------------------------------------------------------------------------------

_HOLD = """
import sys, time
from pathlib import Path
from harness.records import RunFolder
with RunFolder(Path(sys.argv[1]), "r").hold() as held:
    print("held" if held else "refused", flush=True)
    if held:
        time.sleep(60)
"""


def _hold(results: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(results)], stdout=subprocess.PIPE, text=True
    )


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_process_holds_a_run_until_it_is_killed(tmp_path: Path) -> None:
    with _hold(tmp_path) as first:
        try:
            assert _answer(first) == "held"
            with _hold(tmp_path) as second:
                assert _answer(second) == "refused"
            with RunFolder(tmp_path, "r").hold() as held:
                assert not held
            with RunFolder(tmp_path, "other").hold() as held:
                assert held
        finally:
            first.send_signal(signal.SIGKILL)
    with RunFolder(tmp_path, "r").hold() as held:
        assert held, "the kernel drops the lock of a killed process"


def test_a_claim_ends_with_its_block_however_it_ends(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "r")
    with pytest.raises(KeyError), folder.hold():
        raise KeyError
    with folder.hold() as held, RunFolder(tmp_path, "r").hold() as again:
        assert (held, again) == (True, False)


def _try_claim(results: Path, start: Any, found: Any) -> None:
    start.wait()
    with RunFolder(results, "r").hold() as held:
        found.put(held)
        start.wait()  # hold it until all have tried


def test_of_many_processes_one_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, found = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_try_claim, args=(tmp_path, start, found)) for _ in range(4)]
    for worker in workers:
        worker.start()
    answers = [found.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(answers) == [False, False, False, True]


# --- status ----------------------------------------------------------------------------------


def test_status_round_trip(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "r")
    assert folder.status().state == "planned"
    folder.set_status("failed", "out of memory", step=3, total_steps=10)
    found = folder.status()
    assert (found.state, found.reason, found.step, found.total_steps) == (
        "failed",
        "out of memory",
        3,
        10,
    )
    assert found.since is not None


def test_fields_of_a_later_version_are_ignored(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "r")
    write_json(folder.status_path, {"state": "done", "mood": "fine"})
    assert folder.status().state == "done"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "no JSON object"),
        (5, "no JSON object"),
        (None, "no JSON object"),
        ({}, "not a status"),
        ({"state": "dreaming"}, "not a status"),
        ({"state": ["done"]}, "not a status"),
    ],
)
def test_what_is_no_status_is_named(tmp_path: Path, value: object, problem: str) -> None:
    folder = RunFolder(tmp_path, "r")
    write_json(folder.status_path, value)
    with pytest.raises(HarnessError, match=problem) as caught:
        folder.status()
    assert caught.value.where == str(folder.status_path)


# --- finding runs ----------------------------------------------------------------------------


@pytest.fixture
def three_runs(tmp_path: Path) -> Path:
    for name in ("ebt-1a", "ebt-1ab", "dit-1"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "runs" / "ebt-stray.txt").write_text("no run")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "found"), [("ebt-1a", "ebt-1a"), ("ebt-1ab", "ebt-1ab"), ("d", "dit-1")]
)
def test_a_run_is_found_by_its_id_or_how_it_begins(
    three_runs: Path, given: str, found: str
) -> None:
    assert find_run(three_runs, given).path == three_runs / "runs" / found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("ebt", "2 runs begin like this"),
        ("ebt-s", "there is no such run"),
        ("etb-1a", "did you mean 'ebt-1a'"),
    ],
)
def test_a_run_that_is_not_one_is_an_error(three_runs: Path, given: str, message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        find_run(three_runs, given)


# --- evaluations -----------------------------------------------------------------------------


def test_an_evaluation_is_done_once_all_of_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path, "r").evaluation("e")
    broken = Measurement(**{**vars(MEASUREMENT), "value": float("nan")})
    with pytest.raises(ValueError, match="Out of range"):
        folder.write({"kind": "x"}, [MEASUREMENT, broken])
    assert not folder.is_done()
    folder.write({"kind": "x"}, [MEASUREMENT], seconds=1.0)
    assert folder.is_done()
    (read,) = folder.read()
    assert Measurement(**read) == MEASUREMENT
    assert json.loads(folder.done.read_text())["seconds"] == 1.0
