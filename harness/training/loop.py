"""The only training loop: every adapter, modality and budget goes through it.

On one CPU model and thread count a resumed run equals an undisturbed one bit for bit: weights,
optimizer, data position, and log but for its `time` fields.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from harness.capabilities import Replays, VariesWork
from harness.cost import FlopCounter, device_name, peak_memory_bytes, reset_peak_memory
from harness.noise import NoiseSource
from harness.planning.spec import TrainSpec
from harness.protocol import Adapter, Batch, Noise, StepOutput
from harness.records import (
    RunFolder,
    append_jsonl,
    read_json,
    read_jsonl,
    write_json,
    write_text,
)
from harness.training import checkpoint as ckpt
from harness.training.optim import build_optimizer, cosine_fraction, set_learning_rates

#: Training time between checkpoints, at least, in units of what the last one took to write.
SAVE_PAUSE = 10


class NonFiniteLoss(RuntimeError):
    """The loss, the gradient or another metric stopped being a number."""


class Batches(Protocol):
    """Training rows in the order that the data seed fixes, whatever the adapter."""

    def micro_batches(self, step: int) -> list[Batch]:
        """The micro-batches of optimizer step `step` (from 0)."""
        ...


@dataclass(frozen=True)
class Operation:
    """How to run, as against what: nothing here changes a number.

    `replays` says that the run has a replay buffer, so that a checkpoint without one is noticed.
    """

    log_every: int = 10
    checkpoint_seconds: float = 60.0
    checkpoint_steps: int | None = None
    replays: bool = False
    should_stop: Callable[[], bool] = lambda: False
    on_progress: Callable[[dict[str, Any]], None] = lambda record: None


@dataclass
class _Progress:
    """What a checkpoint's state.json holds.

    `counted` maps each amount of work met so far to its FLOPs and the vocabulary's part of them.
    """

    step: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    vocabulary_flops: float = 0.0
    counted: dict[str, list[float]] = field(default_factory=dict)
    resumed_without_replay: bool = False
    window: dict[str, list[float]] = field(default_factory=dict)


class _Run:
    """One run's moving parts."""

    def __init__(
        self,
        spec: TrainSpec,
        adapter: Adapter,
        batches: Batches,
        folder: RunFolder,
        total_steps: int | None,
        operation: Operation,
        vocab_size: int | None,
    ) -> None:
        assert isinstance(adapter, nn.Module)
        self.spec, self.adapter, self.batches, self.folder = spec, adapter, batches, folder
        self.total_steps, self.operation, self.vocab_size = total_steps, operation, vocab_size
        self.model: nn.Module = adapter
        self.device = next(adapter.parameters()).device
        self.optimizer = build_optimizer(adapter, spec.optimizer)
        self.noise = NoiseSource(spec.seed, ("train",))
        self.progress = _Progress()
        self.lr: float | None = None
        self.newest: ckpt.Checkpoint | None = None
        self.save_seconds = 0.0
        self.began = self.saved = time.monotonic()

    def resume(self) -> None:
        """Continue from the newest intact checkpoint, with the log cut back to it."""
        found = ckpt.newest_checkpoint(self.folder.checkpoints)
        if found is not None:
            ckpt.load_model(found, self.model)
            ckpt.load_optimizer(found, self.optimizer)
            self.progress = _Progress(**found.state())
            self.newest = found
            self._resume_replay(found)
        kept = [r for r in read_jsonl(self.folder.train_log) if r["step"] <= self.progress.step]
        write_text(self.folder.train_log, "".join(json.dumps(r) + "\n" for r in kept))

    def _resume_replay(self, found: ckpt.Checkpoint) -> None:
        if isinstance(self.adapter, Replays) and found.holds_replay():
            self.adapter.load_replay_state(ckpt.load_replay(found))
        elif self.operation.replays and found.step and not self.finished():
            print(
                f"resumed at step {found.step} without the replay buffer, which this run's "
                "checkpoints leave out: the run is no longer the one an undisturbed one would be"
            )
            self.progress.resumed_without_replay = True
        if self.progress.resumed_without_replay:
            recorded = read_json(self.folder.provenance) if self.folder.provenance.exists() else {}
            write_json(self.folder.provenance, recorded | {"resumed_without_replay": True})

    def elapsed_share(self) -> float:
        budget = self.spec.budget.seconds
        return 0.0 if budget is None else self.seconds() / budget

    def seconds(self) -> float:
        return self.progress.seconds + time.monotonic() - self.began

    def finished(self) -> bool:
        if self.total_steps is not None:
            return self.progress.step >= self.total_steps
        return self.elapsed_share() >= 1.0

    def step(self) -> None:
        """One optimizer step."""
        done = self.progress.step
        settings = self.spec.optimizer
        fraction = cosine_fraction(settings, done, self.total_steps, self.elapsed_share())
        self.lr = set_learning_rates(self.optimizer, settings, done, fraction)
        sums = self._backward(done)
        clip = settings.clip_norm if settings.clip_norm is not None else float("inf")
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), clip))
        sums["grad_norm"] = (norm, 1)
        _check_finite(sums, done + 1)
        self.optimizer.step()
        self.progress.step = done + 1
        for name, (total, count) in sums.items():
            entry = self.progress.window.setdefault(name, [0.0, 0])
            entry[0] += total
            entry[1] += count
        if self._log_due():
            self.log()

    def _backward(self, done: int) -> dict[str, tuple[float, float]]:
        """Gradients of the mean loss over all micro-batches; returns (sum, count) per metric."""
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0))
        noise = self.noise.within(done)
        for batch in self.batches.micro_batches(done):
            output = self._counted(batch, noise)
            pairs = {"loss": (output.loss_sum, output.n), **output.metrics}
            for name, (total, count) in pairs.items():
                sums[name] = (sums[name][0] + float(total.detach()), sums[name][1] + count)
        n = sums["loss"][1]
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.div_(n)
        return dict(sums)

    def _counted(self, batch: Batch, noise: Noise) -> StepOutput:
        """Add one micro-batch's gradients, and its FLOPs: counted where its work is new."""
        adapter, progress = self.adapter, self.progress
        work = repr(adapter.work(batch, noise)) if isinstance(adapter, VariesWork) else "any"
        if work in progress.counted:
            output = self._differentiated(batch, noise)
        else:
            with FlopCounter(vocab_size=self.vocab_size) as counter:
                output = self._differentiated(batch, noise)
            progress.counted[work] = [counter.total, counter.vocabulary or 0.0]
        flops, vocabulary = progress.counted[work]
        progress.flops += flops
        progress.vocabulary_flops += vocabulary
        return output

    def _differentiated(self, batch: Batch, noise: Noise) -> StepOutput:
        bf16 = self.spec.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            output = self.adapter.training_loss(batch, noise)
        output.loss_sum.backward()  # type: ignore[no-untyped-call]
        return output

    def _log_due(self) -> bool:
        step = self.progress.step
        return step == 1 or step % self.operation.log_every == 0 or step == self.total_steps

    def log(self) -> None:
        """Append the means since the last line."""
        step, seconds = self.progress.step, self.seconds()
        means = {k: total / count for k, (total, count) in self.progress.window.items() if count}
        self.progress.window = {}
        if {"energy_first", "energy_last"} <= means.keys():
            means["energy_gap"] = means["energy_first"] - means["energy_last"]
        tokens = None if self.spec.tokens_per_step is None else step * self.spec.tokens_per_step
        record: dict[str, Any] = {
            "step": step,
            "rows": step * self.spec.batch_size,
            "tokens": tokens,
            "lr": self.lr,
            **means,
            "time": {"seconds": round(seconds, 3), "unix": round(time.time(), 3)},
        }
        append_jsonl(self.folder.train_log, record)
        self.operation.on_progress(
            record | {"total_steps": self.total_steps, "share": self.elapsed_share()}
        )

    def checkpoint_due(self) -> bool:
        every = self.operation.checkpoint_steps
        if every is not None:
            return self.progress.step % every == 0
        pause = max(self.operation.checkpoint_seconds, SAVE_PAUSE * self.save_seconds)
        return time.monotonic() - self.saved >= pause

    def save(self) -> None:
        """Write a checkpoint, unless the newest one is of this step."""
        began = self.saved = time.monotonic()
        if self.newest is not None and self.newest.step == self.progress.step:
            return
        _to_disk(self.folder.train_log)
        self.newest = ckpt.save_checkpoint(
            self.folder.checkpoints,
            step=self.progress.step,
            model=self.model,
            optimizer=self.optimizer,
            state=asdict(self.progress) | {"seconds": self.seconds()},
            replay=self.adapter.replay_state() if isinstance(self.adapter, Replays) else None,
        )
        self.saved = time.monotonic()
        self.save_seconds = self.saved - began


