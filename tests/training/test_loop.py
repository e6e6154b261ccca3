"""The training loop against hand computations: rates, clipping, accumulation, budgets, cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from math import cos, isfinite, pi
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.planning.shapes import shape_of
from harness.planning.spec import Optimizer
from harness.protocol import Noise, ParamGroup, StepOutput, TextBatch
from harness.records import read_json, read_jsonl
from harness.registry import adapter as find_adapter
from harness.registry import adapter_names
from harness.training import checkpoint as ckpt
from harness.training import loop
from harness.training.loop import NonFiniteLoss
from harness.training.optim import build_optimizer, cosine_fraction, set_learning_rates
from tests.training.tiny import CONFIGS, batches_of, build, spec_of, stop_after, trained

pytestmark = pytest.mark.usefixtures("corpus")
WITHOUT_TOKENS = ("dit_image", "ebt_image", "transformer_pp_video", "ebt_video")


class Slope(nn.Module):
    """Loss = slope x weight per target, so that the gradient of the mean is `slope`."""

    def __init__(self, slope: float = 3.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.fast = nn.Parameter(torch.ones(1))
        self.slope = slope
        self.calls = 0

    def training_loss(self, batch: TextBatch, noise: Noise) -> StepOutput:
        self.calls += 1
        n = int(batch.mask.sum())
        return StepOutput((self.slope * self.weight + 0 * self.fast).sum() * n, n, self.metrics(n))

    def metrics(self, n: int) -> Mapping[str, tuple[Tensor, int]]:
        return {}

    def param_groups(self) -> list[ParamGroup]:
        return [
            ParamGroup("slow", [self.weight]),
            ParamGroup("fast", [self.fast], lr_multiplier=10.0, weight_decay=False),
        ]


# --- learning rate ---------------------------------------------------------------------------


@pytest.mark.parametrize("floor", ["per_group", "base_lr"])
@pytest.mark.parametrize("decay_steps", [None, 30])
def test_learning_rate_follows_warm_up_cosine_and_floor(
    floor: Any, decay_steps: int | None
) -> None:
    settings = Optimizer(
        lr=2.0, warmup_steps=10, floor_ratio=0.25, floor=floor, decay_steps=decay_steps
    )
    optimizer = build_optimizer(Slope(), settings)
    total, end = 50, decay_steps or 50
    for step in range(total):
        fraction = cosine_fraction(settings, step, total, 0.0)
        base = set_learning_rates(optimizer, settings, step, fraction)
        for group, peak in zip(optimizer.param_groups, (2.0, 20.0), strict=True):
            lowest = 0.25 * (2.0 if floor == "base_lr" else peak)
            if step < 10:
                expected = peak * (step + 1) / 10
            elif step < end:
                passed = (step - 10) / (end - 10)
                expected = lowest + (peak - lowest) * (1 + cos(pi * passed)) / 2
            else:
                expected = lowest
            assert group["lr"] == pytest.approx(expected), (step, group["name"])
        assert base == pytest.approx(optimizer.param_groups[0]["lr"])


def test_the_log_holds_the_rate_of_each_step_and_means_since_the_last_line(tmp_path: Path) -> None:
    spec = spec_of("transformer_pp_text")
    every, _ = trained(spec, tmp_path / "every", log_every=1)
    tenth, _ = trained(spec, tmp_path / "tenth", log_every=10)

    lines = read_jsonl(every.train_log)
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert [line["lr"] for line in lines[:4]] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3])
    coarse = read_jsonl(tenth.train_log)
    assert [line["step"] for line in coarse] == [1, 10, 20]
    for first, last, line in ((1, 10, coarse[1]), (10, 20, coarse[2])):
        losses = [fine["loss"] for fine in lines[first:last]]
        assert line["loss"] == pytest.approx(sum(losses) / len(losses))
        assert line["tokens"] == line["step"] * 4 * 16


# --- one step --------------------------------------------------------------------------------


@pytest.mark.parametrize(("clip", "kept"), [(1.0, 1.0), (5.0, 3.0), (None, 3.0)])
def test_gradients_are_clipped_by_their_global_norm(
    clip: float | None, kept: float, tmp_path: Path
) -> None:
    spec = spec_of("transformer_pp_text", budget={"steps": 1}, optimizer={"clip_norm": clip})
    adapter = Slope(3.0)
    folder, _ = trained(spec, tmp_path, adapter=adapter)
    assert adapter.weight.grad is not None
    assert float(adapter.weight.grad) == pytest.approx(kept, rel=1e-5)
    assert read_jsonl(folder.train_log)[0]["grad_norm"] == pytest.approx(3.0)


@pytest.mark.parametrize("name", ["transformer_pp_text", "ebt_text"])
def test_micro_batches_give_the_update_of_one_batch(name: str, tmp_path: Path) -> None:
    """Also where micro-batches hold different numbers of targets (first windows)."""
    weights = []
    for parts in (1, 4):
        spec = spec_of(
            name,
            accumulate=parts,
            budget={"steps": 3},
            task={"rows": "first_window", "context": 64},
            optimizer={"warmup_steps": 0},
        )
        counts = {int(b.mask.sum()) for b in batches_of(spec, tmp_path / "data").micro_batches(0)}
        assert len(counts) > 1 or parts == 1
        adapter = build(spec).double()
        trained(spec, tmp_path, adapter=adapter)
        weights.append(torch.cat([p.detach().flatten() for p in adapter.parameters()]))
    untouched = torch.cat([p.detach().flatten() for p in build(spec).double().parameters()])
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=1e-6)
    assert (weights[0] - untouched).abs().max() > 1e-3


class Spoilt(Slope):
    """Something stops being a number at the seventh step."""

    def __init__(self, what: str) -> None:
        super().__init__(0.5)
        self.what = what

    def training_loss(self, batch: TextBatch, noise: Noise) -> StepOutput:
        output = super().training_loss(batch, noise)
        if self.calls == 7 and self.what == "loss":
            return replace(output, loss_sum=output.loss_sum * float("nan"))
        return output

    def metrics(self, n: int) -> Mapping[str, tuple[Tensor, int]]:
        spoilt = self.calls == 7 and self.what == "metric"
        return {"extra": (torch.tensor(float("inf") if spoilt else 1.0), n)}


@pytest.mark.parametrize("what", ["loss", "metric"])
def test_a_number_that_is_none_ends_the_run_at_its_step(what: str, tmp_path: Path) -> None:
    spec = spec_of("transformer_pp_text")
    with pytest.raises(NonFiniteLoss, match=r"^step 7: "):
        trained(spec, tmp_path, adapter=Spoilt(what), log_every=1, checkpoint_steps=2)
    folder = loop.RunFolder(tmp_path, spec.run_id)
    assert [line["step"] for line in read_jsonl(folder.train_log)] == [1, 2, 3, 4, 5, 6]
    newest = ckpt.newest_checkpoint(folder.checkpoints)
    assert newest is not None
    assert newest.step == 6
    assert not folder.training.exists()


def test_an_infinite_gradient_of_a_finite_loss_ends_the_run(tmp_path: Path) -> None:
    class Steep(Slope):
        def training_loss(self, batch: TextBatch, noise: Noise) -> StepOutput:
            output = super().training_loss(batch, noise)
            return replace(output, loss_sum=output.loss_sum + (self.fast - self.fast).sqrt().sum())

    with pytest.raises(NonFiniteLoss, match=r"^step 1: .*grad_norm"):
        trained(spec_of("transformer_pp_text"), tmp_path, adapter=Steep())


@pytest.mark.parametrize("name", CONFIGS)
def test_bf16_trains_on_cpu_near_float32(name: str, tmp_path: Path) -> None:
    losses = {}
    for precision in ("float32", "bf16"):
        folder, _ = trained(spec_of(name, precision=precision, budget={"steps": 10}), tmp_path)
        losses[precision] = read_jsonl(folder.train_log)[-1]["loss"]
    assert isfinite(losses["bf16"])
    assert losses["bf16"] != losses["float32"]
    assert losses["bf16"] == pytest.approx(losses["float32"], rel=0.05)


# --- budgets and cost ------------------------------------------------------------------------


def test_budgets_in_tokens_and_flops_end_at_the_step_that_reaches_them(tmp_path: Path) -> None:
    tokens, _ = trained(spec_of("transformer_pp_text", budget={"tokens": 300}), tmp_path)
    assert read_json(tokens.training)["steps"] == 5  # 4 rows of 16 tokens a step: 320 >= 300
    assert read_json(tokens.training)["tokens"] == 320

    budget = 2e7
    flops, _ = trained(spec_of("ebt_text", budget={"flops": budget}), tmp_path)
    summary = read_json(flops.training)
    per_step = summary["flops"] / summary["steps"]
    assert summary["flops"] >= 0.99 * budget
    assert summary["flops"] < 1.01 * (budget + per_step)


class Clock(SimpleNamespace):
    """A clock that passes 10 ms each time it is read."""

    now = 0.0

    def monotonic(self) -> float:
        self.now += 0.01
        return self.now

    def time(self) -> float:
        return self.now


def test_a_budget_in_seconds_anneals_by_elapsed_share_also_when_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "time", Clock())
    spec = spec_of(
        "transformer_pp_text",
        budget={"seconds": 1.5},
        device_class="test",
        optimizer={"warmup_steps": 0, "floor_ratio": 0.1},
    )
    folder, finished = trained(spec, tmp_path, log_every=1, should_stop=stop_after(6))
    assert not finished
    monkeypatch.setattr(loop, "time", Clock())  # the time between the two does not count
    folder, finished = trained(spec, tmp_path, log_every=4)

    assert finished
    lines, summary = read_jsonl(folder.train_log), read_json(folder.training)
    assert summary["seconds"] >= 1.5
    assert summary["steps"] > 10
    assert lines[-1]["step"] == summary["steps"]
    rates = [line["lr"] for line in lines]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 0.95e-3
    assert rates[-1] < 0.15e-3


@pytest.mark.parametrize("name", [n for n in adapter_names() if n in CONFIGS])
def test_measured_flops_agree_with_the_formula(name: str, tmp_path: Path) -> None:
    task = {} if name in WITHOUT_TOKENS else {"context": 32}
    spec = spec_of(
        name,
        config={"depth": 2, "width": 32},
        task=task,
        budget={"steps": 2},
        batch_size=32,  # formulas leave out what is done once per batch
        accumulate=2,
    )
    folder, _ = trained(spec, tmp_path)
    record = find_adapter(name)
    config = record.config.model_validate(spec.config)
    formula = record.training_flops(config, shape_of(spec.task))
    summary = read_json(folder.training)
    rows = spec.batch_size * 2
    assert summary["flops"] == pytest.approx(rows * formula.total, rel=0.01)
    if name not in WITHOUT_TOKENS:
        assert summary["flops_vocabulary"] == pytest.approx(rows * formula.vocabulary, rel=0.01)


def test_every_shipped_adapter_is_covered_here() -> None:
    shipped = {n for n in adapter_names() if find_adapter(n).factory.startswith("baselines.")}
    assert shipped == set(CONFIGS)


def test_checkpoints_that_take_long_are_written_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay buffer of gigabytes must not cost a run its time: pauses are ten times a save."""
    clock, saved, real = Clock(), [], ckpt.save_checkpoint

    def slow(*arguments: Any, **options: Any) -> ckpt.Checkpoint:
        clock.now += 0.05
        saved.append(clock.now)
        return real(*arguments, **options)

    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(ckpt, "save_checkpoint", slow)
    trained(
        spec_of("transformer_pp_text", budget={"steps": 300}), tmp_path, checkpoint_seconds=0.02
    )
    pauses = [after - before - 0.05 for before, after in pairwise(saved[:-1])]
    assert len(pauses) >= 2
    assert min(pauses) >= 10 * 0.05
