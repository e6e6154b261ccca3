"""An uncertainty section: is energy high where loss is, and on text that is none?

Statistics are those of one training seed, means over noise seeds, averaged over training seeds;
intervals resample training seeds, then documents, with the seeds' deviations stretched since they
are few. Energies have no zero and no unit in common, so
between models, and even between seeds, only what ranks them compares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.exhibits.energy_records import (
    EXAMPLES,
    EnergySums,
    Floats,
    KeptPredictions,
    read_energies,
)
from harness.analysis.frame import SuiteFrame
from harness.analysis.resampling import (
    MIN_DOCUMENTS,
    percentiles,
    resampled,
    resamples,
    stretched,
)
from harness.errors import HarnessError
from harness.planning.sections import UncertaintySection
from harness.planning.spec import thinking_label
from harness.ranks import areas, correlations_within, each_rank_correlation, finite

REAL = "real"
BINS = 10


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; None where it is missing, or there is no interval."""

    value: float | None
    interval: tuple[float, float] | None = None

    @property
    def low(self) -> float | None:
        return None if self.interval is None else self.interval[0]

    @property
    def high(self) -> float | None:
        return None if self.interval is None else self.interval[1]


MISSING = Estimate(None)


@dataclass(frozen=True)
class ContentRow:
    """One content's energy and loss after each step (steps + 1), and its last energy over real's.

    `course` is the energy over the real set's final one, which each seed has a level of its own
    for. `excess` is the mean difference in place of the real set's, `auroc` the probability that a
    prediction's final energy exceeds that of a real one, `auroc_documents` the same of documents'
    mean energies. Missing for the real set itself.
    """

    content: str
    energy: tuple[Estimate, ...]
    course: tuple[Estimate, ...]
    loss: tuple[Estimate, ...]
    excess: Estimate = MISSING
    auroc: Estimate = MISSING
    auroc_documents: Estimate = MISSING


@dataclass(frozen=True)
class UncertaintyRow:
    """One model on one set. `correlation` is Spearman's of final energy and loss, over `kept`.

    Within documents, and within positions, offsets between them cannot drive it. `entropy` is that
    of the predicted distribution's entropy and loss, `entropy_excess` it less `correlation`, of the
    same draws. `bins` are mean losses by tenths of the
    predictions, from the lowest final energy up, `entropy_bins` from the lowest entropy. Costs are
    per prediction. `examples` is the file of the lowest training seed.
    """

    adapter: str
    family: str
    label: str
    data: str
    setting: str
    trained_steps: int
    unit: str
    contents: tuple[ContentRow, ...]
    correlation: Estimate
    within_documents: Estimate
    within_positions: Estimate
    entropy: Estimate
    entropy_excess: Estimate
    bins: tuple[Estimate, ...]
    entropy_bins: tuple[Estimate, ...]
    n: int
    kept: int
    documents: int
    seeds: int
    noise_seeds: int
    nfe: float
    flops: float | None
    seconds: float | None
    examples: Path

    @property
    def model(self) -> str:
        return f"{self.adapter} {self.label}".strip()

    def of(self, content: str) -> ContentRow:
        return next(c for c in self.contents if c.content == content)


@dataclass(frozen=True)
class UncertaintyExhibit:
    """Rows in order of model and set."""

    section: UncertaintySection
    rows: tuple[UncertaintyRow, ...]
    device: tuple[str, ...]

    @property
    def resampling(self) -> str:
        """What the intervals resample, in words."""
        return resampled(row.seeds for row in self.rows)

    @property
    def prediction(self) -> str:
        """What is predicted, in a word."""
        return "token" if self.rows[0].unit == "nats/token" else "frame"


def uncertainty_exhibit(section: UncertaintySection, frame: SuiteFrame) -> UncertaintyExhibit:
    """Gather one uncertainty section from a suite's records."""
    rows = frame.of(section.experiment, section.evaluation) if len(frame.rows) else frame.rows
    energies = rows[rows["metric"] == "energy"] if len(rows) else rows
    found: list[UncertaintyRow] = []
    if len(energies):
        groups = energies.groupby(["adapter", "point", "data"], sort=False)
        found = [_row(group) for _, group in groups]
    devices = tuple(sorted(set(energies["device"]))) if len(energies) else ()
    return UncertaintyExhibit(section, tuple(found), devices)


