"""Bidirectional image Energy-Based Transformer (paper section 2, Images).

DiT blocks conditioned on one learned vector instead of a timestep; the final layer gives one number
per patch and the energy is their mean. All attention is explicit, because the gradient of the
energy is differentiated again in training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.descent import EnergyFn
from baselines.dit import DiTBlock, FinalLayer, PatchEmbed, initialise, sincos_positions

_MIN_STEP_SIZE = 1e-4


class ImageEnergy(nn.Module):
    """Images (B, C, H, W) -> energies (B,); low energy = a likely clean image."""

    def __init__(
        self,
        image: tuple[int, int, int],
        patch_size: int,
        *,
        depth: int,
        width: int,
        heads: int,
        ffn_width: int,
        step_size: float,
    ) -> None:
        super().__init__()
        channels, height, columns = image
        self.alpha = nn.Parameter(torch.tensor(float(step_size)))
        self.x_embedder = PatchEmbed(channels, patch_size, width)
        positions = sincos_positions(height // patch_size, columns // patch_size, width)
        self.register_buffer("pos_embed", positions)
        self.condition = nn.Embedding(1, width)
        self.blocks = nn.ModuleList(DiTBlock(width, heads, ffn_width) for _ in range(depth))
        self.final_layer = FinalLayer(width, 1, bias=False)
        initialise(self)

    def step_size(self) -> Tensor:
        """The learned step size, clamped to at least 1e-4."""
        return self.alpha.clamp(min=_MIN_STEP_SIZE)

    def forward(self, images: Tensor) -> Tensor:
        h = self.x_embedder(images) + self.pos_embed  # (B, N, D)
        condition = self.condition.weight.expand(len(images), -1)  # (B, D)
        for block in self.blocks:
            h = block(h, condition, fused=False)
        energy = self.final_layer(h, condition).to(images.dtype)  # (B, N, 1)
        return energy.mean(dim=(1, 2))  # (B,)

    def frozen(self) -> EnergyFn:
        """This energy with constant parameters: descending it keeps half the activations."""
        constants = {name: p.detach() for name, p in self.named_parameters()}
        return lambda images: torch.func.functional_call(self, constants, (images,))
