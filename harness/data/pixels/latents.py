"""Frames to an autoencoder's latents and back: diffusers' AutoencoderKL, in float32."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from harness.data.pixels.autoencoders import autoencoder_digest, weights_file
from harness.errors import HarnessError

#: Frames that go through the autoencoder together.
_FRAMES = 32


class Autoencoder:
    """A trained autoencoder, of which nothing is learnt here. digest: of its settings and weights.

    Latents are the mean of the posterior, not scaled (paper's code).
    """

    def __init__(self, model: Any, *, digest: str, device: torch.device) -> None:
        self._model, self.digest, self.device = model, digest, device

    def encode(self, frames: Tensor) -> Tensor:
        """Latents (N, c, h, w) of frames (N, C, H, W) in [-1, 1]."""
        return self._batched(frames, lambda some: self._model.encode(some).latent_dist.mean)

    def decode(self, latents: Tensor) -> Tensor:
        """Frames (N, C, H, W), about in [-1, 1], of latents (N, c, h, w)."""
        return self._batched(latents, lambda some: self._model.decode(some).sample)

    def _batched(self, given: Tensor, through: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.no_grad(), _exactly():
            given = given.to(self.device, torch.float32)
            starts = range(0, len(given), _FRAMES)
            return torch.cat([through(given[start : start + _FRAMES]) for start in starts])


def load_autoencoder(name: str, device: torch.device) -> Autoencoder:
    """Load from a folder, or from the Hub; HarnessError where it is not one or is damaged."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    digest, weights = autoencoder_digest(name), weights_file(name)
    try:
        model, loaded = AutoencoderKL.from_pretrained(
            str(weights.parent),
            output_loading_info=True,
            use_safetensors=weights.suffix == ".safetensors",
            local_files_only=True,
            low_cpu_mem_usage=False,
            torch_dtype=torch.float32,
        )
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise HarnessError(
            f"the autoencoder's weights cannot be loaded: {said}",
            where=str(weights),
            hint=f"the file must be what diffusers saved with the config.json in {weights.parent}",
        ) from error
    if loaded["missing_keys"]:
        raise HarnessError(
            f"the autoencoder's weights are not whole: {len(loaded['missing_keys'])} of its "
            "parameters are not in the file",
            where=str(weights),
            given=sorted(loaded["missing_keys"])[0],
        )
    model.requires_grad_(False)
    return Autoencoder(model.eval().to(device), digest=digest, device=device)


def _exactly() -> AbstractContextManager[None]:
    """Convolutions in whole float32 and the same each time: latents are made once, for all runs."""
    flags: Any = torch.backends.cudnn.flags
    exactly: AbstractContextManager[None] = flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return exactly
