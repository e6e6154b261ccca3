"""A thinking section: gain over the trained thinking, paired by document, against its cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import expm1
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.exhibits.document_sums import load_document_sums
from harness.analysis.exhibits.magnitudes import ShiftRow, measured_by, shift_rows
from harness.analysis.exhibits.thinking_models import ModelRow, model_rows
from harness.analysis.frame import SuiteFrame
from harness.analysis.intervals import MAX_NATS
from harness.analysis.paper.numbers import PaperNumber
from harness.analysis.resampling import MIN_DOCUMENTS, Floats, percentiles, resampled
from harness.planning.sections import ThinkingSection
from harness.planning.spec import descent_variant, thinking_label

#: Number under which the seeds are drawn: the same for every model and set.
DRAWN_AS = 1


@dataclass(frozen=True)
class ThinkingRow:
    """One setting on one set: gains are fractions of the trained setting's loss and perplexity.

    Intervals are 95 % percentile bootstrap intervals over training seeds, `stretched`, then
    documents; None for fewer than `MIN_DOCUMENTS` documents. Costs are per predicted token.
    `variant` is how the setting differs from the trained one besides steps and samples;
    `steps_used` is a mean over predictions, None where none stops by itself. `tokens` says whose
    losses they are: `all`, or the `answer`'s.
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
    steps_used: float | None = None
    tolerance: float | None = None
    tokens: str = "all"


@dataclass(frozen=True)
class ThinkingExhibit:
    """Rows in order of adapter, set and NFE; `shifts` in order of growing bigram loss.

    `measured_by` names the model that perplexity ratios are taken from, `lost` the settings that
    have no row since a loss is not finite; `models` are the losses as trained beside a model that
    cannot think, `paper` the numbers of the paper that the section names.
    """

    section: ThinkingSection
    rows: tuple[ThinkingRow, ...]
    shifts: tuple[ShiftRow, ...]
    device: tuple[str, ...]
    measured_by: str = ""
    lost: tuple[str, ...] = ()
    models: tuple[ModelRow, ...] = ()
    paper: tuple[PaperNumber, ...] = ()

    @property
    def resampling(self) -> str:
        """What the intervals resample, in words."""
        return resampled(row.seeds for row in self.rows)

    def gaining(self) -> list[ThinkingRow]:
        """Settings, other than the trained one, whose gain interval lies above zero."""
        return [
            row
            for row in self.rows
            if not row.trained and row.gain_interval is not None and row.gain_interval[0] > 0
        ]


#: The columns that a setting's row is made of, and those that magnitudes are besides.
_READ = (
    *("adapter", "family", "point", "data", "steps", "samples", "kind", "thinking", "tokens"),
    *("nfe", "flops", "seconds", "steps_used"),
)
READ = (
    *(*_READ, "metric", "value", "folder", "device", "training_data", "training_tokens"),
    *("non_embedding", "seed"),
)


def thinking_exhibit(section: ThinkingSection, frame: SuiteFrame) -> ThinkingExhibit:
    """Gather one thinking section from a suite's records."""
    rows = frame.of(section.experiment, section.evaluation, READ)
    found: list[ThinkingRow] = []
    losses = rows[rows["metric"] == "loss"] if len(rows) else rows
    if len(losses):
        for _, group in losses.groupby(["adapter", "point", "data"], sort=False):
            found += setting_rows(group)
    return ThinkingExhibit(
        section,
        tuple(found),
        tuple(shift_rows(rows)),
        tuple(sorted(set(losses["device"]))) if len(losses) else (),
        measured_by(rows),
        lost_settings(losses),
        model_rows(losses),
    )


def setting_rows(group: pd.DataFrame) -> list[ThinkingRow]:
    """Every setting of one adapter at one size on one set, from the losses of its runs.

    A setting whose loss, or whose trained setting's, is not finite for some seed has no row.
    HarnessError where its runs were evaluated on different documents or settings.
    """
    documents = load_document_sums(group["folder"])
    n, losses = documents.n, documents.losses
    draws = documents.drawn_losses(DRAWN_AS)
    read = {name: group[name].tolist() for name in _READ}
    places: dict[str, list[int]] = {}
    for place, thinking in enumerate(read["thinking"]):
        places.setdefault(thinking_label(thinking), []).append(place)
    total = n.sum()
    rows = []
    for index, name in enumerate(documents.settings):
        if not np.isfinite(losses[[0, index]]).all():
            continue
        own = {column: [values[place] for place in places[name]] for column, values in read.items()}
        first = {column: values[0] for column, values in own.items()}
        difference = float(losses[index] - losses[0])
        judged = index > 0 and len(n) >= MIN_DOCUMENTS
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
                gain_interval=_interval(loss_gains(draws, index)) if judged else None,
                perplexity_gain=perplexity_gain(difference),
                perplexity_interval=_interval(perplexity_gains(draws, index)) if judged else None,
                nfe=float(np.mean(_known(own["nfe"]))),
                flops=float(np.mean(_known(own["flops"]))),
                seconds=float(np.median(_known(own["seconds"]))),
                documents=int((n > 0).sum()),
                n=int(total),
                seeds=len(documents.sums),
                noise_seeds=documents.noise_seeds,
                variant=descent_variant(first["thinking"]) if first["kind"] == "descent" else "",
                steps_used=_mean(own["steps_used"]),
                tolerance=getattr(first["thinking"], "tolerance", None),
                tokens="all" if pd.isna(first["tokens"]) else str(first["tokens"]),
            )
        )
    return sorted(rows, key=lambda row: (row.nfe, row.steps or 0))


def lost_settings(losses: pd.DataFrame) -> tuple[str, ...]:
    """`ebt large, 12x5 on builtin/dyck`: the settings with a loss that is not finite."""
    if not len(losses):
        return ()
    bad = losses[~np.isfinite(losses["value"].astype("float64"))]
    names = [
        f"{f'{adapter} {point}'.strip()}, {thinking_label(thinking)} on {data}"
        for adapter, point, thinking, data in zip(
            bad["adapter"], bad["point"], bad["thinking"], bad["data"], strict=True
        )
    ]
    return tuple(dict.fromkeys(names))


def loss_gains(draws: Floats, index: int) -> Floats | None:
    """A setting's gains (resamples,) over setting 0, of losses (resamples, settings).

    None where a trained loss is not above 0, which a few very different seeds stretch to.
    """
    trained = draws[:, 0]
    return (trained - draws[:, index]) / trained if trained.min() > 0 else None


def perplexity_gains(draws: Floats, index: int) -> Floats | None:
    """The same of perplexity; None where one is beyond a float."""
    differences = draws[:, index] - draws[:, 0]
    return -np.expm1(differences) if differences.max() < MAX_NATS else None


def _interval(draws: Floats | None) -> tuple[float, float] | None:
    return None if draws is None else percentiles(draws)


def perplexity_gain(difference: float) -> float | None:
    """The gain of perplexity that a difference of losses in nats is; None beyond a float."""
    return -expm1(difference) if difference < MAX_NATS else None


def _known(values: Sequence[Any]) -> list[float]:
    return [float(value) for value in values if not pd.isna(value)]


def _mean(values: Sequence[Any]) -> float | None:
    return None if any(pd.isna(value) for value in values) else float(np.mean(values))


def _whole(value: Any) -> int | None:
    return None if pd.isna(value) else int(value)
