"""Error and PSNR of predicted next frames over a whole set, beside those of repeating the last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from harness.data.clips import check_clips_apart
from harness.data.datasets import load_clips
from harness.data.tensors import video_batch
from harness.data.video import ClipRows
from harness.evals.context import EvalContext
from harness.evals.frame_pixels import FramePixels, frame_pixels
from harness.evals.image_quality import PEAK, psnr, squared_error
from harness.evals.prediction_cost import prediction_cost
from harness.planning.eval_spec import EvalBase, NextFrameEval
from harness.planning.spec import NextFrameTask
from harness.protocol import VideoBatch, VideoShape
from harness.ranks import finite
from harness.records import Measurement

COPY_LAST = "copy_last_"
RECONSTRUCTION = "reconstruction_"
PER_CLIP = "per_clip.npz"
EXAMPLES = "examples.npz"
#: Rows in the batch whose cost is measured.
TIMED_ROWS = 8

_Cost = dict[str, float | int | None]
#: Errors by name, each (B, S): of every frame a mean over its numbers.
_Errors = dict[str, Tensor]
_Sums = dict[str, NDArray[np.float64]]


def evaluate_next_frame(
    spec: NextFrameEval, context: EvalContext, folder: Path
) -> list[Measurement]:
    """Smooth-L1 (beta 1, the loss of training), MSE and PSNR over frames, per noise seed.

    Loss and MSE are of what is predicted, pixels or latents; PSNR is of pixels on 0..255, latents
    decoded, and is left out where there is no decoder. `copy_last_...` are the same for predictions
    that repeat the last observed frame, `reconstruction_...` those of the true latents: the ceiling
    that the autoencoder allows. HarnessError where a clip of the set is one of the training split.

    `per_clip.npz` in `folder` keeps sums over each clip's frames, (noise seeds, clips) of the
    predictions and (clips,) of the others, with `n` (clips,); `examples.npz` the first rows' last
    frame of the context (`last`), the true one, the predicted and the reconstructed one.
    """
    rows = clip_rows(spec, context)
    pixels = frame_pixels(spec, context, rows)
    cost = _cost(spec, rows, context)
    frames = np.bincount(np.arange(_count(spec, rows)) // rows.windows) * rows.context
    n: _Sums = {"n": frames.astype(np.float64)}
    kept = dict(n)
    found: list[Measurement] = []
    for seed in spec.noise_seeds:
        sums = _predicted_sums(spec, rows, context, pixels, seed)
        for name, per_clip in sums.items():
            kept[name] = np.stack([*kept.get(name, ()), per_clip])
        found += _measurements(spec, context, n | sums, noise_seed=seed, cost=cost)
    references = _reference_sums(spec, rows, context, pixels)
    for prefix, sums in references.items():
        kept |= {prefix + name: per_clip for name, per_clip in sums.items()}
        found += _measurements(spec, context, n | sums, prefix=prefix)
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = kept
    np.savez_compressed(folder / PER_CLIP, **arrays)
    if pixels is not None and spec.examples:
        _keep_examples(spec, rows, context, pixels, folder)
    return found


def clip_rows(spec: EvalBase, context: EvalContext) -> ClipRows:
    """The rows of the set, apart from training's; HarnessError where a clip is shared."""
    task = context.spec.task
    assert isinstance(context.shape, VideoShape)
    assert isinstance(task, NextFrameTask)
    key = ("clips", spec.data, spec.split)
    if key not in context.shared:
        clips = load_clips(spec.data, spec.split, cache=context.cache, autoencoder=task.autoencoder)
        if (spec.data, spec.split) != (task.data, "train"):
            training = load_clips(
                task.data, "train", cache=context.cache, autoencoder=task.autoencoder
            )
            check_clips_apart(training, clips)
        context.shared[key] = ClipRows(clips, context=context.shape.context)
    rows: ClipRows = context.shared[key]
    return rows


def _count(spec: NextFrameEval, rows: ClipRows) -> int:
    return len(rows) if spec.limit is None else min(spec.limit, len(rows))


def _batches(
    spec: NextFrameEval, rows: ClipRows, context: EvalContext
) -> Iterator[tuple[NDArray[np.int64], VideoBatch]]:
    count = _count(spec, rows)
    for start in range(0, count, spec.batch_size):
        ids = np.arange(start, min(start + spec.batch_size, count))
        yield ids, video_batch(rows, ids, context.device)


# --- sums per clip ---------------------------------------------------------------------------


