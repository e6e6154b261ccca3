"""Energy descent over whole images, as pure functions of an energy and its gradient.

One optimization step (paper section 3.2), with Langevin noise where it is asked for:

    y <- y + noise;    y <- y - alpha * dE(y)/dy
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from baselines.image_settings import DescentPlan, EBTImageConfig

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


# --- prediction ------------------------------------------------------------------------------


class Landscape(Protocol):
    """The energy over predictions of one batch; `at` (n,) are the positions of images in it."""

    def energy(self, images: Tensor, at: Tensor) -> Tensor:
        """Energies (n,)."""
        ...

    def gradient(self, images: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """The energy's gradient (n, C, H, W) and energies (n,)."""
        ...

    def noise(self, step: int, images: Tensor, at: Tensor) -> Tensor:
        """What `step` adds to the `images` first (n, C, H, W)."""
        ...


#: Called with the step and every image's prediction (B, C, H, W) and energy (B,) after it.
OnPoint = Callable[[int, Tensor, Tensor], None]


@dataclass
class Descended:
    """One sample of every image: predictions, energies read, steps; and the passes of all images.

    `nfe` is the optimization steps taken, `forward` and `backward` as in `Passes`, all summed.
    """

    value: Tensor
    energy: Tensor | None
    start_energy: Tensor | None
    steps: Tensor
    nfe: int
    forward: int
    backward: int


class ImageDescent:
    """The descent of one sample of every image in a batch; images that stopped cost no more."""

    def __init__(
        self,
        landscape: Landscape,
        plan: DescentPlan,
        step_size: Tensor | float,
        on_point: OnPoint | None = None,
    ) -> None:
        self.landscape, self.plan, self.step_size = landscape, plan, step_size
        self.on_point = on_point
        self.forward = self.backward = 0

    def run(self, start: Tensor) -> Descended:
        """Descend from `start` (B, C, H, W); no gradient is recorded."""
        plan, last = self.plan, self.plan.thinking.steps
        at = torch.arange(len(start), device=start.device)
        taken = torch.full_like(at, last)
        final = start
        y, slope, energy = self._point(0, start, at)
        known = start_energy = energy
        self._report(0, start, energy)
        for step in range(1, last + 1):
            if len(at):
                moved, slope = self._stepped(step, y, slope, at)
                before = (y, slope, energy)
                y, slope, energy = self._point(step, moved, at)
                if plan.thinking.accept == "lower":
                    y, slope, energy = _undone(before, (y, slope, energy))
                final = _placed(final, at, y)
                known = _placed(known, at, energy)
                going = self._going(step, before[2], energy)
                if going is not None:
                    taken[at[~going]] = step
                    at, y = at[going], y[going]
                    slope = None if slope is None else slope[going]
                    energy = None if energy is None else energy[going]
            self._report(step, final, known)
        nfe = int(taken.sum())
        return Descended(final, known, start_energy, taken, nfe, self.forward, self.backward)

    def _point(
        self, point: int, y: Tensor, at: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """`y`, its gradient where the next step surely starts there, and its energy if read."""
        if self.plan.shared(point):
            return y, *self._gradient(y, at)
        if self.plan.decides(point):
            self.forward += len(y)
            return y, None, self.landscape.energy(y, at)
        if self.on_point is not None:  # for the listener alone: no pass of the prediction
            return y, None, self.landscape.energy(y, at)
        return y, None, None

    def _stepped(
        self, step: int, y: Tensor, slope: Tensor | None, at: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The image after `step`, and the gradient at `y` if the step took it there."""
        if self.plan.noisy(step):
            y = y + self.landscape.noise(step, y, at)
            return y - self.step_size * self._gradient(y, at)[0], None
        if slope is None:
            slope, _ = self._gradient(y, at)
        return y - self.step_size * slope, slope

    def _gradient(self, y: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        self.forward += len(y)
        self.backward += len(y)
        return self.landscape.gradient(y, at)

    def _going(self, step: int, before: Tensor | None, energy: Tensor | None) -> Tensor | None:
        """Images (n,) that go on after `step`; None where all do."""
        tolerance = self.plan.thinking.tolerance
        if tolerance is None or step == self.plan.thinking.steps:
            return None
        assert before is not None
        assert energy is not None
        return (energy - before).abs() >= tolerance

    def _report(self, step: int, value: Tensor, energy: Tensor | None) -> None:
        if self.on_point is not None:
            assert energy is not None
            self.on_point(step, value, energy)


_Point = tuple[Tensor, Tensor | None, Tensor | None]


def _undone(before: _Point, after: _Point) -> _Point:
    """`after`, but `before` for each image whose energy the step did not lower."""
    assert before[2] is not None
    assert after[2] is not None
    lower = after[2] < before[2]
    image = lower.view(-1, 1, 1, 1)
    slope = None
    if after[1] is not None and before[1] is not None:
        slope = torch.where(image, after[1], before[1])
    return (
        torch.where(image, after[0], before[0]),
        slope,
        torch.where(lower, after[2], before[2]),
    )


def _placed(whole: Tensor | None, at: Tensor, part: Tensor | None) -> Tensor | None:
    """`whole` with `part` at the positions `at`; a new tensor, or `part` itself if it is all."""
    if part is None or whole is None or len(part) == len(whole):
        return part
    return whole.index_copy(0, at, part)


def chosen(best: Descended, other: Descended, select: str) -> Descended:
    """Per image, the sample of lower energy or larger drop; `best` on a tie; passes add up."""
    assert best.energy is not None
    assert other.energy is not None
    if select == "largest_drop":
        assert best.start_energy is not None
        assert other.start_energy is not None
        better = other.start_energy - other.energy > best.start_energy - best.energy
    else:
        better = other.energy < best.energy
    start_energy = best.start_energy
    if start_energy is not None and other.start_energy is not None:
        start_energy = torch.where(better, other.start_energy, start_energy)
    return Descended(
        torch.where(better.view(-1, 1, 1, 1), other.value, best.value),
        torch.where(better, other.energy, best.energy),
        start_energy,
        torch.where(better, other.steps, best.steps),
        best.nfe + other.nfe,
        best.forward + other.forward,
        best.backward + other.backward,
    )
