"""How near images come to the true ones: squared error, PSNR and SSIM, pixels on 0..255."""

from __future__ import annotations

from math import log10

import torch
from torch import Tensor

PEAK = 255.0
#: Side of SSIM's Gaussian window (sigma 1.5).
WINDOW = 11


def squared_error(predicted: Tensor, clean: Tensor) -> Tensor:
    """Mean squared error per image (B,), of pixels clamped to 0..255 (paper Table 4)."""
    return (_levels(predicted.double()) - _levels(clean.double())).square().flatten(1).mean(1)


def psnr(mse: float) -> float | None:
    """10 log10(255^2 / MSE) in dB; None for a perfect image."""
    return None if mse == 0 else 10 * log10(PEAK**2 / mse)


def structural_similarity(predicted: Tensor, clean: Tensor) -> Tensor | None:
    """SSIM per image (B,), torchmetrics' with its defaults and a range of 255, pixels clamped.

    None for images smaller than the window. torchmetrics mirrors the borders and so gives a number
    from 6 pixels on, but that is of pixels that are not there.
    """
    if min(clean.shape[-2:]) < WINDOW:
        return None
    from torchmetrics.functional.image.ssim import (  # imported here: it takes seconds
        structural_similarity_index_measure,
    )

    with torch.autocast(clean.device.type, enabled=False):
        found = structural_similarity_index_measure(
            _levels(predicted.float()), _levels(clean.float()), data_range=PEAK, reduction="none"
        )
    assert isinstance(found, Tensor)
    return found.reshape(len(clean))


def _levels(images: Tensor) -> Tensor:
    """[-1, 1] as 0..255, clamped."""
    return ((images + 1) / 2 * PEAK).clamp(0, PEAK)
