"""Transformer++: the Llama-2 recipe at the paper's sizes (paper section 1; Gladstone et al. C)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from baselines.blocks import Block, RMSNorm, init_weights, rotary_turns
from baselines.text_records import TransformerPPTextConfig


class Transformer(nn.Module):
    """Decoder-only language model with an untied output head; logits are un-normalised."""

    def __init__(self, config: TransformerPPTextConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(vocab_size, config.width)
        self.layers = nn.ModuleList(Block(config, config.norm_eps) for _ in range(config.depth))
        self.norm = RMSNorm(config.width, config.norm_eps)
        self.output = nn.Linear(config.width, vocab_size, bias=False)
        init_weights(self)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, S, V) of the token after each of `tokens` (B, S)."""
        config, weight = self.config, self.embed.weight
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        head_dim = config.width // config.heads
        turns = rotary_turns(positions, head_dim, config.rope_theta, weight.dtype)
        x = self.embed(tokens)  # (B, S, D)
        for block in self.layers:
            x, _, _ = block(x, turns)
        return self.output(self.norm(x))  # (B, S, V)
