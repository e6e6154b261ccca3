"""Gains from thinking, their seeds and documents drawn again, for trends over sets or models."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.exhibits.document_sums import DocumentSums, load_document_sums
from harness.analysis.exhibits.thinking import (
    ThinkingRow,
    loss_gains,
    perplexity_gains,
    setting_rows,
)
from harness.analysis.resampling import MIN_DOCUMENTS
from harness.analysis.trends.trend import Trend, trend

Floats = NDArray[np.float64]
Measure = Literal["loss", "perplexity"]

MEASURES: tuple[Measure, ...] = ("loss", "perplexity")


@dataclass(frozen=True, eq=False)
class DrawnGain:
    """A setting's row on one set, and its gains (resamples,) by measure, None without an interval.

    They are None too where one is beyond what a float holds, or a trained loss not above 0.
    """

    row: ThinkingRow
    draws: dict[Measure, Floats | None]

    def gain(self, measure: Measure) -> float | None:
        return self.row.gain if measure == "loss" else self.row.perplexity_gain


def drawn_gains(
    group: pd.DataFrame, followed: Collection[str] | None, *, models: int
) -> list[DrawnGain]:
    """Every followed setting beyond the trained one, of one model on one set.

    Calls with the same `models` draw the same training seeds; None follows every setting.
    """
    documents = load_document_sums(group["folder"])
    draws = _draws(documents, models)
    return [
        DrawnGain(row, draws[row.setting])
        for row in setting_rows(group)
        if not row.trained and (followed is None or row.setting in followed)
    ]


def _draws(documents: DocumentSums, models: int) -> dict[str, dict[Measure, Floats | None]]:
    if len(documents.n) < MIN_DOCUMENTS:
        return {name: {"loss": None, "perplexity": None} for name in documents.settings}
    losses = documents.drawn_losses(models)
    return {
        name: {"loss": loss_gains(losses, index), "perplexity": perplexity_gains(losses, index)}
        for index, name in enumerate(documents.settings)
    }


@dataclass(frozen=True, eq=False)
class Place:
    """Where a gain lies along x: its value, and its draws where it is measured too."""

    value: float
    draws: Floats | None = None


def gain_trend(
    points: Sequence[tuple[Place, DrawnGain]], measure: Measure, *, enough: tuple[int, str]
) -> Trend:
    """The trend of one measure of gain; a point whose gain is missing is left out, by name."""
    kept = [(place, point) for place, point in points if point.gain(measure) is not None]
    y = [point.draws[measure] for _, point in kept]
    x = [place.draws for place, _ in kept]
    found = trend(
        [place.value for place, _ in kept],
        [float(point.gain(measure) or 0.0) for _, point in kept],
        x_draws=np.stack([d for d in x if d is not None], 1) if x and _all(x) else None,
        y_draws=np.stack([d for d in y if d is not None], 1) if y and _all(y) else None,
        seeds=min((point.row.seeds for _, point in kept), default=0),
        enough=enough,
    )
    lacking = [p.row for _, p in points if p.gain(measure) is None]
    found = replace(found, left_out=tuple(f"{row.label} {row.data}".strip() for row in lacking))
    few = [p.row.data for _, p in kept if p.row.documents < MIN_DOCUMENTS]
    if found.reading != "undecided" or found.interval is not None or not few:
        return found
    listed = ", ".join(dict.fromkeys(few))
    reason = f"no interval of the slope: fewer than {MIN_DOCUMENTS} documents of {listed}"
    return replace(found, reason=reason)


def _all(draws: Sequence[Floats | None]) -> bool:
    return all(each is not None for each in draws)
