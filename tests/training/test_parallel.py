"""Two processes train what one process with the same global batch trains, and end together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.errors import HarnessError
from harness.records import RunFolder, read_json, read_jsonl
from harness.training import checkpoint as ckpt
from harness.training.parallel import ALONE, VARIABLES, Ranks, device_of, joined
from tests.training.tiny import assert_same_training, log_without_time, spec_of, trained
from tests.training.together import RESUMED, RUNS, of_run, resumed_spec, two_ranks

pytestmark = pytest.mark.usefixtures("corpus")


def newest(folder: RunFolder) -> ckpt.Checkpoint:
    found = ckpt.newest_checkpoint(folder.checkpoints)
    assert found is not None
    return found


def assert_equal_runs(name: str, one: RunFolder, two: RunFolder) -> None:
    """Final weights and every logged number."""
    tolerance = 1e-9 if "double" in name.split() else 1e-5
    weights, others = (load_file(newest(run).path / ckpt.MODEL) for run in (one, two))
    for key, own in weights.items():
        scale = float(own.abs().max())
        torch.testing.assert_close(others[key], own, rtol=0, atol=tolerance * scale)
    lines, other_lines = log_without_time(one), log_without_time(two)
    assert len(lines) == len(other_lines) == 5
    for line, other in zip(lines, other_lines, strict=True):
        assert list(line) == list(other)
        assert other.pop("tokens") == line.pop("tokens")
        assert other["loss"] == pytest.approx(line["loss"], rel=tolerance)
        # Energies cross zero, where their rounding is relative to nothing.
        assert other == pytest.approx(line, rel=10 * tolerance, abs=tolerance)


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    alone = {}
    with two_ranks("as_one", tmp_path):
        for name in RUNS:
            spec, adapter = of_run(name)
            alone[name], _ = trained(spec, tmp_path / name / "one", adapter=adapter, log_every=1)
    for name, one in alone.items():
        two = RunFolder(tmp_path / name / "two", one.run_id)
        assert_equal_runs(name, one, two)
        cost, other = read_json(one.training), read_json(two.training)
        assert (cost["processes"], other["processes"]) == (1, 2)
        for key in ("steps", "rows", "tokens", "flops_vocabulary"):
            assert other[key] == cost[key]
        if name.startswith("ebt_image"):  # makes its modulations once a batch, so once a rank
            assert cost["flops"] < other["flops"] < 1.1 * cost["flops"]
        else:
            assert other["flops"] == cost["flops"]


def test_a_parameter_that_nobody_uses_is_left_alone(tmp_path: Path) -> None:
    """Else DDP's zeros for it would be decayed; this is what the run `choosing` compares."""
    spec, adapter = of_run("toy choosing double")
    trained(spec, tmp_path, adapter=adapter)
    before = torch.full((257,), 0.1).double()
    touched = [not torch.equal(parameter, before) for parameter in adapter.chosen]
    assert touched == [True] * 5 + [False] * 2


def test_ranks_stop_at_one_step_and_go_on_as_if_undisturbed(tmp_path: Path) -> None:
    """Whichever rank the signal reaches; with one replay buffer per rank."""
    with two_ranks("stopped", tmp_path):
        pass
    for name in RESUMED:
        run, reference, left = (
            RunFolder(tmp_path / name / kind, resumed_spec(name).run_id)
            for kind in ("stopped", "undisturbed", "left")
        )
        for who, steps in ((1, ["step-3"]), (0, ["step-5", "step-7"])):
            seen = [read_json(tmp_path / name / f"{who}-seen-by-{rank}.json") for rank in (0, 1)]
            assert seen == [{"checkpoints": steps}] * 2
        assert_same_training(run, reference)
        assert newest(left).step == 4
        assert newest(left).replay_ranks() == newest(run).replay_ranks()

    replaying = newest(reference)
    assert replaying.replay_ranks() == 2
    first, second = (ckpt.load_replay(replaying, rank)["inputs"] for rank in (0, 1))
    assert first.shape == second.shape
    assert not torch.equal(first, second)
    with pytest.raises(HarnessError, match="buffers of 2 processes, and this is 1"):
        trained(resumed_spec("replaying"), tmp_path / "replaying" / "left")
    assert newest(left).step == 4
    other, finished = trained(resumed_spec("accumulating"), tmp_path / "accumulating" / "left")
    assert finished
    assert newest(other).step == 12


