"""Thinking: energy descent on many independent predictions at once (paper section 3).

One optimization step is y <- y - step_size * dE(y)/dy, on every prediction (a token, a frame, an
image) by itself. What an energy is and how a prediction enters it is the `Landscapes` of an
adapter; which passes are made is its `DescentPlan`. Nothing here records a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from baselines.descent_plan import DescentPlan


class Entry(NamedTuple):
    """A prediction as a step leaves it: what the step subtracts from, and the energy's slope."""

    base: Tensor
    slope: Tensor


class Landscapes(Protocol):
    """The energies of one batch's predictions; `at` (n,) are those meant, None for all of them."""

    def energy(self, value: Tensor, at: Tensor | None, landscape: int) -> Tensor:
        """Energies (n,) of predictions (n, ...)."""
        ...

    def enter(
        self, value: Tensor, noise: Tensor | None, at: Tensor | None, landscape: int
    ) -> tuple[Entry, Tensor]:
        """`value` with `noise` added as it enters, with its slope; and energies (n,)."""
        ...

    def step(self, entry: Entry, at: Tensor | None) -> Tensor:
        """Predictions (n, ...) after the step; may use up the entry's base."""
        ...

    def noise(self, step: int, at: Tensor | None) -> Tensor:
        """What `step` (from 1) adds."""
        ...


#: Called with the step and every prediction (n, ...) and energy (n,) after it.
OnPoint = Callable[[int, Tensor, Tensor], None]


class Descended(NamedTuple):
    """Predictions (n, ...) at the end, energies (n,) there and at the start if read, steps (n,).

    `forward` and `backward` are passes per prediction as in `Passes`, means over all predictions.
    """

    value: Tensor
    energy: Tensor | None
    start_energy: Tensor | None
    steps: Tensor | None
    forward: float
    backward: float


class _Point(NamedTuple):
    """Predictions, their entry if the gradient is taken, energies arriving and leaving."""

    value: Tensor
    entry: Entry | None
    energy: Tensor | None
    leaving: Tensor | None


def descend(
    landscapes: Landscapes, plan: DescentPlan, start: Tensor, on_point: OnPoint | None = None
) -> Descended:
    """Descend from `start` (n, ...) as planned; predictions that have stopped cost no more."""
    return _Descent(landscapes, plan, len(start), on_point).run(start)


