"""The autoregressive EBT as the paper writes it: the oracle, and the yardstick of the benchmark.

One sequence of [step embedding,] S observed and S predicted states goes through every layer.
Observed states attend causally to each other, each predicted state to the observed ones before it
and, in one more column, to itself. Everything is recomputed at each step and for each sample, and
plain autograd reaches through the vocabulary. Written as one would write it without thinking about
cost, with the operators one would use. Shares no code with `baselines`: weights come as a state
dict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

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
        predicted = F.linear(distribution, w["vocab_to_embed.weight"])
        states = [F.embedding(tokens, w["embed.weight"]).type_as(predicted), predicted]
        if self.conditioned:
            step = w["step_embed.weight"][landscape].expand(len(tokens), 1, -1)
            states.insert(0, step.type_as(predicted))
        x = torch.cat(states, dim=1)  # (B, prefix + 2S, D)
        head_dim = x.shape[-1] // self.heads
        turns = _turns(prefix, length, head_dim, self.theta, x.dtype, x.device)
        masks = _masks(prefix, length, x.device)
        layers = {int(name.split(".")[1]) for name in w if name.startswith("layers.")}
        for layer in sorted(layers):
            x = self._block(x, f"layers.{layer}.", turns, masks)
        x = self._norm(x[:, prefix + length :], "norm.weight")
        return F.linear(x, w["energy.weight"])[..., 0]

    def step(
        self,
        tokens: Tensor,
        logits: Tensor,
        landscape: int,
        alpha: Tensor,
        *,
        create_graph: bool = True,
    ) -> Tensor:
        """Logits after one optimization step; with `create_graph`, differentiable through it."""
        distribution = logits.softmax(dim=-1).requires_grad_()
        energy = self.energies(tokens, distribution, landscape).sum()
        (slope,) = torch.autograd.grad(energy, distribution, create_graph=create_graph)
        return distribution - alpha * slope

    def training_loss(self, tokens: Tensor, mask: Tensor, start: Tensor, steps: int) -> Tensor:
        """S1: summed cross-entropy of valid targets, mean over detached steps."""
        logits, losses = start, []
        alpha = self.weights["alpha"].clamp(min=1e-4)
        for step in range(steps):
            landscape = min(step, self.landscapes - 1)
            logits = self.step(tokens[:, :-1], logits.detach(), landscape, alpha)
            losses.append(_cross_entropy(logits, tokens, mask))
        return torch.stack(losses).mean()

    def truncated_loss(
        self,
        tokens: Tensor,
        mask: Tensor,
        start: Tensor,
        langevin: Sequence[Tensor],
        alpha: Tensor,
    ) -> Tensor:
        """S2: summed cross-entropy after the last step, the only one that keeps its graph.

        `langevin` noise (B, S, V), one per step, joins the logits before each softmax; `alpha` is
        (B, S, 1).
        """
        logits = start
        for noise in langevin[:-1]:
            logits = self.step(tokens[:, :-1], logits + noise, 0, alpha, create_graph=False)
            logits = logits.detach()
        logits = self.step(tokens[:, :-1], logits + langevin[-1], 0, alpha)
        return _cross_entropy(logits, tokens, mask)

    def think(
        self, tokens: Tensor, start: Tensor, schedule: Sequence[int], alpha: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Final logits (B, S, V) and their energies (B, S) under the last landscape."""
        logits = start
        for landscape in schedule:
            logits = self.step(tokens, logits, landscape, alpha, create_graph=False).detach()
        with torch.no_grad():
            return logits, self.energies(tokens, logits.softmax(-1), schedule[-1])

    def best_of(
        self, tokens: Tensor, starts: Sequence[Tensor], schedule: Sequence[int], alpha: Tensor
    ) -> Tensor:
        """Logits (B, S, V) of the start whose end has the lowest energy, per position."""
        ends = [self.think(tokens, start, schedule, alpha) for start in starts]
        lowest = torch.stack([energy for _, energy in ends]).argmin(dim=0)  # (B, S)
        logits = torch.stack([logits for logits, _ in ends])  # (M, B, S, V)
        return logits.gather(0, lowest[None, ..., None].expand(1, *logits.shape[1:]))[0]

    def _block(self, x: Tensor, name: str, turns: Tensor, masks: tuple[Tensor, Tensor]) -> Tensor:
        w = self.weights
        h = self._norm(x, name + "attention_norm.weight")
        query, key, value = (
            F.linear(h, w[f"{name}attention.{part}.weight"])
            .unflatten(-1, (self.heads, -1))
            .transpose(1, 2)
            for part in ("wq", "wk", "wv")
        )  # (B, H, T, D/H)
        mixed = _attend(_rotate(query, turns), _rotate(key, turns), value, masks)
        x = x + F.linear(mixed.transpose(1, 2).flatten(-2), w[name + "attention.wo.weight"])
        h = self._norm(x, name + "ffn_norm.weight")
        gate, up = (F.linear(h, w[f"{name}ffn.{part}.weight"]) for part in ("gate", "up"))
        return x + F.linear(F.silu(gate) * up, w[name + "ffn.down.weight"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return wide * scale * self.weights[name]


def _attend(query: Tensor, key: Tensor, value: Tensor, masks: tuple[Tensor, Tensor]) -> Tensor:
    """Attention over (B, H, T, D/H): observed rows causally, predicted rows also to themselves."""
    causal, earlier = masks
    seen, length = len(causal), len(earlier)
    query = query * query.shape[-1] ** -0.5
    (query_o, query_p), (key_o, key_p), (value_o, value_p) = (
        x.split([seen, length], dim=2) for x in (query, key, value)
    )
    score = (query_o @ key_o.transpose(-2, -1)).masked_fill(causal, -torch.inf)  # (B, H, O, O)
    observed = score.softmax(dim=-1).type_as(value) @ value_o
    score = (query_p @ key_o.transpose(-2, -1)).masked_fill(earlier, -torch.inf)  # (B, H, S, O)
    itself = (query_p * key_p).sum(-1, keepdim=True).type_as(score)
    weight = torch.cat([score, itself], dim=-1).softmax(dim=-1).type_as(value)  # (B, H, S, O + 1)
    predicted = weight[..., :-1] @ value_o + weight[..., -1:] * value_p
    return torch.cat([observed, predicted], dim=2)


def _cross_entropy(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    targets = tokens[:, 1:].masked_fill(~mask, -100)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")


def _rotate(x: Tensor, turns: Tensor) -> Tensor:
    wide = x if x.dtype == torch.float64 else x.float()
    pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turns).flatten(-2).type_as(x)


@lru_cache(maxsize=8)
def _turns(
    prefix: int, length: int, head_dim: int, theta: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Rotary factors (prefix + 2S, D/H/2): a prediction stands where its token will stand."""
    real = torch.float64 if dtype == torch.float64 else torch.float32
    index = torch.arange(length, device=device)
    positions = torch.cat([torch.arange(prefix + length, device=device), index + prefix + 1])
    pairs = torch.arange(0, head_dim, 2, dtype=real, device=device)
    angle = torch.outer(positions.to(real), theta ** (-pairs / head_dim))
    return torch.polar(torch.ones_like(angle), angle)


@lru_cache(maxsize=8)
def _masks(prefix: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """True where an observed (O, O), and where a predicted (S, O) state may not look."""
    observed = prefix + length
    later = torch.ones(observed, observed, dtype=torch.bool, device=device).triu(1)
    return later, later[prefix:]
