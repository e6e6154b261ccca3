"""The image EBT as its description reads: patches by a convolution, blocks, a mean energy.

Plain modules' arithmetic on a state dict, explicit attention (the fused one has no second
derivative), and the gradient of the energy to the image by autograd. Shares no code with
`baselines`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class NaiveImage:
    """Energies and training under `weights`; `heads` and `patch` their shapes do not tell."""

    weights: Mapping[str, Tensor]
    heads: int
    patch: int

    def energy(self, images: Tensor) -> Tensor:
        """(B,) energies of images (B, C, H, W)."""
        w = self.weights
        x = F.conv2d(
            images, w["x_embedder.proj.weight"], w["x_embedder.proj.bias"], stride=self.patch
        )
        x = x.flatten(2).transpose(1, 2) + w["pos_embed"]  # (B, N, D)
        condition = F.silu(w["condition.weight"].expand(len(images), -1))  # (B, D)
        for index in range(sum(name.endswith("attn.qkv.bias") for name in w)):
            x = self._block(x, condition, f"blocks.{index}.")
        modulation = self._linear("final_layer.adaLN_modulation.1", condition)
        shift, scale = modulation[:, None].chunk(2, dim=-1)
        x = self._linear("final_layer.linear", _modulate(x, shift, scale))
        return x.mean(dim=(1, 2))

    def training_loss(self, images: Tensor, noised: Tensor) -> Tensor:
        """Summed Smooth-L1 of the image one optimization step from `noised`."""
        start = noised.detach().requires_grad_()
        energy = self.energy(start).sum()
        (slope,) = torch.autograd.grad(energy, start, create_graph=True)
        after = start - self.weights["alpha"].clamp(min=1e-4) * slope
        return F.smooth_l1_loss(after, images, reduction="none").flatten(1).mean(1).sum()

    def _block(self, x: Tensor, condition: Tensor, name: str) -> Tensor:
        modulation = self._linear(f"{name}adaLN_modulation.1", condition)[:, None]
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=-1)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, N, D / heads)
            for part in self._linear(f"{name}attn.qkv", _modulate(x, shift1, scale1)).chunk(3, -1)
        )
        score = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        mixed = score.softmax(dim=-1).type_as(value) @ value
        h = self._linear(f"{name}attn.proj", mixed.transpose(1, 2).flatten(-2))
        x = x + gate1 * h
        h = F.gelu(self._linear(f"{name}mlp.fc1", _modulate(x, shift2, scale2)), approximate="tanh")
        return x + gate2 * self._linear(f"{name}mlp.fc2", h)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift
