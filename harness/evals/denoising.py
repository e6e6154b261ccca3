"""PSNR, SSIM and MSE of denoised images against what each thinking costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harness.evals.context import EvalContext
from harness.evals.image_filters import FILTERED, Filter, kept_filters
from harness.evals.image_quality import PEAK, psnr, squared_error, structural_similarity
from harness.evals.noisy_images import NoisyImages, noisy_images
from harness.evals.prediction_cost import prediction_cost
from harness.evals.shared_passes import SharedPass, shared_passes
from harness.planning.eval_spec import DenoisingEval
from harness.planning.spec import thinking_label
from harness.protocol import NoisyBatch, State
from harness.records import Measurement

EXAMPLES = "examples.npz"
PER_IMAGE = "per_image.npz"
NOISY = "noisy"
#: Images in the batch whose cost is measured.
TIMED_IMAGES = 16

_Cost = dict[str, float | int | None]


@dataclass
class _Qualities:
    """Squared errors (N,) and SSIM (N,) of one setting's images, batch after batch."""

    mse: list[NDArray[np.float64]] = field(default_factory=list)
    ssim: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, predicted: Tensor, clean: Tensor) -> None:
        self.mse.append(squared_error(predicted, clean).cpu().numpy())
        ssim = structural_similarity(predicted, clean)
        if ssim is not None:
            self.ssim.append(ssim.double().cpu().numpy())

    @property
    def errors(self) -> NDArray[np.float64]:
        return np.concatenate(self.mse)

    @property
    def similarities(self) -> NDArray[np.float64] | None:
        return np.concatenate(self.ssim) if self.ssim else None


def evaluate_denoising(
    spec: DenoisingEval, context: EvalContext, folder: Path
) -> list[Measurement]:
    """MSE, PSNR of the mean MSE (the paper's), means per image of PSNR and SSIM, per noise seed.

    Of every thinking, of the noisy input, and of the best Gaussian and median filter (on the first
    `FILTERED` images). The evaluator makes the noisy images, so every adapter sees the same ones.
    In `folder`, `examples.npz` keeps images spread evenly over the set: clean, noisy, filtered, and
    every thinking's result; `per_image.npz` keeps `mse/SETTING` and `ssim/SETTING`, float32 (noise
    seeds, images), and the images' `rows`.
    """
    images = noisy_images(spec, context)
    filters = kept_filters(images, batch_size=spec.batch_size, seed=spec.noise_seeds[0])
    settings = {thinking_label(setting): setting for setting in spec.thinking}
    passes = shared_passes(spec.thinking)
    found: list[Measurement] = []
    kept: dict[str, list[NDArray[np.float32]]] = {}
    strips: dict[str, Any] = {}
    for seed in spec.noise_seeds:
        qualities, outputs = _qualities(spec, images, passes, filters, seed)
        strips = strips or outputs
        for name, own in qualities.items():
            tags = {"data": spec.data, "split": spec.split, "level": spec.level} | images.left_out
            cost: _Cost = {}
            if name in settings:
                tags |= settings[name].model_dump(mode="json")
                cost = _cost(settings[name], spec, images, seed)
            else:
                width = {"filter_width": filters[name].width} if name in filters else {}
                tags |= {"kind": name, **width}
            found += _measurements(own, seed, tags, cost, context)
            kept.setdefault(f"mse/{name}", []).append(own.errors.astype(np.float32))
            if own.similarities is not None:
                kept.setdefault(f"ssim/{name}", []).append(own.similarities.astype(np.float32))
    folder.mkdir(parents=True, exist_ok=True)
    per_image: dict[str, Any] = {name: np.stack(parts) for name, parts in kept.items()}
    np.savez_compressed(folder / EXAMPLES, **strips)
    np.savez_compressed(folder / PER_IMAGE, rows=images.ids, **per_image)
    return found


