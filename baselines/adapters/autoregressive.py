"""What the autoregressive adapters, text and video, do alike: replay, draws, thinking."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from baselines.adapters import descending
from baselines.adapters.descending import Best, Draws, as_states, drawn_steps, sample_chunks
from baselines.autoregressive import AutoregressiveDescent, replay_rows
from baselines.descent import Landscapes, descend
from baselines.descent_plan import DescentPlan
from baselines.ebt import Context, EnergyTransformer
from baselines.packing import PackedRows
from baselines.replay import Record, Replay
from baselines.training_descent import Objective, Steps
from harness.protocol import (
    Noise,
    OnState,
    ParamGroup,
    Passes,
    Prediction,
    Single,
    State,
    StepOutput,
    TextBatch,
    VideoBatch,
)


def predict_once(
    adapter: str, thinking: object, forward: Callable[[], Tensor], on_state: OnState | None = None
) -> Prediction:
    """The prediction of one pass, whose one state is step 1; TypeError if asked to think."""
    check_single(adapter, thinking)
    with torch.inference_mode(False), torch.no_grad():
        value = forward()
        if on_state is not None:
            on_state(State(1, range(1), value[:, None], None))
    return Prediction(value, None, Passes(nfe=1, forward=1, backward=0))


def check_single(adapter: str, thinking: object) -> None:
    """Raise TypeError if `adapter` is asked to think."""
    if not isinstance(thinking, Single):
        kind = getattr(thinking, "kind", thinking)
        raise TypeError(f"{adapter} cannot think; got thinking {kind!r}")


@dataclass(frozen=True)
class RowNoise:
    """Keyed draws of `rows` (B,); of one `position` in them alone where it is given."""

    noise: Noise
    rows: Tensor
    position: int | None = None

    def start(self, shape: Sequence[int], sample: int, out: Tensor | None = None) -> Tensor:
        """Standard normal (B, *shape) that a sample starts from; in `out` if it is given."""
        return self.noise.normal(
            self.rows, shape, purpose="start", sample=sample, position=self.position, out=out
        )

    def langevin(self, shape: Sequence[int], step: int, samples: range) -> Tensor:
        """Standard normal (B, S, m, ...) of a step of `samples`, from `shape` (S, ...)."""
        drawn = [
            self.noise.normal(
                self.rows,
                shape,
                purpose="langevin",
                step=step,
                sample=sample,
                position=self.position,
            )
            for sample in samples
        ]
        return torch.stack(drawn, dim=2)


class AutoregressiveEBT(nn.Module):
    """An energy network, its settings and its replay buffer.

    `entry` is the shape of one prediction, `noisy` the numbers to which Langevin noise is added,
    and `landscapes` the energies that are descended on when it thinks.
    """

    landscapes: Callable[..., Landscapes]

    def __init__(
        self,
        config: AutoregressiveDescent,
        network: EnergyTransformer,
        entry: tuple[int, ...],
        noisy: int,
    ) -> None:
        super().__init__()
        self.config, self.network = config, network
        self.entry, self.noisy = entry, noisy
        self.replay = Replay(config.replay_records)

    # --- training ------------------------------------------------------------------------

    def work(self, batch: TextBatch | VideoBatch, noise: Noise) -> Hashable:
        """Optimization steps, and replayed and fresh rows."""
        rows = batch.rows
        wanted = replay_rows(self.config, len(rows))
        count = drawn_steps(self.config.step_counts, noise, rows.device)
        return count, min(wanted, len(self.replay)), len(rows)

    def replay_state(self) -> Mapping[str, Tensor]:
        """The replay buffer, unless the config drops it."""
        return {} if self.config.replay_checkpoint == "drop" else self.replay.state()

    def load_replay_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `replay_state` gave."""
        self.replay.load(state, self.network.alpha.device)

    def compile_body(self) -> None:
        """Compile the passes of the prediction stream."""
        self.network.compile_body()

    def param_groups(self) -> Sequence[ParamGroup]:
        """Weights, decayed; alpha apart, with its own learning rate and no decay."""
        return descending.param_groups(self.network, self.config)

    @property
    def remembers(self) -> bool:
        """Whether this call is a training step that replays."""
        return self.training and torch.is_grad_enabled() and self.config.replay_records > 0

    def replayed(self, rows: Tensor, noise: Noise) -> Record | None:
        """Records to append to the fresh `rows` (B,)."""
        if not self.remembers:
            return None
        return self.replay.draw(replay_rows(self.config, len(rows)), rows[:1], noise)

    def drawn(self, draws: Draws, length: int) -> Steps:
        """A training step's descent; Langevin noise is (B, S, noisy)."""
        config, dtype = self.config, self.network.dtype
        alpha = self.network.step_size()
        if config.random_step_size > 1:
            alpha = alpha * draws.factor((length, 1), config.random_step_size).to(dtype)
        count = drawn_steps(config.step_counts, draws.noise, draws.rows.device)
        if config.langevin_noise == 0:
            return Steps(count, alpha, None)
        shape = (length, self.noisy)

        def noise(step: int, room: Tensor | None = None) -> Tensor:
            return draws.langevin(shape, step=step, room=room).to(dtype)

        return Steps(count, alpha, noise, config.langevin_noise)

    def start(
        self, own: RowNoise, length: int, sample: int = 0, out: Tensor | None = None
    ) -> Tensor:
        """Initial predictions (B, S, *entry), in `out` if it is given."""
        shape, dtype = (length, *self.entry), self.network.dtype
        if self.config.start == "zeros":
            if out is not None:
                return out.zero_()
            return torch.zeros(len(own.rows), *shape, device=own.rows.device, dtype=dtype)
        start = own.start(shape, sample, out).to(dtype)
        return start if self.config.start_scale == 1 else start.mul_(self.config.start_scale)

    # --- prediction ----------------------------------------------------------------------

    def think(
        self,
        contexts: Mapping[int, Context],
        own: RowNoise,
        length: int,
        plan: DescentPlan,
        on_state: OnState | None = None,
    ) -> Prediction:
        """Predictions after each of `length` states, or the one after `own.position`."""
        network, thinking, batch = self.network, plan.thinking, len(own.rows)
        alpha = thinking.step_size or float(network.step_size())
        best = Best(thinking.select)
        numbers = batch * length * max(prod(self.entry), self.noisy)
        for chunk in sample_chunks(thinking.samples, numbers):
            size = (batch, length, len(chunk))
            rows = PackedRows(network, contexts, size, own.position)

            def noise(step: int, at: Tensor | None, chunk: range = chunk) -> Tensor:
                drawn = own.langevin((length, self.noisy), step, chunk)
                drawn = drawn.to(network.dtype).mul_(plan.noise_std).flatten(0, 2)
                return drawn if at is None else drawn[at]

            landscapes = self.landscapes(network, rows, alpha, noise)
            starts = [self.start(own, length, sample) for sample in chunk]
            start = torch.stack(starts, dim=2).flatten(0, 2)  # (B * S * m, *entry)
            listener = None if on_state is None else as_states(on_state, size, chunk)
            best.offer(descend(landscapes, plan, start, listener), size)
        return best.prediction(plan)


def step_output(sums: Objective, n: int) -> StepOutput:
    """The objective over `n` predictions, as the loop takes it."""
    metrics = {
        "loss_last": (sums.loss_last, n),
        "energy_first": (sums.energy_first, n),
        "energy_last": (sums.energy_last, n),
    }
    return StepOutput(sums.loss, n, metrics)
