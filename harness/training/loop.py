"""The only training loop: every adapter, modality and budget goes through it.

On one CPU model and thread count a resumed run equals an undisturbed one bit for bit: weights,
optimizer, data position, and log but for its `time` fields. Several processes train as one with the
same global batch does, up to rounding, but for replay buffers, of which each keeps its own.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from harness.capabilities import Replays, VariesWork
from harness.cost import FlopCounter, device_name, peak_memory_bytes, reset_peak_memory
from harness.errors import HarnessError
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
from harness.training.parallel import ALONE, Ranks, Replica, Sums, check_parts

#: Training time between checkpoints, at least, in units of what the last one took to write.
SAVE_PAUSE = 10
#: The name under which a step's FLOPs are summed beside its metrics: none is called so.
_FLOPS = "/flops"


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


class _Agreed(NamedTuple):
    """What all ranks go by in the coming step: rank 0's clock, and what it will save by."""

    seconds: float
    stop: bool
    save: bool


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
        ranks: Ranks,
    ) -> None:
        assert isinstance(adapter, nn.Module)
        self.spec, self.adapter, self.batches, self.folder = spec, adapter, batches, folder
        self.total_steps, self.operation, self.vocab_size = total_steps, operation, vocab_size
        self.ranks, self.model = ranks, adapter
        self.device = next(adapter.parameters()).device
        self.optimizer = build_optimizer(adapter, spec.optimizer)
        self.noise = NoiseSource(spec.seed, ("train",))
        self.progress = _Progress()
        self.lr: float | None = None
        self.newest: ckpt.Checkpoint | None = None
        self.save_seconds = 0.0
        self.began = self.saved = time.monotonic()
        self.replica = Replica(adapter)

    def begin(self) -> None:
        """Continue from the newest intact checkpoint, if any, with the log cut back to it."""
        reset_peak_memory(self.device)
        found = self._newest()
        if found is not None:
            ckpt.load_model(found, self.model)
            ckpt.load_optimizer(found, self.optimizer)
            self.progress = _Progress(**found.state())
            self.newest = found
            self._resume_replay(found)
        if self.ranks.rank == 0:
            lines = read_jsonl(self.folder.train_log)
            kept = [json.dumps(r) + "\n" for r in lines if r["step"] <= self.progress.step]
            write_text(self.folder.train_log, "".join(kept))
        self.replica = self.ranks.replica(self.adapter)
        self.began = self.saved = time.monotonic()

    def _newest(self) -> ckpt.Checkpoint | None:
        """The newest intact checkpoint, as rank 0 finds it."""
        folder, found = self.folder.checkpoints, None
        if self.ranks.rank == 0:
            found = ckpt.newest_checkpoint(folder)
        step = self.ranks.broadcast(None if found is None else found.step)
        return None if step is None else ckpt.checkpoint_at(folder, step)

    def _resume_replay(self, found: ckpt.Checkpoint) -> None:
        held, ranks = found.replay_ranks(), self.ranks
        finished = self.finished(self.progress.seconds)
        if isinstance(self.adapter, Replays) and held and not finished:
            if held != ranks.size:
                raise HarnessError(
                    f"the checkpoint of step {found.step} holds the replay buffers of {held} "
                    f"process{'es' if held > 1 else ''}, and this is {ranks.size}",
                    hint=f"go on with as many, or remove runs/{self.folder.run_id} to begin again",
                )
            self.adapter.load_replay_state(ckpt.load_replay(found, ranks.rank))
        elif self.operation.replays and found.step and not finished:
            self.progress.resumed_without_replay = True
            if ranks.rank == 0:
                print(
                    f"resumed at step {found.step} without the replay buffer, which this run's "
                    "checkpoints leave out: the run is no longer the one an undisturbed one would "
                    "be"
                )
        if self.progress.resumed_without_replay and ranks.rank == 0:
            recorded = read_json(self.folder.provenance) if self.folder.provenance.exists() else {}
            write_json(self.folder.provenance, recorded | {"resumed_without_replay": True})

    def agree(self) -> _Agreed:
        """What all ranks go by: any rank's wish to stop, rank 0's clock and need of a checkpoint.

        Signals reach ranks at different moments, and clocks differ.
        """
        leads = self.ranks.rank == 0
        seconds, stop, save = self.ranks.all_sum(
            [
                self.seconds() if leads else 0.0,
                float(self.operation.should_stop()),
                float(leads and self._save_due()),
            ]
        )
        return _Agreed(seconds, stop > 0, save > 0)

    def elapsed_share(self, seconds: float) -> float:
        budget = self.spec.budget.seconds
        return 0.0 if budget is None else seconds / budget

    def seconds(self) -> float:
        return self.progress.seconds + time.monotonic() - self.began

    def finished(self, seconds: float) -> bool:
        if self.total_steps is not None:
            return self.progress.step >= self.total_steps
        return self.elapsed_share(seconds) >= 1.0

    def step(self, seconds: float) -> None:
        """One optimizer step, `seconds` into the run."""
        done = self.progress.step
        settings = self.spec.optimizer
        share = self.elapsed_share(seconds)
        fraction = cosine_fraction(settings, done, self.total_steps, share)
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

    def _backward(self, done: int) -> Sums:
        """Gradients of the mean loss over all micro-batches and ranks; (sum, count) per metric."""
        self.optimizer.zero_grad(set_to_none=True)
        sums: Sums = defaultdict(lambda: (0.0, 0))
        noise, batches = self.noise.within(done), self.batches.micro_batches(done)
        for left, batch in zip(reversed(range(len(batches))), batches, strict=True):
            with self.replica.no_sync() if left else nullcontext():
                output, flops = self._counted(batch, noise)
            pairs = {"loss": (output.loss_sum, output.n), **output.metrics}
            for name, (total, count) in pairs.items():
                sums[name] = (sums[name][0] + float(total.detach()), sums[name][1] + count)
            sums[_FLOPS] = (sums[_FLOPS][0] + flops[0], sums[_FLOPS][1] + flops[1])
        everyones = self.ranks.sums(sums)
        counted = everyones.pop(_FLOPS)
        self.progress.flops += counted[0]
        self.progress.vocabulary_flops += counted[1]
        share = everyones["loss"][1] / self.ranks.size  # gradients are means over ranks
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad.div_(share)
        return everyones

    def _counted(self, batch: Batch, noise: Noise) -> tuple[StepOutput, tuple[float, float]]:
        """Add one micro-batch's gradients; its FLOPs are counted where its work is new."""
        adapter, counted = self.adapter, self.progress.counted
        work = repr(adapter.work(batch, noise)) if isinstance(adapter, VariesWork) else "any"
        if work in counted:
            output = self._differentiated(batch, noise)
        else:
            with FlopCounter(vocab_size=self.vocab_size) as counter:
                output = self._differentiated(batch, noise)
            counted[work] = [counter.total, counter.vocabulary or 0.0]
        total, vocabulary = counted[work]
        return output, (total, vocabulary)

    def _differentiated(self, batch: Batch, noise: Noise) -> StepOutput:
        bf16 = self.spec.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            output = self.replica.training_loss(batch, noise)
        output.loss_sum.backward()  # type: ignore[no-untyped-call]
        return output

    def _log_due(self) -> bool:
        step = self.progress.step
        return step == 1 or step % self.operation.log_every == 0 or step == self.total_steps

    def log(self) -> None:
        """Append the means since the last line."""
        window, self.progress.window = self.progress.window, {}
        if self.ranks.rank:
            return
        step, seconds = self.progress.step, self.seconds()
        means = {k: total / count for k, (total, count) in window.items() if count}
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
            record | {"total_steps": self.total_steps, "share": self.elapsed_share(seconds)}
        )

    def _save_due(self) -> bool:
        """Whether the coming step is to be followed by a checkpoint."""
        every = self.operation.checkpoint_steps
        if every is not None:
            return (self.progress.step + 1) % every == 0
        pause = max(self.operation.checkpoint_seconds, SAVE_PAUSE * self.save_seconds)
        return time.monotonic() - self.saved >= pause

    def save(self) -> None:
        """Write a checkpoint, unless the newest one is of this step."""
        began = self.saved = time.monotonic()
        if self.newest is not None and self.newest.step == self.progress.step:
            return
        if self.ranks.rank == 0:
            _to_disk(self.folder.train_log)
        self.newest = ckpt.save_checkpoint(
            self.folder.checkpoints,
            step=self.progress.step,
            model=self.model,
            optimizer=self.optimizer,
            state=asdict(self.progress) | {"seconds": self.seconds()},
            replay=self.adapter.replay_state() if isinstance(self.adapter, Replays) else None,
            ranks=self.ranks,
        )
        self.saved = time.monotonic()
        self.save_seconds = self.saved - began


