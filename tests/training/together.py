"""What each rank does in test_parallel.py: `python -m tests.training.together CASE FOLDER`.

Both ranks of a pair go through a case; what a test needs to know of them lies in FOLDER afterwards.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.planning.spec import TrainSpec
from harness.protocol import Noise, ParamGroup, StepOutput, TextBatch
from harness.records import write_json
from harness.training import loop
from harness.training.loop import NonFiniteLoss
from harness.training.parallel import Ranks, joined
from tests.training.tiny import build, spec_of, trained

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 240
STEPS = {"budget": {"steps": 5}}

# --- a pair of processes ---------------------------------------------------------------------


@contextmanager
def two_ranks(
    case: str, folder: Path, *, module: str = "tests.training.together", codes: tuple[int, ...] = ()
) -> Iterator[None]:
    """Two ranks go through `case` beside what is inside, told of each other as by torchrun.

    They must end with `codes`, by default 0.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    shared = environment() | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", module, case, str(folder)]
    pair = [
        subprocess.Popen(
            command,
            env=shared | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ("0", "1")
    ]
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        yield
        printed = [p.communicate(timeout=max(1, deadline - time.monotonic()))[0] for p in pair]
    finally:
        for process in pair:
            process.kill()
            process.communicate()
    assert [process.returncode for process in pair] == list(codes or (0, 0)), "\n".join(printed)


def environment() -> dict[str, str]:
    """This process's, for one that imports the tests from elsewhere."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path}


# --- adapters --------------------------------------------------------------------------------


class Inner(nn.Module):
    """An EBT in four lines: the prediction moves along the gradient of an energy of it."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embed, self.mixer, self.output = (
            nn.Parameter(torch.randn(shape, generator=generator) / 4)
            for shape in ((257, 8), (16, 8), (8, 257))
        )

    def training_loss(self, batch: TextBatch, noise: Noise) -> StepOutput:
        observed = self.embed[batch.tokens[:, :-1]]
        value = noise.normal(batch.rows, observed.shape[1:], purpose="start").to(observed)
        value.requires_grad_()
        for _ in range(2):
            hidden = torch.tanh(torch.cat([observed, value], -1) @ self.mixer)
            (slope,) = torch.autograd.grad(hidden.square().sum(), value, create_graph=True)
            value = value - slope
        targets = batch.tokens[:, 1:].masked_fill(~batch.mask, -100).flatten()
        logits = (value @ self.output).flatten(0, 1)
        loss = F.cross_entropy(logits, targets, reduction="sum")
        return StepOutput(loss, int(batch.mask.sum()), {"energy": (hidden.sum(), len(batch.rows))})

    def param_groups(self) -> list[ParamGroup]:
        return [ParamGroup("weights", list(self.parameters()))]


