"""Keys and values of a stream that goes on, in memory that is not copied at each addition."""

from __future__ import annotations

import torch
from torch import Tensor


class KeyValues:
    """One layer's keys and values so far; `held` is both, (2, B, H, room, D / H), none at first.

    After the last of them there is room for `spare` others.
    """

    def __init__(self, spare: int = 0) -> None:
        self.length, self.spare = 0, spare
        self.held: Tensor | None = None

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add T of each, (B, H, T, D / H); returns all of them, (B, H, P + T, D / H), views.

        Raises ValueError for another number of sequences than before, or another precision.
        """
        if self.held is not None:
            self._check(key, self.held)
        start, self.length = self.length, self.length + key.shape[2]
        needed = self.length + self.spare
        if self.held is None or self.held.shape[3] < needed:
            room = needed + max(64, needed // 2) if start else needed + 64
            with torch.inference_mode(False):  # it may go on in another mode
                grown = key.new_zeros(2, *key.shape[:2], room, key.shape[3])
            if self.held is not None:
                grown[:, :, :, :start] = self.held[:, :, :, :start]
            self.held = grown
        self.held[0, :, :, start : self.length] = key
        self.held[1, :, :, start : self.length] = value
        keys, values = self.held[:, :, :, : self.length]
        return keys, values

    def _check(self, key: Tensor, held: Tensor) -> None:
        if len(key) != held.shape[1]:
            raise ValueError(
                f"a batch of {len(key)} cannot go on from one of {held.shape[1]}: "
                "feed as many sequences as at first"
            )
        if key.dtype != held.dtype:
            raise ValueError(
                f"keys in {key.dtype} cannot go on from keys in {held.dtype}: "
                "feed a decoder under one precision"
            )
