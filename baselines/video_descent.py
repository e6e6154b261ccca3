"""Energy descent over next frames: the training objective and thinking.

One optimization step from a frame y (paper sections 2 and 3), with Langevin noise n, if any, added
where the frame enters the network, as in the authors' code:

    e = y W^T + b + n;  g = dE/de;  y' = y - alpha * g W
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.descent import Entry
from baselines.ebt import Context
from baselines.ebt_video import VideoEnergy
from baselines.packing import Packing
from baselines.rotary import at_least_float32
from baselines.text_descent import Steps


@dataclass(frozen=True)
class FrameRows:
    """What a training step learns from: `frames` (B, S + 1, C, H, W), `start` (B, S, C, H, W)."""

    frames: Tensor
    start: Tensor


@dataclass(frozen=True)
class FrameObjective:
    """Sums over predicted frames: the loss, what to watch; final predictions (B, S, C, H, W)."""

    loss: Tensor
    loss_last: Tensor
    energy_first: Tensor
    energy_last: Tensor
    frames: Tensor


def frame_errors(predicted: Tensor, frames: Tensor) -> Tensor:
    """Smooth-L1 (beta 1), in float32 or wider, averaged over the numbers of a frame: (B, S)."""
    predicted = at_least_float32(predicted)
    errors = F.smooth_l1_loss(predicted, frames.to(predicted.dtype), reduction="none")
    return errors.flatten(-3).mean(-1)


def video_objective(network: VideoEnergy, rows: FrameRows, steps: Steps) -> FrameObjective:
    """Smooth-L1 under every setting; Langevin noise of `steps` is (B, S, D)."""
    config = network.config
    observed = network.project(rows.frames[:, :-1])  # (B, S, D)
    targets = rows.frames[:, 1:]
    view = network.view(observed.shape[1])
    contexts: dict[tuple[int, bool], Context] = {}
    value = rows.start
    losses, energies = [], []
    for step in range(1, steps.count + 1):
        recorded = torch.is_grad_enabled() and config.differentiated(step, steps.count)
        key = config.landscape(step), recorded
        if config.between_steps == "detach":
            value = value.detach()
        with torch.set_grad_enabled(recorded):
            if key not in contexts:
                contexts[key] = network.run_context(observed, key[0])
            projected = network.project(value)
            if steps.noise is not None:
                projected = projected + steps.noise(step)
            take = network.differentiable_slope if recorded else network.slope
            energy, slope = take(projected, contexts[key], view)
            pulled = network.to_frames(slope)
        value = value - steps.alpha[..., None, None] * pulled
        losses.append(frame_errors(value, targets).sum())
        energies.append(energy.detach().sum())
    loss = torch.stack(losses).mean() if config.loss_on == "every" else losses[-1]
    return FrameObjective(loss, losses[-1].detach(), energies[0], energies[-1], value.detach())


class VideoLandscapes:
    """The energies of a batch's frames (n, C, H, W), flattened from (B, S, m).

    `contexts` holds one context per landscape; `draw(step)` is (B, S, m, D) of noise.
    """

    def __init__(
        self,
        network: VideoEnergy,
        contexts: dict[int, Context],
        size: tuple[int, int, int],
        alpha: float,
        draw: Callable[[int], Tensor],
    ) -> None:
        self.network, self.contexts, self.alpha, self.draw = network, contexts, alpha, draw
        self.packing = Packing(network, size)

    def energy(self, value: Tensor, at: Tensor | None, landscape: int) -> Tensor:
        """Energies (n,) of frames (n, C, H, W)."""
        packed = self.packing.pack(self.network.project(value), at)
        context = self.contexts[landscape]
        return packed.unpack(self.network.energies(packed.projected, context, packed.view))

    def enter(
        self, value: Tensor, noise: Tensor | None, at: Tensor | None, landscape: int
    ) -> tuple[Entry, Tensor]:
        """The frames themselves, the slope (n, D) at their noisy projections, and energies (n,)."""
        projected = self.network.project(value)
        packed = self.packing.pack(projected if noise is None else projected + noise, at)
        context = self.contexts[landscape]
        energy, slope = self.network.slope(packed.projected, context, packed.view)
        return Entry(value, packed.unpack(slope)), packed.unpack(energy)

    def step(self, entry: Entry, at: Tensor | None) -> Tensor:
        """Frames (n, C, H, W) after the step."""
        return entry.base - self.network.to_frames(self.alpha * entry.slope)

    def noise(self, step: int, at: Tensor | None) -> Tensor:
        """Langevin noise (n, D) of a step."""
        drawn = self.draw(step).flatten(0, 2)
        return drawn if at is None else drawn[at]
