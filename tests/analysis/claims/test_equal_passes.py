"""Passes at equal quality of planted images: at the very edge of equality, and clear of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.analysis.claims.claim import Bounds
from harness.analysis.claims.equal_passes import EqualPasses
from harness.analysis.exhibits.denoising import DenoisingExhibit, DenoisingRow, Place, Quality
from harness.analysis.exhibits.equal_quality import equal_quality
from harness.analysis.exhibits.image_sums import ImageErrors
from harness.protocol import Descent, Diffusion

IMAGES = 128
PLACE = Place("planted", 0.1, True)


def row(thinking: Any, decibels: Any) -> DenoisingRow:
    """One model's setting: dB of (training seeds, noise seeds, images)."""
    own = np.asarray(decibels)
    errors = 255**2 / 10 ** (own / 10)
    by_seed = 10 * np.log10(255**2 / errors.mean((1, 2)))
    family = "ebt" if isinstance(thinking, Descent) else "dit"
    passes = float(thinking.steps)
    return DenoisingRow(
        adapter=family,
        family=family,
        place=PLACE,
        thinking=thinking,
        setting="",
        psnr=Quality(float(by_seed.mean())),
        psnr_per_image=None,
        mse=float(errors.mean()),
        ssim=None,
        nfe=passes,
        flops=passes,
        seconds=passes,
        images=IMAGES,
        by_seed={seed: float(value) for seed, value in enumerate(by_seed)},
        noise_seeds=1,
        each=ImageErrors(np.arange(IMAGES), (0, 1, 2), errors),
    )


def equal(*rows: DenoisingRow) -> EqualPasses:
    """Of the EBT against the DiT."""
    section: Any = SimpleNamespace()
    pairs = equal_quality(DenoisingExhibit(section, rows, ("a device",), ()))
    return EqualPasses(next(pair for pair in pairs if pair.row.family == "ebt"))


def of_seeds(*decibels: float) -> Any:
    """Three trainings, on images that are all alike."""
    return np.broadcast_to(np.array(decibels)[:, None, None], (3, 1, IMAGES))


def test_three_seeds_say_no_more_than_student_s_t_has_it() -> None:
    """No resample gets to the tolerance, so that resamples alone would give p = 0.002."""
    found = equal(
        row(Descent(steps=1), of_seeds(23.0, 23.02, 23.04)),
        row(Diffusion(steps=90), of_seeds(23.0, 23.0, 23.0)),
        row(Diffusion(steps=100), of_seeds(23.0, 23.0, 23.0)),
    )
    assert found.pair.ratio("nfe") == 90
    # Mean 0.02 dB ± 0.0115, 0.08 below the tolerance: t = 6.9 of two degrees of freedom.
    assert 0.015 < found.p < 0.03
    assert found.read(Bounds(90.0, 90.0), found.p)[0] == "against"
    assert found.read(Bounds(90.0, 90.0), 0.06)[0] == "undecided"
    assert found.read(Bounds(90.0, 100.0), 0.001)[0] == "undecided"


def test_an_interval_that_the_psnr_does_not_bear_out_is_left_open() -> None:
    worse = equal(
        row(Descent(steps=1), of_seeds(23.0, 23.01, 23.02)),
        row(Diffusion(steps=90), of_seeds(22.0, 22.0, 22.01)),
        row(Diffusion(steps=100), of_seeds(23.0, 23.01, 23.0)),
    )
    assert worse.read(Bounds(100.0, 100.0), worse.p)[0] == "for"
    assert worse.read(Bounds(1.0, 90.0), worse.p)[0] == "undecided"
    assert worse.p < 0.005
    assert worse.words == "in 0 % of resamples never its equal; +1.01 dB over dit, "


def test_no_interval_without_enough_resamples() -> None:
    found = equal(
        row(Descent(steps=1), of_seeds(23.0, 23.02, 23.04)),
        row(Diffusion(steps=90), of_seeds(23.0, 23.0, 23.0)),
    )
    assert found.at(0.95) is not None
    assert found.at(0.9999) is None


@pytest.mark.slow
def test_p_of_equal_passes_holds_beyond_95_percent_too() -> None:
    """Ninety calls lie exactly the tolerance below one step: bootstrap alone rejects this at 1 %
    in 5 % of trials."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        hardness = rng.normal(0, 2, (1, 1, IMAGES))

        def scattered(decibels: float, hardness: Any = hardness) -> Any:
            """Trainings differ by more than images do."""
            trainings = rng.normal(0, 0.2, (3, 1, 1)) + rng.normal(0, 0.1, (3, 1, IMAGES))
            return decibels + hardness + trainings

        rows = [
            row(Descent(steps=1), scattered(23.0)),
            row(Diffusion(steps=90), scattered(22.9)),
            row(Diffusion(steps=100), scattered(22.0)),
        ]
        found.append(equal(*rows).p)
    p = np.array(found)
    assert (p <= 0.05).mean() < 0.09
    assert (p <= 0.01).mean() < 0.025
    assert (p <= 0.003).mean() < 0.012