# --- one model on one set --------------------------------------------------------------------


class _Drawn:
    """Statistics of runs, as they are and resampled: row 0 of `counts` and `shares` is plain."""

    def __init__(self, runs: Sequence[EnergySums]) -> None:
        self.runs = runs
        seeds, documents = len(runs), len(runs[0].n)
        self.counts, self.shares = np.ones((1, documents)), np.full((1, seeds), 1 / seeds)
        if documents >= MIN_DOCUMENTS:
            counts, shares = resamples(seeds, documents)
            self.counts = np.concatenate([self.counts, counts])
            self.shares = np.concatenate([self.shares, stretched(shares)])

    def estimates(
        self,
        statistic: Callable[[EnergySums], Floats],
        *,
        bounds: tuple[float, float] = (-np.inf, np.inf),
    ) -> tuple[Estimate, ...]:
        """Of a statistic (B, k) of each run, which lies within `bounds`."""
        each = np.stack([statistic(run) for run in self.runs])
        # Stretched shares may lead beyond what the statistic can be.
        drawn = np.einsum("bs,sbk->bk", self.shares, each).clip(*bounds)
        return tuple(_estimate(column) for column in drawn.T)

    def one(
        self,
        statistic: Callable[[EnergySums, KeptPredictions], Floats],
        *,
        bounds: tuple[float, float] = (-1.0, 1.0),
    ) -> Estimate:
        """Of a statistic (B,) of a run's predictions, its mean over noise seeds."""

        def mean(run: EnergySums) -> Floats:
            found = np.mean([statistic(run, kept) for kept in run.kept], axis=0)
            return np.asarray(found)[:, None]

        return self.estimates(mean, bounds=bounds)[0]

    def means(self, sums: NDArray[Any], n: NDArray[Any]) -> Floats:
        """(B, k) ratios of sums (k, documents) to `n`, (documents,) or (k, documents)."""
        whole = self.counts @ np.broadcast_to(n, sums.shape).T
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((self.counts @ sums.T) / whole)


def _estimate(drawn: Floats) -> Estimate:
    resampled = drawn[1:]
    interval = percentiles(resampled) if len(resampled) and np.isfinite(resampled).all() else None
    return Estimate(finite(float(drawn[0])), interval)


def _row(group: pd.DataFrame) -> UncertaintyRow:
    """Every statistic of one model on one set, over its training seeds."""
    ordered = group.sort_values("seed", kind="stable")
    folders = list(dict.fromkeys(ordered["folder"]))
    runs = [read_energies(Path(folder)) for folder in folders]
    first, one = runs[0], ordered.iloc[0]
    if any(r.energy.shape != first.energy.shape or not np.array_equal(r.n, first.n) for r in runs):
        raise HarnessError(
            "runs of one point were evaluated on different documents or steps",
            where=", ".join(folders),
        )
    drawn = _Drawn(runs)
    return UncertaintyRow(
        adapter=str(one["adapter"]),
        family=str(one["family"]),
        label=str(one["point"]),
        data=str(one["data"]),
        setting=thinking_label(one["thinking"]),
        trained_steps=first.trained_steps,
        unit=first.unit,
        contents=_contents(drawn, first),
        **_correlations(drawn),
        bins=_bins(drawn, lambda kept: kept.energy[0]),
        entropy_bins=() if _no_entropy(first) else _bins(drawn, _entropy),
        n=int(first.n.sum()),
        kept=len(first.document),
        documents=len(first.n),
        seeds=len(runs),
        noise_seeds=len(first.kept),
        nfe=float(group["nfe"].mean()),
        flops=_number(group["flops"].mean()),
        seconds=_number(group["seconds"].median()),
        examples=Path(folders[0]) / EXAMPLES,
    )


def _number(value: Any) -> float | None:
    return None if pd.isna(value) or not isfinite(float(value)) else float(value)


def _contents(drawn: _Drawn, first: EnergySums) -> tuple[ContentRow, ...]:
    def means(part: str, index: int) -> tuple[Estimate, ...]:
        return drawn.estimates(lambda run: drawn.means(getattr(run, part)[index], run.n))

    def course(index: int) -> tuple[Estimate, ...]:
        return drawn.estimates(
            lambda run: drawn.means(run.energy[index] - run.energy[0, -1:], run.n)
        )

    found = []
    for index, content in enumerate(first.contents):
        against = () if content == REAL else _against_real(drawn, index)
        energy, loss = (means(part, index) for part in ("energy", "loss"))
        found.append(ContentRow(content, energy, course(index), loss, *against))
    return tuple(found)


