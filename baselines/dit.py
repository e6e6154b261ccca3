"""Diffusion Transformer: adaLN-Zero blocks, patches, the network, its schedule and its loss.

Peebles & Xie, "Scalable Diffusion Models with Transformers" (arXiv 2212.09748), with parameter
names as in the authors' release. What differs: the feed-forward width is a setting (the EBT paper
takes width, not 4 x width), and there are no class labels. The blocks' parameters are shared with
the image EBT (`baselines.ebt_image`), which differentiates through them twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Of every LayerNorm.
EPS = 1e-6


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Shift and scale (B, D) applied to every token of x (B, N, D)."""
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


def sincos_positions(rows: int, columns: int, width: int) -> Tensor:
    """Fixed 2-D positions (1, rows * columns, width): half of the width each for column and row."""
    omega = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [axis.reshape(-1, 1) * omega for axis in (column, row)]
    parts = [f(angle) for angle in angles for f in (torch.sin, torch.cos)]
    return torch.cat(parts, dim=1).float().unsqueeze(0)


class PatchEmbed(nn.Module):
    """Images (B, C, H, W) -> patch tokens (B, N, D): a strided convolution, as one product."""

    def __init__(self, channels: int, patch_size: int, width: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(channels, width, patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        return F.linear(self.patches(images), self.proj.weight.flatten(1), self.proj.bias)

    def patches(self, images: Tensor) -> Tensor:
        """(B, c, H, W) -> (B, N, c * p * p)."""
        b, c, h, w = images.shape
        p = self.patch_size
        grid = images.reshape(b, c, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5)
        return grid.reshape(b, -1, c * p * p)

    def unpatch(self, patches: Tensor, size: Sequence[int]) -> Tensor:
        """(B, N, c * p * p) -> (B, c, H, W), the inverse of `patches`."""
        (h, w), p = size, self.patch_size
        grid = patches.reshape(len(patches), h // p, w // p, -1, p, p)
        return grid.permute(0, 3, 1, 4, 2, 5).reshape(len(patches), -1, h, w)


class Attention(nn.Module):
    """Bidirectional self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, D / heads)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(b, n, d))


class Mlp(nn.Module):
    """Two linears with tanh-approximated GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class DiTBlock(nn.Module):
    """Attention and MLP, each modulated and gated by the condition (adaLN-Zero)."""

    def __init__(self, width: int, heads: int, ffn_width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS, elementwise_affine=False)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS, elementwise_affine=False)
        self.mlp = Mlp(width, ffn_width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(condition).chunk(6, 1)
        h = self.attn(modulate(self.norm1(x), shift1, scale1))
        x = x + gate1.unsqueeze(1) * h  # (B, N, D)
        h = self.mlp(modulate(self.norm2(x), shift2, scale2))
        return x + gate2.unsqueeze(1) * h


class FinalLayer(nn.Module):
    """Modulated LayerNorm and a linear to `out_width` numbers per patch."""

    def __init__(self, width: int, out_width: int, *, bias: bool = True) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, eps=EPS, elementwise_affine=False)
        self.linear = nn.Linear(width, out_width, bias=bias)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(condition).chunk(2, dim=1)
        return self.linear(modulate(self.norm_final(x), shift, scale))


class TimestepEmbedder(nn.Module):
    """Timesteps (B,) -> conditions (B, D): sinusoids, then a two-layer MLP."""

    def __init__(self, width: int, frequencies: int = 256) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.mlp = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        half = self.frequencies // 2
        index = torch.arange(half, dtype=torch.float32, device=t.device)
        angles = t[:, None].float() * torch.exp(-math.log(10000) * index / half)  # (B, half)
        sinusoids = torch.cat([angles.cos(), angles.sin()], dim=1)
        return self.mlp(sinusoids.to(self.mlp[0].weight.dtype))


def initialise(network: nn.Module) -> None:
    """Xavier-uniform weights, zero biases; zero modulations and final layer (adaLN-Zero)."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.flatten(1))  # a view: patches are a product
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, TimestepEmbedder):
            nn.init.normal_(module.mlp[0].weight, std=0.02)
            nn.init.normal_(module.mlp[2].weight, std=0.02)
        elif isinstance(module, DiTBlock):
            nn.init.zeros_(module.adaLN_modulation[1].weight)
        elif isinstance(module, FinalLayer):
            nn.init.zeros_(module.adaLN_modulation[1].weight)
            nn.init.zeros_(module.linear.weight)


class DiT(nn.Module):
    """Noisy images (B, C, H, W), timesteps (B,) -> (B, 2C, H, W): noise, variance fraction."""

    def __init__(
        self,
        image: tuple[int, int, int],
        patch_size: int,
        *,
        depth: int,
        width: int,
        heads: int,
        ffn_width: int,
    ) -> None:
        super().__init__()
        channels, height, columns = image
        self.grid = (height // patch_size, columns // patch_size)
        self.x_embedder = PatchEmbed(channels, patch_size, width)
        self.register_buffer("pos_embed", sincos_positions(*self.grid, width))
        self.t_embedder = TimestepEmbedder(width)
        self.blocks = nn.ModuleList(DiTBlock(width, heads, ffn_width) for _ in range(depth))
        self.final_layer = FinalLayer(width, patch_size**2 * 2 * channels)
        initialise(self)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        condition = self.t_embedder(t)  # (B, D)
        return self.unpatchify(self.final_layer(self.tokens(x, condition), condition))

    def tokens(self, x: Tensor, condition: Tensor) -> Tensor:
        """Patch tokens (B, N, D) as they leave the last block."""
        h = self.x_embedder(x) + self.pos_embed
        for block in self.blocks:
            h = block(h, condition)
        return h

    def unpatchify(self, patches: Tensor) -> Tensor:
        """(B, N, p * p * C) -> (B, C, H, W)."""
        b, (rows, columns), p = len(patches), self.grid, self.x_embedder.patch_size
        pixels = patches.reshape(b, rows, columns, p, p, -1).permute(0, 5, 1, 3, 2, 4)
        return pixels.reshape(b, -1, rows * p, columns * p)


# --- schedule --------------------------------------------------------------------------------


class Schedule(NamedTuple):
    """Tables over the timesteps of a linear beta schedule (Ho et al., arXiv 2006.11239)."""

    beta: Tensor
    signal: Tensor  # sqrt of the cumulative product of 1 - beta
    noise: Tensor  # sqrt of 1 - that product
    posterior_clean: Tensor  # weight of x_0 in the mean of q(x_(t-1) | x_t, x_0)
    posterior_noisy: Tensor  # weight of x_t
    log_posterior_variance: Tensor  # its first entry, log 0, replaced by the second


@lru_cache(maxsize=16)
def linear_schedule(
    num_timesteps: int, beta_start: float, beta_end: float, device: torch.device, dtype: torch.dtype
) -> Schedule:
    """Tables computed in float64 and handed out in `dtype`."""
    beta = torch.linspace(beta_start, beta_end, num_timesteps, dtype=torch.float64)
    kept = (1 - beta).cumprod(0)
    before = torch.cat([kept.new_ones(1), kept[:-1]])
    variance = beta * (1 - before) / (1 - kept)
    variance[0] = variance[min(1, num_timesteps - 1)]
    tables = (
        beta,
        kept.sqrt(),
        (1 - kept).sqrt(),
        beta * before.sqrt() / (1 - kept),
        (1 - before) * (1 - beta).sqrt() / (1 - kept),
        variance.log(),
    )
    return Schedule(*(table.to(device=device, dtype=dtype) for table in tables))


def _at(table: Tensor, t: Tensor) -> Tensor:
    return table[t].view(-1, 1, 1, 1)


def add_noise(images: Tensor, noise: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """x_t of clean images (B, C, H, W) at timesteps (B,)."""
    return _at(schedule.signal, t) * images + _at(schedule.noise, t) * noise


# --- loss terms ------------------------------------------------------------------------------


def noise_mse(output: Tensor, noise: Tensor) -> Tensor:
    """Mean squared error of the predicted noise, per image (B,)."""
    predicted = output[:, : noise.shape[1]]
    return (predicted - noise).square().flatten(1).mean(1)


def variational_bound(
    output: Tensor, images: Tensor, noised: Tensor, t: Tensor, schedule: Schedule
) -> Tensor:
    """Bound on the likelihood in bits per dimension, per image (B,), unscaled.

    Only the learned variance is trained by it: the predicted noise is detached (Nichol & Dhariwal,
    arXiv 2102.09672). At t = 0 it is the likelihood of the 256 pixel values.
    """
    predicted_noise, fraction = output.chunk(2, dim=1)
    predicted_noise, fraction = predicted_noise.detach(), (fraction + 1) / 2
    clean, noisy = _at(schedule.posterior_clean, t), _at(schedule.posterior_noisy, t)
    true_log_variance = _at(schedule.log_posterior_variance, t)
    log_variance = fraction * _at(schedule.beta, t).log() + (1 - fraction) * true_log_variance
    predicted = (noised - _at(schedule.noise, t) * predicted_noise) / _at(schedule.signal, t)
    true_mean = clean * images + noisy * noised
    mean = clean * predicted + noisy * noised
    kl = 0.5 * (
        log_variance
        - true_log_variance
        + (true_log_variance - log_variance).exp()
        + (true_mean - mean).square() * (-log_variance).exp()
        - 1
    )
    decoder = -_discretized_log_likelihood(images, mean, 0.5 * log_variance)
    nats = torch.where(t.view(-1, 1, 1, 1) == 0, decoder, kl)
    return nats.flatten(1).mean(1) / math.log(2)


def _discretized_log_likelihood(images: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log probability of each 1/127.5-wide bin of [-1, 1] under a Gaussian; open at both ends."""
    inverse = (-log_std).exp()
    upper = _approximate_cdf(inverse * (images - mean + 1 / 255))
    lower = _approximate_cdf(inverse * (images - mean - 1 / 255))
    inside = (upper - lower).clamp(min=1e-12).log()
    below = upper.clamp(min=1e-12).log()
    above = (1 - lower).clamp(min=1e-12).log()
    return torch.where(images < -0.999, below, torch.where(images > 0.999, above, inside))


def _approximate_cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
