"""Kill, Ctrl-C and SIGTERM through the real command line: nothing is lost, nothing half-written."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

from harness.records import RunFolder, read_json
from harness.training import checkpoint as ckpt
from tests.launch.room import Room, has_checkpoint, holder, until, workers
from tests.training.tiny import CONFIGS, IMAGE, VIDEO, assert_same_training, trained

SLOW = {"adapter": "toy", "config": {"delay": 0.02}, "budget": {"steps": 80}}


def newest_step(folder: RunFolder) -> int:
    found = ckpt.newest_checkpoint(folder.checkpoints)
    assert found is not None
    return found.step


def test_runs_killed_at_random_steps_end_as_undisturbed_ones(room: Room) -> None:
    """Every worker is killed with SIGKILL within its run; at the last run, the parent is."""
    adapters = {name: {"adapter": name, "config": config} for name, config in CONFIGS.items()}
    for name in adapters:
        for modality, task in (("image", IMAGE), ("video", VIDEO)):
            if name.endswith(modality):
                adapters[name]["task"] = task
    adapters["transformer_pp_text"]["accumulate"] = 2
    suite = room.suite(adapters, evaluations={}, base={
        "batch_size": 4, "budget": {"steps": 80}, "optimizer": {"lr": 1e-3, "warmup_steps": 4},
    })  # fmt: skip
    options = ("--workers", "2", "--checkpoint-steps", "3")
    specs = {run.run_id: run.spec for run in room.runs(suite)}
    left = {run_id: random.Random(run_id).randint(1, 20) for run_id in specs}

    process = room.start(suite, *options)
    while left:
        assert process.poll() is None, "ended before every run was killed"
        found = {run_id: holder(process.pid, RunFolder(room.results, run_id)) for run_id in left}
        for run_id, worker in found.items():
            if worker is not None and has_checkpoint(RunFolder(room.results, run_id), left[run_id]):
                os.kill(worker if len(left) > 1 else process.pid, signal.SIGKILL)
                del left[run_id]
                last = worker
                break
    process.communicate()
    until(lambda: not os.path.exists(f"/proc/{last}"), "the orphaned worker to end by itself")

    for run_id in specs:
        folder = RunFolder(room.results, run_id)
        assert not folder.training.exists(), "killed too late to show anything"
        assert 0 < newest_step(folder) < 80
    code, summary = room.run(suite, *options)
    assert code == 0
    assert set(summary["endings"].values()) == {"done"}
    for run_id, spec in specs.items():
        reference, _ = trained(spec, room.folder / "undisturbed")
        assert_same_training(RunFolder(room.results, run_id), reference)


def interrupt_training(room: Room, suite: Path, folder: RunFolder, number: signal.Signals) -> None:
    """Run until the log grows, send the signal, and check how it ended."""
    size = folder.train_log.stat().st_size if folder.train_log.exists() else 0
    process = room.start(suite)
    # Resuming cuts the log back to the checkpoint, which the last interruption wrote at its end.
    until(lambda: folder.train_log.exists() and folder.train_log.stat().st_size > size, "a step")
    process.send_signal(number)
    code, summary = room.finish(process)
    assert code == 130
    assert summary["interrupted"]
    assert folder.status().state == "stopped"
    assert not folder.training.exists()


def test_interrupted_runs_go_on_with_the_same_command(room: Room) -> None:
    """Ctrl-C, then SIGTERM, then to the end: as if nothing had happened."""
    adapter = {"adapter": "transformer_pp_text", "config": CONFIGS["transformer_pp_text"]}
    suite = room.suite({"t": adapter | {"budget": {"steps": 400}}}, evaluations={})
    folder = room.folder_of(suite, "t")
    reached = 0
    for number in (signal.SIGINT, signal.SIGTERM):
        interrupt_training(room, suite, folder, number)
        assert newest_step(folder) > reached
        reached = newest_step(folder)
    code, _ = room.run(suite)

    assert code == 0
    assert folder.status().state == "done"
    (run,) = room.runs(suite)
    reference, _ = trained(run.spec, room.folder / "undisturbed")
    assert_same_training(folder, reference)


def test_ctrl_c_ends_idle_workers_and_a_second_one_ends_all_at_once(room: Room) -> None:
    suite = room.suite(
        {"slow": SLOW, "quick": {"adapter": "toy", "budget": {"steps": 1}}}, evaluations={}
    )
    slow, quick = room.folder_of(suite, "slow"), room.folder_of(suite, "quick")
    process = room.start(suite, "--workers", "2", "--checkpoint-steps", "2")
    until(lambda: quick.status().state == "done" and has_checkpoint(slow, 4), "an idle worker")
    busy = holder(process.pid, slow)
    assert busy is not None
    assert len(workers(process.pid)) == 2
    os.kill(busy, signal.SIGSTOP)  # it can write no checkpoint now, nor end
    process.send_signal(signal.SIGINT)
    until(lambda: workers(process.pid) == [busy], "the idle worker to end")
    assert process.poll() is None, "the busy worker has time to write its checkpoint"
    process.send_signal(signal.SIGINT)
    code, summary = room.finish(process)

    assert code == 130
    assert summary["endings"][slow.run_id] == "stopped"
    assert slow.status().state == "stopped"
    assert not os.path.exists(f"/proc/{busy}")
    assert newest_step(slow) >= 4


def test_ctrl_c_before_a_worker_listens_stops_its_run(room: Room) -> None:
    suite = room.suite({"slow": SLOW}, evaluations={})
    process = room.start(suite)
    worker = until(lambda: workers(process.pid), "a worker, which imports for a while")[0]
    process.send_signal(signal.SIGINT)
    code, summary = room.finish(process)
    assert code == 130
    assert set(summary["endings"].values()) <= {"stopped"}, "it may not have been given its run"
    assert not summary["failed"]
    until(lambda: not os.path.exists(f"/proc/{worker}"), "the worker to end")


def test_sigterm_during_an_evaluation_leaves_it_undone_and_training_done(room: Room) -> None:
    suite = room.suite({"toy": {"adapter": "toy"}})
    folder = room.folder_of(suite, "toy")
    waits = room.folder / "wait"
    waits.touch()
    process = room.start(suite)
    until((room.folder / "waiting").exists, "the evaluation")
    trained_as = folder.training.read_text()
    process.send_signal(signal.SIGTERM)
    code, _ = room.finish(process)

    assert code == 130
    assert folder.status().state == "done"
    (evaluation,) = (folder.path / "evals").iterdir()
    assert [path.name for path in evaluation.iterdir()] == ["spec.json"]
    waits.unlink()
    code, _ = room.run(suite)
    assert code == 0
    assert read_json(evaluation / "done.json")
    assert folder.training.read_text() == trained_as
