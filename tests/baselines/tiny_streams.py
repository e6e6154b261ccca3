"""What the tests of text and video share: noise, sizes, and how two results are compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.noise import NoiseSource
from harness.protocol import State

NOISE = NoiseSource(seed=5)
SIZES: dict[str, Any] = {"depth": 2, "width": 16, "heads": 2, "ffn_width": 24}
EXACT = 1e-9


def assert_close(ours: Tensor, theirs: Tensor, what: str = "") -> None:
    """Equal up to the rounding of float64."""
    torch.testing.assert_close(
        ours, theirs, rtol=EXACT, atol=EXACT, msg=lambda text: f"{what}: {text}"
    )


def assert_gradients_agree(network: nn.Module, ours: Tensor, theirs: Tensor) -> None:
    """The two losses have the same gradient, parameter by parameter."""
    named = {name: p for name, p in network.named_parameters() if p.requires_grad}
    one = torch.autograd.grad(3.0 * ours, list(named.values()))
    other = torch.autograd.grad(3.0 * theirs, list(named.values()))
    for name, a, b in zip(named, one, other, strict=True):
        scale = b.norm().clamp(min=1.0)
        assert_close(a / scale, b / scale, name)


def states(model: Any, of: Any, thinking: Any) -> tuple[list[State], Any]:
    """Every state, and the prediction."""
    seen: list[State] = []
    prediction = model.predict(of, thinking, NOISE, seen.append)
    return seen, prediction


def by_step(seen: Sequence[State]) -> dict[int, tuple[Tensor, Tensor | None]]:
    """step -> values and energies of all samples, chunks joined."""
    joined = {}
    for step in {state.step for state in seen}:
        chunks = [state for state in seen if state.step == step]
        assert [i for state in chunks for i in state.samples] == list(
            range(sum(len(state.samples) for state in chunks))
        )
        energies = [state.energy for state in chunks if state.energy is not None]
        value = torch.cat([state.value for state in chunks], dim=1)
        joined[step] = value, torch.cat(energies, dim=1) if energies else None
    return joined
