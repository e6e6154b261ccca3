"""Keyed random numbers: every draw is a pure function of its key.

A key is (seed, scope, dataset row, purpose, step, sample). Batch composition, rank, order and
resumption therefore cannot change a number. On CPU each row draws from its own Philox stream under
a 128-bit key; on an accelerator from torch's generator there under 64 bits of the same key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import prod

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseSource:
    """A family of keyed draws under one `seed`; `within` narrows the scope (e.g. to a step)."""

    seed: int
    scope: tuple[str | int, ...] = ()

    def within(self, *scope: str | int) -> NoiseSource:
        """The same seed under a longer scope."""
        return NoiseSource(self.seed, (*self.scope, *scope))

    def normal(
        self, rows: Tensor, shape: Sequence[int], *, purpose: str, step: int = 0, sample: int = 0
    ) -> Tensor:
        """Standard normal float32 (len(rows), *shape) on the device of `rows`."""
        return self._draw("normal", rows, shape, (purpose, step, sample))

    def uniform(
        self, rows: Tensor, shape: Sequence[int], *, purpose: str, step: int = 0, sample: int = 0
    ) -> Tensor:
        """Uniform [0, 1) float32 (len(rows), *shape) on the device of `rows`."""
        return self._draw("uniform", rows, shape, (purpose, step, sample))

    def _draw(
        self, kind: str, rows: Tensor, shape: Sequence[int], key: tuple[str | int, ...]
    ) -> Tensor:
        on_cpu = rows.device.type == "cpu"
        out = torch.empty((len(rows), *shape), dtype=torch.float32, device=rows.device)
        for index, row in enumerate(rows.tolist()):
            digest = _digest(self.seed, *self.scope, kind, *key, row)
            if on_cpu:
                _fill_cpu(out[index], kind, digest)
            else:
                _fill_device(out[index], kind, digest)
        return out


def _digest(*key: str | int) -> bytes:
    # int() so that a numpy integer, whose repr differs, names the same stream.
    plain = tuple(part if isinstance(part, str) else int(part) for part in key)
    return blake2b(repr(plain).encode(), digest_size=16).digest()


def _fill_cpu(out: Tensor, kind: str, digest: bytes) -> None:
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
    draw = generator.standard_normal if kind == "normal" else generator.random
    flat = draw(prod(out.shape), dtype=np.float32)
    out.copy_(torch.from_numpy(flat).view(out.shape))


def _fill_device(out: Tensor, kind: str, digest: bytes) -> None:
    generator = torch.Generator(device=out.device)
    generator.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    if kind == "normal":
        out.normal_(generator=generator)
    else:
        out.uniform_(generator=generator)