def _check_finite(sums: Sums, step: int) -> None:
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
    ranks: Ranks = ALONE,
) -> bool:
    """Train to the end of the budget, resuming if there is a checkpoint; True when finished.

    Every rank calls it, with `batches` that give its own rows. Returns False when
    `operation.should_stop` asked for an end on any rank: the run is then resumable. Raises
    NonFiniteLoss, on all ranks, at the step where the loss or the gradient norm is no longer
    finite; HarnessError where the batch cannot be cut into equal parts for the ranks, or where the
    checkpoint holds the replay buffers of another number of them.
    """
    check_parts(spec, ranks)
    run = _Run(spec, adapter, batches, folder, total_steps, operation, vocab_size, ranks)
    run.begin()
    agreed = run.agree()
    while not run.finished(agreed.seconds):
        if agreed.stop:
            run.save()
            return False
        run.step(agreed.seconds)
        if agreed.save and run.progress.step != total_steps:
            run.save()
        agreed = run.agree()
    if run.progress.window:
        run.log()  # a budget in seconds ends at a step that nobody could foresee
    run.save()
    _write_summary(run)
    return True


def _write_summary(run: _Run) -> None:
    """training.json: what training cost, measured and by formula; the peak is of one process."""
    step, spec, ranks = run.progress.step, run.spec, run.ranks
    peak = max(ranks.all_gather(peak_memory_bytes(run.device)))
    if ranks.rank:
        return
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
            "processes": ranks.size,
            "peak_memory_bytes": peak,
            "weights_sha256": None if run.newest is None else run.newest.weights_hash(),
        },
    )
