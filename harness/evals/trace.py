"""A prediction's trajectory kept for plots: energies of every step and sample, and predictions."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.protocol import State


class Trace:
    """Reducer for `predict(..., on_state=Trace())`.

    Predictions are kept at `positions` of a sequence only (`slice(None)` for all, and for images),
    because those of a text are as wide as the vocabulary: none by default.
    """

    def __init__(self, *, positions: slice | None = None) -> None:
        self.positions = positions
        self._energies: dict[tuple[int, int], Tensor] = {}
        self._values: dict[tuple[int, int], Tensor] = {}

    def __call__(self, state: State) -> None:
        for offset, sample in enumerate(state.samples):
            key = state.step, sample
            if state.energy is not None:
                self._energies[key] = state.energy[:, offset].detach().clone()
            if self.positions is not None:
                self._values[key] = state.value[:, offset, self.positions].detach().clone()

    @property
    def energies(self) -> Tensor:
        """(steps + 1, samples, B, S), or (steps + 1, samples, B) for images, from the start on.

        Raises LookupError where the model has no energy.
        """
        return _stacked(self._energies, "energies: the model has none")

    @property
    def values(self) -> Tensor:
        """Predictions (steps + 1, samples, B, ...). Raises LookupError where none were kept."""
        return _stacked(self._values, "predictions: give Trace the positions to keep")


def _stacked(found: dict[tuple[int, int], Tensor], missing: str) -> Tensor:
    if not found:
        raise LookupError(f"no {missing}")
    steps = sorted({step for step, _ in found})
    samples = sorted({sample for _, sample in found})
    return torch.stack([torch.stack([found[step, m] for m in samples]) for step in steps])
