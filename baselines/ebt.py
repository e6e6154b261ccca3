"""The autoregressive energy network (paper section 2, "Text"), in two-stream form.

The textbook form runs S observed and S predicted states as one sequence of 2S tokens. Here the
observed stream is run once (`context`) and kept as keys and values; the prediction stream
(`energies`) reads them. The numbers are the same, and what differs is the cost: observed states
never depend on a prediction, so optimization steps of a landscape and samples share them, and the
inner gradient is taken with respect to the D-wide projected prediction alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.blocks import (
    Attention,
    Block,
    RMSNorm,
    at_least_float32,
    init_weights,
    rotary_turns,
    rotate,
)
from baselines.text_records import EBTTextConfig, query_blocks


class KeysValues(NamedTuple):
    """One layer's observed keys (rotated) and values, each (B, H, T, D/H)."""

    key: Tensor
    value: Tensor


class EnergyNetwork(nn.Module):
    """Energies of predicted next tokens beside their observed context.

    Differs from Transformer++ in these parameters only: `vocab_to_embed` (V to D) instead of an
    output head, `energy` (D to 1), one `step_embed` row per landscape, and the step size `alpha`.
    """

    def __init__(self, config: EBTTextConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(vocab_size, config.width)
        self.vocab_to_embed = nn.Linear(vocab_size, config.width, bias=False)
        if config.step_conditioning == "time_embed":
            self.step_embed = nn.Embedding(config.landscapes, config.width)
        self.layers = nn.ModuleList(Block(config, config.norm_eps) for _ in range(config.depth))
        self.norm = RMSNorm(config.width, config.norm_eps)
        self.energy = nn.Linear(config.width, 1, bias=False)
        alpha = torch.tensor(float(config.step_size))
        self.alpha = nn.Parameter(alpha, requires_grad=config.step_size_learned)
        init_weights(self)

    @property
    def prefix(self) -> int:
        """Observed states before the first token: the step embedding, if there is one."""
        return int(self.config.step_conditioning == "time_embed")

    def project(self, probabilities: Tensor) -> Tensor:
        """(..., V) probabilities to (..., D): a weighted sum of projection columns."""
        projected = F.linear(probabilities, self.vocab_to_embed.weight)
        return projected.to(self.vocab_to_embed.weight.dtype)  # keeps the residual stream wide

    def context(self, tokens: Tensor, landscape: int) -> list[KeysValues]:
        """Observed keys and values of every layer under one landscape, for `tokens` (B, S).

        T = S, or S + 1 with the step embedding at position 0. The last layer stops at its keys and
        values: nothing reads its output.
        """
        x = self.embed(tokens)  # (B, S, D)
        if self.prefix:
            step = self.step_embed.weight[landscape].expand(len(tokens), 1, -1)
            x = torch.cat([step, x], dim=1)  # (B, T, D)
        turns = self._turns(torch.arange(x.shape[1], device=x.device))
        observed = []
        for block in self.layers[:-1]:
            x, key, value = block(x, turns)
            observed.append(KeysValues(key, value))
        last = self.layers[-1]
        observed.append(KeysValues(*last.attention.keys_values(last.attention_norm(x), turns)))
        return observed

    def energies(self, projected: Tensor, observed: Sequence[KeysValues]) -> Tensor:
        """Energy (B, m, S) of `projected` predictions (B, m, S, D), m samples a position.

        Prediction s reads the observed states up to token s and itself, never another prediction,
        and stands at the position of the token it predicts. The samples are folded into query rows
        position-major, so that causal blocks of rows stay contiguous.
        """
        samples, length = projected.shape[1:3]
        x = projected.transpose(1, 2).flatten(1, 2)  # (B, S*m, D)
        positions = torch.arange(length, device=x.device) + self.prefix + 1
        turns = self._turns(positions).repeat_interleave(samples, dim=0)
        masks = _visibility(length, samples, self.prefix, x)
        for block, layer in zip(self.layers, observed, strict=True):
            h = block.attention_norm(x)
            x = block.feed(x + _read(block.attention, h, turns, layer, masks))
        with torch.autocast(x.device.type, enabled=False):  # energies are compared: keep float32
            energy = self.energy(at_least_float32(self.norm(x)))  # (B, S*m, 1)
        return energy.view(len(x), length, samples).transpose(1, 2)

    def _turns(self, positions: Tensor) -> Tensor:
        config = self.config
        head_dim = config.width // config.heads
        return rotary_turns(positions, head_dim, config.rope_theta, self.embed.weight.dtype)


class _Rows(NamedTuple):
    """A block of query rows: where it ends, the keys it may see, and -inf on those it may not."""

    rows: int
    keys: int
    bias: Tensor


def _visibility(length: int, samples: int, prefix: int, like: Tensor) -> list[_Rows]:
    """Causal blocks of query rows; rows of one position share what they see."""
    blocks = []
    for start, end in query_blocks(length):
        seen = torch.arange(start, end, device=like.device).repeat_interleave(samples) + prefix
        keys = torch.arange(end + prefix, device=like.device)
        bias = torch.zeros(len(seen), len(keys), dtype=like.dtype, device=like.device)
        bias.masked_fill_(keys > seen[:, None], -torch.inf)
        blocks.append(_Rows(len(seen), len(keys), bias))
    return blocks


def _read(
    attention: Attention, h: Tensor, turns: Tensor, observed: KeysValues, masks: list[_Rows]
) -> Tensor:
    """Attention of each prediction (B, R, D) over the observed keys and itself.

    Explicit, since fused CPU attention has no second derivative. The score of a prediction with
    itself needs no rotation: query and key stand at the same position.
    """
    query = attention.split(attention.wq(h)) * (h.shape[-1] // attention.heads) ** -0.5
    own_key, own_value = attention.split(attention.wk(h)), attention.split(attention.wv(h))
    own_score = (query * own_key).sum(-1, keepdim=True)  # (B, H, R, 1)
    turned = rotate(query, turns)
    mixed = []
    parts = zip(
        masks,
        *(x.split([m.rows for m in masks], dim=2) for x in (turned, own_score, own_value)),
        strict=True,
    )
    for mask, rows, own, value in parts:
        key = observed.key[:, :, : mask.keys]
        score = rows @ key.transpose(-2, -1) + mask.bias  # (B, H, rows, keys)
        weight = torch.cat([score, own.type_as(score)], dim=-1).softmax(dim=-1)
        seen, itself = weight.split([mask.keys, 1], dim=-1)
        mixed.append(seen.type_as(value) @ observed.value[:, :, : mask.keys] + itself * value)
    return attention.merge(torch.cat(mixed, dim=2))
