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
from baselines.ebt import Context, TextEnergy
from baselines.stream_attention import View


@dataclass(frozen=True)
class Rows:
    """What a training step learns from: `tokens` (B, S + 1), `mask` (B, S), `start` (B, S, V).

    `spare`, if any, is a tensor like `start` to work in.
    """

    tokens: Tensor
    mask: Tensor
    start: Tensor
    spare: Tensor | None = None


@dataclass(frozen=True)
class Steps:
    """How a training step descends: `alpha` () or (B, S, 1), and Langevin noise.

    `noise(step, room=None)` is (B, S, V), times `noise_std`; it may be written into `room`.
    """

    count: int
    alpha: Tensor
    noise: Callable[..., Tensor] | None
    noise_std: float = 1.0


@dataclass(frozen=True)
class Objective:
    """Sums over valid targets: the loss, what to watch; final logits (B, S, V), if kept."""

    loss: Tensor
    loss_last: Tensor
    energy_first: Tensor
    energy_last: Tensor
    logits: Tensor | None


def plain_objective(network: TextEnergy, rows: Rows, steps: Steps) -> Objective:
    """Cross-entropy under every setting, with autograd over the vocabulary.

    `baselines.text_schedule` has the same numbers at a fraction of the memory traffic, where the
    prediction carries no graph between steps.
    """
    config, inputs, targets = network.config, rows.tokens[:, :-1], rows.tokens[:, 1:]
    view = network.view(inputs.shape[1])
    contexts: dict[tuple[int, bool], Context] = {}
    value = rows.start
    losses, energies = [], []
    for step in range(1, steps.count + 1):
        recorded = torch.is_grad_enabled() and config.differentiated(step, steps.count)
        key = config.landscape(step), recorded
        if key not in contexts:
            with torch.set_grad_enabled(recorded):
                contexts[key] = network.context(inputs, key[0])
        if config.between_steps == "detach":
            value = value.detach()
        noise = None if steps.noise is None else steps.noise(step) * steps.noise_std
        base, distribution = enter(network, value, noise)
        projected = network.project(distribution)
        take = network.differentiable_slope if recorded else network.slope
        energy, slope = take(projected, contexts[key], view)
        with torch.set_grad_enabled(recorded):
            pulled = pull(network, slope, distribution)
        value = base - steps.alpha * pulled
        nats = F.cross_entropy(value.flatten(0, 1), targets.flatten(), reduction="none")
        losses.append((nats * rows.mask.flatten()).sum())
        energies.append((energy.detach() * rows.mask).sum())
    loss = torch.stack(losses).mean() if config.loss_on == "every" else losses[-1]
    return Objective(loss, losses[-1].detach(), energies[0], energies[-1], value.detach())


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


class TextLandscapes:
    """The energies of a batch's predictions, flattened as (B, S, m): samples side by side.

    `contexts` holds one context per landscape; `positions` (S,) are the observed states that the
    predictions follow, or None for one after each. `draw(step)` is (B, S, m, V) of noise.
    """

    def __init__(
        self,
        network: TextEnergy,
        contexts: dict[int, Context],
        size: tuple[int, int, int],
        alpha: float,
        draw: Callable[[int], Tensor],
        positions: Tensor | None = None,
    ) -> None:
        self.network, self.contexts, self.size, self.alpha = network, contexts, size, alpha
        self.draw, self.positions = draw, positions

    def energy(self, value: Tensor, at: Tensor | None, landscape: int) -> Tensor:
        """Energies (n,) of logits (n, V)."""
        projected, view, packed = self._rows(value.softmax(dim=-1), at)
        return self._unpacked(
            self.network.energies(projected, self.contexts[landscape], view), packed
        )

    def enter(
        self, value: Tensor, noise: Tensor | None, at: Tensor | None, landscape: int
    ) -> tuple[Entry, Tensor]:
        """The step's base (n, V), the slope (n, D), and energies (n,)."""
        base, distribution = enter(self.network, value, noise)
        projected, view, packed = self._rows(distribution, at)
        energy, slope = self.network.slope(projected, self.contexts[landscape], view)
        return Entry(base, self._unpacked(slope, packed)), self._unpacked(energy, packed)

    def step(self, entry: Entry, at: Tensor | None) -> Tensor:
        """Logits (n, V) after the step, in the place of the base."""
        network = self.network
        if network.config.update_space == "probabilities":
            return entry.base.sub_(network.to_vocabulary(self.alpha * entry.slope))
        pulled = pull(network, entry.slope, entry.base.softmax(dim=-1))
        return entry.base.sub(pulled, alpha=self.alpha)

    def noise(self, step: int, at: Tensor | None) -> Tensor:
        """Langevin noise (n, V) of a step."""
        drawn = self.draw(step).flatten(0, 2)
        return drawn if at is None else drawn[at]

    def _rows(
        self, distribution: Tensor, at: Tensor | None
    ) -> tuple[Tensor, View, tuple[Tensor, Tensor] | None]:
        """Projected rows (B, R, D), where they stand, and where each prediction is among them."""
        projected = self.network.project(distribution)
        batch, length, samples = self.size
        if at is None and self.positions is None:
            view = self.network.view(length, samples)
            return projected.view(batch, length * samples, -1), view, None
        if at is None:
            assert self.positions is not None
            where = self.positions.repeat_interleave(samples).expand(batch, -1)
            return projected.view(batch, length * samples, -1), self.network.view_at(where), None
        return self._pack(projected, at)

    def _pack(self, projected: Tensor, at: Tensor) -> tuple[Tensor, View, tuple[Tensor, Tensor]]:
        """The predictions `at` (n,), ascending, as rows of their batch entry, padded at the end."""
        batch, length, samples = self.size
        owner, place = at // (length * samples), (at % (length * samples)) // samples
        counts = torch.bincount(owner, minlength=batch)
        column = torch.arange(len(at), device=at.device) - (counts.cumsum(0) - counts)[owner]
        packed = projected.new_zeros(batch, int(counts.max()), projected.shape[-1])
        packed[owner, column] = projected
        if self.positions is not None:
            place = self.positions[place]
        where = place.new_full(packed.shape[:2], int(place.max()))
        where[owner, column] = place
        return packed, self.network.view_at(where), (owner, column)

    @staticmethod
    def _unpacked(found: Tensor, packed: tuple[Tensor, Tensor] | None) -> Tensor:
        return found.flatten(0, 1) if packed is None else found[packed]
