"""A stopped and resumed run is the undisturbed one, bit for bit. (For kill -9: tests/launch.)"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from harness.training import checkpoint as ckpt
from tests.training.tiny import (
    CONFIGS,
    assert_same_training,
    log_without_time,
    spec_of,
    stop_after,
    trained,
)

pytestmark = pytest.mark.usefixtures("corpus")
RUNS: dict[str, dict[str, Any]] = {name: {} for name in CONFIGS} | {
    "ebt_text accumulated": {"accumulate": 2},
    "dit_image bf16": {"precision": "bf16"},
    "ebt_text replaying": {"config": {"replay_records": 6}},
    "ebt_text varying": {"config": {"steps": 3, "min_steps": 1, "langevin_noise": 0.5}},
    "ebt_video varying": {"config": {"variant": "s2", "step_size": 3.0, "replay_records": 6}},
}


@pytest.mark.parametrize("name", RUNS)
def test_stopped_run_resumes_bit_identically(name: str, tmp_path: Path) -> None:
    spec = spec_of(name.split()[0], **RUNS[name])
    reference, _ = trained(spec, tmp_path / "undisturbed")

    chosen = random.Random(name)
    first, second = chosen.randint(1, 9), chosen.randint(1, 9)
    for steps in (first, second):
        folder, finished = trained(spec, tmp_path / "stopped", should_stop=stop_after(steps))
        assert not finished
        assert not folder.training.exists()
    folder, finished = trained(spec, tmp_path / "stopped")

    assert finished
    assert_same_training(folder, reference)


def test_steps_after_the_last_checkpoint_are_done_again(tmp_path: Path) -> None:
    """What a crash between two checkpoints leaves: a log that is ahead of the checkpoint."""
    spec = spec_of("ebt_text")
    reference, _ = trained(spec, tmp_path / "undisturbed", log_every=1)

    class Crash(Exception):
        pass

    def crash(record: dict[str, Any]) -> None:
        if record["step"] == 8:
            raise Crash

    with pytest.raises(Crash):
        trained(spec, tmp_path / "crashed", log_every=1, checkpoint_steps=5, on_progress=crash)
    folder, _ = trained(spec, tmp_path / "crashed", log_every=1)

    assert_same_training(folder, reference)
    assert [line["step"] for line in log_without_time(folder)] == list(range(1, 21))


def test_without_an_intact_checkpoint_training_begins_again(tmp_path: Path) -> None:
    spec = spec_of("transformer_pp_text")
    reference, _ = trained(spec, tmp_path / "undisturbed")
    folder, _ = trained(spec, tmp_path / "damaged", should_stop=stop_after(7), checkpoint_steps=3)
    for path in folder.checkpoints.glob("step-*"):
        (path / ckpt.MODEL).write_bytes(b"")

    # Its first checkpoints have lower steps than the damaged ones, which must not crowd them out.
    folder, _ = trained(spec, tmp_path / "damaged", should_stop=stop_after(2))
    newest = ckpt.newest_checkpoint(folder.checkpoints)
    assert newest is not None
    assert newest.step == 2

    folder, _ = trained(spec, tmp_path / "damaged")
    assert_same_training(folder, reference)


def test_finished_training_can_be_asked_for_again(tmp_path: Path) -> None:
    """A crash after the last checkpoint, before training.json: nothing is trained twice."""
    spec = spec_of("dit_image")
    folder, _ = trained(spec, tmp_path)
    before = log_without_time(folder), folder.training.read_text()
    folder.training.unlink()

    def forbidden(record: dict[str, Any]) -> None:
        raise AssertionError("trained a step")

    folder, finished = trained(spec, tmp_path, on_progress=forbidden)
    assert finished
    assert log_without_time(folder) == before[0]
    assert folder.training.exists()
