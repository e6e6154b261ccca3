"""Per-document sums of the runs that are one point, as a thinking evaluation keeps them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.analysis.resampling import joint_losses
from harness.arrays import stored_arrays
from harness.errors import HarnessError
from harness.fields import remedy

BY_DOCUMENT = "by_document.npz"
#: Points whose files are larger together are read anew by every section.
_KEPT_BYTES = 4_000_000


@dataclass(frozen=True, eq=False)
class DocumentSums:
    """`sums` (seeds, settings, documents) in nats, means over noise seeds; `n` (documents,).

    `settings` are labels, the trained one first; documents without a target are left out. A sum
    that is not finite is NaN.
    """

    settings: tuple[str, ...]
    sums: NDArray[np.float64]
    n: NDArray[np.float64]
    noise_seeds: int
    _drawn: dict[int, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    def drawn_losses(self, models: int) -> NDArray[np.float64]:
        """`joint_losses` of these sums; worked out once."""
        if models not in self._drawn:
            self._drawn[models] = joint_losses(self.sums, self.n, models=models)
        return self._drawn[models]

    @property
    def losses(self) -> NDArray[np.float64]:
        """(settings,) nats per token over all documents, means over seeds."""
        losses: NDArray[np.float64] = self.sums.sum(2).mean(0) / self.n.sum()
        return losses


def load_document_sums(folders: Iterable[str]) -> DocumentSums:
    """One folder per training seed; HarnessError where their documents or settings differ."""
    paths = [os.path.join(folder, BY_DOCUMENT) for folder in dict.fromkeys(folders)]
    try:
        found = [os.stat(path) for path in paths]
    except OSError as error:
        problem, where = f"cannot read: {error.strerror or error}", str(error.filename)
        raise HarnessError(problem, where=where, hint=remedy(where)) from error
    stamps = tuple((p, s.st_mtime_ns, s.st_size) for p, s in zip(paths, found, strict=True))
    small = sum(each.st_size for each in found) <= _KEPT_BYTES
    return (_kept if small else _load)(stamps)


def _load(stamps: Sequence[tuple[str, int, int]]) -> DocumentSums:
    distinct = [path for path, _, _ in stamps]
    loaded = [_read(path) for path in distinct]
    settings, first, n = loaded[0]
    if any(other[0] != settings or not np.array_equal(other[2], n) for other in loaded):
        raise HarnessError(
            "runs of one point were evaluated on different documents or settings",
            where=", ".join(str(Path(path).parent) for path in distinct),
        )
    sums = np.stack([each[1].mean(1) for each in loaded])
    for array in (sums, n):
        array.flags.writeable = False
    return DocumentSums(settings, sums, n, first.shape[1])


#: Several sections read the same files.
_kept = lru_cache(maxsize=64)(_load)


def _read(path: str) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]:
    with stored_arrays(path) as stored:
        n = stored["n"]
        covered = n > 0
        settings = tuple(str(s) for s in stored["settings"])
        sums = stored["sums"][:, :, covered]
        # An infinite sum is as lost as NaN, and warns in products with a count of 0.
        sums = np.where(np.isfinite(sums), sums, np.nan)
        return settings, sums, n[covered].astype(np.float64)
