"""Small image adapters and images, as the tests of images want them."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.adapters.image_dit import DiTImage
from baselines.adapters.image_ebt import EBTImage
from baselines.image_settings import DiTImageConfig, EBTImageConfig
from harness.noise import NoiseSource
from harness.protocol import ImageShape

SHAPE = ImageShape(channels=2, height=8, width=12, train_timesteps=100)
SIZES = {"depth": 2, "width": 16, "heads": 2, "patch_size": 4}
NOISE = NoiseSource(7)


def randomise(module: torch.nn.Module) -> None:
    """Leave the zero initialisation, under which most terms vanish."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in module.named_parameters():
            if not name.endswith("alpha"):
                p.copy_(0.3 * torch.randn(p.shape, generator=generator))


def small_ebt(shape: ImageShape = SHAPE, **given: object) -> EBTImage:
    """An EBT with weights away from zero."""
    adapter = EBTImage(EBTImageConfig(**(SIZES | {"step_size": 20.0} | given)), shape)
    randomise(adapter)
    return adapter


def small_dit(shape: ImageShape = SHAPE, **given: object) -> DiTImage:
    """A DiT with weights away from zero."""
    adapter = DiTImage(DiTImageConfig(**(SIZES | given)), shape)
    randomise(adapter)
    return adapter


def some_images(n: int, shape: ImageShape = SHAPE) -> Tensor:
    """The same `n` images in [-1, 1] each time (n, C, H, W)."""
    generator = torch.Generator().manual_seed(5)
    size = (n, shape.channels, shape.height, shape.width)
    return torch.rand(size, generator=generator) * 2 - 1