class _Descent:
    """One descent: the passes it has made, and the predictions that still move."""

    def __init__(
        self, landscapes: Landscapes, plan: DescentPlan, count: int, on_point: OnPoint | None
    ) -> None:
        self.landscapes, self.plan, self.on_point = landscapes, plan, on_point
        self.count = count
        self.forward = self.backward = 0

    def run(self, start: Tensor) -> Descended:
        plan = self.plan
        lower, tolerance = plan.thinking.accept == "lower", plan.thinking.tolerance
        at: Tensor | None = None
        steps = None
        if tolerance is not None:
            steps = torch.full((self.count,), plan.last, device=start.device)
        point = self._arrive(0, start, at)
        final, known, start_energy = start, point.energy, point.energy
        self._report(0, final, known)
        for step in range(1, plan.last + 1):
            if at is None or len(at):
                before, moved = self._step(step, point, at)
                point = self._arrive(step, moved, at)
                if lower:
                    point = _undone(before, point)
                point = self._leaving(step, point, at)
                final, known = _placed(final, at, point.value), _placed(known, at, point.energy)
                if steps is not None and step < plan.last:
                    at, point = self._still_going(step, before, point, at, steps)
            self._report(step, final, known)
        passes = self.forward / self.count, self.backward / self.count
        return Descended(final, known, start_energy, steps, *passes)

    def _arrive(self, k: int, value: Tensor, at: Tensor | None) -> _Point:
        """Point k with what is read there."""
        plan, entry, energy, leaving = self.plan, None, None, None
        if plan.gradient_here(k):
            entry, leaving = self._enter(k, value, None, at)
            energy = leaving if plan.shared(k) else None
        if energy is None and (plan.decides(k) or self.on_point is not None):
            self.forward += len(value) if plan.decides(k) else 0  # a listener's is not ours
            energy = self.landscapes.energy(value, at, plan.own(k))
        return _Point(value, entry, energy, energy if leaving is None else leaving)

    def _leaving(self, k: int, point: _Point, at: Tensor | None) -> _Point:
        """`point` with its energy under the next landscape, where that is neither known nor own."""
        if not self.plan.reads_leaving(k):
            return point
        self.forward += len(point.value)
        leaving = self.landscapes.energy(point.value, at, self.plan.schedule[k])
        return point._replace(leaving=leaving)

    def _step(self, step: int, point: _Point, at: Tensor | None) -> tuple[_Point, Tensor]:
        """The point left, with its entry unless that was noisy; and the predictions after it."""
        if self.plan.noisy(step):
            noise = self.landscapes.noise(step, at)
            noisy, _ = self._enter(step - 1, point.value, noise, at)
            return point, self.landscapes.step(noisy, at)
        entry = point.entry
        if entry is None:
            entry, _ = self._enter(step - 1, point.value, None, at)
        if self.plan.thinking.accept == "lower":  # it may be needed again
            kept = Entry(entry.base.clone(), entry.slope)
            return point._replace(entry=kept), self.landscapes.step(entry, at)
        return point, self.landscapes.step(entry, at)

    def _enter(
        self, k: int, value: Tensor, noise: Tensor | None, at: Tensor | None
    ) -> tuple[Entry, Tensor]:
        self.forward += len(value)
        self.backward += len(value)
        return self.landscapes.enter(value, noise, at, self.plan.schedule[k])

    def _still_going(
        self, step: int, before: _Point, point: _Point, at: Tensor | None, steps: Tensor
    ) -> tuple[Tensor | None, _Point]:
        """The predictions whose energy still changes; the others' step counts are written."""
        plan = self.plan
        assert before.leaving is not None
        assert point.energy is not None
        going = (point.energy - before.leaving).abs() >= plan.thinking.tolerance
        if plan.thinking.accept == "lower" and (plan.noisy(step) or plan.noisy(step + 1)):
            going |= point.energy == before.leaving  # undone: the next one is another try
        every = torch.arange(self.count, device=going.device) if at is None else at
        steps[every[~going]] = step
        if bool(going.all()):
            return at, point
        return every[going], _taken(point, going)

    def _report(self, step: int, value: Tensor, energy: Tensor | None) -> None:
        if self.on_point is not None:
            assert energy is not None
            self.on_point(step, value, energy)


def _undone(before: _Point, after: _Point) -> _Point:
    """`after`, but `before` for each prediction whose energy the step did not lower."""
    assert before.leaving is not None
    assert after.energy is not None
    lower = after.energy < before.leaving

    def either(new: Tensor | None, old: Tensor | None) -> Tensor | None:
        if new is None or old is None:
            return None
        return torch.where(lower.view(-1, *[1] * (new.dim() - 1)), new, old)

    entry = None
    if after.entry is not None and before.entry is not None:
        entry = Entry(*map(either, after.entry, before.entry))
    value = either(after.value, before.value)
    assert value is not None
    energy = either(after.energy, before.leaving)
    return _Point(value, entry, energy, energy)


def _taken(point: _Point, going: Tensor) -> _Point:
    entry = None if point.entry is None else Entry(*(part[going] for part in point.entry))
    rest = [None if part is None else part[going] for part in (point.energy, point.leaving)]
    return _Point(point.value[going], entry, *rest)


def _placed(whole: Any, at: Tensor | None, part: Any) -> Any:
    """`whole` with `part` at the positions `at`; a new tensor, or `part` itself if it is all."""
    if at is None or part is None or whole is None or len(part) == len(whole):
        return part
    return whole.index_copy(0, at, part)


def selection_score(select: str, energy: Tensor, start_energy: Tensor | None) -> Tensor:
    """What the chosen sample has least of: its energy, or its energy less that of its start."""
    if select == "lowest":
        return energy
    assert start_energy is not None, "planned"
    return energy - start_energy
