"""The replay buffer: rows of earlier batches with the predictions they had reached (paper, S2).

First in, first out; only fresh rows are stored. It is allocated when it is first written to, since
at the paper's vocabulary it takes 9 GiB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from harness.protocol import Noise


class Record(NamedTuple):
    """Rows to go on from: what a batch holds of them, and their last predictions."""

    inputs: Tensor
    mask: Tensor
    value: Tensor


class Replay:
    """`capacity` records; `written` counts all that were ever stored."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.written = capacity, 0
        self.held: Record | None = None

    def __len__(self) -> int:
        return min(self.written, self.capacity)

    def draw(self, count: int, first: Tensor, noise: Noise) -> Record | None:
        """`count` distinct records, or as many as there are; None for none.

        The choice is keyed by the batch's `first` row (1,), so that micro-batches differ.
        """
        count = min(count, len(self))
        if count == 0 or self.held is None:
            return None
        order = noise.uniform(first, (len(self),), purpose="replay")[0]
        slots = order.argsort()[:count]
        return Record(*(part[slots] for part in self.held))

    @torch.no_grad()
    def store(self, record: Record) -> None:
        """Write rows over the oldest."""
        if self.held is None:
            self.held = Record(*(p.new_empty(self.capacity, *p.shape[1:]) for p in record))
        count = min(len(record.mask), self.capacity)
        slots = (self.written + torch.arange(count, device=record.mask.device)) % self.capacity
        for own, part in zip(self.held, record, strict=True):
            own[slots] = part[:count].to(own.dtype)
        self.written += count

    def state(self) -> Mapping[str, Tensor]:
        """The buffer's tensors, as they are, and `written`; nothing before the first record."""
        if self.held is None:
            return {}
        return {**self.held._asdict(), "written": torch.tensor(self.written)}

    def load(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Take back what `state` gave; an empty mapping empties the buffer."""
        if not state:
            self.held, self.written = None, 0
            return
        self.held = Record(*(state[name].to(device) for name in Record._fields))
        self.written = int(state["written"])
