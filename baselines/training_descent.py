"""Energy descent as training runs it, whatever is predicted (paper section 2).

A step is told by a `Move`; which steps keep their graph, and which of them are in the loss, is the
settings' (`DescentTraining`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from baselines.sizes import DescentTraining

if TYPE_CHECKING:
    from baselines.autoregressive import AutoregressiveDescent
    from baselines.ebt import Context


@dataclass(frozen=True)
class Steps:
    """How a training step descends: `alpha`, one for all or that of each prediction, and noise.

    `noise(step, room=None)` is what a step adds, times `noise_std`; it may be written into `room`.
    """

    count: int
    alpha: Tensor
    noise: Callable[..., Tensor] | None
    noise_std: float = 1.0

    def drawn(self, step: int) -> Tensor | None:
        """What `step` (from 1) adds, if any."""
        return None if self.noise is None else self.noise(step) * self.noise_std


@dataclass(frozen=True)
class Point:
    """Where a step starts: `value`, the `noise` it adds if any, and whether its slope is recorded.

    `step` counts from 1.
    """

    step: int
    value: Tensor
    noise: Tensor | None
    recorded: bool


#: The prediction after the step, and the energies that the step found.
Move = Callable[[Point], tuple[Tensor, Tensor]]


def training_steps(
    config: DescentTraining, start: Tensor, steps: Steps, move: Move
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each step's prediction, and the energies it was left at (detached)."""
    value = start
    for step in range(1, steps.count + 1):
        recorded = torch.is_grad_enabled() and config.differentiated(step, steps.count)
        if config.between_steps == "detach":
            value = value.detach()
        value, energy = move(Point(step, value, steps.drawn(step), recorded))
        yield value, energy.detach()


class TrainingContexts:
    """One context per landscape, made when first asked for; with a graph if a step needs it.

    `observe(landscape)` makes one for a training step of `count` optimization steps.
    """

    def __init__(
        self, config: AutoregressiveDescent, count: int, observe: Callable[[int], Context]
    ) -> None:
        self.config, self.count, self.observe = config, count, observe
        self.held: dict[int, Context] = {}
        self.training = torch.is_grad_enabled()  # steps may ask from within no_grad

    def of(self, point: Point) -> Context:
        """The context of the landscape that the step from `point` descends on."""
        landscape = self.config.landscape(point.step)
        if landscape not in self.held:
            graph = self.training and self.config.recorded(landscape, self.count)
            with torch.set_grad_enabled(graph):
                self.held[landscape] = self.observe(landscape)
        return self.held[landscape]


@dataclass(frozen=True)
class Objective:
    """Sums over valid predictions: the loss, what to watch; the last predictions, if kept."""

    loss: Tensor
    loss_last: Tensor
    energy_first: Tensor
    energy_last: Tensor
    value: Tensor | None


def objective(
    config: DescentTraining, losses: Sequence[Tensor], energies: Sequence[Tensor], value: Tensor
) -> Objective:
    """The objective from each step's summed loss and energy, and the last predictions."""
    loss = torch.stack(list(losses)).mean() if config.loss_on == "every" else losses[-1]
    return Objective(loss, losses[-1].detach(), energies[0], energies[-1], value.detach())
