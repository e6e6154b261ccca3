"""How an image EBT is trained: energy descent over whole images, differentiated once more.

One optimization step (paper section 3.2), with Langevin noise where it is asked for:

    y <- y + noise;    y <- y - alpha * dE(y)/dy
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from baselines.training_descent import Move, Point

#: Images (n, C, H, W) -> the energy's gradient at them (n, C, H, W), and energies (n,).
Gradient = Callable[[Tensor], tuple[Tensor, Tensor]]


def image_move(gradient: Gradient, step_size: Tensor) -> Move:
    """One step of training, by a step size of (n, 1, 1, 1) or a scalar."""

    def move(point: Point) -> tuple[Tensor, Tensor]:
        images = point.value if point.noise is None else point.value + point.noise
        with torch.set_grad_enabled(point.recorded):
            slope, energy = gradient(images)
        return images - step_size * slope, energy

    return move
