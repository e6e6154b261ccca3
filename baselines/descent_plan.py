"""Which passes a descent makes, torch-free: the algorithm and the cost formulas both read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.protocol import Descent


@dataclass(frozen=True)
class DescentPlan:
    """Which energies one sample's descent reads, and which of them cost a pass of their own.

    Point k is the prediction after k steps; step k (from 1) descends on landscape
    `schedule[k - 1]`, and the energy of point k is read under it. That energy comes free with the
    gradient of step k + 1 where that step is on the same landscape, adds no noise, and surely
    starts at point k.
    """

    thinking: Descent
    noise_std: float
    schedule: tuple[int, ...]

    @property
    def last(self) -> int:
        return len(self.schedule)

    @property
    def compares(self) -> bool:
        """Whether steps are judged by the energies before and after them."""
        return self.thinking.accept == "lower" or self.thinking.tolerance is not None

    def noisy(self, step: int) -> bool:
        """Whether `step` (1..last) adds noise before it takes the gradient."""
        if self.noise_std == 0 or self.thinking.noise == "none":
            return False
        return step == 1 or self.thinking.noise == "every"

    def own(self, point: int) -> int:
        """The landscape under which the energy of `point` is read."""
        return self.schedule[max(point - 1, 0)]

    def moves(self, point: int) -> bool:
        """The step from `point` is on another landscape than the one to it."""
        return point < self.last and self.schedule[point] != self.own(point)

    def decides(self, point: int) -> bool:
        """Whether something is decided by the energy of `point` (0..last)."""
        if self.compares:
            return True
        if self.thinking.samples == 1:
            return False
        return point == self.last or (point == 0 and self.thinking.select == "largest_drop")

    def gradient_here(self, point: int) -> bool:
        """Whether the gradient of the next step is taken at `point` itself, as soon as reached."""
        if point == self.last or self.noisy(point + 1):
            return False
        # A step that may be undone leads back to a point whose gradient must be known.
        may_return = self.thinking.accept == "lower" and point > 0
        return not (may_return and (self.noisy(point) or self.moves(point)))

    def shared(self, point: int) -> bool:
        """Whether the energy of `point` comes with the gradient taken there."""
        return self.gradient_here(point) and not self.moves(point)

    def reads_leaving(self, point: int) -> bool:
        """Whether `point` must also be read under the next step's landscape, at its own cost."""
        return self.compares and self.moves(point) and not self.gradient_here(point)

    @property
    def reads(self) -> int:
        """Passes that only read an energy to decide by, if no prediction stops early."""
        points = range(self.last + 1)
        arriving = sum(self.decides(k) and not self.shared(k) for k in points)
        return arriving + sum(self.reads_leaving(k) for k in points)


def plan_of(thinking: Descent, *, trained_noise: float, schedule: Sequence[int]) -> DescentPlan:
    """The plan of `thinking`, with the Langevin noise of training unless it is overridden."""
    noise_std = trained_noise if thinking.noise_std is None else thinking.noise_std
    return DescentPlan(thinking, noise_std, tuple(schedule))


def landscape_schedule(landscapes: int, thinking: Descent) -> list[int]:
    """The landscape of each optimization step.

    `last` repeats the last landscape beyond the trained steps, so a shorter schedule is a prefix of
    a longer one; `every` spends steps / landscapes on each (the authors' default). Raises
    ValueError where `every` does not divide.
    """
    steps = thinking.steps
    if thinking.extra_steps == "last":
        return [min(step, landscapes - 1) for step in range(steps)]
    if steps % landscapes:
        raise ValueError(
            f"extra_steps 'every' spends equally many steps on each of {landscapes} landscapes, "
            f"so steps must be a multiple of {landscapes}; got {steps}"
        )
    return [step // (steps // landscapes) for step in range(steps)]
