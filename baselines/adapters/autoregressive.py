"""What autoregressive EBT adapters do alike: replay, draws of a training step, parameter groups."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from torch import Tensor, nn

from baselines.adapters.descending import Draws, alpha_group, drawn_steps
from baselines.autoregressive import AutoregressiveDescent, replay_rows
from baselines.descent import OnPoint
from baselines.ebt import EnergyTransformer
from baselines.replay import Record, Replay
from baselines.text_descent import Steps
from harness.protocol import Noise, OnState, ParamGroup, State, TextBatch, VideoBatch


class AutoregressiveEBT(nn.Module):
    """An energy network, its settings and its replay buffer."""

    def __init__(self, config: AutoregressiveDescent, network: EnergyTransformer) -> None:
        super().__init__()
        self.network = network
        self.replay = Replay(config.replay_records)

    @property
    def settings(self) -> AutoregressiveDescent:
        return self.network.config

    def work(self, batch: TextBatch | VideoBatch, noise: Noise) -> Hashable:
        """Optimization steps, and replayed and fresh rows."""
        rows = batch.rows
        wanted = replay_rows(self.settings, len(rows))
        count = drawn_steps(self.settings.step_counts, noise, rows.device)
        return count, min(wanted, len(self.replay)), len(rows)

    def replay_state(self) -> Mapping[str, Tensor]:
        """The replay buffer, unless the config drops it."""
        return {} if self.settings.replay_checkpoint == "drop" else self.replay.state()

    def load_replay_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `replay_state` gave."""
        self.replay.load(state, self.network.alpha.device)

    def compile_body(self) -> None:
        """Compile the passes of the prediction stream."""
        self.network.compile_body()

    def param_groups(self) -> Sequence[ParamGroup]:
        """Weights, decayed; alpha apart, with its own learning rate and no decay."""
        alpha = self.network.alpha
        weights = [p for p in self.parameters() if p is not alpha]
        return [ParamGroup("weights", weights), *alpha_group(alpha, self.settings)]

    @property
    def remembers(self) -> bool:
        """Whether this call is a training step that replays."""
        return self.training and torch.is_grad_enabled() and self.settings.replay_records > 0

    def replayed(self, rows: Tensor, noise: Noise) -> tuple[Tensor, Record] | None:
        """Slots and records to append to the fresh `rows` (B,); None for none."""
        if not self.remembers:
            return None
        return self.replay.draw(replay_rows(self.settings, len(rows)), rows[:1], noise)

    def drawn(self, draws: Draws, length: int, noisy: int) -> Steps:
        """A training step's descent; Langevin noise is (B, S, noisy)."""
        config, dtype = self.settings, self.network.dtype
        alpha = self.network.step_size()
        if config.random_step_size > 1:
            alpha = alpha * draws.factor((length, 1), config.random_step_size).to(dtype)
        count = drawn_steps(config.step_counts, draws.noise, draws.rows.device)
        std = config.langevin_noise
        if std == 0:
            return Steps(count, alpha, None)
        shape = (length, noisy)
        return Steps(
            count, alpha, lambda step: draws.langevin(shape, step=step).to(dtype).mul_(std)
        )


def as_states(on_state: OnState, size: tuple[int, int, int], chunk: range) -> OnPoint:
    """Hand points on as states: (B * S * m, ...) to (B, m, S, ...)."""

    def listen(step: int, value: Tensor, energy: Tensor) -> None:
        values, energies = (t.view(*size, *t.shape[1:]).transpose(1, 2) for t in (value, energy))
        on_state(State(step, chunk, values, energies))

    return listen
