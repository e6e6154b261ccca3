"""Running suites: one failure stops nothing else, nothing is trained twice, reasons are told."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from harness.launch.local import LocalOptions, run_local
from harness.launch.pending import merged, prepare
from harness.planning.suite import load_suite
from harness.records import RunFolder, read_json, read_jsonl, write_json
from tests.launch.room import Room, has_checkpoint, holder, until

GOOD = {"adapter": "toy"}
SLOW = {"adapter": "toy", "config": {"delay": 0.02}, "budget": {"steps": 60}}


def contents(folder: RunFolder) -> dict[str, tuple[bytes, int]]:
    """Every file of a run, with its time of change, but for the lock and the worker's log."""
    return {
        str(path.relative_to(folder.path)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.path.rglob("*")
        if path.is_file() and path != folder.lock and folder.logs not in path.parents
    }


def test_failures_stop_nothing_else_and_are_told_with_reason_and_log(room: Room) -> None:
    """An exception, a loss that is no number, a killed worker; and an evaluation that raises."""
    suite = room.suite(
        {
            "good": GOOD,
            "raises": GOOD | {"config": {"raise_at": 5}},
            "spoils": GOOD | {"config": {"spoil_at": 7}},
            "killed": SLOW,
        }
    )
    folders = {
        label: room.folder_of(suite, label) for label in ("good", "raises", "spoils", "killed")
    }
    (room.folder / "fragile").touch()  # `good` trains, and fails its evaluation

    process = room.start(suite, "--workers", "1", "--checkpoint-steps", "2")
    worker = until(
        lambda: has_checkpoint(folders["killed"], 4) and holder(process.pid, folders["killed"]),
        "the run to kill",
    )
    os.kill(worker, signal.SIGKILL)
    code, summary = room.finish(process)

    assert code == 1
    failed = {problem["run"]: problem for problem in summary["failed"]}
    told = {label: failed[folder.run_id] for label, folder in folders.items()}
    assert told["raises"]["reason"] == "RuntimeError: the toy broke [/it]"
    assert told["spoils"]["reason"].startswith("not finite: step 7: loss nan")
    assert told["killed"]["reason"] == "the worker was killed by SIGKILL (out of memory?)"
    assert "likelihood" in told["good"]["reason"]
    assert "RuntimeError: the toy is fragile" in told["good"]["reason"]
    assert all(Path(problem["log"]).exists() for problem in failed.values())
    log = Path(told["raises"]["log"]).read_text()
    assert "Traceback" in log
    assert "and said more" in log
    assert "step 7" in Path(told["spoils"]["log"]).read_text()
    states = {label: folder.status().state for label, folder in folders.items()}
    assert states == {"good": "done", "raises": "failed", "spoils": "failed", "killed": "failed"}

    # The same command tries again what failed, goes on from checkpoints, and spares what is done.
    (room.folder / "fragile").unlink()
    trained = folders["good"].training.stat().st_mtime_ns
    code, summary = room.run(suite)
    assert code == 1
    endings = {label: summary["endings"][folder.run_id] for label, folder in folders.items()}
    assert endings == {"good": "done", "raises": "failed", "spoils": "failed", "killed": "done"}
    assert folders["good"].training.stat().st_mtime_ns == trained
    assert not list(folders["good"].path.glob("evals/*/error.json"))
    assert [line["step"] for line in read_jsonl(folders["killed"].train_log)] == [
        1, 10, 20, 30, 40, 50, 60,
    ]  # fmt: skip


def test_two_commands_at_once_never_train_a_run_twice(room: Room) -> None:
    suite = room.suite({"slow": SLOW, "good": GOOD})
    slow, good = room.folder_of(suite, "slow"), room.folder_of(suite, "good")
    first = room.start(suite, "--workers", "1", "--checkpoint-steps", "2")
    worker = until(lambda: has_checkpoint(slow, 2) and holder(first.pid, slow), "the slow run")
    os.kill(worker, signal.SIGSTOP)
    code, summary = room.run(suite)
    os.kill(worker, signal.SIGCONT)
    assert code == 1  # what another process holds is not done
    assert summary["endings"] == {slow.run_id: "held", good.run_id: "done"}

    before = contents(good)
    code, summary = room.finish(first)
    assert code == 0
    assert summary["endings"] == {slow.run_id: "done", good.run_id: "done"}
    assert contents(good) == before
    assert [line["step"] for line in read_jsonl(slow.train_log)] == [1, 10, 20, 30, 40, 50, 60]


def test_what_is_done_is_found_and_redone_only_when_asked(room: Room) -> None:
    suite = room.suite({"good": GOOD, "other": GOOD | {"batch_size": 2}})
    good, other = room.folder_of(suite, "good"), room.folder_of(suite, "other")
    code, _ = room.run(suite, "--results", str(room.results))
    assert code == 0
    known = read_json(other.provenance)
    assert known["command"] == ["harness", "run", "suite.yaml", "--json", "--results", "results"]
    write_json(other.provenance, known | {"source_digest": "0" * 16})

    before = contents(good), contents(other)
    code, summary = room.run(suite)
    assert code == 0
    assert summary["found_done"] == [good.run_id]
    assert summary["changed"] == [other.run_id]
    assert not summary["endings"]
    assert (contents(good), contents(other)) == before

    code, summary = room.run(suite, "--redo-changed")
    assert code == 0
    assert summary["endings"] == {other.run_id: "done"}
    (aside,) = (room.results / "replaced").iterdir()
    assert read_json(aside / "provenance.json")["source_digest"] == "0" * 16
    assert read_json(other.provenance)["source_digest"] == known["source_digest"]


def test_budgets_in_seconds_run_alone(room: Room) -> None:
    timed = GOOD | {"budget": {"seconds": 0.3}, "device_class": "cpu-2"}
    counted = GOOD | {"budget": {"steps": 20}}
    other = {"batch_size": 2}
    adapters = {"a": timed, "b": timed | other, "c": counted, "d": counted | other}
    path = room.suite(adapters, evaluations={}, base={"batch_size": 4, "optimizer": {"lr": 1e-3}})
    runs = load_suite(path).runs
    seconds = {run.run_id for run in runs if run.spec.budget.seconds is not None}
    active: set[str] = set()
    together: list[set[str]] = []

    def watch(event: dict[str, Any]) -> None:
        if event["event"] == "end":
            active.discard(event["run"])
        else:
            active.add(event["run"])
        together.append(set(active))

    pending = [prepare(run, evals, room.results, 0.0) for run, evals in merged(runs).values()]
    outcome = run_local(pending, room.results, options=LocalOptions(workers=2), on_event=watch)

    assert sorted(outcome.of("done")) == sorted(run.run_id for run in runs)
    assert all(len(group) == 1 for group in together if group & seconds)
    for run_id in seconds:
        summary = read_json(RunFolder(room.results, run_id).training)
        assert summary["seconds"] >= 0.3
        assert summary["steps"] > 1


def test_a_message_that_is_cut_short_ends_the_worker_not_the_suite(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a library prints is no event, nor is half a line of a worker that died."""
    fake = room.folder / "python"
    said = r"""printf 'Loading\n{"event": '"""
    fake.write_text(f"#!/bin/sh\nread job\n{said}\necho 'out of luck' >&2\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(fake))
    suite = room.suite({"good": GOOD}, evaluations={})
    (run,) = load_suite(suite).runs
    pending = [prepare(run, {}, room.results, 0.0)]
    events: list[dict[str, Any]] = []

    outcome = run_local(pending, room.results, options=LocalOptions(), on_event=events.append)

    reason = "the worker ended with code 3: out of luck"
    assert outcome.endings == {run.run_id: ("failed", reason)}
    assert RunFolder(room.results, run.run_id).status().reason == reason
    assert [event["event"] for event in events] == ["end"]