class Choosing(nn.Module):
    """Each row uses the parameter that its id chooses, so ranks and micro-batches differ.

    The last parameter is used by none; the one before it leads to a loss that has no use for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.chosen = nn.ParameterList([nn.Parameter(torch.full((257,), 0.1)) for _ in range(7)])

    def training_loss(self, batch: TextBatch, noise: Noise) -> StepOutput:
        loss = torch.zeros(()) * _Useless.apply(self.chosen[5])
        for row, tokens in zip(batch.rows.tolist(), batch.tokens, strict=True):
            loss = loss + self.chosen[row % 5].log_softmax(0)[tokens].sum().neg()
        return StepOutput(loss, batch.tokens.numel())

    def param_groups(self) -> list[ParamGroup]:
        return [ParamGroup("weights", list(self.parameters()))]


class _Useless(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return torch.zeros(())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> None:
        return None


class OneGoesWrong(nn.Module):
    """From the third step on, rank 1's `what` is not what it should be."""

    def __init__(self, what: str, rank: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.what, self.rank, self.calls = what, rank, 0

    def training_loss(self, batch: TextBatch, noise: Noise) -> StepOutput:
        self.calls += 1
        wrong = self.what if self.rank and self.calls >= 3 else ""
        loss = self.weight.sum() * (float("nan") if wrong == "loss" else 1.0)
        metrics: Mapping[str, tuple[Tensor, int]] = {"width": (torch.tensor(2.0), 1)}
        if wrong == "names":
            metrics = {"height": (torch.tensor(2.0), 1), "depth": (torch.tensor(1.0), 1)}
        return StepOutput(loss, 1, metrics)

    def param_groups(self) -> list[ParamGroup]:
        return [ParamGroup("weights", [self.weight])]


# --- cases -----------------------------------------------------------------------------------

S2 = {"variant": "s2", "replay_records": 0}
WINDOWS = {"rows": "first_window", "context": 64}
#: Adapter, and what is unlike the tiny defaults; "double" runs in float64.
RUNS: dict[str, dict[str, Any]] = {
    "transformer_pp_text": {},
    "transformer_pp_text windows": {"task": WINDOWS, "accumulate": 2},
    "ebt_text": {},
    "ebt_text double": {},
    "ebt_text S2": {"config": S2},
    "ebt_text S2 windows double": {
        "config": S2 | {"langevin_noise": 0.0},
        "task": WINDOWS,
        "accumulate": 2,
    },
    "ebt_text varying double": {"config": {"steps": 3, "min_steps": 1, "random_step_size": 2.0}},
    "ebt_text unrolled double": {"config": {"between_steps": "unroll"}},
    "dit_image": {},
    "ebt_image": {"accumulate": 2},
    "transformer_pp_video": {},
    "ebt_video": {},
    "ebt_video S2": {"config": S2 | {"step_size": 3.0}},
    "toy inner double": {"accumulate": 2},
    "toy choosing double": {"accumulate": 2},
    "toy choosing whole double": {},
}
TOYS: dict[str, Callable[[], nn.Module]] = {"inner": Inner, "choosing": Choosing}


def of_run(name: str) -> tuple[TrainSpec, Any]:
    """A run's spec and its adapter; a toy's spec is lent by the adapter that it names."""
    words = name.split()
    lent = "transformer_pp_text" if words[0] == "toy" else words[0]
    spec = spec_of(lent, **(STEPS | RUNS[name]))
    adapter = TOYS[words[1]]() if words[0] == "toy" else build(spec)
    return spec, adapter.double() if "double" in words else adapter


def as_one(folder: Path, ranks: Ranks) -> None:
    """Every run of `RUNS`."""
    for name in RUNS:
        spec, adapter = of_run(name)
        trained(spec, folder / name / "two", adapter=adapter, ranks=ranks, log_every=1)


RESUMED: dict[str, dict[str, Any]] = {
    "accumulating": {"accumulate": 2},
    "replaying": {"config": {"replay_records": 6}},
}


def resumed_spec(name: str) -> TrainSpec:
    return spec_of("ebt_text", budget={"steps": 12}, **RESUMED[name])


def stopped(folder: Path, ranks: Ranks) -> None:
    """Train undisturbed; and with a wish to stop on one rank, first the one, then the other.

    Then leave another run where it is after four steps.
    """
    for name in RESUMED:
        spec, own = resumed_spec(name), folder / name
        trained(spec, own / "undisturbed", ranks=ranks)
        for who, calls in ((1, 3), (0, 4)):
            stop = _only(ranks.rank == who, calls)
            run, finished = trained(
                spec, own / "stopped", ranks=ranks, should_stop=stop, checkpoint_steps=5
            )
            assert not finished
            ranks.barrier()
            seen = sorted(path.name for path in run.checkpoints.iterdir())
            write_json(own / f"{who}-seen-by-{ranks.rank}.json", {"checkpoints": seen})
            ranks.barrier()
        _, finished = trained(spec, own / "stopped", ranks=ranks)
        assert finished
        trained(spec, own / "left", ranks=ranks, should_stop=_only(True, 4))


def _only(asked: bool, calls: int) -> Callable[[], bool]:
    left: Iterator[int] = iter(range(calls))
    return lambda: asked and next(left, None) is None


def agreeing(folder: Path, ranks: Ranks) -> None:
    """Clocks that differ; a loss that one rank cannot compute; metrics that do not add up."""
    spec = spec_of("transformer_pp_text", budget={"seconds": 4.0}, device_class="test")
    now = iter(range(10**6))
    with pytest.MonkeyPatch.context() as patch:
        ticks = 0.1 if ranks.rank == 0 else 7.0
        clock = SimpleNamespace(monotonic=lambda: ticks * next(now), time=lambda: 0.0)
        patch.setattr(loop, "time", clock)
        counting = OneGoesWrong("nothing", ranks.rank)
        trained(spec, folder / "seconds", adapter=counting, ranks=ranks, log_every=1)
    found: dict[str, Any] = {"steps": counting.calls}
    for what, error in (("loss", NonFiniteLoss), ("names", RuntimeError)):
        spec, adapter = spec_of("transformer_pp_text"), OneGoesWrong(what, ranks.rank)
        with pytest.raises(error) as caught:
            trained(spec, folder / what, adapter=adapter, ranks=ranks)
        found[what] = str(caught.value)
    write_json(folder / f"rank-{ranks.rank}.json", found)


CASES = {"as_one": as_one, "stopped": stopped, "agreeing": agreeing}

if __name__ == "__main__":
    with joined("cpu", timeout_min=4) as together:
        CASES[sys.argv[1]](Path(sys.argv[2]), together)
