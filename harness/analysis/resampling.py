"""Training seeds, then documents, drawn again: the same draws for whatever is compared.

Sums are (seeds, settings, documents) in nats, `n` (documents,) their targets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 1000
#: Fewer documents than this say nothing about others: no interval.
MIN_DOCUMENTS = 10
_KEY = 20250702


def paired_losses(sums: Floats, n: Floats) -> Floats:
    """(resamples, settings) nats per token; each resample draws seeds and documents for all."""
    documents, chosen = resamples(len(sums), len(n))
    return _losses(sums, n, documents, chosen)


def resamples(seeds: int, documents: int) -> tuple[NDArray[np.int64], Floats]:
    """How often each document is drawn (resamples, documents), and each seed's share."""
    random = np.random.Generator(np.random.Philox(key=_KEY))
    counts = _document_counts(random, documents)
    return counts, random.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds


def joint_losses(sums: Floats, n: Floats, *, models: int) -> Floats:
    """As `paired_losses`, where losses of several sets, or of several models, go into one number.

    Calls for equally many seeds and the same `models` draw the same seeds: what a model is on one
    set it is on all. Calls for equally many documents draw the same ones. Seeds' deviations from
    their mean are stretched by sqrt(seeds / (seeds - 1)), without which resampling a few makes
    their mean too certain.
    """
    documents = _document_counts(np.random.Generator(np.random.Philox(key=_KEY)), len(n))
    seeds = len(sums)
    random = np.random.Generator(np.random.Philox(key=[_KEY, models + 1]))
    chosen = random.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    return _losses(sums, n, documents, stretched(chosen))


def stretched(shares: Floats) -> Floats:
    """Seeds' shares (resamples, seeds), their deviations from equal ones as in `joint_losses`."""
    seeds = shares.shape[1]
    if seeds == 1:
        return shares
    return np.asarray(1 / seeds + (shares - 1 / seeds) * np.sqrt(seeds / (seeds - 1)))


def percentiles(draws: Floats) -> tuple[float, float]:
    """The 95 % percentile interval of draws (resamples,)."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def _document_counts(random: np.random.Generator, documents: int) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = random.multinomial(
        documents, np.full(documents, 1 / documents), RESAMPLES
    )
    return counts


def _losses(sums: Floats, n: Floats, documents: NDArray[np.int64], seeds: Floats) -> Floats:
    totals = np.einsum("bd,rkd->brk", documents, sums, optimize=True)
    losses: Floats = np.einsum("br,brk->bk", seeds, totals) / (documents @ n)[:, None]
    return losses
