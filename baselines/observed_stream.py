"""The observed stream under several landscapes at once, which can go on state by state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from baselines.blocks import Modulation
from baselines.ebt import Context, EnergyTransformer, Modulations, Weights
from baselines.key_values import KeyValues
from baselines.stream_attention import Observed


class ObservedStream:
    """Contexts of a batch of sequences under the landscapes of a schedule, without a graph.

    The landscapes are run side by side as one batch. Modulations are made and weights folded once,
    in the precision of what is fed first; once for all landscapes where none is modulated. Each
    `Observed` has room for `spare` rows' own keys.
    """

    def __init__(self, network: EnergyTransformer, schedule: Sequence[int], spare: int = 1) -> None:
        self.network = network
        self.landscapes = sorted(set(schedule))
        self.past = [KeyValues(spare) for _ in network.layers]
        self.length = 0
        self.weights: list[Weights] = []
        self.modulations: Sequence[Modulation | None] = []

    def extend(self, x: Tensor) -> dict[int, Context]:
        """Append embedded states (B, T, D); each landscape's context of all states so far."""
        if not self.weights:
            self._prepare(len(x))
        self.network.observe_rows(x, self.landscapes, self.modulations, self.past)
        self.length += x.shape[1]
        observed = [self._observed(own, len(x)) for own in self.past]
        return {
            landscape: Context(*self.weights[index], [layer[index] for layer in observed])
            for index, landscape in enumerate(self.landscapes)
        }

    def _prepare(self, batch: int) -> None:
        network = self.network
        each = [network.modulations_of(landscape) for landscape in self.landscapes]
        if network.modulated:
            self.weights = [network.weights(own) for own in each]
            self.modulations = _side_by_side(each, batch)
        else:
            self.weights = [network.weights(each[0])] * len(each)
            self.modulations = each[0].blocks

    def _observed(self, own: KeyValues, batch: int) -> list[Observed]:
        """One layer's keys and values, by landscape, with room for a row's own."""
        assert own.held is not None, "appended"
        held = own.held[..., : own.length + own.spare, :]
        return [Observed(*part.flatten(1, 2)) for part in held.split(batch, dim=1)]


def _side_by_side(each: Sequence[Modulations], batch: int) -> list[Modulation]:
    """Each block's modulation of the landscapes' batches, one after another."""
    return [
        Modulation(
            *(
                torch.stack(parts).repeat_interleave(batch, dim=0)[:, None]
                for parts in zip(*blocks, strict=True)
            )
        )
        for blocks in zip(*(own.blocks for own in each), strict=True)
    ]
