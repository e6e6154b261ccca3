"""How far each set lies from training: both OOD magnitudes of the definitions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.exhibits.document_sums import load_document_sums
from harness.analysis.intervals import perplexity

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
    there is none), so that the ratio does not share its numerator with the gain; of several, of the
    one that was trained on most. Both magnitudes are over what that one was trained on.
    """
    if not len(rows):
        return []
    single = _measuring(rows)
    home = _home(rows, single)
    means = {str(data): _mean(own["value"]) for data, own in single.groupby("data")}
    lines = rows[(rows["metric"] == "bigram_loss") & (rows["training_data"] == home)]
    bigrams = lines.groupby("data")["value"].first()
    found = []
    for data in map(str, dict.fromkeys(rows["data"])):
        there, at_home = means.get(data), means.get(home)
        ratio = None if there is None or at_home is None else perplexity(there - at_home)
        found.append(ShiftRow(data, ratio, float(bigrams[data]) if data in bigrams else None))
    return sorted(found, key=lambda row: row.bigram_loss or 0.0)


def measured_by(rows: pd.DataFrame) -> str:
    """The model that perplexity ratios are taken from, in words; empty where there is none."""
    single = _measuring(rows) if len(rows) else rows
    if not len(single):
        return ""
    return f"{single['adapter'].iloc[0]} {single['point'].iloc[0]}".strip()


def cannot_think(losses: pd.DataFrame) -> pd.DataFrame:
    """Those of models with no setting but one pass: of Transformer++s, where there are any."""
    thinking = set(losses[losses["kind"] != "single"]["adapter"])
    single = losses[~losses["adapter"].isin(thinking)]
    known = single["family"] == "transformer++"
    return single[known] if known.any() else single


def log_ratio_draws(rows: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Each set's log perplexity ratio (resamples,) in nats, its documents and seeds drawn again.

    Documents are drawn as for the gains. Empty where no model that cannot think was evaluated on
    the held-out part of the training data.
    """
    if not len(rows):
        return {}
    single = _measuring(rows)
    home = _home(rows, single)
    drawn = {}
    for data, own in single.groupby("data", sort=False):
        drawn[str(data)] = load_document_sums(own["folder"]).drawn_losses(_MEASURING)[:, 0]
    if home not in drawn:
        return {}
    ratios = {data: draws - drawn[home] for data, draws in drawn.items()}
    return {data: draws for data, draws in ratios.items() if np.isfinite(draws).all()}


def _measuring(rows: pd.DataFrame) -> pd.DataFrame:
    """The losses of the model, at one point, that perplexity ratios are taken from."""
    single = cannot_think(rows[rows["metric"] == "loss"])
    if not len(single):
        return single
    points = [own for _, own in single.groupby(["adapter", "point"], sort=False)]
    return max(points, key=_size)


def _size(point: pd.DataFrame) -> tuple[float, float]:
    """Non-embedding parameters, then tokens trained on, a mean since seconds may differ in them."""
    return float(point["non_embedding"].iloc[0]), float(point["training_tokens"].mean())


def _home(rows: pd.DataFrame, single: pd.DataFrame) -> str:
    """What the measuring model was trained on, or where there is none, any."""
    return str((single if len(single) else rows)["training_data"].iloc[0])


def _mean(values: pd.Series) -> float | None:
    """Over seeds; None where one is missing or not finite."""
    numbers = values.astype("float64").to_numpy()
    return float(numbers.mean()) if np.isfinite(numbers).all() else None