def _check_finite(sums: Mapping[str, tuple[float, float]], step: int) -> None:
    means = {name: total / count for name, (total, count) in sums.items() if count}
    if all(map(isfinite, means.values())):
        return
    raise NonFiniteLoss(f"step {step}: " + ", ".join(f"{k} {v:g}" for k, v in means.items()))


def _to_disk(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def train(
    spec: TrainSpec,
    adapter: Adapter,
    batches: Batches,
    folder: RunFolder,
    *,
    total_steps: int | None,
    operation: Operation,
    vocab_size: int | None = None,
) -> bool:
    """Train to the end of the budget, resuming if there is a checkpoint; True when finished.

    Returns False when `operation.should_stop` asked for an end: the run is then resumable. Raises
    NonFiniteLoss at the step where the loss or the gradient norm is no longer finite.
    """
    run = _Run(spec, adapter, batches, folder, total_steps, operation, vocab_size)
    reset_peak_memory(run.device)
    run.resume()
    run.began = run.saved = time.monotonic()
    while not run.finished():
        if operation.should_stop():
            run.save()
            return False
        run.step()
        if run.checkpoint_due() and not run.finished():
            run.save()
    if run.progress.window:
        run.log()  # a budget in seconds ends at a step that nobody could foresee
    run.save()
    _write_summary(run)
    return True


def _write_summary(run: _Run) -> None:
    """training.json: what training cost, measured and by formula."""
    step, spec = run.progress.step, run.spec
    tokens = None if spec.tokens_per_step is None else step * spec.tokens_per_step
    write_json(
        run.folder.training,
        {
            "steps": step,
            "rows": step * spec.batch_size,
            "tokens": tokens,
            "seconds": run.seconds(),
            "flops": run.progress.flops,
            "flops_vocabulary": None if run.vocab_size is None else run.progress.vocabulary_flops,
            "device": device_name(run.device, spec.threads),
            "peak_memory_bytes": peak_memory_bytes(run.device),
            "weights_sha256": None if run.newest is None else run.newest.weights_hash(),
        },
    )