def test_ranks_go_by_rank_0s_clock_and_by_everyones_numbers(tmp_path: Path) -> None:
    with two_ranks("agreeing", tmp_path):
        pass
    first, second = (read_json(tmp_path / f"rank-{rank}.json") for rank in (0, 1))
    assert first == second
    assert first["loss"].startswith("step 3: loss nan")
    assert first["names"] == (
        "ranks have different metrics, which do not add up: rank 0 /flops, loss, width; "
        "rank 1 /flops, depth, height, loss"
    )
    (run,) = (tmp_path / "seconds" / "runs").iterdir()
    summary = read_json(run / "training.json")
    assert summary["steps"] == first["steps"] > 2
    assert summary["seconds"] >= 4.0
    rates = [line["lr"] for line in read_jsonl(run / "train.jsonl")]
    assert rates[-1] < rates[len(rates) // 2]


class Three(Ranks):
    size = 3


@pytest.mark.parametrize(
    ("accumulate", "message"),
    [
        (1, "batch_size 4 cannot be cut into equal parts for 3 processes"),
        (2, "equal parts for 3 processes in 2 micro-batches: it must be a multiple of 6"),
    ],
)
def test_a_batch_that_has_no_equal_parts_is_refused_at_once(
    accumulate: int, message: str, tmp_path: Path
) -> None:
    spec = spec_of("transformer_pp_text", accumulate=accumulate)
    with pytest.raises(HarnessError, match=message):
        trained(spec, tmp_path, ranks=Three())
    assert not (tmp_path / "runs").exists()


# --- joining ---------------------------------------------------------------------------------

TOLD = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "1",
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RANK": None}, "^RANK missing in the environment, where WORLD_SIZE, LOCAL_RANK, MAS"),
        ({"WORLD_SIZE": None, "MASTER_PORT": None}, "^WORLD_SIZE, MASTER_PORT missing"),
        ({"RANK": "2"}, "contradicts itself"),
        ({"RANK": "0"}, "contradicts itself"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE in the environment must be a number"),
    ],
)
def test_what_the_environment_tells_wrongly_is_refused(
    changes: dict[str, str | None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (TOLD | changes).items():
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(HarnessError, match=message), joined("cpu"):
        pass


def test_a_rank_that_finds_no_other_says_where_it_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TOLD.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(
            HarnessError, match=r"rank 1 of 2 could not join the others at 127\.0\.0\.1:1"
        ),
        joined("cpu", timeout_min=0.02),
    ):
        pass


def test_whoever_could_not_leave_a_group_joins_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a failure on GPUs; its exit has the launcher end those who still wait there."""
    for name, value in TOLD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    with pytest.raises(HarnessError, match="still in a group"), joined("cpu"):
        pass


@pytest.mark.parametrize("size", [None, "1"])
def test_a_process_that_is_told_of_no_other_is_alone(
    size: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    if size is not None:
        monkeypatch.setenv("WORLD_SIZE", size)
    with joined("cpu") as ranks:
        assert ranks is ALONE


def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert device_of("cuda", 3) == torch.device("cuda:3")
    assert device_of("cuda") == torch.device("cuda")
    with pytest.raises(HarnessError, match="process 4 of its machine, counted from 0, and 4 GPUs"):
        device_of("cuda", 4)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # Slurm shows each task its own
    assert device_of("cuda", 3) == torch.device("cuda:0")
    assert device_of("cpu", 3) == torch.device("cpu")
