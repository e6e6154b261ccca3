"""Rows of the prediction stream, packed where some of the predictions have stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.ebt import Context, EnergyTransformer
from baselines.spot_attention import Spot
from baselines.stream_attention import View


class Packed(NamedTuple):
    """Projected predictions (B, R, D) where they stand, and which of the rows they are."""

    projected: Tensor
    view: View | Spot
    places: tuple[Tensor, Tensor] | None

    def unpack(self, found: Tensor) -> Tensor:
        """What was found for the rows (B, R, ...), one per prediction (n, ...)."""
        return found.flatten(0, 1) if self.places is None else found[self.places]


class PackedRows:
    """A batch's predictions, flattened as (B, S, m): samples side by side.

    `contexts` holds one context per landscape; `position` is the observed state that all
    predictions follow, S = 1, or None for one after each. `at` (n,), ascending, are those meant,
    or None for all of them.
    """

    def __init__(
        self,
        network: EnergyTransformer,
        contexts: Mapping[int, Context],
        size: tuple[int, int, int],
        position: int | None = None,
    ) -> None:
        self.network, self.contexts = network, contexts
        self.size, self.position = size, position
        self._whole: View | Spot | None = None

    def energies(self, projected: Tensor, at: Tensor | None, landscape: int) -> Tensor:
        """Energies (n,) of projected predictions (n, D)."""
        packed = self._pack(projected, at)
        context = self.contexts[landscape]
        return packed.unpack(self.network.energies(packed.projected, context, packed.view))

    def slope(self, projected: Tensor, at: Tensor | None, landscape: int) -> tuple[Tensor, Tensor]:
        """Energies (n,) and their slope (n, D)."""
        packed = self._pack(projected, at)
        context = self.contexts[landscape]
        energy, slope = self.network.slope(packed.projected, context, packed.view)
        return packed.unpack(energy), packed.unpack(slope)

    def _pack(self, projected: Tensor, at: Tensor | None) -> Packed:
        batch, length, samples = self.size
        if at is not None:
            return self._some(projected, at)
        if self._whole is None:
            self._whole = (
                self.network.view(length, samples)
                if self.position is None
                else self.network.view_after(self.position, samples)
            )
        return Packed(projected.view(batch, length * samples, -1), self._whole, None)

    def _some(self, projected: Tensor, at: Tensor) -> Packed:
        """Each batch entry's rows in order, padded at the end to the longest."""
        batch, length, samples = self.size
        owner, place = at // (length * samples), (at % (length * samples)) // samples
        counts = torch.bincount(owner, minlength=batch)
        column = torch.arange(len(at), device=at.device) - (counts.cumsum(0) - counts)[owner]
        rows = projected.new_zeros(batch, int(counts.max()), projected.shape[-1])
        rows[owner, column] = projected
        if self.position is not None:
            view = self.network.view_after(self.position, rows.shape[1])
            return Packed(rows, view, (owner, column))
        where = place.new_full(rows.shape[:2], int(place.max()))
        where[owner, column] = place
        return Packed(rows, self.network.view_at(where), (owner, column))
