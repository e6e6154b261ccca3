"""The Llama-2 blocks that Transformer++ and the autoregressive EBT share.

RMSNorm, rotary positions, causal attention and SwiGLU without biases (paper section 1 and Appendix
C). Sharing them is what makes the baseline a control: the adapters differ only where they say so.
Two departures from Llama-2, both the paper's: the feed-forward width defaults to the model width,
and linears start Xavier-normal.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.key_values import KeyValues
from baselines.rotary import at_least_float32, rotate
from baselines.sizes import Sized
from baselines.stream_layers import Layer


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension, in float32 or wider."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., D)."""
        x = at_least_float32(x)
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps) * self.weight


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., D)."""
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Attention(nn.Module):
    """Projections of multi-head attention, and causal attention over one stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.wq = nn.Linear(width, width, bias=False)
        self.wk = nn.Linear(width, width, bias=False)
        self.wv = nn.Linear(width, width, bias=False)
        self.wo = nn.Linear(width, width, bias=False)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, D) to heads (B, H, T, D/H)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def merge(self, x: Tensor) -> Tensor:
        """Heads (B, H, T, D/H) through the output projection to (B, T, D)."""
        return self.wo(x.transpose(1, 2).flatten(-2))

    def keys_values(self, x: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
        """Rotated keys and plain values of (B, T, D), each (B, H, T, D/H)."""
        return rotate(self.split(self.wk(x)), turns), self.split(self.wv(x))

    def causal(self, x: Tensor, turns: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Fused attention of (B, T, D) over as many last keys and all before, to (B, T, D)."""
        query = rotate(self.split(self.wq(x)), turns)
        length, keys = query.shape[2], key.shape[2]
        mask = None
        if 1 < length < keys:  # a continued stream: aligned at the end
            mask = torch.ones(length, keys, dtype=torch.bool, device=x.device).tril(keys - length)
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=length == keys
        )
        return self.merge(mixed)


class Modulation(NamedTuple):
    """What adaLN does to a block: shift, scale and gate of attention and feed-forward.

    Each is (D,), or (B, 1, D) where the rows of a batch differ.
    """

    shift: Tensor
    scale: Tensor
    gate: Tensor
    ffn_shift: Tensor
    ffn_scale: Tensor
    ffn_gate: Tensor


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to the residual stream."""

    def __init__(self, config: Sized, eps: float) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.heads)
        self.attention_norm = RMSNorm(config.width, eps)
        self.ffn = SwiGLU(config.width, config.ffn_width)
        self.ffn_norm = RMSNorm(config.width, eps)

    def observe(
        self,
        x: Tensor,
        turns: Tensor,
        modulation: Modulation | None = None,
        past: KeyValues | None = None,
        *,
        stop: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Causal block over (B, T, D): the new stream, and all keys and values (B, H, P + T, D/H).

        `past` has P earlier keys and values that `x` continues, and gets those of `x`. With `stop`
        nobody reads the new stream, and `x` is returned as it came.
        """
        h = self.attention_norm(x)
        if modulation is not None:
            h = torch.addcmul(modulation.shift, h, 1 + modulation.scale)
        key, value = self.attention.keys_values(h, turns)
        if past is not None:
            key, value = past.append(key, value)
        if stop:
            return x, key, value
        mixed = self.attention.causal(h, turns, key, value)
        if modulation is None:
            x = x + mixed
            return x + self.ffn(self.ffn_norm(x)), key, value
        x = torch.addcmul(x, modulation.gate, mixed)
        h = torch.addcmul(modulation.ffn_shift, self.ffn_norm(x), 1 + modulation.ffn_scale)
        return torch.addcmul(x, modulation.ffn_gate, self.ffn(h)), key, value

    def folded(self, modulation: Modulation | None, dtype: torch.dtype) -> Layer:
        """The block's weights as the prediction stream wants them, in `dtype`."""
        attention, ffn = self.attention, self.ffn
        width = attention.wo.weight.shape[0]
        scale = (width // attention.heads) ** -0.5
        qkv = torch.cat([attention.wq.weight * scale, attention.wk.weight, attention.wv.weight])
        gate_up = torch.cat([ffn.gate.weight, ffn.up.weight])
        out, down = attention.wo.weight, ffn.down.weight
        norm, ffn_norm = self.attention_norm.weight, self.ffn_norm.weight
        if modulation is None:
            return Layer(*(w.to(dtype) for w in (qkv * norm, out, gate_up * ffn_norm, down)))
        weights = (
            qkv * (norm * (1 + modulation.scale)),
            out * modulation.gate[:, None],
            gate_up * (ffn_norm * (1 + modulation.ffn_scale)),
            down * modulation.ffn_gate[:, None],
            qkv @ modulation.shift,
            gate_up @ modulation.ffn_shift,
        )
        return Layer(*(w.to(dtype) for w in weights))


def init_weights(module: nn.Module) -> None:
    """Embeddings N(0, 1), linears Xavier-normal (paper section 3 and Appendix C)."""
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight)
        elif isinstance(part, nn.Linear):
            nn.init.xavier_normal_(part.weight)