def _against_real(drawn: _Drawn, index: int) -> tuple[Estimate, Estimate, Estimate]:
    """Excess of the final energy, and the two areas under the ROC curve."""

    def excess(run: EnergySums) -> Floats:
        last = run.energy[:, -1]
        return drawn.means((last[index] - last[0])[None], run.n)

    def tokens(run: EnergySums, kept: KeptPredictions) -> Floats:
        groups = run.document, run.document
        return areas(kept.energy[0], kept.energy[index], groups, drawn.counts)

    def documents(run: EnergySums, kept: KeptPredictions) -> Floats:
        n = np.bincount(run.document, minlength=len(run.n))
        own = np.flatnonzero(n)
        means = [np.bincount(run.document, kept.energy[i])[own] / n[own] for i in (0, index)]
        return areas(means[0], means[1], (own, own), drawn.counts)

    share = (0.0, 1.0)
    aucs = drawn.one(tokens, bounds=share), drawn.one(documents, bounds=share)
    return drawn.estimates(excess)[0], *aucs


def _correlations(drawn: _Drawn) -> dict[str, Estimate]:
    none = _no_entropy(drawn.runs[0])

    @cache
    def with_loss(run: EnergySums, kept: KeptPredictions) -> Floats:
        by = [kept.energy[0]] if none else [kept.energy[0], _entropy(kept)]
        return each_rank_correlation(by, kept.loss[0], run.document, drawn.counts)

    def over_all(run: EnergySums, kept: KeptPredictions) -> Floats:
        return np.asarray(with_loss(run, kept)[0])

    def in_documents(run: EnergySums, kept: KeptPredictions) -> Floats:
        values, pairs = correlations_within(kept.energy[0], kept.loss[0], run.document)
        room = len(run.n) - len(values)
        values, pairs = np.pad(values, (0, room)), np.pad(pairs, (0, room))
        return drawn.means((values * pairs)[None], pairs)[:, 0]

    def in_positions(run: EnergySums, kept: KeptPredictions) -> Floats:
        values, pairs = correlations_within(kept.energy[0], kept.loss[0], run.position)
        mean = values @ pairs / pairs.sum() if pairs.sum() else np.nan
        return np.full(len(drawn.counts), mean)

    def of_entropy(run: EnergySums, kept: KeptPredictions) -> Floats:
        return np.asarray(with_loss(run, kept)[1])

    def excess(run: EnergySums, kept: KeptPredictions) -> Floats:
        return of_entropy(run, kept) - over_all(run, kept)

    within = drawn.one(in_positions)
    return {
        "correlation": drawn.one(over_all),
        "within_documents": drawn.one(in_documents),
        "within_positions": Estimate(within.value),  # positions are not what is resampled
        "entropy": MISSING if none else drawn.one(of_entropy),
        "entropy_excess": MISSING if none else drawn.one(excess, bounds=(-2.0, 2.0)),
    }


def _no_entropy(run: EnergySums) -> bool:
    return run.kept[0].entropy is None


def _entropy(kept: KeptPredictions) -> Floats:
    assert kept.entropy is not None
    return np.asarray(kept.entropy[0])


def _bins(drawn: _Drawn, by: Callable[[KeptPredictions], Floats]) -> tuple[Estimate, ...]:
    """Mean losses of the tenths of the predictions in order of `by`."""

    def mean_losses(run: EnergySums) -> Floats:
        found = []
        for kept in run.kept:
            places = np.empty(len(run.document), np.int64)
            places[np.argsort(by(kept), kind="stable")] = np.arange(len(places))
            cell = places * BINS // len(places) * len(run.n) + run.document
            shape, size = (BINS, len(run.n)), BINS * len(run.n)
            sums = np.bincount(cell, kept.loss[0], size).reshape(shape)
            counts = np.bincount(cell, np.ones(len(cell)), size).reshape(shape)
            found.append(drawn.means(sums, counts))
        return np.asarray(np.mean(found, axis=0))

    return drawn.estimates(mean_losses, bounds=(0.0, np.inf))
