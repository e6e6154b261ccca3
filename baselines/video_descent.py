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
from baselines.ebt_video import VideoEnergy
from baselines.packing import PackedRows
from baselines.rotary import at_least_float32
from baselines.training_descent import (
    Objective,
    Point,
    Steps,
    TrainingContexts,
    objective,
    training_steps,
)


@dataclass(frozen=True)
class FrameRows:
    """What a training step learns from: `frames` (B, S + 1, C, H, W), `start` (B, S, C, H, W)."""

    frames: Tensor
    start: Tensor


def frame_errors(predicted: Tensor, frames: Tensor) -> Tensor:
    """Smooth-L1 (beta 1), in float32 or wider, averaged over the numbers of a frame: (B, S)."""
    predicted = at_least_float32(predicted)
    errors = F.smooth_l1_loss(predicted, frames.to(predicted.dtype), reduction="none")
    return errors.flatten(-3).mean(-1)


def video_objective(network: VideoEnergy, rows: FrameRows, steps: Steps) -> Objective:
    """Smooth-L1 under every setting; `steps.alpha` is () or (B, S, 1), noise (B, S, D)."""
    observed = network.project(rows.frames[:, :-1])  # (B, S, D)
    targets = rows.frames[:, 1:]
    view = network.view(observed.shape[1])
    contexts = TrainingContexts(
        network.config, steps.count, lambda k: network.run_context(observed, k)
    )

    def move(point: Point) -> tuple[Tensor, Tensor]:
        with torch.set_grad_enabled(point.recorded):
            context = contexts.of(point)
            projected = network.project(point.value)
            if point.noise is not None:
                projected = projected + point.noise
            take = network.differentiable_slope if point.recorded else network.slope
            energy, slope = take(projected, context, view)
            pulled = network.to_frames(slope)
        return point.value - steps.alpha[..., None, None] * pulled, energy

    losses, energies = [], []
    for value, energy in training_steps(network.config, rows.start, steps, move):
        losses.append(frame_errors(value, targets).sum())
        energies.append(energy.sum())
    return objective(network.config, losses, energies, value)


@dataclass(frozen=True)
class VideoLandscapes:
    """The energies of a batch's frames (n, C, H, W) (see `descent.Landscapes`).

    `noise(step, at)` is (n, D) of Langevin noise.
    """

    network: VideoEnergy
    rows: PackedRows
    alpha: float
    noise: Callable[[int, Tensor | None], Tensor]

    def energy(self, value: Tensor, at: Tensor | None, landscape: int) -> Tensor:
        """Energies (n,) of frames (n, C, H, W)."""
        return self.rows.energies(self.network.project(value), at, landscape)

    def enter(
        self, value: Tensor, noise: Tensor | None, at: Tensor | None, landscape: int
    ) -> tuple[Entry, Tensor]:
        """The frames themselves, the slope (n, D) at their noisy projections, and energies (n,)."""
        projected = self.network.project(value)
        noisy = projected if noise is None else projected + noise
        energy, slope = self.rows.slope(noisy, at, landscape)
        return Entry(value, slope), energy

    def step(self, entry: Entry, at: Tensor | None) -> Tensor:
        """Frames (n, C, H, W) after the step."""
        return entry.base - self.network.to_frames(self.alpha * entry.slope)
