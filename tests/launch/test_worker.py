"""One run's work in this process: what it refuses, records and survives."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import HarnessError
from harness.launch.job import Job
from harness.launch.preconditions import check_device_class
from harness.launch.stop import StopFlag
from harness.launch.worker import Ending, work
from harness.planning.eval_spec import LikelihoodEval
from harness.planning.spec import TrainSpec
from harness.protocol import Single
from harness.provenance import user_command
from harness.records import RunFolder, read_json, write_json
from harness.training import checkpoint as ckpt
from tests.training.tiny import CORPUS, TEXT, assert_same_training, spec_of, trained

DATA = "file:mine-{split}.jsonl#text"


class Desk:
    """One run of Transformer++ with one evaluation, worked on in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.results = folder / "results"
        self.spec = spec_of("transformer_pp_text", task=TEXT | {"data": DATA})
        self.folder = RunFolder(self.results, self.spec.run_id)
        evaluation = LikelihoodEval(data=CORPUS, split="validation", thinking=Single())
        self.evaluation = self.folder.evaluation(evaluation.eval_id)
        write_json(self.folder.spec, self.spec.model_dump(mode="json"))
        write_json(self.evaluation.spec, evaluation.model_dump(mode="json"))

    def work(self, *, stop_at: int | None = None, **options: Any) -> Ending:
        """Work on the run; at the log line of step `stop_at`, a signal comes."""
        stop = StopFlag()

        def emit(event: dict[str, Any]) -> None:
            if stop_at is not None and event.get("step", 0) >= stop_at:
                stop.asked = True

        job = Job(self.spec.run_id, (self.evaluation.path.name,), device="cpu", **options)
        return work(self.results, Job.of(job.line()), stop=stop, emit=emit)


@pytest.fixture
def desk(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    for split in ("train", "validation"):
        for prefix in ("", "mine-"):
            (tmp_path / f"{prefix}{split}.jsonl").write_text(
                (corpus / f"{split}.jsonl").read_text()
            )
    return Desk(tmp_path)


def change_data() -> None:
    with Path("mine-train.jsonl").open("a") as file:
        file.write('{"text": "one more document"}\n')


def test_training_does_not_go_on_with_other_data(desk: Desk) -> None:
    assert desk.work(stop_at=10).how == "stopped"
    before = Path("mine-train.jsonl").read_text()
    change_data()

    ending = desk.work()
    assert ending.how == "failed"
    assert ending.reason is not None
    assert ending.reason.startswith(f"the data changed since this run began: {DATA}/train")
    assert desk.folder.status().reason == ending.reason

    Path("mine-train.jsonl").write_text(before)
    assert desk.work().how == "done"
    assert_same_training(desk.folder, trained(desk.spec, Path("undisturbed"))[0])


def test_evaluation_does_not_go_on_with_other_training_data(desk: Desk) -> None:
    """It fits the n-gram lines to the training data, and checks that the two are disjoint."""
    assert desk.work().how == "done"
    desk.evaluation.done.unlink()
    change_data()
    ending = desk.work()
    assert ending.how == "failed"
    assert ending.reason is not None
    assert "the data changed" in ending.reason
    assert desk.folder.status().state == "done", "training is as done as it was"


def test_a_run_that_never_began_may_begin_on_other_data(desk: Desk) -> None:
    write_json(desk.folder.provenance, {"data": {f"{DATA}/train": "0"}, "source_digest": "0"})
    assert desk.work().how == "done"


def test_a_full_disk_fails_the_run_with_a_reason_and_costs_no_checkpoint(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    full: list[bool] = []
    save, status = ckpt.save_file, RunFolder.set_status

    def save_until_full(tensors: dict[str, torch.Tensor], path: Path) -> None:
        if "step-9" in str(path):
            full.append(True)
            raise OSError(errno.ENOSPC, "No space left on device")
        save(tensors, path)

    def status_until_full(*arguments: Any, **options: Any) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        status(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ckpt, "save_file", save_until_full)
        patch.setattr(RunFolder, "set_status", status_until_full)
        ending = desk.work(checkpoint_steps=3)
    assert ending == Ending("failed", "OSError: [Errno 28] No space left on device")
    newest = ckpt.newest_checkpoint(desk.folder.checkpoints)
    assert newest is not None
    assert newest.step == 6

    assert desk.work().how == "done"
    assert_same_training(desk.folder, trained(desk.spec, Path("undisturbed"))[0])


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_only_the_final_weights_are_evaluated(damage: str, desk: Desk) -> None:
    """Never the checkpoint before in its place."""
    desk.work(checkpoint_steps=6)
    desk.evaluation.done.unlink()
    final = desk.folder.checkpoints / "step-20" / ckpt.MODEL
    final.unlink() if damage == "gone" else final.write_bytes(b"no weights")
    assert ckpt.newest_checkpoint(desk.folder.checkpoints) is not None

    ending = desk.work()
    assert ending.how == "failed"
    assert ending.reason is not None
    assert "final checkpoint is gone or damaged" in ending.reason
    assert not desk.evaluation.is_done()


def test_training_under_two_sources_is_of_neither(desk: Desk) -> None:
    desk.work(stop_at=10)
    known = read_json(desk.folder.provenance)
    write_json(desk.folder.provenance, known | {"source_digest": "0" * 16})
    assert desk.work().how == "done"
    recorded = read_json(desk.folder.provenance)["source_digest"]
    assert recorded == f"{'0' * 16}+{known['source_digest']}"


def test_a_run_that_another_process_holds_is_left_alone(desk: Desk) -> None:
    with desk.folder.hold() as held:
        assert held
        assert desk.work().how == "held"
    assert not desk.folder.status_path.exists()


def test_the_users_command_holds_no_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = {
        "run": "run",
        f"{tmp_path}/suites/x.yaml": "suites/x.yaml",
        "--results=/home/someone/results": "--results=results",
        "task.data=file:/data/mine.jsonl#text": "task.data=file:mine.jsonl#text",
        "config.ratio=1/2": "config.ratio=1/2",
    }
    monkeypatch.setattr(sys, "argv", ["/usr/bin/harness", *arguments])
    assert user_command() == ("harness", *arguments.values())


@pytest.mark.parametrize(
    ("device_class", "device", "fits"),
    [
        ("cpu-2", "AMD EPYC (2 threads)", True),
        ("cpu-1", "AMD EPYC (1 thread)", True),
        ("h100", "AMD EPYC (2 threads)", False),
        ("h100", "NVIDIA H100 80GB HBM3", True),
        ("h100-80g", "NVIDIA H100 80GB HBM3", True),
        ("a100", "NVIDIA H100 80GB HBM3", False),
        ("cpu", "NVIDIA H100 80GB HBM3", False),
    ],
)
def test_seconds_count_on_the_stated_class_of_device_alone(device_class, device, fits):
    spec = TrainSpec(
        adapter="toy",
        adapter_version="1",
        config={},
        task={"kind": "next_token", "context": 4},
        batch_size=1,
        budget={"seconds": 1},
        optimizer={"lr": 1},
        seed=0,
        device_class=device_class,
    )
    if fits:
        check_device_class(spec, device)
    else:
        with pytest.raises(HarnessError, match="device_class"):
            check_device_class(spec, device)
