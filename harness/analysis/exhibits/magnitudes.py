"""How far each set lies from training: both OOD magnitudes of the definitions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.exhibits.document_sums import load_document_sums
from harness.analysis.intervals import perplexity
from harness.analysis.resampling import joint_losses

#: Number under which the seeds of the models that magnitudes are measured with are drawn.
_MEASURING = 0


@dataclass(frozen=True)
class ShiftRow:
    """How far a set lies from training: both magnitudes of the definitions."""

    data: str
    perplexity_ratio: float | None
    bigram_loss: float | None


def shift_rows(rows: pd.DataFrame) -> list[ShiftRow]:
    """OOD magnitudes: perplexity over that of the training data's held-out part, and bigram loss.

    The perplexities are those of the largest Transformer++ (any model that cannot think, where
    there is none), so that the ratio does not share its numerator with the gain.
    """
    if not len(rows):
        return []
    means = _measuring(rows).groupby("data")["value"].mean()
    home = str(rows["training_data"].iloc[0])
    bigrams = rows[rows["metric"] == "bigram_loss"].groupby("data")["value"].first()
    found = []
    for data in map(str, dict.fromkeys(rows["data"])):
        known = data in means and home in means
        difference = float(means[data]) - float(means[home]) if known else None
        ratio = None if difference is None else perplexity(difference)
        found.append(ShiftRow(data, ratio, float(bigrams[data]) if data in bigrams else None))
    return sorted(found, key=lambda row: row.bigram_loss or 0.0)


def measured_by(rows: pd.DataFrame) -> str:
    """The adapters that perplexity ratios are taken from, in words; empty where there is none."""
    if not len(rows):
        return ""
    return ", ".join(dict.fromkeys(map(str, _measuring(rows)["adapter"])))


def log_ratio_draws(rows: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Each set's log perplexity ratio (resamples,) in nats, its documents and seeds drawn again.

    Documents are drawn as for the gains. Empty where no model that cannot think was evaluated on
    the held-out part of the training data.
    """
    single = _measuring(rows)
    home = str(rows["training_data"].iloc[0]) if len(rows) else ""
    drawn = {}
    for data, own in single.groupby("data", sort=False):
        documents = load_document_sums(own["folder"])
        drawn[str(data)] = joint_losses(documents.sums, documents.n, models=_MEASURING)[:, 0]
    if home not in drawn:
        return {}
    return {data: draws - drawn[home] for data, draws in drawn.items()}


def _measuring(rows: pd.DataFrame) -> pd.DataFrame:
    """The losses of the model that perplexity ratios are taken from."""
    losses = rows[rows["metric"] == "loss"]
    thinking = set(losses[losses["kind"] != "single"]["adapter"])
    single = losses[~losses["adapter"].isin(thinking)]
    if (single["family"] == "transformer++").any():
        single = single[single["family"] == "transformer++"]
    largest: pd.DataFrame = single[single["non_embedding"] == single["non_embedding"].max()]
    return largest
