"""An untrained AutoencoderKL in a folder, as diffusers saves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def save_autoencoder(
    folder: Path, *, channels: int = 3, seed: int = 0, safetensors: bool = True
) -> Any:
    """Latents of 2 channels and half a frame's side; returns the model."""
    import torch
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    torch.manual_seed(seed)
    model = AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        latent_channels=2,
        block_out_channels=(4, 4),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=2,
    )
    model.save_pretrained(folder, safe_serialization=safetensors)
    return model.eval()
