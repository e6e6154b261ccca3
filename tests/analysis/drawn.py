"""What tests of figures share: a denoising exhibit, and how files and legends are read."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from harness.analysis.exhibits.denoising import (
    DenoisingExhibit,
    DenoisingRow,
    Example,
    Place,
    Quality,
)
from harness.analysis.figures.page import Drawing, Written
from harness.analysis.figures.style import WIDTH
from harness.planning.sections import DenoisingSection
from harness.protocol import Descent, Diffusion

#: Training seeds, and what is to be said of their intervals.
FEW_SEEDS = [
    ([0], "they are of that trained model, not of another training of it: exploratory"),
    ([0, 1], "with fewer than 3 training seeds how far trainings differ is hardly known"),
    ([0, 1, 2], None),
]
MATCHED = Diffusion(steps=100, start="matched")


def denoising_exhibit_of(folder: Path | None = None) -> DenoisingExhibit:
    def row(adapter, place, setting, psnr, thinking=None):
        nfe = thinking and float(thinking.steps * thinking.recursions)
        return DenoisingRow(
            adapter=adapter,
            family=adapter,
            place=place,
            thinking=thinking,
            setting=setting,
            psnr=Quality(psnr, (psnr - 0.2, psnr + 0.3)),
            psnr_per_image=Quality(psnr),
            mse=psnr,
            ssim=None,
            nfe=nfe,
            flops=nfe,
            seconds=nfe,
            images=50,
            by_seed={0: psnr - 0.1, 1: psnr + 0.1},
            noise_seeds=1,
            over="seeds and images",
        )

    places = [Place("photos", 0.1, True), Place("photos", 0.2, False)]
    rows = []
    for place in places:
        rows += [
            row("noisy input", place, "", 17.0),
            row("Gaussian filter", place, "σ = 0.7 px", 19.0),
            row("median filter", place, "3 × 3 px", 19.5),
            row("dit", place, "1 call", 18.0, Diffusion(steps=1)),
            row("dit", place, "100 calls", 21.0, Diffusion(steps=100)),
            row("dit", place, "50 calls, DDPM", 20.5, Diffusion(steps=50, sampler="ddpm")),
            row("dit", place, "100 calls, matched start", 21.4, MATCHED),
            row("dit", place, "100 calls × 2", 21.5, Diffusion(steps=100, recursions=2)),
            row("ebt", place, "1 step", 20.0, Descent(steps=1)),
            row("ebt", place, "2 steps", 21.8, Descent(steps=2)),
            row("ebt", place, "1 step × 3", 21.7, Descent(steps=1, recursions=3)),
        ]
    examples = []
    if folder is not None:
        clean = np.linspace(-1, 1, 2 * 64, dtype=np.float32).reshape(2, 1, 8, 8)
        for adapter in ("dit", "ebt"):
            stored = {r.label: clean * 0.5 for r in rows if r.adapter == adapter}
            stored |= {"noisy": clean * 1.5, "median filter": clean, "gaussian filter": clean * 0.1}
            path = folder / f"{adapter}.npz"
            np.savez_compressed(path, clean=clean, **stored)
            examples.append(Example(adapter, places[0], path))
    section = DenoisingSection(experiment="e", evaluation="d")
    return DenoisingExhibit(section, tuple(rows), ("cpu",), tuple(examples))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def labels(drawing: Drawing) -> list[str]:
    return [text.get_text() for legend in drawing.figure.legends for text in legend.get_texts()]


def assert_files(files: Written) -> None:
    """A PNG of paper width at 200 dpi and a PDF, neither of them blank or dated."""
    png, pdf = files.png.read_bytes(), files.pdf.read_bytes()
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == round(200 * WIDTH)
    assert len(png) > 5_000
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 5_000
    assert b"CreationDate" not in pdf
    assert b"Matplotlib" not in png
