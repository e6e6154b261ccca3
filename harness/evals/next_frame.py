"""Error and PSNR of predicted next frames over a whole set, beside those of repeating the last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from harness.data.tensors import video_batch
from harness.evals.clip_sets import ClipSet, clip_set
from harness.evals.context import EvalContext
from harness.evals.frame_pixels import FramePixels, frame_pixels
from harness.evals.image_quality import PEAK, psnr, squared_error
from harness.evals.prediction_cost import prediction_cost
from harness.planning.eval_spec import NextFrameEval
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
    that the autoencoder allows. HarnessError where a clip of the set is one of the training split,
    unless such clips are dropped.

    `per_clip.npz` in `folder` keeps sums over each clip's frames, (noise seeds, clips) of the
    predictions and (clips,) of the others, with `n` (clips,), 0 of those dropped, and where it is
    known the `video` (clips,) that each was cut from; `examples.npz`, of rows spread over the set,
    the copy of the context's last frame (`last`), the true next one, the predicted and the
    reconstructed one: latents decoded, copied ones too.
    """
    covered = clip_set(spec, context)
    pixels = frame_pixels(spec, context, covered.rows)
    cost = _cost(spec, covered, context)
    n: _Sums = {"n": covered.frames.astype(np.float64)}
    kept = dict(n)
    tags = {"data": spec.data, "split": spec.split} | covered.left_out
    found: list[Measurement] = []
    for seed in spec.noise_seeds:
        sums = _predicted_sums(spec, covered, context, pixels, seed)
        for name, per_clip in sums.items():
            kept[name] = np.stack([*kept.get(name, ()), per_clip])
        found += _measurements(tags, context, n | sums, noise_seed=seed, cost=cost)
    references = _reference_sums(spec, covered, context, pixels)
    for prefix, sums in references.items():
        kept |= {prefix + name: per_clip for name, per_clip in sums.items()}
        found += _measurements(tags, context, n | sums, prefix=prefix)
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = dict(kept)
    if covered.rows.clips.videos is not None:
        arrays["video"] = covered.rows.clips.videos[: len(covered.frames)]
    np.savez_compressed(folder / PER_CLIP, **arrays)
    if pixels is not None and spec.examples:
        _keep_examples(spec, covered, context, pixels, folder)
    return found


# --- sums per clip ---------------------------------------------------------------------------


def _predicted_sums(
    spec: NextFrameEval,
    covered: ClipSet,
    context: EvalContext,
    pixels: FramePixels | None,
    seed: int,
) -> _Sums:
    noise = context.noise(seed, f"{spec.data}/{spec.split}")
    sums: _Sums = {}
    count = len(covered.frames)
    for ids, batch in covered.batches(spec.batch_size, context.device):
        with context.inference():
            predicted = context.adapter.predict(batch, spec.thinking, noise).value
        errors = _errors(predicted, batch.frames[:, 1:])
        if pixels is not None:
            truth = pixels.true(ids, context.device)[:, 1:]
            errors |= _pixel_errors(pixels.shown(predicted), truth)
        _add(sums, errors, covered.clips_of(ids), count)
    return sums


def _reference_sums(
    spec: NextFrameEval, covered: ClipSet, context: EvalContext, pixels: FramePixels | None
) -> dict[str, _Sums]:
    """Of copies of the last frame, and of what the decoder makes of the true latents."""
    copied: _Sums = {}
    decoded: _Sums = {}
    count = len(covered.frames)
    for ids, batch in covered.batches(spec.batch_size, context.device):
        clips = covered.clips_of(ids)
        errors = _errors(batch.frames[:, :-1], batch.frames[:, 1:])
        if pixels is not None:
            shown = pixels.shown(batch.frames)
            truth = pixels.true(ids, context.device)[:, 1:]
            errors |= _pixel_errors(shown[:, :-1], truth)
            if pixels.decodes:
                _add(decoded, _pixel_errors(shown[:, 1:], truth), clips, count)
        _add(copied, errors, clips, count)
    return {COPY_LAST: copied} | ({RECONSTRUCTION: decoded} if decoded else {})


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
    tags: Mapping[str, str | int],
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
            tags=tags,
            cost=cost,
        )
        for name, value, unit, better in values
    ]


def _keep_examples(
    spec: NextFrameEval,
    covered: ClipSet,
    context: EvalContext,
    pixels: FramePixels,
    folder: Path,
) -> None:
    """Pixels (rows, C, H, W) of rows spread evenly, predicted under the first noise seed."""
    count = min(spec.examples, len(covered.ids))
    ids = covered.ids[np.arange(count) * len(covered.ids) // count]
    batch = video_batch(covered.rows, ids, context.device)
    noise = context.noise(spec.noise_seeds[0], f"{spec.data}/{spec.split}")
    with context.inference():
        predicted = context.adapter.predict(batch, spec.thinking, noise).value
    shown = {
        "predicted": pixels.shown(predicted[:, -1:])[:, 0],
        "last": pixels.shown(batch.frames[:, -2:-1])[:, 0],
        "truth": pixels.true(ids, context.device)[:, -1],
    }
    if pixels.decodes:
        shown["reconstruction"] = pixels.shown(batch.frames[:, -1:])[:, 0]
    images: dict[str, Any] = {name: each.float().cpu().numpy() for name, each in shown.items()}
    np.savez_compressed(folder / EXAMPLES, rows=ids, **images)


def _cost(spec: NextFrameEval, covered: ClipSet, context: EvalContext) -> _Cost:
    """Cost per predicted frame, on the set's first rows."""
    ids = covered.ids[: min(spec.batch_size, TIMED_ROWS)]
    batch = video_batch(covered.rows, ids, context.device)
    noise = context.noise(spec.noise_seeds[0], f"{spec.data}/{spec.split}")
    return prediction_cost(
        context,
        lambda: context.adapter.predict(batch, spec.thinking, noise),
        predictions=len(ids) * covered.rows.context,
        repeats=spec.timing_repeats,
    )
