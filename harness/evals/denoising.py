"""PSNR and MSE of denoised images against what each thinking costs."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.data.datasets import load_images
from harness.evals.context import EvalContext
from harness.evals.prediction_cost import prediction_cost
from harness.planning.eval_spec import DenoisingEval
from harness.planning.shapes import timesteps
from harness.planning.spec import thinking_label
from harness.protocol import Descent, ImageShape, NoisyBatch, State
from harness.records import Measurement

EXAMPLES = "examples.npz"
PEAK = 255.0
#: Images in the batch whose cost is measured.
TIMED_IMAGES = 16


def add_noise(images: Tensor, noise: Tensor, timestep: int, shape: ImageShape) -> Tensor:
    """sqrt(a) x + sqrt(1 - a) e with a the schedule's cumulative product at `timestep`."""
    betas = torch.linspace(
        shape.beta_start, shape.beta_end, shape.num_timesteps, dtype=torch.float64
    )
    kept = float((1 - betas)[: timestep + 1].prod())
    return images * sqrt(kept) + noise * sqrt(1 - kept)


def squared_error(predicted: Tensor, clean: Tensor) -> Tensor:
    """Mean squared error per image (B,), pixels on 0..255 and clamped (paper Table 4)."""
    scaled = ((predicted.double() + 1) / 2 * PEAK).clamp(0, PEAK)
    truth = (clean.double() + 1) / 2 * PEAK
    return (scaled - truth).square().flatten(1).mean(1)


def psnr(mse: float) -> float | None:
    """10 log10(255^2 / MSE) in dB; None for a perfect image."""
    return None if mse == 0 else 10 * log10(PEAK**2 / mse)


def evaluate_denoising(
    spec: DenoisingEval, context: EvalContext, folder: Path
) -> list[Measurement]:
    """MSE, PSNR of the mean MSE (the paper's) and mean PSNR per image, per thinking and seed.

    The evaluator makes the noisy images, so every adapter sees the same ones. `examples.npz` in
    `folder` keeps the first images: clean, noisy, and every thinking's result.
    """
    assert isinstance(context.shape, ImageShape)
    pixels = load_images(spec.data, spec.split).pixels[: spec.limit]
    timestep = timesteps(spec.level, context.shape.num_timesteps) - 1
    found: list[Measurement] = []
    strips: dict[str, Any] = {"clean": pixels[: spec.examples]}
    for seed in spec.noise_seeds:
        errors, outputs = _errors(spec, context, pixels, timestep, seed)
        if seed == spec.noise_seeds[0]:
            strips |= outputs
        tags = {"data": spec.data, "split": spec.split, "level": spec.level}
        for name, per_image in errors.items():
            setting = next((s for s in spec.thinking if thinking_label(s) == name), None)
            cost = {} if setting is None else _cost(setting, spec, context, pixels, timestep, seed)
            extra = {"kind": "noisy"} if setting is None else setting.model_dump(mode="json")
            found += _measurements(per_image, seed, tags | extra, cost, context)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / EXAMPLES, **strips)
    return found


def _errors(
    spec: DenoisingEval,
    context: EvalContext,
    pixels: NDArray[np.float32],
    timestep: int,
    seed: int,
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float32]]]:
    """Squared error per image of the noisy input and of every thinking; the first outputs."""
    per_image: dict[str, list[NDArray[np.float64]]] = {}
    outputs: dict[str, list[NDArray[np.float32]]] = {}
    with context.inference():
        for start in range(0, len(pixels), spec.batch_size):
            clean, batch = _noisy_batch(
                context, pixels[start : start + spec.batch_size], start, timestep, seed, spec
            )
            results = {"noisy": batch.noisy} | _denoise(spec, context, batch, seed)
            for name, images in results.items():
                error = squared_error(images, clean).cpu().numpy()
                per_image.setdefault(name, []).append(error)
                if start < spec.examples:
                    outputs.setdefault(name, []).append(images.float().cpu().numpy())
    return (
        {name: np.concatenate(parts) for name, parts in per_image.items()},
        {name: np.concatenate(parts)[: spec.examples] for name, parts in outputs.items()},
    )


