"""The video energy network: energies of next frames beside their observed context."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from baselines.ebt import EnergyTransformer
from baselines.modes import without_autocast
from baselines.video_settings import EBTVideoConfig
from harness.protocol import VideoShape


class VideoEnergy(EnergyTransformer):
    """Energies of next frames (paper section 2, "Video").

    `project_in` (biased, numbers of a frame to D) is shared by observed frames and predictions;
    there is no way out, since predictions live in frame space.
    """

    def __init__(self, config: EBTVideoConfig, shape: VideoShape) -> None:
        super().__init__(config)
        self.frame = (shape.channels, shape.height, shape.width)
        self.project_in = nn.Linear(shape.numbers, config.width)
        self.initialise()
        nn.init.zeros_(self.project_in.bias)

    def project(self, frames: Tensor) -> Tensor:
        """Frames (..., C, H, W) to (..., D)."""
        dtype, linear = self.compute_dtype(), self.project_in
        flat = frames.flatten(-3)
        with without_autocast(frames.device.type):
            bias = linear.bias.to(dtype)
            return F.linear(flat.to(dtype), linear.weight.to(dtype), bias).to(self.dtype)

    def to_frames(self, slope: Tensor) -> Tensor:
        """dE/dy (..., C, H, W) from dE/de (..., D)."""
        dtype = self.compute_dtype()
        with without_autocast(slope.device.type):
            flat = (slope.to(dtype) @ self.project_in.weight.to(dtype)).to(slope.dtype)
        return flat.unflatten(-1, self.frame)
