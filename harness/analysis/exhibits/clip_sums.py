"""Sums over frames that a next-frame evaluation keeps of each clip, joined video by video.

Clips of one video are alike, so where it is known which are, whole videos are drawn again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.exhibits.samples import Sample
from harness.arrays import stored_arrays

Floats = NDArray[np.float64]

PER_CLIP = "per_clip.npz"


@dataclass(frozen=True)
class ClipCounts:
    """Clips that are covered, and the videos they are of; None where that is not known."""

    clips: int
    videos: int | None


def frame_sample(own: pd.DataFrame, metric: str) -> Sample | None:
    """One model's means by training seed, with the sums of what is drawn that they are made of:
    videos, and clips where no videos are known.

    None where a number is missing, as latents have no PSNR without a decoder.
    """
    measured = own[own["metric"] == metric]
    if not len(measured) or measured["value"].isna().any():
        return None
    means = measured.groupby("seed")["value"].mean()
    values = {int(str(seed)): float(value) for seed, value in means.items()}
    folders = {int(s): str(f) for s, f in zip(measured["seed"], measured["folder"], strict=True)}
    kept = {seed: _joined(Path(folder), metric) for seed, folder in folders.items()}
    known = {seed: each for seed, each in kept.items() if each is not None}
    if len(known) < len(kept):
        return Sample(values)
    first = next(iter(known.values()))
    if not all(first.has_same_units(each) for each in known.values()):
        return Sample(values)
    sums = {seed: each.sums for seed, each in known.items()}
    return Sample(values, sums, first.n, first.videos)


def count_clips(folders: Iterable[str]) -> ClipCounts | None:
    """Of runs that cover the same clips; None where they do not, or one keeps none."""
    found = {_counts(Path(folder)) for folder in folders}
    return found.pop() if len(found) == 1 else None


def perfect_clips(folders: Iterable[str], metric: str) -> int:
    """How many clips have a frame without error in one of the runs: its PSNR is infinite."""
    perfect: set[int] = set()
    for folder in dict.fromkeys(folders):
        sums = _stored(Path(folder), metric).get(metric)
        if sums is not None:
            perfect.update(np.nonzero(np.isposinf(sums))[-1].tolist())
    return len(perfect)


@dataclass(frozen=True, eq=False)
class _Joined:
    """Sums and counts of frames (units,); `videos` (units,) are the units where they are known."""

    sums: Floats
    n: Floats
    videos: NDArray[np.int64] | None

    def has_same_units(self, other: _Joined) -> bool:
        if self.videos is None or other.videos is None:
            same = self.videos is other.videos
        else:
            same = np.array_equal(self.videos, other.videos)
        return same and np.array_equal(self.n, other.n)


def _joined(folder: Path, metric: str) -> _Joined | None:
    """Means over noise seeds of a run's sums; None where they are not kept."""
    stored = _stored(folder, metric, "n", "video")
    if metric not in stored:
        return None
    sums, n = np.asarray(stored[metric], np.float64), np.asarray(stored["n"], np.float64)
    if sums.ndim == 2:
        sums = sums.mean(0)
    if "video" not in stored:
        return _Joined(sums, n, None)
    videos, of = np.unique(stored["video"], return_inverse=True)
    joined, counts = (np.asarray(np.bincount(of, each), np.float64) for each in (sums, n))
    return _Joined(joined, counts, videos.astype(np.int64))


def _counts(folder: Path) -> ClipCounts | None:
    stored = _stored(folder, "n", "video")
    if "n" not in stored:
        return None
    covered = stored["n"] > 0
    videos = len(np.unique(stored["video"][covered])) if "video" in stored else None
    return ClipCounts(int(covered.sum()), videos)


def _stored(folder: Path, *names: str) -> dict[str, NDArray[Any]]:
    """Those of the named arrays that are kept of a run's clips."""
    path = folder / PER_CLIP
    if not path.exists():
        return {}
    with stored_arrays(path) as stored:
        return {name: np.asarray(stored[name]) for name in names if name in stored.files}
