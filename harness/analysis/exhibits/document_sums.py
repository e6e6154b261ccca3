"""Per-document sums of the runs that are one point, as a thinking evaluation keeps them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError

BY_DOCUMENT = "by_document.npz"


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

    @property
    def losses(self) -> NDArray[np.float64]:
        """(settings,) nats per token over all documents, means over seeds."""
        losses: NDArray[np.float64] = self.sums.sum(2).mean(0) / self.n.sum()
        return losses


def load_document_sums(folders: Iterable[str]) -> DocumentSums:
    """One folder per training seed; HarnessError where their documents or settings differ."""
    distinct = list(dict.fromkeys(folders))
    loaded = [_read(Path(folder)) for folder in distinct]
    settings, first, n = loaded[0]
    if any(other[0] != settings or not np.array_equal(other[2], n) for other in loaded):
        raise HarnessError(
            "runs of one point were evaluated on different documents or settings",
            where=", ".join(distinct),
        )
    sums = np.stack([each[1].mean(1) for each in loaded])
    return DocumentSums(settings, sums, n, first.shape[1])


def _read(folder: Path) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]:
    with np.load(folder / BY_DOCUMENT) as stored:
        covered = stored["n"] > 0
        settings = tuple(str(s) for s in stored["settings"])
        sums = stored["sums"][:, :, covered]
        # An infinite sum is as lost as NaN, and warns in products with a count of 0.
        sums = np.where(np.isfinite(sums), sums, np.nan)
        return settings, sums, stored["n"][covered].astype(np.float64)
