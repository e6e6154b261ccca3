"""The autoregressive EBT as the paper writes it: the oracle for the two-stream form.

One sequence of [step embedding,] S observed and S predicted states under an explicit mask,
everything recomputed at each step and for each sample, plain autograd over the vocabulary. Shares
no code with `baselines`: weights come as a state dict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Naive:
    """Energies and descent under `weights`; `heads` is all that their shapes do not tell."""

    weights: Weights
    heads: int
    theta: float = 10000.0
    eps: float = 1e-5

    @property
    def conditioned(self) -> bool:
        return "step_embed.weight" in self.weights

    @property
    def landscapes(self) -> int:
        return len(self.weights["step_embed.weight"]) if self.conditioned else 1

    def energies(self, tokens: Tensor, distribution: Tensor, landscape: int) -> Tensor:
        """(B, S) energies of `distribution` (B, S, V) over the token after each of `tokens`."""
        w, length = self.weights, tokens.shape[1]
        prefix = int(self.conditioned)
        states = [w["embed.weight"][tokens], distribution @ w["vocab_to_embed.weight"].T]
        if self.conditioned:
            states.insert(0, w["step_embed.weight"][landscape].expand(len(tokens), 1, -1))
        x = torch.cat(states, dim=1)  # (B, prefix + 2S, D)
        index = torch.arange(length)
        positions = torch.cat([torch.arange(prefix + length), index + prefix + 1])
        mask = self._mask(length, prefix)
        layers = {int(name.split(".")[1]) for name in w if name.startswith("layers.")}
        for layer in sorted(layers):
            x = self._block(x, f"layers.{layer}.", positions, mask)
        x = self._norm(x[:, prefix + length :], "norm.weight")
        return (x @ w["energy.weight"].T)[..., 0]

    def step(self, tokens: Tensor, logits: Tensor, landscape: int, alpha: Tensor) -> Tensor:
        """Logits after one optimization step; differentiable through its own gradient."""
        distribution = logits.softmax(dim=-1).requires_grad_()
        energy = self.energies(tokens, distribution, landscape).sum()
        (slope,) = torch.autograd.grad(energy, distribution, create_graph=True)
        return distribution - alpha * slope

    def training_loss(self, tokens: Tensor, mask: Tensor, start: Tensor, steps: int) -> Tensor:
        """S1: summed cross-entropy of valid targets, mean over detached steps."""
        logits, losses = start, []
        alpha = self.weights["alpha"].clamp(min=1e-4)
        for step in range(steps):
            landscape = min(step, self.landscapes - 1)
            logits = self.step(tokens[:, :-1], logits.detach(), landscape, alpha)
            nats = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
            losses.append((nats * mask.flatten()).sum())
        return torch.stack(losses).mean()

    def think(
        self, tokens: Tensor, start: Tensor, schedule: Sequence[int], alpha: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Final logits (B, S, V) and their energies (B, S) under the last landscape."""
        logits = start
        for landscape in schedule:
            logits = self.step(tokens, logits.detach(), landscape, alpha).detach()
        return logits, self.energies(tokens, logits.softmax(-1), schedule[-1]).detach()

    def _mask(self, length: int, prefix: int) -> Tensor:
        observed = prefix + length
        mask = torch.zeros(observed + length, observed + length, dtype=torch.bool)
        mask[:observed, :observed] = torch.ones(observed, observed).tril().bool()
        for t in range(length):
            mask[observed + t, : prefix + t + 1] = True
            mask[observed + t, observed + t] = True
        return mask

    def _block(self, x: Tensor, name: str, positions: Tensor, mask: Tensor) -> Tensor:
        w = self.weights
        h = self._norm(x, name + "attention_norm.weight")
        query, key, value = (
            (h @ w[f"{name}attention.{part}.weight"].T).unflatten(-1, (self.heads, -1))
            for part in ("wq", "wk", "wv")
        )  # (B, T, H, D/H)
        query, key = self._rotate(query, positions), self._rotate(key, positions)
        score = torch.einsum("bqhd,bkhd->bhqk", query, key) / query.shape[-1] ** 0.5
        weight = score.masked_fill(~mask, -torch.inf).softmax(dim=-1)
        mixed = torch.einsum("bhqk,bkhd->bqhd", weight, value).flatten(-2)
        x = x + mixed @ w[name + "attention.wo.weight"].T
        h = self._norm(x, name + "ffn_norm.weight")
        gated = F.silu(h @ w[name + "ffn.gate.weight"].T) * (h @ w[name + "ffn.up.weight"].T)
        return x + gated @ w[name + "ffn.down.weight"].T

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + self.eps).sqrt() * self.weights[name]

    def _rotate(self, x: Tensor, positions: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        frequency = self.theta ** (-torch.arange(half, dtype=x.dtype) / half)
        angle = positions[:, None].to(x.dtype) * frequency  # (T, D/H/2)
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)
