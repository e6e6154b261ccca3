"""Squared errors and SSIM of a denoising evaluation's images, and their means drawn again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis.exhibits.samples import Interval
from harness.analysis.resampling import MIN_DOCUMENTS, in_groups, joint_draws, percentiles
from harness.arrays import stored_arrays
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

    The latter two are None where an image is perfect, or too small for SSIM.
    """

    psnr: Floats
    per_image: Floats | None
    ssim: Floats | None


@dataclass(frozen=True, eq=False)
class ImageErrors:
    """Squared errors and SSIM of one setting, (seeds, noise seeds, images) in order of `images`
    (N,), the images' rows, ascending.

    `seeds` are the training seeds; None of what nobody trained, which stands beside any of them.
    """

    images: NDArray[np.int64]
    seeds: tuple[int, ...] | None
    errors: NDArray[Any]
    similarities: NDArray[Any] | None = None

    def drawn(self) -> Drawn | None:
        """Training seeds, then images drawn again; noise seeds stay. None of too few images."""
        if len(self.images) < MIN_DOCUMENTS:
            return None
        again = _again(len(self.errors), len(self.images))
        psnr = again.psnr(self.errors)
        if psnr is None:
            return None
        with np.errstate(divide="ignore"):
            decibels = 10 * np.log10(PEAK**2 / self.errors.astype(np.float64))
        similar = self.similarities
        ssim = None if similar is None else again.over_seeds(again.means(similar))
        return Drawn(psnr, again.over_seeds(again.means(decibels)), ssim)

    def of(self, seeds: Sequence[int], images: NDArray[np.int64]) -> NDArray[Any]:
        """The errors (seeds, noise seeds, images) of some of them, in their order."""
        columns = np.searchsorted(self.images, images)
        if self.seeds is None:
            return np.repeat(self.errors[:1, :, columns], max(1, len(seeds)), 0)
        return self.errors[[self.seeds.index(seed) for seed in seeds]][:, :, columns]


@dataclass(frozen=True, eq=False)
class Together:
    """PSNR of the mean MSE of several settings, (settings,) and drawn again (resamples, settings),
    over the training `seeds` and the number of `images` that all of them have.

    No draws of too few images.
    """

    values: Floats
    draws: Floats | None
    seeds: tuple[int, ...]
    images: int


def together(settings: Sequence[ImageErrors]) -> Together | None:
    """None without a seed or an image in common, and where one is perfect on all of these.

    Each resample draws the same seeds and images for all: they saw the same noisy images.
    """
    trained = [set(each.seeds) for each in settings if each.seeds is not None]
    seeds = tuple(sorted(set.intersection(*trained))) if trained else ()
    images = reduce(np.intersect1d, [each.images for each in settings])
    if not len(images) or (trained and not seeds):
        return None
    errors = [each.of(seeds, images) for each in settings]
    with np.errstate(divide="ignore"):
        values = np.array([_decibels(each.mean(2, dtype=np.float64)).mean() for each in errors])
    if not np.isfinite(values).all():
        return None
    draws = None
    if len(images) >= MIN_DOCUMENTS:
        again = _again(max(1, len(seeds)), len(images))
        found = [again.psnr(each) for each in errors]
        known = [each for each in found if each is not None]
        draws = np.stack(known, 1) if len(known) == len(found) else None
    return Together(values, draws, seeds, len(images))


@dataclass(frozen=True, eq=False)
class _Again:
    """How often each group of images is drawn (resamples, groups), and each seed's share."""

    counts: NDArray[np.int64]
    shares: Floats
    total: Floats

    def psnr(self, errors: NDArray[Any]) -> Floats | None:
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.over_seeds(_decibels(self.means(errors)))

    def means(self, values: NDArray[Any]) -> Floats:
        """Of values (seeds, noise seeds, images): (resamples, seeds, noise seeds)."""
        sums = in_groups(values)
        drawn: Floats = np.einsum("bg,sng->bsn", self.counts, sums, optimize=True)
        return drawn / self.total[:, None, None]

    def over_seeds(self, values: Floats) -> Floats | None:
        """(resamples,); None where one of them is not finite."""
        with np.errstate(invalid="ignore"):
            found: Floats = np.einsum("bs,bsn->b", self.shares, values) / values.shape[2]
        return found if np.isfinite(found).all() else None


@lru_cache(maxsize=4)
def _again(seeds: int, images: int) -> _Again:
    n = in_groups(np.ones(images))
    counts, shares = joint_draws(seeds, len(n), models=_DRAWN_AS)
    return _Again(counts, shares, counts @ n)


def _decibels(errors: Floats) -> Floats:
    return np.asarray(10 * np.log10(PEAK**2 / errors))


def interval_of(draws: Floats | None) -> Interval | None:
    """The 95 % interval of draws; None where no draw differs from another."""
    if draws is None:
        return None
    low, high = float(draws.min()), float(draws.max())
    spread = high - low > _ROUNDING * max(1.0, abs(low), abs(high))
    return percentiles(draws) if spread else None


def load_image_errors(folders: Mapping[int, Path], setting: str) -> ImageErrors | None:
    """Of a setting's runs, training seed -> folder; None where one of them keeps no images.

    HarnessError where they were evaluated on different images.
    """
    errors = [_stored(folder, f"mse/{setting}") for folder in folders.values()]
    found = [each for each in errors if each is not None]
    if not found or len(found) < len(errors):
        return None
    images = [_rows(folder, found[0].shape[1]) for folder in folders.values()]
    alike = all(np.array_equal(images[0], each) for each in images)
    if not alike or len({each.shape for each in found}) > 1:
        raise HarnessError(
            "runs of one model were evaluated on different images or noise seeds",
            where=", ".join(map(str, folders.values())),
            hint="remove the evaluations' folders to redo them",
        )
    similar = [_stored(folder, f"ssim/{setting}") for folder in folders.values()]
    return ImageErrors(images[0], tuple(folders), np.stack(found), _stacked(similar))


def _stacked(parts: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    known = [part for part in parts if part is not None]
    return np.stack(known) if len(known) == len(parts) else None


def _rows(folder: Path, count: int) -> NDArray[np.int64]:
    """The rows of the first `count` images; where that is not kept, no image was left out."""
    rows = _stored(folder, "rows")
    return np.arange(count) if rows is None else np.asarray(rows[:count], np.int64)


def _stored(folder: Path, name: str) -> NDArray[Any] | None:
    path = folder / PER_IMAGE
    if not path.exists():
        return None
    with stored_arrays(path) as stored:
        return np.asarray(stored[name]) if name in stored else None
