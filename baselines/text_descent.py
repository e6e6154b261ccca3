"""Energy descent over next-token distributions: training objectives and thinking.

One optimization step from logits l (paper sections 2 and 3), with Langevin noise n if any. Updating
probabilities, as the authors' code does, or logits, as the paper's pseudocode does:

    p = softmax(l + n);  e = p W;  g = dE/de;  dE/dp = W g
    probabilities:  l' = p - alpha * dE/dp
    logits:         l' = l + n - alpha * dE/dl,  dE/dl = p * (dE/dp - <p, dE/dp>)

The inner gradient stops at the D-wide e, so no second-order graph reaches the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.descent import Entry
from baselines.ebt import TextEnergy
from baselines.packing import PackedRows
from baselines.training_descent import (
    Objective,
    Point,
    Steps,
    TrainingContexts,
    objective,
    training_steps,
)


@dataclass(frozen=True)
class Rows:
    """What a training step learns from: `tokens` (B, S + 1), `mask` (B, S), `start` (B, S, V).

    `spare`, if any, is a tensor like `start` to work in.
    """

    tokens: Tensor
    mask: Tensor
    start: Tensor
    spare: Tensor | None = None


def plain_objective(network: TextEnergy, rows: Rows, steps: Steps) -> Objective:
    """Cross-entropy under every setting, with autograd over the vocabulary.

    `baselines.text_schedule` has the same numbers at a fraction of the memory traffic, where the
    prediction carries no graph between steps. `steps.alpha` is () or (B, S, 1), noise (B, S, V).
    """
    inputs, targets = rows.tokens[:, :-1], rows.tokens[:, 1:]
    view = network.view(inputs.shape[1])
    contexts = TrainingContexts(network.config, steps.count, lambda k: network.context(inputs, k))

    def move(point: Point) -> tuple[Tensor, Tensor]:
        base, distribution = enter(network, point.value, point.noise)
        projected = network.project(distribution)
        take = network.differentiable_slope if point.recorded else network.slope
        energy, slope = take(projected, contexts.of(point), view)
        with torch.set_grad_enabled(point.recorded):
            pulled = pull(network, slope, distribution)
        return base - steps.alpha * pulled, energy

    losses, energies = [], []
    for value, energy in training_steps(network.config, rows.start, steps, move):
        nats = F.cross_entropy(value.flatten(0, 1), targets.flatten(), reduction="none")
        losses.append((nats * rows.mask.flatten()).sum())
        energies.append((energy * rows.mask).sum())
    return objective(network.config, losses, energies, value)


def enter(network: TextEnergy, value: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
    """What a step subtracts from, and the distribution that enters the network."""
    noisy = value if noise is None else value + noise
    distribution = noisy.softmax(dim=-1)
    probabilities = network.config.update_space == "probabilities"
    return (distribution if probabilities else noisy), distribution


def pull(network: TextEnergy, slope: Tensor, distribution: Tensor) -> Tensor:
    """The energy's gradient (..., V) in the space that is updated, from dE/de (..., D)."""
    pulled = network.to_vocabulary(slope)
    if network.config.update_space == "probabilities":
        return pulled
    return distribution * (pulled - (distribution * pulled).sum(-1, keepdim=True))


# --- thinking --------------------------------------------------------------------------------


@dataclass(frozen=True)
class TextLandscapes:
    """The energies of a batch's logits (n, V) (see `descent.Landscapes`).

    `noise(step, at)` is (n, V) of Langevin noise.
    """

    network: TextEnergy
    rows: PackedRows
    alpha: float
    noise: Callable[[int, Tensor | None], Tensor]

    def energy(self, value: Tensor, at: Tensor | None, landscape: int) -> Tensor:
        """Energies (n,) of logits (n, V)."""
        return self.rows.energies(self.network.project(value.softmax(dim=-1)), at, landscape)

    def enter(
        self, value: Tensor, noise: Tensor | None, at: Tensor | None, landscape: int
    ) -> tuple[Entry, Tensor]:
        """The step's base (n, V), the slope (n, D), and energies (n,)."""
        base, distribution = enter(self.network, value, noise)
        energy, slope = self.rows.slope(self.network.project(distribution), at, landscape)
        return Entry(base, slope), energy

    def step(self, entry: Entry, at: Tensor | None) -> Tensor:
        """Logits (n, V) after the step, in the place of the base."""
        network = self.network
        if network.config.update_space == "probabilities":
            return network.add_to_vocabulary(entry.base, -self.alpha * entry.slope)
        pulled = pull(network, entry.slope, entry.base.softmax(dim=-1))
        return entry.base.sub(pulled, alpha=self.alpha)
