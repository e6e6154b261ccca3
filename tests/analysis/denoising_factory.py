"""A denoising section's records with planted errors: what its tests share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis.exhibits.denoising import DenoisingExhibit, DenoisingRow, denoising_exhibit
from harness.analysis.exhibits.equal_quality import equal_quality
from harness.analysis.frame import load_frame
from harness.planning.planned import PlannedRun, Suite
from harness.planning.spec import thinking_label
from harness.planning.suite import load_suite
from harness.records import Measurement
from tests.analysis.records_factory import measured, write_run

Floats = NDArray[np.float64]
SUITE = """
suite: image
experiments:
  image:
    base:
      task: {kind: denoising, train_level: 0.1}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
      config: {depth: 1, width: 16, heads: 1, patch_size: 2}
    adapters: {dit: {adapter: dit_image}, ebt: {adapter: ebt_image}}
    seeds: SEEDS
    evaluations:
      denoising:
        kind: denoising
        data: builtin/digits
        levels: [0.1]
        thinking:
          - {kind: descent, steps: [1, 2]}
          - {kind: descent, steps: 1, recursions: 2}
          - {kind: diffusion, steps: [1, 10, 100]}
          - {kind: diffusion, steps: 100, recursions: 2}
          - {kind: diffusion, steps: 10, sampler: ddpm}
report:
  - {kind: denoising, experiment: image, evaluation: denoising}
"""
IMAGES = 60
#: dB of each setting, without what images and seeds add.
FLAT = {
    "noisy": 17.0,
    "gaussian filter": 19.0,
    "median filter": 20.0,
    "diffusion 1 x1 trained": 18.0,
    "diffusion 10 x1 trained": 23.0,
    "diffusion 100 x1 trained": 23.05,
    "diffusion 100 x2 trained": 23.05,
    "diffusion 10 x1 trained ddpm": 22.0,
    "1x1": 23.0,
    "2x1": 23.02,
    "1x1 recursions 2": 23.02,
}
#: Each image is easy or hard for every setting alike, as the same noise and content make it.
HARDNESS = np.random.default_rng(0).normal(0, 2.0, IMAGES)

Decibels = Callable[[str, PlannedRun], Floats]


def suite_of(folder: Path, *, seeds: str = "[0, 1, 2]") -> Suite:
    path = folder / "suite.yaml"
    path.write_text(SUITE.replace("SEEDS", seeds))
    return load_suite(path)


def recorded(
    decibels: Decibels,
    *,
    kept: bool = True,
    dropped: Callable[[PlannedRun], int] | None = None,
    filtered: int = IMAGES,
) -> Any:
    """An evaluator of these dB per image, and of the PSNR that they come to; of a set of one image
    more, a run did without the one that `dropped` says. Filters see the first `filtered` alone.
    """

    def evaluate(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
        found: list[Measurement] = []
        arrays: dict[str, Any] = {}
        settings = {thinking_label(t): t for t in spec.thinking}
        for name in ("noisy", "gaussian filter", "median filter", *settings):
            tags = {"data": spec.data, "split": spec.split, "level": spec.level}
            cost: Mapping[str, float] = {}
            if name in settings:
                thinking = settings[name]
                tags |= thinking.model_dump(mode="json")
                nfe = float(thinking.steps * getattr(thinking, "recursions", 1))
                each = 2.0 if thinking.kind == "descent" else 1.0
                cost = {"nfe": nfe, "flops": 1e6 * each * nfe, "seconds": 1e-3 * nfe}
            else:
                tags |= {"kind": name} | ({"filter_width": 3} if "filter" in name else {})
            own = decibels(name, run)[: filtered if "filter" in name else None]
            errors = 255**2 / 10 ** (own / 10)
            mse = float(errors.mean())
            values = {
                "mse": mse,
                "psnr": 10 * np.log10(255**2 / mse),
                "psnr_per_image": own.mean(),
                "ssim": 0.5,
            }
            given = {"n": len(own), "tags": tags, "cost": cost, "unit": ""}
            found += [measured(run, k, float(v), **given) for k, v in values.items()]
            arrays[f"mse/{name}"] = errors[None].astype(np.float32)
            arrays[f"ssim/{name}"] = np.full((1, len(own)), 0.5, np.float32)
        if dropped is not None:
            arrays["rows"] = np.delete(np.arange(IMAGES + 1), dropped(run))
        if kept:
            np.savez_compressed(folder / "per_image.npz", **arrays)
        return found

    return evaluate


def hard(name: str, run: PlannedRun) -> Floats:
    return FLAT[name] + HARDNESS


def exhibit_of(
    folder: Path,
    decibels: Decibels,
    *,
    seeds: str = "[0, 1, 2]",
    finished: Callable[[PlannedRun], bool] = lambda _: True,
    **given: Any,
) -> DenoisingExhibit:
    suite = suite_of(folder, seeds=seeds)
    for run in filter(finished, suite.runs):
        write_run(run, folder, recorded(decibels, **given))
    section: Any = suite.report[0]
    return denoising_exhibit(section, load_frame(suite, folder))


def row_of(exhibit: DenoisingExhibit, label: str) -> DenoisingRow:
    return next(row for row in exhibit.rows if row.label == label)


def pair_of(exhibit: DenoisingExhibit, model: str) -> Any:
    return next(pair for pair in equal_quality(exhibit) if pair.row.adapter == model)
