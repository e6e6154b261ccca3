"""The observed stream under several landscapes at once, which can go on state by state."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from baselines.ebt import Context, EnergyTransformer, Weights
from baselines.key_values import KeyValues
from baselines.stream_attention import Observed


class ObservedStream:
    """Contexts of a batch of sequences under the landscapes of a schedule, without a graph.

    The landscapes are run side by side as one batch. Weights are folded once, and once for all
    landscapes where none modulates them. Each `Observed` has room for `spare` rows' own keys.
    """

    def __init__(self, network: EnergyTransformer, schedule: Sequence[int], spare: int = 1) -> None:
        self.network = network
        self.landscapes = sorted(set(schedule))
        self.past = [KeyValues(spare) for _ in network.layers]
        self.length = 0
        self.weights: list[Weights] = []

    def extend(self, x: Tensor) -> dict[int, Context]:
        """Append embedded states (B, T, D); each landscape's context of all states so far."""
        self.weights = self.weights or self._weights()  # in the precision of what is fed
        self.network.observe_rows(x, self.landscapes, self.past)
        self.length += x.shape[1]
        observed = [self._observed(own, len(x)) for own in self.past]
        return {
            landscape: Context(*self.weights[index], [layer[index] for layer in observed])
            for index, landscape in enumerate(self.landscapes)
        }

    def _weights(self) -> list[Weights]:
        if self.network.modulated:
            return [self.network.weights(landscape) for landscape in self.landscapes]
        return [self.network.weights(self.landscapes[0])] * len(self.landscapes)

    def _observed(self, own: KeyValues, batch: int) -> list[Observed]:
        """One layer's keys and values, by landscape, with room for a row's own."""
        assert own.held is not None, "appended"
        held = own.held[..., : own.length + own.spare, :]
        return [Observed(*part.flatten(1, 2)) for part in held.split(batch, dim=1)]
