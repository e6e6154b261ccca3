"""Energy minimisation as pure functions (paper section 3.2).

One optimization step is y <- y - step_size * dE(y)/dy. Between steps the prediction is detached
(S1), so every step carries its own graph and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

#: Predictions (B, ...) -> one energy per independent prediction, of any shape.
EnergyFn = Callable[[Tensor], Tensor]


def optimization_step(
    energy_fn: EnergyFn, y: Tensor, step_size: Tensor | float, *, create_graph: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the prediction after one step and the energy of `y` before it.

    With `create_graph` the result is differentiable in the parameters (and in `step_size`). Works
    whatever grad mode the caller is in.
    """
    with torch.inference_mode(False), torch.enable_grad():
        # A tensor made under inference mode cannot be saved for backward, a clone of it can.
        start = (y.clone() if y.is_inference() else y.detach()).requires_grad_()
        energy = energy_fn(start)
        (gradient,) = torch.autograd.grad(energy.sum(), start, create_graph=create_graph)
        if not create_graph:
            start, energy = start.detach(), energy.detach()
            step_size = step_size.detach() if isinstance(step_size, Tensor) else step_size
        return start - step_size * gradient, energy


def descend(
    energy_fn: EnergyFn,
    y0: Tensor,
    steps: int,
    step_size: Tensor | float,
    *,
    create_graph: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, for each step k = 1..steps, the prediction y_k and the energy of y_(k-1)."""
    y = y0
    for _ in range(steps):
        y, energy = optimization_step(energy_fn, y, step_size, create_graph=create_graph)
        yield y, energy
