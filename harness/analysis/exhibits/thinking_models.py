"""Losses of models that think, as they were trained to, beside those of a model that cannot."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
import pandas as pd

from harness.analysis.exhibits.document_sums import load_document_sums
from harness.analysis.exhibits.magnitudes import cannot_think
from harness.analysis.exhibits.samples import Difference, Sample
from harness.planning.spec import thinking_label
from harness.ranks import finite


@dataclass(frozen=True)
class ModelRow:
    """One model on one set; `difference` is its loss less that of `baseline`, at the same place on
    the axes, in nats per token: paired by training seed and by document.

    `loss` and `baseline_loss` are means over the seeds that both have; `flops_ratio` is what a
    predicted token costs, over the baseline's, None where that is not known.
    """

    adapter: str
    label: str
    data: str
    setting: str
    loss: float
    baseline: str
    baseline_loss: float
    difference: Difference
    documents: int
    n: int
    flops_ratio: float | None
    tokens: str

    @property
    def reading(self) -> str:
        """Which loss is the lower, by the interval."""
        return {-1: "lower", 1: "higher", 0: "undecided"}[self.difference.sign]


def model_rows(losses: pd.DataFrame) -> tuple[ModelRow, ...]:
    """Every thinking model on every set, from the losses of a thinking evaluation.

    Left out is what has no model that cannot think at its place, or other documents than it, or a
    loss that is not finite.
    """
    if not len(losses):
        return ()
    thinking = set(losses[losses["kind"] != "single"]["adapter"])
    baselines = {
        (str(point), str(data)): _Measured(own[own["adapter"] == own["adapter"].iloc[0]])
        for (point, data), own in cannot_think(losses).groupby(["point", "data"], sort=False)
    }
    rows = []
    own = losses[losses["adapter"].isin(thinking)]
    for (_, point, data), group in own.groupby(["adapter", "point", "data"], sort=False):
        baseline = baselines.get((str(point), str(data)))
        row = None if baseline is None else _row(_Measured(group), baseline)
        rows += [] if row is None else [row]
    return tuple(rows)


class _Measured:
    """One model on one set: its first setting, which is the trained one."""

    def __init__(self, group: pd.DataFrame) -> None:
        runs = group.drop_duplicates("folder")
        documents = load_document_sums(runs["folder"])
        self.setting = documents.settings[0]
        labels = group["thinking"].map(thinking_label)
        self.rows = group[labels == self.setting]
        self.n = documents.n
        sums = documents.sums[:, 0]
        seeds = [int(seed) for seed in runs["seed"]]
        values = (sums.sum(1) / self.n.sum()).tolist()
        self.sample = Sample(
            dict(zip(seeds, values, strict=True)), dict(zip(seeds, sums, strict=True)), self.n
        )

    @property
    def flops(self) -> float:
        """Of a predicted token; NaN where no run says."""
        return float(self.rows["flops"].astype("float64").mean())

    def mean(self, seeds: set[int]) -> float:
        return float(np.mean([v for seed, v in self.sample.by_seed.items() if seed in seeds]))


def _row(model: _Measured, baseline: _Measured) -> ModelRow | None:
    if not (isfinite(model.sample.value) and isfinite(baseline.sample.value)):
        return None
    difference = model.sample.minus(baseline.sample)
    if difference is None or not np.array_equal(model.n, baseline.n):
        return None
    seeds = set(model.sample.by_seed) & set(baseline.sample.by_seed)
    first, other = model.rows.iloc[0], baseline.rows.iloc[0]
    return ModelRow(
        adapter=str(first["adapter"]),
        label=str(first["point"]),
        data=str(first["data"]),
        setting=model.setting,
        loss=model.mean(seeds),
        baseline=str(other["adapter"]),
        baseline_loss=baseline.mean(seeds),
        difference=difference,
        documents=len(model.n),
        n=int(model.n.sum()),
        flops_ratio=finite(model.flops / baseline.flops) if baseline.flops else None,
        tokens="all" if pd.isna(first["tokens"]) else str(first["tokens"]),
    )
