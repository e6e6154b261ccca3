"""Transformer++: the Llama-2 recipe at the paper's sizes (paper section 1; Gladstone et al. C)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from baselines.autoregressive import TransformerPPConfig
from baselines.blocks import Block, RMSNorm, init_weights
from baselines.compiling import compiled
from baselines.key_values import KeyValues
from baselines.rotary import rotary_span


class CausalTransformer(nn.Module):
    """The blocks of Transformer++ over one stream; subclasses own what comes in and goes out."""

    config: TransformerPPConfig
    layers: nn.ModuleList
    norm: RMSNorm
    #: How a block is run in training; `compile_body` replaces it.
    observe = staticmethod(Block.observe)

    def compile_body(self) -> None:
        """Compile what a block does in training, once for all of them."""
        self.observe = compiled(Block.observe)

    def hidden(self, x: Tensor, past: Sequence[KeyValues] | None = None) -> Tensor:
        """The stream (B, T, D) after all blocks; `past`, a layer each, is continued."""
        config = self.config
        start = 0 if past is None else past[0].length
        span, head_dim = range(start, start + x.shape[1]), config.width // config.heads
        turns = rotary_span(span, head_dim, config.rope_theta, x.device, self.norm.weight.dtype)
        observe = self.observe if torch.is_grad_enabled() else Block.observe
        for index, block in enumerate(self.layers):
            x, _, _ = observe(block, x, turns, past=None if past is None else past[index])
        return x


class Transformer(CausalTransformer):
    """Decoder-only language model with an untied output head; logits are un-normalised."""

    def __init__(self, config: TransformerPPConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(vocab_size, config.width)
        self.layers = nn.ModuleList(Block(config, config.norm_eps) for _ in range(config.depth))
        self.norm = RMSNorm(config.width, config.norm_eps)
        self.output = nn.Linear(config.width, vocab_size, bias=False)
        init_weights(self)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, S, V) of the token after each of `tokens` (B, S)."""
        return self.output(self.norm(self.hidden(self.embed(tokens))))  # (B, S, V)

    def extend(self, tokens: Tensor, past: Sequence[KeyValues]) -> Tensor:
        """Logits (B, V) after `tokens` (B, T) that continue `past`, a layer each."""
        return self.output(self.norm(self.hidden(self.embed(tokens), past)[:, -1]))