def _noisy_batch(
    context: EvalContext,
    pixels: NDArray[np.float32],
    first_row: int,
    timestep: int,
    seed: int,
    spec: DenoisingEval,
) -> tuple[Tensor, NoisyBatch]:
    assert isinstance(context.shape, ImageShape)
    clean = torch.from_numpy(pixels.copy()).to(context.device)
    rows = torch.arange(first_row, first_row + len(pixels), device=context.device)
    source = context.noise(seed, f"{spec.data}/{spec.split}")
    noise = source.normal(rows, clean.shape[1:], purpose="noising", step=timestep)
    return clean, NoisyBatch(add_noise(clean, noise, timestep, context.shape), timestep, rows)


def _denoise(
    spec: DenoisingEval, context: EvalContext, batch: NoisyBatch, seed: int
) -> dict[str, Tensor]:
    """Every thinking's images; step counts of one descent come from a single pass."""
    noise = context.noise(seed, f"{spec.data}/{spec.split}/predict")
    results: dict[str, Tensor] = {}
    for family in _families(spec.thinking):
        longest = family[max(family)]
        if len(family) == 1:
            prediction = context.adapter.predict(batch, longest, noise)
            results[thinking_label(longest)] = prediction.value
            continue

        def keep(state: State, family: dict[int, Any] = family) -> None:
            if state.step in family:
                results[thinking_label(family[state.step])] = state.value[:, 0].clone()

        context.adapter.predict(batch, longest, noise, keep)
    return results


def _families(settings: Sequence[Any]) -> list[dict[int, Any]]:
    """Steps -> setting, of settings that one pass serves: descents of one sample that differ in
    steps alone, and whose state k is the end of one of k steps. Any other setting is by itself.
    """
    families: dict[Any, dict[int, Any]] = {}
    for setting in settings:
        extends = isinstance(setting, Descent) and (setting.samples, setting.extra_steps) == (
            1,
            "last",
        )
        key = setting.model_copy(update={"steps": 1}) if extends else (setting,)
        families.setdefault(key, {})[setting.steps] = setting
    return list(families.values())


def _cost(
    setting: Any,
    spec: DenoisingEval,
    context: EvalContext,
    pixels: NDArray[np.float32],
    timestep: int,
    seed: int,
) -> dict[str, float | int | None]:
    key = ("denoising cost", spec.eval_id, thinking_label(setting))
    if key not in context.shared:
        count = min(len(pixels), spec.batch_size, TIMED_IMAGES)
        _, batch = _noisy_batch(context, pixels[:count], 0, timestep, seed, spec)
        noise = context.noise(seed, f"{spec.data}/{spec.split}/predict")
        context.shared[key] = prediction_cost(
            context,
            lambda: context.adapter.predict(batch, setting, noise),
            predictions=count,
            repeats=spec.timing_repeats,
        )
    cost: dict[str, float | int | None] = context.shared[key]
    return cost


def _measurements(
    per_image: NDArray[np.float64],
    seed: int,
    tags: dict[str, Any],
    cost: dict[str, float | int | None],
    context: EvalContext,
) -> list[Measurement]:
    mean = float(per_image.mean())
    # A perfect image has no finite PSNR, and then neither has the mean over images.
    each = 10 * np.log10(PEAK**2 / per_image) if (per_image > 0).all() else None
    spread = None if each is None or len(each) < 2 else float(each.std(ddof=1))
    values = [
        ("mse", mean, "squared pixel levels", False),
        ("psnr", psnr(mean), "dB", True),
        ("psnr_per_image", None if each is None else float(each.mean()), "dB", True),
        ("psnr_per_image_sd", spread, "dB", None),
    ]
    return [
        context.measurement(
            name,
            value,
            n=len(per_image),
            unit=unit,
            higher_is_better=better,
            noise_seed=seed,
            tags=tags,
            cost=cost,
        )
        for name, value, unit, better in values
    ]
