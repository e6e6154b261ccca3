"""Bidirectional image Energy-Based Transformer (paper section 2, Images).

DiT blocks conditioned on one learned vector instead of a timestep; the final layer gives one number
per patch and the energy is their mean. An energy that also observes the noisy image takes it as
further channels of the patch embedding; what those add to the tokens is the same at every step of a
descent, so it is computed once (`context`). All attention is explicit, because the gradient of the
energy is differentiated again in training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.dit import DiTBlock, FinalLayer, PatchEmbed, initialise, sincos_positions
from baselines.image_settings import EBTImageConfig

_MIN_STEP_SIZE = 1e-4


class ImageEnergy(nn.Module):
    """Images (B, C, H, W) -> energies (B,); low energy = a likely clean image.

    Where config.start is `noise`, each is the energy of an image *given* the noisy one, whose
    `context` (B, N, D) must be passed along.
    """

    def __init__(self, config: EBTImageConfig, image: tuple[int, int, int]) -> None:
        super().__init__()
        self.channels, height, columns = image
        patch, width = config.patch_size, config.width
        alpha = torch.tensor(float(config.step_size))
        if config.step_size_learned:
            self.alpha = nn.Parameter(alpha)
        else:
            self.register_buffer("alpha", alpha)
        self.observes = config.start == "noise"
        self.x_embedder = PatchEmbed(self.channels * (1 + self.observes), patch, width)
        positions = sincos_positions(height // patch, columns // patch, width)
        self.register_buffer("pos_embed", positions)
        self.condition = nn.Embedding(1, width)
        self.blocks = nn.ModuleList(
            DiTBlock(width, config.heads, config.ffn_width) for _ in range(config.depth)
        )
        self.final_layer = FinalLayer(width, 1, bias=False)
        initialise(self)

    def step_size(self) -> Tensor:
        """The learned or fixed step size, clamped to at least 1e-4."""
        return self.alpha.clamp(min=_MIN_STEP_SIZE)

    def context(self, noisy: Tensor) -> Tensor | None:
        """What the noisy images add to the tokens (B, N, D); None for an energy of one image."""
        if not self.observes:
            return None
        return self.x_embedder.part(noisy, slice(self.channels, None))

    def forward(self, images: Tensor, context: Tensor | None = None) -> Tensor:
        if context is None:
            h = self.x_embedder(images) + self.pos_embed  # (B, N, D)
        else:
            h = self.x_embedder.part(images, slice(self.channels)) + self.x_embedder.proj.bias
            h = h + self.pos_embed + context
        condition = self.condition.weight.expand(len(images), -1)  # (B, D)
        for block in self.blocks:
            h = block(h, condition, fused=False)
        energy = self.final_layer(h, condition).to(images.dtype)  # (B, N, 1)
        return energy.mean(dim=(1, 2))  # (B,)
