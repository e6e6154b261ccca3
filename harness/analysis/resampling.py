"""Training seeds, then documents, drawn again: the same draws for whatever is compared.

Sums are (seeds, settings, documents) in nats, `n` (documents,) their targets.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

Floats = NDArray[np.float64]

RESAMPLES = 1000
#: Fewer documents than this say nothing about others: no interval.
MIN_DOCUMENTS = 10
#: More images than this are drawn in so many groups: a mean of many has the same interval.
GROUPS = 2000
#: What `stretched` does, for notes.
SEEDS_STRETCHED = "deviations stretched to Student's t"
_KEY, _GROUPS_KEY = 20250702, 20261127
#: Counts of so many documents are kept for what is drawn next.
_KEPT = 4096


def resamples(seeds: int, documents: int) -> tuple[NDArray[np.int64], Floats]:
    """How often each document is drawn (resamples, documents), and each seed's share."""
    random = np.random.Generator(np.random.Philox(key=_KEY))
    counts = _document_counts(random, documents)
    return counts, random.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds


def joint_losses(sums: Floats, n: Floats, *, models: int) -> Floats:
    """(resamples, settings) nats per token; each resample draws seeds and documents for all.

    Calls for equally many seeds and the same `models` draw the same seeds: what a model is on one
    set it is on all. Calls for equally many documents draw the same ones. Seeds' deviations are
    `stretched`, so a loss may come out below 0 where two seeds differ by a great part of it.
    """
    return _losses(sums, n, *joint_draws(len(sums), len(n), models=models))


def joint_draws(seeds: int, documents: int, *, models: int) -> tuple[NDArray[np.int64], Floats]:
    """How often each document is drawn (resamples, documents), and each seed's stretched share.

    The same draws for the same numbers, as in `joint_losses`.
    """
    counts = (_kept_counts if documents <= _KEPT else _counts)(documents)
    random = np.random.Generator(np.random.Philox(key=[_KEY, models + 1]))
    chosen = random.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    return counts, stretched(chosen)


def in_groups(values: NDArray[Any]) -> Floats:
    """Sums (..., groups) of values (..., images) over groups to draw; few images each are one.

    Groups are mixed, and alike for equally many images: those of one class may lie together, and
    groups that held as many of each would differ less than images drawn at random.
    """
    count = values.shape[-1]
    random = np.random.Generator(np.random.Philox(key=_GROUPS_KEY))
    groups = np.arange(count) if count <= GROUPS else random.permutation(count) % GROUPS
    rows = values.reshape(-1, count).astype(np.float64)
    sums: Floats = np.stack([np.bincount(groups, weights=row) for row in rows]).astype(np.float64)
    return sums.reshape(*values.shape[:-1], -1)


def stretched(shares: Floats) -> Floats:
    """Seeds' shares (resamples, seeds), their deviations from equal ones stretched.

    By sqrt(s / (s - 1)), since resampling s seeds gives the biased variance, and by the 97.5 %
    point of Student's t over that of the normal: the percentile interval of a mean of normal seeds
    then holds the truth 93 % of the time at 2 seeds and 95 % from 3 on, as the t interval does.
    """
    seeds = shares.shape[1]
    if seeds == 1:
        return shares
    wider = stdtrit(seeds - 1, 0.975) / ndtri(0.975)
    return np.asarray(1 / seeds + (shares - 1 / seeds) * wider * np.sqrt(seeds / (seeds - 1)))


def resampled(seeds: Iterable[int]) -> str:
    """What intervals resample, in words, of the numbers of seeds that rows stand on."""
    few, most = min(distinct := set(seeds)), max(distinct)
    if most == 1:
        return "documents (one training seed)"
    count = str(most) if few == most else f"{few} to {most}"
    return f"{count} training seeds ({SEEDS_STRETCHED}), then documents"


def percentiles(draws: Floats) -> tuple[float, float]:
    """The 95 % percentile interval of draws (resamples,)."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def _counts(documents: int) -> NDArray[np.int64]:
    counts = _document_counts(np.random.Generator(np.random.Philox(key=_KEY)), documents)
    counts.flags.writeable = False
    return counts


_kept_counts = lru_cache(maxsize=8)(_counts)


def _document_counts(random: np.random.Generator, documents: int) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = random.multinomial(
        documents, np.full(documents, 1 / documents), RESAMPLES
    )
    return counts


def _losses(sums: Floats, n: Floats, documents: NDArray[np.int64], seeds: Floats) -> Floats:
    totals = np.einsum("bd,rkd->brk", documents, sums, optimize=True)
    losses: Floats = np.einsum("br,brk->bk", seeds, totals) / (documents @ n)[:, None]
    return losses
