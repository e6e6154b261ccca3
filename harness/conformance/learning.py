"""Whether it learns: gradients everywhere, a loss that falls, a step that lowers the energy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.capabilities import EnergyLandscape
from harness.conformance.independence import kept, put_back
from harness.conformance.outcome import Outcome, failed, not_offered, passed
from harness.conformance.subject import NOISE, ROWS, Subject, difference
from harness.protocol import Descent, State

UPDATES = 5
#: One batch is repeated at most this often at each learning rate, the likeliest rate first.
STEPS, LEARNING_RATES = 200, (3e-3, 1e-2, 1e-3, 1e-4)
#: The share of its first value that the loss on one repeated batch must fall below, and for how
#: many steps it must stay there.
FALLEN, STAYS = 0.5, 3
#: Step sizes tried, since the gradient's scale is the adapter's own; one must do.
STEP_SIZES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
LOWERED = 0.99


def gradients(subject: Subject) -> Outcome:
    """Every trainable parameter gets a non-zero gradient within 5 updates."""
    model = subject.build()
    optimizer = _optimizer(model, 1e-3)
    waiting = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for update in range(UPDATES):
        _update(subject, model, optimizer, first=update * ROWS, step=update)
        waiting = {
            name: p for name, p in waiting.items() if p.grad is None or not bool(p.grad.any())
        }
        if not waiting:
            return passed(f"all after {update + 1} update{'s' * (update > 0)}")
    return failed(f"no gradient in {UPDATES} updates: {', '.join(list(waiting)[:5])}")


def overfits(subject: Subject) -> Outcome:
    """The loss on one repeated batch falls below half its first value."""
    lowest = float("inf")
    for rate in LEARNING_RATES:
        model = subject.build()
        optimizer, replay = _optimizer(model, rate), kept(model)
        losses: list[float] = []
        for step in range(STEPS):
            put_back(model, replay)
            losses.append(_update(subject, model, optimizer, first=0, step=0))
            reached = max(losses[-STAYS:]) / losses[0]
            lowest = min(lowest, reached)
            if reached < FALLEN:
                return passed(f"to {reached:.0%} in {step} steps at learning rate {rate:g}")
    return failed(
        f"the loss stays above {lowest:.0%} of its first value in {STEPS} steps at the learning "
        f"rates {', '.join(f'{rate:g}' for rate in LEARNING_RATES)}"
    )


def _optimizer(model: Any, rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(
        [{"params": list(g.params), "lr": rate * g.lr_multiplier} for g in model.param_groups()]
    )


def _update(
    subject: Subject, model: Any, optimizer: torch.optim.Optimizer, *, first: int, step: int
) -> float:
    """One optimizer update; the mean loss before it."""
    optimizer.zero_grad()
    output = model.train().training_loss(subject.batch(first), NOISE.within(step))
    loss: Tensor = output.loss_sum / output.n
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())


def descends(subject: Subject) -> Outcome:
    """One small noise-free step lowers the energy at 99 % of the predictions."""
    if "descent" not in subject.record.thinking:
        return not_offered("no thinking by descent, so no energy")
    model = subject.stirred(dtype=subject.dtype).eval()
    if not isinstance(model, EnergyLandscape):
        return not_offered("no descent_energies, so nothing was checked")
    batch = subject.given(dtype=subject.dtype)
    shares: dict[float, float] = {}
    for step_size in STEP_SIZES:
        before, after = model.descent_energies(batch, NOISE, step_size)
        problem = _wrong(subject, model, before)
        if problem:
            return failed(problem)
        share = float((after < before).double().mean())
        if share >= LOWERED:
            return passed(f"lower at {share:.1%} with step size {step_size:g}")
        shares[step_size] = share
    return failed(f"lower at {_listed(shares)} of the predictions; needed {LOWERED:.0%}")


def _listed(shares: Mapping[float, float]) -> str:
    return ", ".join(f"{share:.0%} (step size {size:g})" for size, share in shares.items())


def _wrong(subject: Subject, model: Any, energy: Tensor) -> str | None:
    """A start that is not the one predict descends from."""
    length = getattr(subject.shape, "context", None)
    shape = (ROWS,) if length is None else (ROWS, length)
    if tuple(energy.shape) != shape:
        return f"descent_energies gives shape {tuple(energy.shape)}, not {shape}"
    seen: list[State] = []
    batch = subject.given(dtype=subject.dtype)
    with torch.no_grad():
        model.predict(batch, Descent(steps=1, noise="none"), NOISE, seen.append)
    for state in seen:
        if state.step == 0 and state.energy is not None:
            gap = difference(energy, state.energy[:, 0])
            if not gap <= subject.rounding:
                return f"descent_energies starts elsewhere than predict: {gap:.1e} relative"
    return None
