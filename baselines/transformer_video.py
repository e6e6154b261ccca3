"""Transformer++ on frames (paper section 2, "Video")."""

from __future__ import annotations

from torch import Tensor, nn

from baselines.blocks import Block, RMSNorm, init_weights
from baselines.transformer import CausalTransformer
from baselines.video_settings import TransformerPPVideoConfig
from harness.protocol import VideoShape


class VideoTransformer(CausalTransformer):
    """Next frames in one pass: a projection in, blocks, D to D, and a projection out.

    The D-to-D `output` before `project_out` is the authors' code's.
    """

    def __init__(self, config: TransformerPPVideoConfig, shape: VideoShape) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.project_in = nn.Linear(shape.numbers, width)
        self.layers = nn.ModuleList(Block(config, config.norm_eps) for _ in range(config.depth))
        self.norm = RMSNorm(width, config.norm_eps)
        self.output = nn.Linear(width, width, bias=False)
        self.project_out = nn.Linear(width, shape.numbers)
        init_weights(self)
        for linear in (self.project_in, self.project_out):
            nn.init.zeros_(linear.bias)

    def forward(self, frames: Tensor) -> Tensor:
        """The frame after each of `frames` (B, S, C, H, W)."""
        x = self.hidden(self.project_in(frames.flatten(2)))
        return self.project_out(self.output(self.norm(x))).view(frames.shape)
