"""What a downstream section measures, read per training seed and document from the records."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from harness.analysis.exhibits.document_sums import BY_DOCUMENT
from harness.analysis.exhibits.samples import Sample
from harness.arrays import stored_arrays


@dataclass(frozen=True)
class Measure:
    """What a row measures. `source` is the measurement that seeds and documents are averaged in;
    a perplexity is the exponential of the mean of its losses. `unit` is a task metric's.
    """

    name: str
    source: str
    tokens: Literal["all", "answer", ""] = ""
    higher_is_better: bool = False
    unit: str = ""

    @property
    def is_perplexity(self) -> bool:
        return self.name == "perplexity"

    @property
    def is_task(self) -> bool:
        return self.tokens == ""

    @property
    def percent(self) -> float | None:
        """What a task metric is multiplied by to be in per cent; None where it is no share."""
        return {"fraction": 100.0, "%": 1.0}.get(self.unit) if self.is_task else None


MEASURES = (
    Measure("perplexity", "loss", "all"),
    Measure("perplexity", "answer_loss", "answer"),
    Measure("bits per byte", "bits_per_byte", "all"),
    Measure("bits per byte", "answer_bits_per_byte", "answer"),
)


def read_sample(own: pd.DataFrame, measure: Measure) -> Sample | None:
    """One model's rows of one measure on one set; None where a run counted nothing."""
    by_seed = own.groupby("seed")["value"].mean()
    if not len(by_seed) or by_seed.isna().any():
        return None
    values = {int(str(seed)): float(value) for seed, value in by_seed.items()}
    folders = {int(seed): str(f) for seed, f in zip(own["seed"], own["folder"], strict=True)}
    data = str(own["data"].iloc[0])
    kept = {seed: _documents(Path(folder), measure, data) for seed, folder in folders.items()}
    known = {seed: each for seed, each in kept.items() if each is not None}
    if len(known) < len(kept):
        return Sample(values)
    weights = next(iter(known.values()))[1]
    sums = {seed: each[0] for seed, each in known.items()}
    same = all(np.array_equal(weights, each[1]) for each in known.values())
    if not same or not _adds_up(values, sums, weights):
        return Sample(values)
    return Sample(values, sums, weights)


def _adds_up(values: dict[int, float], sums: dict[int, np.ndarray], weights: np.ndarray) -> bool:
    """The documents' sums give the measured value: not so for a metric that is no mean of them."""
    return all(
        abs(sums[seed].sum() / weights.sum() - value) <= 1e-6 * max(1.0, abs(value))
        for seed, value in values.items()
    )


def _documents(folder: Path, measure: Measure, data: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Sums and weights per document, means over noise seeds; None where they are not kept."""
    path = folder / BY_DOCUMENT
    if not path.exists():
        return None
    prefix = "answer_" if measure.tokens == "answer" else ""
    # Where an evaluation names several tasks, their metrics are kept as TASK/METRIC.
    names = (measure.source, f"{data}/{measure.source}") if measure.is_task else (f"{prefix}sums",)
    with stored_arrays(path) as stored:
        name = next((name for name in names if name in stored.files), None)
        if name is None or stored[name].ndim != 2:
            return None
        sums = np.asarray(stored[name], np.float64).mean(0)
        if measure.is_task:
            return np.nan_to_num(sums), np.isfinite(sums).astype(np.float64)
        unit = stored[f"{prefix}n"] if measure.is_perplexity else stored[f"{prefix}bytes"] * log(2)
        return sums, np.asarray(unit, np.float64)