def _qualities(
    spec: DenoisingEval,
    images: NoisyImages,
    passes: list[SharedPass],
    filters: Mapping[str, Filter],
    seed: int,
) -> tuple[dict[str, _Qualities], dict[str, NDArray[np.float32]]]:
    """Of the noisy input, the filters and every thinking; and each one's example images."""
    shown = set(example_rows(len(images), spec.examples, filtered=FILTERED))
    qualities: dict[str, _Qualities] = {}
    outputs: dict[str, list[NDArray[np.float32]]] = {}
    with images.context.inference():
        first = 0
        for clean, batch in images.batches(spec.batch_size, seed):
            tried = batch.noisy[: max(0, FILTERED - first)]
            results = {NOISY: batch.noisy} | _denoise(spec, images.context, batch, passes, seed)
            if len(tried):
                results |= {kind: f(tried, images.signal_share) for kind, f in filters.items()}
            for name, result in results.items():
                qualities.setdefault(name, _Qualities()).add(result, clean[: len(result)])
            kept = [place for place in range(len(clean)) if first + place in shown]
            if kept:
                for name, result in {"clean": clean, **results}.items():
                    outputs.setdefault(name, []).append(result[kept].float().cpu().numpy())
            first += len(clean)
    return qualities, {name: np.concatenate(parts) for name, parts in outputs.items()}


def example_rows(count: int, examples: int, *, filtered: int) -> list[int]:
    """The places kept as examples: spread evenly over those that are filtered too."""
    among, number = min(count, filtered), min(examples, count, filtered)
    return [index * among // number for index in range(number)]


def _denoise(
    spec: DenoisingEval,
    context: EvalContext,
    batch: NoisyBatch,
    passes: list[SharedPass],
    seed: int,
) -> dict[str, Tensor]:
    """Every thinking's images."""
    noise = context.noise(seed, f"{spec.data}/{spec.split}/predict")
    results: dict[str, Tensor] = {}
    for each in passes:
        if len(each.settings) <= 1:
            prediction = context.adapter.predict(batch, each.longest, noise)
            results[thinking_label(each.longest)] = prediction.value
            continue

        def keep(state: State, settings: Mapping[int, Any] = each.settings) -> None:
            if state.step in settings:
                results[thinking_label(settings[state.step])] = state.value[:, 0].clone()

        context.adapter.predict(batch, each.longest, noise, keep)
    return {label: results[label] for label in map(thinking_label, spec.thinking)}


def _cost(setting: Any, spec: DenoisingEval, images: NoisyImages, seed: int) -> _Cost:
    context = images.context
    key = ("denoising cost", spec.eval_id, thinking_label(setting))
    if key not in context.shared:
        count = min(len(images), spec.batch_size, TIMED_IMAGES)
        _, batch = images.batch(0, count, seed)
        noise = context.noise(seed, f"{spec.data}/{spec.split}/predict")
        context.shared[key] = prediction_cost(
            context,
            lambda: context.adapter.predict(batch, setting, noise),
            predictions=count,
            repeats=spec.timing_repeats,
        )
    cost: _Cost = context.shared[key]
    return cost


def _measurements(
    qualities: _Qualities, seed: int, tags: dict[str, Any], cost: _Cost, context: EvalContext
) -> list[Measurement]:
    """A value that is not finite is missing: of a diverged image, or the PSNR of a perfect one."""
    errors = qualities.errors
    mean = float(errors.mean())
    with np.errstate(divide="ignore"):
        decibels = 10 * np.log10(PEAK**2 / errors)
    similarities = qualities.similarities
    values = [
        ("mse", mean, "squared pixel levels", False),
        ("psnr", psnr(mean), "dB", True),
        ("psnr_per_image", float(decibels.mean()), "dB", True),
        ("psnr_per_image_sd", _deviation(decibels), "dB", None),
        ("ssim", None if similarities is None else float(similarities.mean()), "SSIM", True),
        ("ssim_sd", None if similarities is None else _deviation(similarities), "SSIM", None),
    ]
    return [
        context.measurement(
            name,
            value if value is not None and isfinite(value) else None,
            n=len(errors),
            unit=unit,
            higher_is_better=better,
            noise_seed=seed,
            tags=tags,
            cost=cost,
        )
        for name, value, unit, better in values
    ]


def _deviation(values: NDArray[np.float64]) -> float | None:
    """The sample's standard deviation; None of one value, or of any that is not finite."""
    known = len(values) > 1 and np.isfinite(values).all()
    return float(values.std(ddof=1)) if known else None
