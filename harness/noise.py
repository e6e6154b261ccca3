"""Keyed random numbers: every draw is a pure function of its key.

A key is (seed, scope, dataset row, purpose, step, sample, and position if given). Batches, ranks,
order and resumption therefore cannot change a number. On CPU each row draws from its own Philox
stream under a 128-bit key; on an accelerator, and where a row is a million numbers long, from
torch's generator there under as many bits of the same key as it takes: on CPU that is 32, but a
number takes a third of the time, and start and Langevin noise over a large vocabulary are a tenth
of a training step.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Numbers from which rows are drawn in several threads: 4 ns a number against 60 us a pool.
_WORTH_THREADS = 2**18
#: Numbers a row from which torch's generator draws them on CPU.
_LONG = 2**20


@dataclass(frozen=True)
class NoiseSource:
    """A family of keyed draws under one `seed`; `within` narrows the scope (e.g. to a step)."""

    seed: int
    scope: tuple[str | int, ...] = ()

    def within(self, *scope: str | int) -> NoiseSource:
        """The same seed under a longer scope."""
        return NoiseSource(self.seed, (*self.scope, *scope))

    def normal(
        self,
        rows: Tensor,
        shape: Sequence[int],
        *,
        purpose: str,
        step: int = 0,
        sample: int = 0,
        position: int | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Standard normal float32 (len(rows), *shape) on the device of `rows`, or in `out`."""
        return self._draw("normal", rows, shape, _key(purpose, step, sample, position), out)

    def uniform(
        self,
        rows: Tensor,
        shape: Sequence[int],
        *,
        purpose: str,
        step: int = 0,
        sample: int = 0,
        position: int | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Uniform [0, 1) float32 (len(rows), *shape) on the device of `rows`, or in `out`."""
        return self._draw("uniform", rows, shape, _key(purpose, step, sample, position), out)

    def _draw(
        self,
        kind: str,
        rows: Tensor,
        shape: Sequence[int],
        key: tuple[str | int, ...],
        out: Tensor | None,
    ) -> Tensor:
        if out is None:
            with torch.inference_mode(False):  # which threads that fill it are not in
                out = torch.empty((len(rows), *shape), dtype=torch.float32, device=rows.device)
        digests = [_digest(self.seed, *self.scope, kind, *key, row) for row in rows.tolist()]
        on_cpu = rows.device.type == "cpu"
        fill = _fill_numpy if on_cpu and prod(shape) < _LONG else _fill_torch
        threads = torch.get_num_threads() if on_cpu and len(digests) > 1 else 1
        if threads > 1 and out.numel() >= _WORTH_THREADS:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(fill, out, [kind] * len(digests), digests))
        else:
            for one, digest in zip(out, digests, strict=True):
                fill(one, kind, digest)
        return out


def _key(purpose: str, step: int, sample: int, position: int | None) -> tuple[str | int, ...]:
    return (purpose, step, sample) if position is None else (purpose, step, sample, position)


def _digest(*key: str | int) -> bytes:
    # int() so that a numpy integer, whose repr differs, names the same stream.
    plain = tuple(part if isinstance(part, str) else int(part) for part in key)
    return blake2b(repr(plain).encode(), digest_size=16).digest()


def _fill_numpy(out: Tensor, kind: str, digest: bytes) -> None:
    generator = _streams.at(digest)
    draw = generator.standard_normal if kind == "normal" else generator.random
    draw(out=out.view(-1).numpy(), dtype=np.float32)  # without the interpreter's lock


class _Streams(threading.local):
    """A thread's generator, set to the start of whichever stream is asked for.

    Seven times as fast as a new one, which also asks the system for entropy.
    """

    def __init__(self) -> None:
        self.philox = np.random.Philox(key=0)
        self.generator = np.random.Generator(self.philox)
        self.fresh: dict[str, Any] = dict(self.philox.state)

    def at(self, digest: bytes) -> np.random.Generator:
        key = np.frombuffer(digest, dtype="<u8")
        start = {"counter": self.fresh["state"]["counter"], "key": key}
        state: Any = {**self.fresh, "state": start}
        self.philox.state = state
        return self.generator


_streams = _Streams()


def _fill_torch(out: Tensor, kind: str, digest: bytes) -> None:
    generator = torch.Generator(device=out.device)
    generator.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    if kind == "normal":
        out.normal_(generator=generator)
    else:
        out.uniform_(generator=generator)
