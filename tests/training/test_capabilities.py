"""Replay, steps of different work, and compilation: what an adapter may offer besides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.planning.spec import TrainSpec
from harness.records import read_json, write_json
from harness.training import checkpoint as ckpt
from tests.training.tiny import assert_same_training, spec_of, stop_after, trained
from tests.training.toys import VOCABULARY, WIDTH, Rehearsing, flops

pytestmark = pytest.mark.usefixtures("corpus")
CONTEXT = 16


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def spec_for(**changes: Any) -> TrainSpec:
    """A spec for `Rehearsing`, which no registry knows: the adapter named here only lends it."""
    return spec_of("transformer_pp_text", **changes)


def replayed(folder: Any) -> dict[str, torch.Tensor]:
    newest = ckpt.newest_checkpoint(folder.checkpoints)
    assert newest is not None
    return ckpt.load_replay(newest)


# --- replay ----------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_replays_what_the_undisturbed_one_does(
    accumulate: int, tmp_path: Path
) -> None:
    spec = spec_for(accumulate=accumulate)
    reference, _ = trained(spec, tmp_path / "undisturbed", adapter=Rehearsing())
    for steps in (3, 6):
        folder, finished = trained(
            spec, tmp_path / "stopped", adapter=Rehearsing(), should_stop=stop_after(steps)
        )
        assert not finished
    folder, _ = trained(spec, tmp_path / "stopped", adapter=Rehearsing(), replays=True)

    assert_same_training(folder, reference)
    ours, theirs = replayed(folder), replayed(reference)
    assert ours.keys() == theirs.keys() == {"tokens", "mask"}
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert not folder.provenance.exists()  # nothing to own up to


@pytest.mark.parametrize("damage", [b"", None])
def test_a_damaged_replay_file_sends_the_run_back_to_the_checkpoint_before(
    damage: bytes | None, tmp_path: Path
) -> None:
    spec = spec_for()
    reference, _ = trained(spec, tmp_path / "undisturbed", adapter=Rehearsing())
    folder, _ = trained(
        spec,
        tmp_path / "damaged",
        adapter=Rehearsing(),
        checkpoint_steps=4,
        should_stop=stop_after(10),
    )
    file = folder.checkpoints / "step-10" / "replay-0.safetensors"
    file.unlink() if damage is None else file.write_bytes(damage)
    newest = ckpt.newest_checkpoint(folder.checkpoints)
    assert newest is not None
    assert newest.step == 8

    resumed = Rehearsing()
    folder, _ = trained(spec, tmp_path / "damaged", adapter=resumed)
    assert len(resumed.done) == 12
    assert_same_training(folder, reference)


def test_a_run_that_goes_on_without_its_buffer_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = spec_for()
    reference, _ = trained(spec, tmp_path / "undisturbed", adapter=Rehearsing(keeps=False))
    options: dict[str, Any] = {"replays": True, "checkpoint_steps": 5}
    folder, _ = trained(
        spec,
        tmp_path / "stopped",
        adapter=Rehearsing(keeps=False),
        should_stop=stop_after(7),
        **options,
    )
    assert not list(folder.checkpoints.glob("*/replay-*"))
    write_json(folder.provenance, {"command": ["harness"]})
    assert "without the replay buffer" not in capsys.readouterr().out

    folder, _ = trained(spec, tmp_path / "stopped", adapter=Rehearsing(keeps=False), **options)
    assert "resumed at step 7 without the replay buffer" in capsys.readouterr().out
    assert read_json(folder.provenance) == {"command": ["harness"], "resumed_without_replay": True}

    # The end is there but for its summary, and a worker writes provenance anew.
    folder.training.unlink()
    write_json(folder.provenance, {})
    trained(spec, tmp_path / "stopped", adapter=Rehearsing(keeps=False), **options)
    assert read_json(folder.provenance) == {"resumed_without_replay": True}
    hashes = [read_json(f.training)["weights_sha256"] for f in (folder, reference)]
    assert hashes[0] != hashes[1], "the buffer matters, so leaving it out must be told"


def test_an_untouched_start_has_no_buffer_to_miss(tmp_path: Path) -> None:
    spec = spec_for()
    trained(spec, tmp_path, adapter=Rehearsing(), should_stop=stop_after(0))
    folder, _ = trained(spec, tmp_path, adapter=Rehearsing(), replays=True)
    assert not folder.provenance.exists()


# --- work ------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("stops", [(), (3, 6)])
def test_flops_of_different_steps_add_up(
    accumulate: int, stops: tuple[int, ...], tmp_path: Path
) -> None:
    spec = spec_for(accumulate=accumulate)
    adapters = [Rehearsing() for _ in (*stops, None)]
    for adapter, steps in zip(adapters, stops, strict=False):
        trained(spec, tmp_path, adapter=adapter, should_stop=stop_after(steps))
    folder, _ = trained(spec, tmp_path, adapter=adapters[-1])

    done = [work for adapter in adapters for work in adapter.done]
    assert len(done) == 20 * accumulate, "counting does not run a step twice"
    assert {mixes for mixes, _ in done} == {1, 2, 3}
    rows = sum(r for _, r in done)
    summary = read_json(folder.training)
    assert summary["flops"] == sum(flops(*work, CONTEXT) for work in done)
    assert summary["flops_vocabulary"] == 3 * 2 * rows * CONTEXT * WIDTH * VOCABULARY
    assert summary["rows"] == 20 * 4, "a budget counts fresh rows"


# --- compilation -----------------------------------------------------------------------------


# torch hides this warning of its own where it is shown, which is after it has become an error.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_run_has_the_flops_and_the_weights_of_an_uncompiled_one(tmp_path: Path) -> None:
    """The backend counts its runs: a step whose FLOPs are counted must not be among them."""
    spec = spec_for(compile=True)
    plain, _ = trained(spec, tmp_path / "plain", adapter=Rehearsing())
    adapters = [Rehearsing() for _ in range(2)]
    for adapter, stop in zip(adapters, (stop_after(7), stop_after(99)), strict=True):
        adapter.compile_body()
        folder, _ = trained(spec, tmp_path / "compiled", adapter=adapter, should_stop=stop)

    assert_same_training(folder, plain)
    assert read_json(folder.training)["flops"] == read_json(plain.training)["flops"]
    done = [work for adapter in adapters for work in adapter.done]
    mixes = sum(mixes for mixes, _ in done) - sum(mixes for mixes, _ in set(done))
    assert sum(adapter.compiled_mixes for adapter in adapters) == mixes
