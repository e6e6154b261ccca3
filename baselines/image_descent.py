"""How an image EBT is trained: energy descent over whole images, differentiated once more.

One optimization step (paper section 3.2), with Langevin noise where it is asked for:

    y <- y + noise;    y <- y - alpha * dE(y)/dy
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from baselines.image_settings import EBTImageConfig

#: Images (n, C, H, W) -> energies (n,).
Energy = Callable[[Tensor], Tensor]
#: Images (n, C, H, W) -> the energy's gradient at them (n, C, H, W), and energies (n,).
Gradient = Callable[[Tensor], tuple[Tensor, Tensor]]


def gradient_and_energy(energy: Energy, images: Tensor) -> tuple[Tensor, Tensor]:
    """dE/d`images` (n, C, H, W) and E (n,); differentiable once more where gradients are recorded.

    Parameters are constants of the inner gradient, so without an outer one they keep no graph.
    """

    def total(y: Tensor) -> tuple[Tensor, Tensor]:
        each = energy(y)
        return each.sum(), each

    return torch.func.grad(total, has_aux=True)(images)


# --- training --------------------------------------------------------------------------------


def training_steps(
    gradient: Gradient,
    start: Tensor,
    config: EBTImageConfig,
    *,
    steps: int,
    step_size: Tensor,
    noise: Callable[[int], Tensor] | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, for each step 1..steps, the image after it and the energies before it (detached).

    `step_size` is (n, 1, 1, 1) or a scalar; `noise` gives what step k adds to the image first. What
    the yielded images can be differentiated in is `config.between_steps`'s and `config.loss_on`'s.
    """
    y = start
    for step in range(1, steps + 1):
        if noise is not None:
            y = y + noise(step)
        if config.between_steps == "detach":
            y = y.detach()
        recorded = torch.is_grad_enabled() and config.differentiated(step, steps)
        with torch.set_grad_enabled(recorded):
            slope, energy = gradient(y)
        y = y - step_size * slope
        yield y, energy.detach()
