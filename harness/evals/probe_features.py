"""A model's features of images, read batch by batch into memory or a file, and what they cost."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from harness.capabilities import Features
from harness.cost import FlopCounter, peak_memory_bytes, reset_peak_memory, seconds_median
from harness.data.images import ImageRows
from harness.data.tensors import image_batch
from harness.errors import HarnessError
from harness.evals.context import EvalContext

#: Images in the batch whose cost is measured.
TIMED_IMAGES = 16

#: Features (b, D) of the dataset rows (b,).
Read = Callable[[NDArray[np.int64]], NDArray[np.float32]]


def model_features(images: ImageRows, context: EvalContext) -> Read:
    """The model's. HarnessError where it offers none, or one is not finite."""
    adapter = context.adapter
    if not isinstance(adapter, Features):
        raise HarnessError(
            f"adapter {context.record.name!r} offers no features",
            hint="restrict the evaluation to models that do: `only: {adapter: [...]}`",
        )

    def read(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        with context.inference():
            found = adapter.features(image_batch(images, ids, context.device)).float()
        features = found.cpu().numpy()
        if not np.isfinite(features).all():
            row = ids[~np.isfinite(features).all(1)][0]
            raise HarnessError(f"the model's features of image {row} are not finite")
        return features

    return read


def pixel_features(images: ImageRows) -> Read:
    """The pixels themselves."""
    return lambda ids: images.get(ids).reshape(len(ids), -1)


def gather_features(
    read: Read, ids: NDArray[np.int64], *, batch_size: int, disk: Path | None
) -> NDArray[np.float32]:
    """Features (n, D) of the rows `ids` (n,): in memory, or memory-mapped from a file in `disk`.

    The file has no name, so that it is gone with the process that reads it, however that ends.
    HarnessError where the disk is full or not ours.
    """
    batches = (ids[start : start + batch_size] for start in range(0, len(ids), batch_size))
    if disk is None:
        first = read(next(batches))
        features = np.empty((len(ids), first.shape[1]), np.float32)
        features[: len(first)] = first
        for number, batch in enumerate(batches, start=1):
            features[number * batch_size :][: len(batch)] = read(batch)
        return features
    width = 0
    try:
        disk.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=disk) as file:
            for batch in batches:
                width = _append(file, read(batch))
            file.flush()
            return np.memmap(file, np.float32, mode="r", shape=(len(ids), width))
    except OSError as error:
        size = f", of {4 * len(ids) * width / 1e9:.1f} GB" if width else ""
        raise HarnessError(
            f"cannot keep the features{size}: {error.strerror or error}",
            where=str(disk),
            hint="free some space, choose another folder (--results), or give a `train_limit`",
        ) from error


def _append(file: BinaryIO, features: NDArray[np.float32]) -> int:
    file.write(np.ascontiguousarray(features, np.float32).data)
    return int(features.shape[1])


def features_cost(
    images: ImageRows, ids: NDArray[np.int64], context: EvalContext, *, repeats: int
) -> dict[str, float | int | None]:
    """FLOPs and seconds of one image's features, and the peak of a batch's memory."""
    adapter = context.adapter
    assert isinstance(adapter, Features)
    batch = image_batch(images, ids[:TIMED_IMAGES], context.device)
    reset_peak_memory(context.device)
    with context.inference():
        with FlopCounter() as counter:
            adapter.features(batch)
        seconds = seconds_median(lambda: adapter.features(batch), repeats, context.device, warmup=0)
    return {
        "flops": counter.total / len(batch.rows),
        "seconds": seconds / len(batch.rows),
        "peak_memory_bytes": peak_memory_bytes(context.device),
    }
