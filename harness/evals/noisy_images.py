"""A set of images with the noise of one level, as every adapter sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.data.apart import rows_apart
from harness.data.datasets import load_images
from harness.data.images import ImageRows
from harness.evals.context import EvalContext
from harness.planning.eval_spec import DenoisingEval, drops
from harness.planning.shapes import timesteps
from harness.protocol import ImageShape, NoisyBatch


def signal_share(timestep: int, shape: ImageShape) -> float:
    """The schedule's cumulative product at `timestep`: the variance left of the clean image."""
    betas = torch.linspace(
        shape.beta_start, shape.beta_end, shape.num_timesteps, dtype=torch.float64
    )
    return float((1 - betas)[: timestep + 1].prod())


def add_noise(images: Tensor, noise: Tensor, timestep: int, shape: ImageShape) -> Tensor:
    """sqrt(a) x + sqrt(1 - a) e with a the schedule's cumulative product at `timestep`."""
    kept = signal_share(timestep, shape)
    return images * sqrt(kept) + noise * sqrt(1 - kept)


@dataclass(frozen=True, eq=False)
class NoisyImages:
    """The images `ids` (n,) of `rows` at `timestep`; the noise is keyed by `scope` and row.

    `dropped` were left out because they are trained on; None where those are refused.
    """

    rows: ImageRows
    ids: NDArray[np.int64]
    dropped: int | None
    timestep: int
    scope: str
    context: EvalContext

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def left_out(self) -> dict[str, int]:
        """`dropped` where it was asked for, as a tag."""
        return {} if self.dropped is None else {"dropped": self.dropped}

    @property
    def signal_share(self) -> float:
        assert isinstance(self.context.shape, ImageShape)
        return signal_share(self.timestep, self.context.shape)

    def clean(self, start: int, stop: int) -> Tensor:
        """Images (B, C, H, W) from the place `start` to before `stop`."""
        pixels = self.rows.get(self.ids[start:stop])
        return torch.from_numpy(pixels).to(self.context.device)

    def batch(self, start: int, stop: int, seed: int) -> tuple[Tensor, NoisyBatch]:
        """Those images, and the same with the noise of `seed`."""
        assert isinstance(self.context.shape, ImageShape)
        clean = self.clean(start, stop)
        rows = torch.from_numpy(self.ids[start:stop]).to(self.context.device)
        source = self.context.noise(seed, self.scope)
        noise = source.normal(rows, clean.shape[1:], purpose="noising", step=self.timestep)
        noisy = add_noise(clean, noise, self.timestep, self.context.shape)
        return clean, NoisyBatch(noisy, self.timestep, rows)

    def batches(
        self, size: int, seed: int, *, limit: int | None = None
    ) -> Iterator[tuple[Tensor, NoisyBatch]]:
        """All images, or the first `limit`, in batches of `size`."""
        count = len(self) if limit is None else min(limit, len(self))
        for start in range(0, count, size):
            yield self.batch(start, min(start + size, count), seed)


def noisy_images(spec: DenoisingEval, context: EvalContext) -> NoisyImages:
    """The evaluation's images; HarnessError where one of them is in the training split too, unless
    the evaluation drops such images and others are left.
    """
    assert isinstance(context.shape, ImageShape)
    rows, ids = _rows(spec, context)
    return NoisyImages(
        rows,
        ids[: spec.limit],
        len(rows) - len(ids) if drops(spec) else None,
        timesteps(spec.level, context.shape.num_timesteps) - 1,
        f"{spec.data}/{spec.split}",
        context,
    )


def _rows(spec: DenoisingEval, context: EvalContext) -> tuple[ImageRows, NDArray[np.int64]]:
    """All images of the set, and the rows of those that are evaluated on."""
    key = ("images", spec.data, spec.split, spec.overlap)
    if key not in context.shared:
        images = load_images(spec.data, spec.split, cache=context.cache)
        trained = []
        if (spec.data, spec.split) != (context.spec.task.data, "train"):
            trained = [load_images(context.spec.task.data, "train", cache=context.cache)]
        ids = rows_apart(images, trained=trained, drop=drops(spec))
        context.shared[key] = ImageRows(images), ids
    found: tuple[ImageRows, NDArray[np.int64]] = context.shared[key]
    return found
