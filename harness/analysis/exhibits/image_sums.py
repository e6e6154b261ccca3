"""Squared errors and SSIM of a denoising evaluation's images, and their means drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis.exhibits.samples import Interval
from harness.analysis.resampling import MIN_DOCUMENTS, in_groups, joint_draws, percentiles
from harness.errors import HarnessError

Floats = NDArray[np.float64]

PER_IMAGE = "per_image.npz"
PEAK = 255.0
#: Number under which the seeds are drawn: the same for every model.
_DRAWN_AS = 1
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Drawn:
    """PSNR of the mean MSE, mean PSNR and mean SSIM of one setting, each (resamples,).

    The latter two are None where an image is perfect, or too small for SSIM. `images` (N,) are the
    rows of those drawn, alike in all that may be compared draw by draw.
    """

    images: NDArray[np.int64]
    psnr: Floats
    per_image: Floats | None
    ssim: Floats | None

    def pairs_with(self, other: Drawn) -> bool:
        """Both were drawn of the same images."""
        return np.array_equal(self.images, other.images)


@dataclass(frozen=True, eq=False)
class ImageSums:
    """Sums over groups of images, (seeds, noise seeds, groups); `n` (groups,) are how many those
    are, `images` (N,) the rows of all.
    """

    images: NDArray[np.int64]
    n: Floats
    errors: Floats
    decibels: Floats
    similarities: Floats | None

    def drawn(self) -> Drawn | None:
        """Training seeds, then images drawn again; noise seeds stay. None of too few images.

        Settings of equally many images and seeds get the same draws: all saw the same noisy images.
        """
        if self.n.sum() < MIN_DOCUMENTS:
            return None
        counts, shares = joint_draws(len(self.errors), len(self.n), models=_DRAWN_AS)
        total = counts @ self.n

        def means(sums: Floats) -> Floats:
            """(resamples, seeds, noise seeds)"""
            drawn: Floats = np.einsum("bg,sng->bsn", counts, sums, optimize=True)
            return drawn / total[:, None, None]

        def over_seeds(values: Floats) -> Floats | None:
            found: Floats = np.einsum("bs,bsn->b", shares, values) / values.shape[2]
            return found if np.isfinite(found).all() else None

        with np.errstate(divide="ignore", invalid="ignore"):
            psnr = over_seeds(10 * np.log10(PEAK**2 / means(self.errors)))
            per_image = over_seeds(means(self.decibels))
        ssim = None if self.similarities is None else over_seeds(means(self.similarities))
        return None if psnr is None else Drawn(self.images, psnr, per_image, ssim)


def interval_of(draws: Floats | None) -> Interval | None:
    """The 95 % interval of draws; None where no draw differs from another."""
    if draws is None:
        return None
    low, high = float(draws.min()), float(draws.max())
    spread = high - low > _ROUNDING * max(1.0, abs(low), abs(high))
    return percentiles(draws) if spread else None


def load_image_sums(folders: Sequence[Path], setting: str) -> ImageSums | None:
    """Of a setting's runs, one folder per training seed; None where one of them keeps no images.

    HarnessError where they were evaluated on different images.
    """
    errors = [_read(folder, f"mse/{setting}") for folder in folders]
    found = [each for each in errors if each is not None]
    if not found or len(found) < len(errors):
        return None
    images = [_rows(folder, found[0].shape[1]) for folder in folders]
    alike = all(np.array_equal(images[0], each) for each in images)
    if not alike or len({each.shape for each in found}) > 1:
        raise HarnessError(
            "runs of one model were evaluated on different images or noise seeds",
            where=", ".join(map(str, folders)),
            hint="remove the evaluations' folders to redo them",
        )
    similar = [_read(folder, f"ssim/{setting}") for folder in folders]
    with np.errstate(divide="ignore"):
        decibels = [10 * np.log10(PEAK**2 / each) for each in found]
    return ImageSums(
        images=images[0],
        n=in_groups(np.ones(found[0].shape[1])),
        errors=np.stack([in_groups(each) for each in found]),
        decibels=np.stack([in_groups(each) for each in decibels]),
        similarities=_stacked([None if s is None else in_groups(s) for s in similar]),
    )


def _stacked(parts: Sequence[Floats | None]) -> Floats | None:
    known = [part for part in parts if part is not None]
    return np.stack(known) if len(known) == len(parts) else None


def _rows(folder: Path, count: int) -> NDArray[np.int64]:
    """The rows of the first `count` images; where that is not kept, no image was left out."""
    rows = _stored(folder, "rows")
    return np.arange(count) if rows is None else np.asarray(rows[:count], np.int64)


def _read(folder: Path, name: str) -> Floats | None:
    found = _stored(folder, name)
    return None if found is None else np.asarray(found, np.float64)


def _stored(folder: Path, name: str) -> NDArray[Any] | None:
    try:
        with np.load(folder / PER_IMAGE) as stored:
            return np.asarray(stored[name]) if name in stored.files else None
    except FileNotFoundError:
        return None
