"""Transformer++: the Llama-2 recipe at the paper's sizes (paper section 1; Gladstone et al. C)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from baselines.autoregressive import TransformerPPConfig
from baselines.blocks import Block, RMSNorm, init_weights
from baselines.compiling import compiled
from baselines.rotary import rotary_turns

#: Keys and values (B, H, T, D/H) of one layer.
Past = tuple[Tensor, Tensor]


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

    def hidden(self, x: Tensor, past: Sequence[Past] | None = None) -> tuple[Tensor, list[Past]]:
        """The stream (B, T, D) after all blocks, and every layer's keys and values."""
        config = self.config
        start = 0 if past is None else past[0][0].shape[2]
        positions = torch.arange(start, start + x.shape[1], device=x.device)
        head_dim = config.width // config.heads
        turns = rotary_turns(positions, head_dim, config.rope_theta, self.norm.weight.dtype)
        layers = []
        for index, block in enumerate(self.layers):
            before = None if past is None else past[index]
            observe = self.observe if torch.is_grad_enabled() else Block.observe
            x, key, value = observe(block, x, turns, past=before)
            layers.append((key, value))
        return x, layers


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
        return self.output(self.norm(self.hidden(self.embed(tokens))[0]))  # (B, S, V)

    def extend(self, tokens: Tensor, past: Sequence[Past] | None) -> tuple[Tensor, list[Past]]:
        """Logits (B, V) after `tokens` (B, T) that continue `past`, and all keys and values."""
        x, layers = self.hidden(self.embed(tokens), past)
        return self.output(self.norm(x[:, -1])), layers
