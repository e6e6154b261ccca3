"""Rows of the prediction stream, packed where some of the predictions have stopped."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from baselines.ebt import EnergyTransformer
from baselines.stream_attention import View


class Packed(NamedTuple):
    """Projected predictions (B, R, D) where they stand, and which of the rows they are."""

    projected: Tensor
    view: View
    places: tuple[Tensor, Tensor] | None

    def unpack(self, found: Tensor) -> Tensor:
        """What was found for the rows (B, R, ...), one per prediction (n, ...)."""
        return found.flatten(0, 1) if self.places is None else found[self.places]


class Packing:
    """Predictions flattened as (B, S, m): samples side by side.

    `positions` (S,) are the observed states that they follow, or None for one after each.
    """

    def __init__(
        self,
        network: EnergyTransformer,
        size: tuple[int, int, int],
        positions: Tensor | None = None,
    ) -> None:
        self.network, self.size, self.positions = network, size, positions

    def pack(self, projected: Tensor, at: Tensor | None) -> Packed:
        """Rows of projected predictions (n, D): those `at` (n,), ascending, or all of them."""
        batch, length, samples = self.size
        if at is not None:
            return self._some(projected, at)
        rows = projected.view(batch, length * samples, -1)
        if self.positions is None:
            return Packed(rows, self.network.view(length, samples), None)
        where = self.positions.repeat_interleave(samples).expand(batch, -1)
        return Packed(rows, self.network.view_at(where), None)

    def _some(self, projected: Tensor, at: Tensor) -> Packed:
        """Each batch entry's rows in order, padded at the end to the longest."""
        batch, length, samples = self.size
        owner, place = at // (length * samples), (at % (length * samples)) // samples
        counts = torch.bincount(owner, minlength=batch)
        column = torch.arange(len(at), device=at.device) - (counts.cumsum(0) - counts)[owner]
        rows = projected.new_zeros(batch, int(counts.max()), projected.shape[-1])
        rows[owner, column] = projected
        if self.positions is not None:
            place = self.positions[place]
        where = place.new_full(rows.shape[:2], int(place.max()))
        where[owner, column] = place
        return Packed(rows, self.network.view_at(where), (owner, column))
