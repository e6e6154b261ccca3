"""The textbook EBT over frames: plain autograd, double backward, nothing shared with `baselines`.

A frame enters as its projection, so the textbook's energies (`naive_ebt`) are those of a vocabulary
that holds the observed frames, with predictions already projected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.baselines.naive_ebt import Naive


class NaiveFrames:
    """`weights` of a VideoEnergy; frames are flat (B, S, numbers)."""

    def __init__(self, weights: Mapping[str, Tensor], heads: int) -> None:
        self.weights, self.heads = dict(weights), heads

    def project(self, frames: Tensor) -> Tensor:
        return F.linear(frames, self.weights["project_in.weight"], self.weights["project_in.bias"])

    def energies(self, observed: Tensor, projected: Tensor, landscape: int) -> Tensor:
        """(B, S) energies of projected predictions (B, S, D) after each observed frame."""
        table = self.project(observed).flatten(0, 1)
        tokens = torch.arange(len(table)).view(observed.shape[:2])
        identity = torch.eye(projected.shape[-1], dtype=projected.dtype)
        weights = self.weights | {"embed.weight": table, "vocab_to_embed.weight": identity}
        return Naive(weights, self.heads).energies(tokens, projected, landscape)

    def step(
        self,
        observed: Tensor,
        value: Tensor,
        landscape: int,
        alpha: Tensor,
        noise: Tensor | None,
        *,
        create_graph: bool,
    ) -> tuple[Tensor, Tensor]:
        """Frames after one step, whose slope is a constant without `create_graph`; energies."""
        entering = value if value.requires_grad else value.clone().requires_grad_()
        projected = self.project(entering)
        energy = self.energies(
            observed, projected if noise is None else projected + noise, landscape
        )
        (slope,) = torch.autograd.grad(energy.sum(), entering, create_graph=True)
        if not create_graph:
            slope = slope.detach()
        return value - alpha * slope, energy.detach()

    def training_loss(
        self,
        config: Any,
        frames: Tensor,
        start: Tensor,
        alpha: Tensor,
        noises: Sequence[Tensor | None],
    ) -> tuple[Tensor, Tensor]:
        """The summed loss under any settings, and the last prediction; a step per noise."""
        observed, targets = frames[:, :-1], frames[:, 1:]
        value, losses = start, []
        for index, noise in enumerate(noises, start=1):
            if config.between_steps == "detach":
                value = value.detach()
            graph = config.between_steps == "unroll" or config.loss_on == "every"
            if config.between_steps == "truncate":
                graph = False
            landscape = min(index, config.landscapes) - 1
            last = index == len(noises)
            value, _ = self.step(
                observed, value, landscape, alpha, noise, create_graph=graph or last
            )
            errors = F.smooth_l1_loss(value, targets, reduction="none")
            losses.append(errors.mean(-1).sum())
        loss = torch.stack(losses).mean() if config.loss_on == "every" else losses[-1]
        return loss, value.detach()
