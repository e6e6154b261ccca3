"""What adapters that descend share: draws of a training step, parameter groups, best samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from baselines.descent import Descended, OnPoint, selection_score
from baselines.descent_plan import DescentPlan
from baselines.sizes import DescentTraining
from harness.protocol import Noise, OnState, ParamGroup, Passes, Prediction, State

#: A chunk of samples holds at most this many numbers (256 MiB of float32), or one sample.
CHUNK_NUMBERS = 2**26


def sample_chunks(samples: int, numbers_each: int) -> list[range]:
    """Samples that are thought about at once."""
    size = max(1, CHUNK_NUMBERS // numbers_each)
    return [range(i, min(i + size, samples)) for i in range(0, samples, size)]


def drawn_steps(counts: range, noise: Noise, device: torch.device) -> int:
    """The number of optimization steps of a training step: one for all its micro-batches."""
    if len(counts) == 1:
        return counts[0]
    row = torch.zeros(1, dtype=torch.long, device=device)
    return counts[int(float(noise.uniform(row, (), purpose="steps")) * len(counts))]


def stretched(drawn: Tensor, widest: float) -> Tensor:
    """Uniform in [1 / widest, widest] from uniform in [0, 1)."""
    return drawn * (widest - 1 / widest) + 1 / widest


def param_groups(network: nn.Module, config: DescentTraining) -> list[ParamGroup]:
    """Weights, decayed; a learned step size apart, at its own learning rate and not decayed."""
    weights = [p for p in network.parameters() if p is not network.alpha]
    groups = [ParamGroup("weights", weights)]
    if config.step_size_learned:
        assert config.step_size_lr_multiplier is not None, "resolved by the config"
        multiplier = config.step_size_lr_multiplier
        groups.append(ParamGroup("alpha", [network.alpha], multiplier, weight_decay=False))
    return groups


def as_states(on_state: OnState, size: tuple[int, ...], chunk: range) -> OnPoint:
    """Hand points on as states: from samples flattened as `size` (B, ..., m) to (B, m, ...)."""

    def listen(step: int, value: Tensor, energy: Tensor) -> None:
        parts = (part.view(*size, *part.shape[1:]) for part in (value, energy))
        values, energies = (part.movedim(len(size) - 1, 1) for part in parts)
        on_state(State(step, chunk, values, energies))

    return listen


@dataclass(frozen=True)
class Draws:
    """Keyed draws of a training step for its fresh rows, then for `replayed` ones after them.

    A replayed row draws under the id of the fresh row that it accompanies: micro-batches and ranks
    have different ones, whichever records they share.
    """

    noise: Noise
    rows: Tensor
    replayed: int = 0

    @property
    def accompanied(self) -> Tensor:
        """The fresh rows (n,) that replayed ones accompany."""
        return self.rows[: self.replayed]

    def factor(self, shape: Sequence[int], widest: float) -> Tensor:
        """Uniform in [1 / widest, widest], (B, *shape)."""
        parts = [self.noise.uniform(self.rows, shape, purpose="step size")]
        if self.replayed:
            key = self.accompanied
            parts.append(self.noise.uniform(key, shape, purpose="replayed step size"))
        return stretched(torch.cat(parts), widest)

    def langevin(self, shape: Sequence[int], *, step: int, room: Tensor | None = None) -> Tensor:
        """Standard normal, (B, *shape), of one optimization step; in `room` if there is any."""
        count = len(self.rows)
        fresh = self.noise.normal(
            self.rows,
            shape,
            purpose="langevin",
            step=step,
            out=None if room is None else room[:count],
        )
        if not self.replayed:
            return fresh
        replayed = self.noise.normal(
            self.accompanied,
            shape,
            purpose="replayed langevin",
            step=step,
            out=None if room is None else room[count:],
        )
        return torch.cat([fresh, replayed]) if room is None else room


class Scratch:
    """Tensors of a fixed size that outlive a training step, on CPU.

    There, touching 100 MB of fresh memory costs as much as a product of that size; what is smaller,
    or on a GPU, the allocators keep by themselves.
    """

    #: Bytes from which the C library hands memory back to the system at once.
    WORTH = 2**25

    def __init__(self) -> None:
        self.held: list[Tensor] = []

    def pair(self, shape: Sequence[int], like: Tensor) -> list[Tensor] | None:
        """Two float32 tensors of `shape` with any content; None where they would not pay."""
        size = prod(shape)
        if like.device.type != "cpu" or like.dtype != torch.float32 or 4 * size < self.WORTH:
            return None
        if not self.held or len(self.held[0]) < size:
            with torch.inference_mode(False):  # whoever comes first, training comes too
                self.held = [torch.empty(size) for _ in range(2)]
        return [held[:size].view(*shape) for held in self.held]


class Best:
    """The selected sample of each prediction so far, the earlier on a tie; and passes summed."""

    def __init__(self, select: str) -> None:
        self.select = select
        self.value = torch.empty(0)
        self.energy: Tensor | None = None
        self.score: Tensor | None = None
        self.steps: Tensor | None = None
        self.nfe = self.forward = self.backward = 0.0

    def offer(self, found: Descended, size: tuple[int, ...]) -> None:
        """Take samples, flattened as `size` (B, ..., m), where they are better."""
        value = found.value.view(*size, *found.value.shape[1:])
        energy = None if found.energy is None else found.energy.view(size)
        steps = None if found.steps is None else found.steps.view(size)
        samples, axis = size[-1], len(size) - 1
        self.forward += samples * found.forward
        self.backward += samples * found.backward
        if steps is not None:
            self.nfe += samples * int(steps.sum()) / steps.numel()
        if energy is None:
            self.value = value.select(axis, 0)
            return
        start = None if found.start_energy is None else found.start_energy.view(size)
        score, index = selection_score(self.select, energy, start).min(dim=-1)
        picked = _pick(value, index, axis), _pick(energy, index, axis)
        own_steps = None if steps is None else _pick(steps, index, axis)
        if self.score is None:
            (self.value, self.energy), self.score, self.steps = picked, score, own_steps
            return
        better = score < self.score
        wide = better.view(*better.shape, *[1] * (self.value.dim() - better.dim()))
        self.value = torch.where(wide, picked[0], self.value)
        assert self.energy is not None
        self.energy = torch.where(better, picked[1], self.energy)
        self.score = torch.where(better, score, self.score)
        if self.steps is not None and own_steps is not None:
            self.steps = torch.where(better, own_steps, self.steps)

    def prediction(self, plan: DescentPlan) -> Prediction:
        """The selected samples, with the energies that `plan` reads to decide by."""
        nfe = self.nfe if self.steps is not None else plan.last * plan.thinking.samples
        energy = self.energy if plan.decides(plan.last) else None  # else a listener's
        return Prediction(self.value, energy, Passes(nfe, self.forward, self.backward), self.steps)


def _pick(found: Tensor, index: Tensor, axis: int) -> Tensor:
    """The samples `index` of `found`, whose samples lie along `axis`."""
    wide = index.unsqueeze(axis)
    wide = wide.view(*wide.shape, *[1] * (found.dim() - wide.dim()))
    shape = [*wide.shape[: axis + 1], *found.shape[axis + 1 :]]
    return found.gather(axis, wide.expand(shape)).squeeze(axis)