def _predicted_sums(
    spec: NextFrameEval,
    rows: ClipRows,
    context: EvalContext,
    pixels: FramePixels | None,
    seed: int,
) -> _Sums:
    noise = context.noise(seed, f"{spec.data}/{spec.split}")
    sums: _Sums = {}
    for ids, batch in _batches(spec, rows, context):
        with context.inference():
            predicted = context.adapter.predict(batch, spec.thinking, noise).value
        errors = _errors(predicted, batch.frames[:, 1:])
        if pixels is not None:
            truth = pixels.true(ids, context.device)[:, 1:]
            errors |= _pixel_errors(pixels.shown(predicted), truth)
        _add(sums, errors, ids // rows.windows, _clips(spec, rows))
    return sums


def _reference_sums(
    spec: NextFrameEval, rows: ClipRows, context: EvalContext, pixels: FramePixels | None
) -> dict[str, _Sums]:
    """Of copies of the last frame, and of what the decoder makes of the true latents."""
    copied: _Sums = {}
    decoded: _Sums = {}
    for ids, batch in _batches(spec, rows, context):
        clips, count = ids // rows.windows, _clips(spec, rows)
        errors = _errors(batch.frames[:, :-1], batch.frames[:, 1:])
        if pixels is not None:
            shown = pixels.shown(batch.frames)
            truth = pixels.true(ids, context.device)[:, 1:]
            errors |= _pixel_errors(shown[:, :-1], truth)
            if pixels.decodes:
                _add(decoded, _pixel_errors(shown[:, 1:], truth), clips, count)
        _add(copied, errors, clips, count)
    return {COPY_LAST: copied} | ({RECONSTRUCTION: decoded} if decoded else {})


def _clips(spec: NextFrameEval, rows: ClipRows) -> int:
    return (_count(spec, rows) - 1) // rows.windows + 1


def _errors(predicted: Tensor, frames: Tensor) -> _Errors:
    predicted, frames = predicted.double(), frames.double()
    smooth = F.smooth_l1_loss(predicted, frames, reduction="none")
    return {
        "loss": smooth.flatten(2).mean(2),
        "mse": (predicted - frames).square().flatten(2).mean(2),
    }


def _pixel_errors(predicted: Tensor, truth: Tensor) -> _Errors:
    """Squared error on 0..255, and PSNR in dB: infinite for a perfect frame."""
    # A row at a time: in float64 all frames of a batch would be several times the batch.
    squared = torch.stack(list(map(squared_error, predicted, truth)))
    return {"squared_levels": squared, "psnr_per_frame": 10 * torch.log10(PEAK**2 / squared)}


def _add(sums: _Sums, errors: _Errors, clips: NDArray[np.int64], count: int) -> None:
    """Add the errors (B, S) of rows to the sums (count,) of the clips (B,) they are of."""
    for name, of_frames in errors.items():
        own = sums.setdefault(name, np.zeros(count))
        np.add.at(own, clips, of_frames.sum(1).cpu().numpy())


# --- what is written -------------------------------------------------------------------------


def _measurements(
    spec: NextFrameEval,
    context: EvalContext,
    sums: Mapping[str, NDArray[np.float64]],
    *,
    prefix: str = "",
    noise_seed: int | None = None,
    cost: _Cost | None = None,
) -> list[Measurement]:
    """The means that there are sums of; what is not finite is None, as a perfect frame's PSNR."""
    n = int(sums["n"].sum())
    means = {name: float(of_clips.sum()) / n for name, of_clips in sums.items()}
    values: list[tuple[str, float | None, str, bool]] = [
        (name, means[name], unit, False)
        for name, unit in (("loss", "smooth L1"), ("mse", "squared"))
        if name in means
    ]
    if "squared_levels" in means:
        values += [
            ("psnr", psnr(means["squared_levels"]), "dB", True),
            ("psnr_per_frame", means["psnr_per_frame"], "dB", True),
        ]
    return [
        context.measurement(
            prefix + name,
            None if value is None else finite(value),
            n=n,
            unit=unit,
            higher_is_better=better,
            noise_seed=noise_seed,
            tags={"data": spec.data, "split": spec.split},
            cost=cost,
        )
        for name, value, unit, better in values
    ]


def _keep_examples(
    spec: NextFrameEval,
    rows: ClipRows,
    context: EvalContext,
    pixels: FramePixels,
    folder: Path,
) -> None:
    """Pixels (rows, C, H, W) of the first rows, predicted under the first noise seed."""
    ids = np.arange(min(spec.examples, _count(spec, rows)))
    batch = video_batch(rows, ids, context.device)
    noise = context.noise(spec.noise_seeds[0], f"{spec.data}/{spec.split}")
    with context.inference():
        predicted = context.adapter.predict(batch, spec.thinking, noise).value
    true = pixels.true(ids, context.device)
    shown = {"predicted": pixels.shown(predicted[:, -1:])[:, 0]}
    if pixels.decodes:
        shown["reconstruction"] = pixels.shown(batch.frames[:, -1:])[:, 0]
    shown |= {"last": true[:, -2], "truth": true[:, -1]}
    images: dict[str, Any] = {name: each.float().cpu().numpy() for name, each in shown.items()}
    np.savez_compressed(folder / EXAMPLES, rows=ids, **images)


def _cost(spec: NextFrameEval, rows: ClipRows, context: EvalContext) -> _Cost:
    """Cost per predicted frame, on the set's first rows."""
    ids = np.arange(min(len(rows), spec.batch_size, TIMED_ROWS))
    batch = video_batch(rows, ids, context.device)
    noise = context.noise(spec.noise_seeds[0], f"{spec.data}/{spec.split}")
    return prediction_cost(
        context,
        lambda: context.adapter.predict(batch, spec.thinking, noise),
        predictions=len(ids) * rows.context,
        repeats=spec.timing_repeats,
    )
