"""A thinking section: gain over the trained thinking, paired by document, against its cost."""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.frame import SuiteFrame
from harness.analysis.intervals import MAX_NATS, perplexity
from harness.errors import HarnessError
from harness.planning.sections import ThinkingSection
from harness.planning.spec import descent_variant, thinking_label

RESAMPLES = 1000
BY_DOCUMENT = "by_document.npz"
#: Fewer documents than this say nothing about others: no interval.
MIN_DOCUMENTS = 10


@dataclass(frozen=True)
class ThinkingRow:
    """One setting on one set: gains are fractions of the trained setting's loss and perplexity.

    Intervals are 95 % percentile bootstrap intervals over training seeds, then documents, None for
    fewer than `MIN_DOCUMENTS` documents. Costs are per predicted token. `variant` is how the
    setting differs from the trained one besides steps and samples.
    """

    adapter: str
    family: str
    label: str
    data: str
    setting: str
    steps: int | None
    samples: int | None
    trained: bool
    loss: float
    gain: float
    gain_interval: tuple[float, float] | None
    perplexity_gain: float | None
    perplexity_interval: tuple[float, float] | None
    nfe: float
    flops: float
    seconds: float
    documents: int
    n: int
    seeds: int
    noise_seeds: int
    variant: str = ""


@dataclass(frozen=True)
class ShiftRow:
    """How far a set lies from training: both magnitudes of the definitions."""

    data: str
    perplexity_ratio: float | None
    bigram_loss: float | None


@dataclass(frozen=True)
class ThinkingExhibit:
    """Rows in order of adapter, set and NFE; `shifts` in order of growing bigram loss."""

    section: ThinkingSection
    rows: tuple[ThinkingRow, ...]
    shifts: tuple[ShiftRow, ...]
    device: tuple[str, ...]

    @property
    def resampling(self) -> str:
        """What the intervals resample, in words."""
        seeds = self.rows[0].seeds
        if seeds == 1:
            return "documents (one training seed)"
        return f"{seeds} training seeds, then documents"

    def gaining(self) -> list[ThinkingRow]:
        """Settings, other than the trained one, whose gain interval lies above zero."""
        return [
            row
            for row in self.rows
            if not row.trained and row.gain_interval is not None and row.gain_interval[0] > 0
        ]


def thinking_exhibit(section: ThinkingSection, frame: SuiteFrame) -> ThinkingExhibit:
    """Gather one thinking section from a suite's records."""
    rows = frame.of(section.experiment, section.evaluation) if len(frame.rows) else frame.rows
    found: list[ThinkingRow] = []
    losses = rows[rows["metric"] == "loss"] if len(rows) else rows
    if len(losses):
        for _, group in losses.groupby(["adapter", "point", "data"], sort=False):
            found += _settings(group)
    return ThinkingExhibit(
        section,
        tuple(found),
        tuple(_shifts(rows)),
        tuple(sorted(set(losses["device"]))) if len(losses) else (),
    )


def _settings(group: pd.DataFrame) -> list[ThinkingRow]:
    """Every setting of one adapter at one size on one set."""
    loaded = [_by_document(Path(f)) for f in dict.fromkeys(group["folder"])]
    names, n = loaded[0][0], loaded[0][2]
    if any(other[0] != names or not np.array_equal(other[2], n) for other in loaded):
        raise HarnessError(
            "runs of one point were evaluated on different documents or settings",
            where=", ".join(dict.fromkeys(group["folder"])),
        )
    sums = np.stack([each[1].mean(1) for each in loaded])  # (seeds, settings, documents)
    gains = _bootstrap(sums, n)
    labels = group["thinking"].map(thinking_label)
    total = n.sum()
    losses = sums.sum(2).mean(0) / total
    rows = []
    for index, name in enumerate(names):
        own = group[labels == name]
        first = own.iloc[0]
        difference = float(losses[index] - losses[0])
        resampled = index > 0 and len(n) >= MIN_DOCUMENTS
        interval = None
        if resampled and gains[:, index].max() < MAX_NATS:
            interval = _interval(-np.expm1(gains[:, index]))
        rows.append(
            ThinkingRow(
                adapter=str(first["adapter"]),
                family=str(first["family"]),
                label=str(first["point"]),
                data=str(first["data"]),
                setting=name,
                steps=_whole(first["steps"]),
                samples=_whole(first["samples"]),
                trained=index == 0,
                loss=float(losses[index]),
                gain=float(-difference / losses[0]),
                gain_interval=_interval(-gains[:, index] / gains[:, -1]) if resampled else None,
                perplexity_gain=_perplexity_gain(difference),
                perplexity_interval=interval,
                nfe=float(own["nfe"].mean()),
                flops=float(own["flops"].mean()),
                seconds=float(own["seconds"].median()),
                documents=int((n > 0).sum()),
                n=int(total),
                seeds=len(loaded),
                noise_seeds=loaded[0][1].shape[1],
                variant=descent_variant(first["thinking"]) if first["kind"] == "descent" else "",
            )
        )
    return sorted(rows, key=lambda row: (row.nfe, row.steps or 0))


def _perplexity_gain(difference: float) -> float | None:
    return -expm1(difference) if difference < MAX_NATS else None


def _by_document(
    folder: Path,
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    with np.load(folder / BY_DOCUMENT) as stored:
        covered = stored["n"] > 0
        names = [str(s) for s in stored["settings"]]
        return names, stored["sums"][:, :, covered], stored["n"][covered].astype(np.float64)


def _bootstrap(sums: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
    """(resamples, settings + 1): loss differences to the first setting; last, its loss.

    Each resample draws training seeds, then documents, the same ones for every setting.
    """
    random = np.random.Generator(np.random.Philox(key=20250702))
    seeds, documents = sums.shape[0], sums.shape[2]
    weights = random.multinomial(documents, np.full(documents, 1 / documents), RESAMPLES)
    chosen = random.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
    tokens = weights @ n  # (resamples,)
    totals = np.einsum("bd,rkd->brk", weights, sums, optimize=True)
    losses = np.einsum("br,brk->bk", chosen, totals) / tokens[:, None]
    return np.concatenate([losses - losses[:, :1], losses[:, :1]], axis=1)


def _interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def _whole(value: Any) -> int | None:
    return None if pd.isna(value) else int(value)


def _shifts(rows: pd.DataFrame) -> list[ShiftRow]:
    """OOD magnitudes: perplexity over that of the training data's held-out part, and bigram loss.

    The perplexities are those of the largest Transformer++ (any model that cannot think, where
    there is none), so that the ratio does not share its numerator with the gain.
    """
    if not len(rows):
        return []
    single = rows[(rows["metric"] == "loss") & (rows["kind"] == "single")]
    if (single["family"] == "transformer++").any():
        single = single[single["family"] == "transformer++"]
    single = single[single["non_embedding"] == single["non_embedding"].max()]
    means = single.groupby("data")["value"].mean()
    home = str(rows["training_data"].iloc[0])
    bigrams = rows[rows["metric"] == "bigram_loss"].groupby("data")["value"].first()
    found = []
    for data in map(str, dict.fromkeys(rows["data"])):
        known = data in means and home in means
        difference = float(means[data]) - float(means[home]) if known else None
        ratio = None if difference is None else perplexity(difference)
        found.append(ShiftRow(data, ratio, float(bigrams[data]) if data in bigrams else None))
    return sorted(found, key=lambda row: row.bigram_loss or 0.0)
