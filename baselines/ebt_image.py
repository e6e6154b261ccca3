"""Bidirectional image Energy-Based Transformer (paper section 2, Images).

DiT blocks conditioned on one learned vector instead of a timestep; the final layer gives one number
per patch and the energy is their mean. An energy that also observes the noisy image takes it as
further channels of the patch embedding.

The numbers are DiT's, the form is that of the text EBT's prediction stream: with one condition for
all images, modulations are computed and gates folded into weights once per descent; and what writes
to the residual stream writes rows of mean zero only, so that LayerNorm is RMSNorm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.compiling import compiled
from baselines.dit import EPS, DiTBlock, FinalLayer, PatchEmbed, initialise, sincos_positions
from baselines.energy_slope import (
    EAGER,
    Halves,
    Stream,
    compiled_halves,
    differentiable_slope,
    energies,
)
from baselines.image_layers import NOTHING, PASSES, Grid, Layer
from baselines.image_settings import EBTImageConfig
from baselines.modes import without_autocast
from baselines.rotary import at_least_float32
from baselines.sizes import MIN_STEP_SIZE


class Context(NamedTuple):
    """Everything but the images that are descended.

    `embed` (D, C * p * p) maps their patches to tokens, `tokens` (1 or B, N, D) is what is added;
    each energy is the sum of `head` (D,) along its tokens' norms, and `offset` ().
    """

    layers: list[Layer]
    embed: Tensor
    tokens: Tensor
    head: Tensor
    offset: Tensor
    halves: Halves

    def at(self, rows: Tensor | None) -> Context:
        """The context of some images of the batch; None means all."""
        if rows is None or len(self.tokens) == 1:
            return self
        return self._replace(tokens=self.tokens[rows])


class ImageEnergy(nn.Module):
    """Images (B, C, H, W) -> energies (B,); low energy = a likely clean image.

    Where config.start is `noise`, each is the energy of an image *given* the noisy one, whose
    `context` must be passed along.
    """

    def __init__(self, config: EBTImageConfig, image: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, columns = image
        patch, width = config.patch_size, config.width
        alpha = torch.tensor(float(config.step_size))
        if config.step_size_learned:
            self.alpha = nn.Parameter(alpha)
        else:
            self.register_buffer("alpha", alpha)
        self.observes = config.start == "noise"
        self.x_embedder = PatchEmbed(channels * (1 + self.observes), patch, width)
        positions = sincos_positions(height // patch, columns // patch, width)
        self.register_buffer("pos_embed", positions)
        self.condition = nn.Embedding(1, width)
        self.blocks = nn.ModuleList(
            DiTBlock(width, config.heads, config.ffn_width) for _ in range(config.depth)
        )
        self.final_layer = FinalLayer(width, 1, bias=False)
        initialise(self)
        self.grid = Grid(positions.shape[1], config.heads, EPS)
        self.patch_numbers = channels * patch**2
        self._compiled: tuple[Callable[..., Layer], Halves] | None = None

    def compile_body(self) -> None:
        """Compile what each step of training does, once for all steps."""
        self._compiled = compiled(fold), compiled_halves()

    def step_size(self) -> Tensor:
        """The learned or fixed step size, clamped to at least 1e-4."""
        return self.alpha.clamp(min=MIN_STEP_SIZE)

    def context(self, noisy: Tensor | None = None) -> Context:
        """What all steps of a descent share; `noisy` (B, C, H, W) where the energy observes it.

        The descent is a compiled one if asked for and gradients are recorded here: predictions come
        in batches of many sizes.
        """
        recorded = self._compiled if torch.is_grad_enabled() else None
        folded, halves = recorded or (fold, EAGER)
        weight = _centred(self.x_embedder.proj.weight.flatten(1), 0)
        embed, seen = weight[:, : self.patch_numbers], weight[:, self.patch_numbers :]
        tokens = self._added(seen, noisy)
        dtype = self._compute_dtype()
        with without_autocast(weight.device.type):
            condition = F.silu(self.condition.weight[0])  # (D,)
            layers = [folded(block, condition, dtype) for block in self.blocks]
            shift, scale = self.final_layer.adaLN_modulation[1](condition).chunk(2)
            energy = at_least_float32(self.final_layer.linear.weight[0])
            head = (1 + scale) * energy / self.grid.tokens
            return Context(layers, embed, tokens, head, shift @ energy, halves)

    def observing(self, context: Context, noisy: Tensor) -> Context:
        """`context` of other noisy images; the same one where the energy observes none."""
        if not self.observes:
            return context
        weight = _centred(self.x_embedder.proj.weight.flatten(1), 0)
        return context._replace(tokens=self._added(weight[:, self.patch_numbers :], noisy))

    def _added(self, seen: Tensor, noisy: Tensor | None) -> Tensor:
        """What is added to the tokens of all images: positions, and the noisy images observed."""
        tokens = _centred(self.pos_embed + self.x_embedder.proj.bias, -1)
        if not self.observes:
            return tokens
        assert noisy is not None, "an energy given the noisy image"
        return tokens + F.linear(self.x_embedder.patches(noisy), seen)

    def forward(self, images: Tensor, context: Context | None = None) -> Tensor:
        context = self.context() if context is None else context
        tokens = self._tokens(images, context)
        with without_autocast(images.device.type):
            return energies(self._stream(context), tokens).sum(1) + context.offset

    def slope(self, images: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """dE/d`images` (B, C, H, W) and E (B,), detached; the slope is differentiable once.

        Without a graph where none is recorded.
        """
        tokens, stream = self._tokens(images, context), self._stream(context)
        if torch.is_grad_enabled():
            energy, slope = differentiable_slope(stream, tokens, context.halves)
        else:
            with without_autocast(images.device.type):
                energy, slope, _ = context.halves.slope(stream, tokens, keep=False)
        patches = F.linear(slope, context.embed.t()).to(images.dtype)
        slope = self.x_embedder.unpatch(patches, images.shape[-2:])
        return slope, energy.sum(1) + context.offset.detach()

    def tokens(self, images: Tensor) -> Tensor:
        """Patch tokens (B, N, D) of clean images as they leave the last block.

        The textbook form: not centred, so as DiT's. An energy given the noisy image observes the
        clean one, which has no noise in it.
        """
        given = torch.cat([images, images], dim=1) if self.observes else images
        h = self.x_embedder(given) + self.pos_embed
        for block in self.blocks:
            h = block(h, self.condition.weight)
        return h

    def _tokens(self, images: Tensor, context: Context) -> Tensor:
        return F.linear(self.x_embedder.patches(images), context.embed) + context.tokens

    def _stream(self, context: Context) -> Stream:
        observed = [NOTHING] * len(context.layers)
        return Stream(context.layers, observed, context.head, self.grid, PASSES)

    def _compute_dtype(self) -> torch.dtype:
        device = self.alpha.device.type
        if torch.is_autocast_enabled(device):
            return torch.get_autocast_dtype(device)
        return self.alpha.dtype


def fold(block: DiTBlock, condition: Tensor, dtype: torch.dtype) -> Layer:
    """A block's weights under one activated condition (D,), as the image stream wants them."""
    shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = block.adaLN_modulation[1](condition).chunk(
        6
    )
    qkv, proj, fc1, fc2 = block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2
    return Layer(
        1 + scale,
        shift,
        qkv.weight.to(dtype),
        qkv.bias.to(dtype),
        _centred(proj.weight * gate[:, None], 0).to(dtype),
        _centred(proj.bias * gate, 0).to(dtype),
        1 + ffn_scale,
        ffn_shift,
        fc1.weight.to(dtype),
        fc1.bias.to(dtype),
        _centred(fc2.weight * ffn_gate[:, None], 0).to(dtype),
        _centred(fc2.bias * ffn_gate, 0).to(dtype),
    )


def _centred(x: Tensor, dim: int) -> Tensor:
    return x - x.mean(dim, keepdim=True)
