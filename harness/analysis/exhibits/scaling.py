"""A scaling section: losses along the axis, reference lines, the rate and its verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.frame import SuiteFrame
from harness.analysis.intervals import SeedMean, over_seeds, perplexity
from harness.analysis.paper.numbers import PaperNumber
from harness.analysis.paper.variants import variant_of
from harness.analysis.rates.points import Point
from harness.analysis.rates.rate import ScalingRate, scaling_rate
from harness.planning.budget import axis_value, section_runs
from harness.planning.eval_spec import NextFrameEval
from harness.planning.planned import PlannedRun, Suite
from harness.planning.sections import ScalingSection
from harness.planning.spec import NextFrameTask

N_GRAMS = ("unigram", "bigram", "trigram")
COPY_LAST = "copy last frame"
#: Which loss of video is compared, and which the paper compares.
FINAL_CHECKPOINT = (
    "Losses are of the checkpoint at the end of training; the paper compares the lowest validation "
    "loss that a run reached on the way."
)


@dataclass(frozen=True)
class LossUnit:
    """What a loss is a number of, and over what.

    `full` says both, `target` is what is predicted and `seen` what training has seen of it. Each
    is one object, in every process that an exhibit is sent to.
    """

    name: str
    full: str
    target: str
    seen: str

    def __reduce__(self) -> tuple[object, ...]:
        return _unit_named, (self.name,)


def _unit_named(name: str) -> LossUnit:
    return next(unit for unit in (NATS, SMOOTH_L1) if unit.name == name)


NATS = LossUnit("nats", "nats per token", "target", "tokens")
SMOOTH_L1 = LossUnit("smooth L1", "smooth L1 per frame", "frame", "frames")


@dataclass(frozen=True)
class ScalingRow:
    """One adapter at one budget, over its seeds. Costs are those of training one run.

    `seen` are the tokens, or of video the frames, that training predicted. Without text there are
    no bits per byte and no perplexity.
    """

    adapter: str
    family: str
    label: str
    x: float
    non_embedding: int
    parameters: int
    seen: int | None
    training_flops: float
    training_seconds: float
    loss: SeedMean
    bits_per_byte: SeedMean | None
    n: int
    noise_seeds: int
    noise_spread: float | None
    seeds: tuple[int, ...]

    @property
    def perplexity(self) -> float | None:
        return None if self.bits_per_byte is None else perplexity(self.loss.value)


@dataclass(frozen=True)
class RunLoss:
    """One training run's loss, a mean over evaluation noise seeds, and what it cost.

    `budget` is what the suite gives the run along the axis; None of FLOPs and seconds where it
    states another budget, so that equal ones are no accident.
    """

    adapter: str
    seed: int
    x: float
    seen: int | None
    training_flops: float
    training_seconds: float
    loss: float
    budget: float | None = None
    label: str = ""


@dataclass(frozen=True)
class ScalingExhibit:
    """`references` holds each n-gram's loss in nats and bits per byte on the same targets; of video
    the loss of copying the last frame, and no bits.

    `rate` is None, with the reason in `no_rate`, where a family has no finished run or two points
    cannot be told apart. `families` are those of the baseline and of the candidate, `variants`
    which of the paper's EBTs they are, or empty. `lost` are the runs that are left out since their
    loss is 0 or not finite; `paper` the numbers of the paper that the section names.
    """

    section: ScalingSection
    rows: tuple[ScalingRow, ...]
    references: Mapping[str, tuple[float, float | None]]
    rate: ScalingRate | None
    no_rate: str
    device: tuple[str, ...]
    data: str
    runs: tuple[RunLoss, ...] = ()
    families: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    unit: LossUnit = NATS
    lost: tuple[str, ...] = ()
    paper: tuple[PaperNumber, ...] = ()

    def beat(self, reference: str) -> list[ScalingRow]:
        """The rows whose interval's upper end, or value where there is none, is below it."""
        line = self.references[reference][0]
        return [row for row in self.rows if (row.loss.high or row.loss.value) < line]


#: What is read of measurements.
_COLUMNS = (
    *("run", "adapter", "family", "point", "seed", "metric", "value", "n", "data", "split"),
    *("non_embedding", "parameters", "training_rows", "training_tokens", "training_flops"),
    *("training_seconds", "training_device"),
)


def scaling_exhibit(section: ScalingSection, suite: Suite, frame: SuiteFrame) -> ScalingExhibit:
    """Gather one scaling section from a suite's records."""
    runs = section_runs(section, suite)
    xs = {run.run_id: axis_value(run, section.x) for run in runs}
    frames = _frames_per_row(runs)
    rows = frame.of(section.experiment, section.evaluation, _COLUMNS)
    rows = rows[rows["run"].isin(xs)] if len(rows) else rows
    losses = rows
    if len(rows):
        compared = rows["adapter"].isin([section.baseline, section.candidate])
        losses = rows[(rows["metric"] == "loss") & compared]
    # No power law and no logarithmic axis has a loss of 0.
    lost = losses[losses["value"].isna() | (losses["value"] == 0)] if len(losses) else losses
    losses = losses[~losses["run"].isin(lost["run"])] if len(lost) else losses
    bits_per_byte = rows[rows["metric"] == "bits_per_byte"] if len(rows) else rows
    table: list[ScalingRow] = []
    for adapter in (section.baseline, section.candidate):
        own = losses[losses["adapter"] == adapter] if len(losses) else losses
        for _, point in own.groupby(own["run"].map(xs), sort=True) if len(own) else ():
            table.append(_row(point, bits_per_byte, xs, frames))
    rate, reason = _rate(section, table, losses, xs)
    return ScalingExhibit(
        section=section,
        rows=tuple(table),
        references=_references(rows),
        rate=rate,
        no_rate=reason,
        device=tuple(sorted(set(losses["training_device"]))) if len(losses) else (),
        data=_data(losses),
        runs=tuple(_runs(losses, xs, frames, _budgets(section, runs, xs))) if len(losses) else (),
        families=_families(section, runs),
        variants=_variants(section, runs),
        unit=_unit(section, runs),
        lost=tuple(_names(lost)),
    )


def _names(rows: pd.DataFrame) -> list[str]:
    """`ebt large seed 0`, each once."""
    if not len(rows):
        return []
    named = rows["adapter"] + " " + rows["point"] + " seed " + rows["seed"].astype(str)
    return [str(name) for name in dict.fromkeys(named)]


def _unit(section: ScalingSection, runs: Sequence[PlannedRun]) -> LossUnit:
    drawn = [e.spec for run in runs for e in run.evaluations if e.name == section.evaluation]
    return SMOOTH_L1 if any(isinstance(spec, NextFrameEval) for spec in drawn) else NATS


def _frames_per_row(runs: Sequence[PlannedRun]) -> dict[str, int]:
    """Run id -> frames that a row predicts, of runs on video."""
    return {
        run.run_id: run.spec.task.context
        for run in runs
        if isinstance(run.spec.task, NextFrameTask)
    }


def _families(section: ScalingSection, runs: Sequence[PlannedRun]) -> tuple[str, ...]:
    """Families of the baseline and of the candidate."""
    families = {run.adapter_label: run.record.family for run in runs}
    return tuple(families.get(label, "") for label in (section.baseline, section.candidate))


def _variants(section: ScalingSection, runs: Sequence[PlannedRun]) -> tuple[str, ...]:
    """Of the baseline and of the candidate, at all points alike."""
    found: dict[str, set[str]] = {}
    for run in runs:
        found.setdefault(run.adapter_label, set()).add(variant_of(run.spec.config))
    each = (found.get(label, set()) for label in (section.baseline, section.candidate))
    return tuple(next(iter(names)) if len(names) == 1 else "" for names in each)


def _budgets(
    section: ScalingSection, runs: Sequence[PlannedRun], xs: Mapping[str, float | None]
) -> dict[str, float | None]:
    """Run id -> what it was given of the axis; of FLOPs and seconds None where that is not stated.

    Whole steps make FLOPs differ by a hair from what was given.
    """
    if section.x in ("flops", "seconds"):
        return {run.run_id: getattr(run.spec.budget, section.x) for run in runs}
    if section.x == "data":
        return {run.run_id: run.spec.budget.tokens or xs[run.run_id] for run in runs}
    return {run.run_id: xs[run.run_id] for run in runs}


#: What is read of a run's first measurement.
_OF_RUN = (
    *("run", "adapter", "seed", "point", "training_rows", "training_tokens"),
    *("training_flops", "training_seconds"),
)


def _runs(
    losses: pd.DataFrame,
    xs: Mapping[str, float | None],
    frames: Mapping[str, int],
    budgets: Mapping[str, float | None],
) -> Iterator[RunLoss]:
    values: dict[str, list[float]] = {}
    for run, value in zip(losses["run"], losses["value"], strict=True):
        values.setdefault(str(run), []).append(float(value))
    for first in losses.drop_duplicates("run")[list(_OF_RUN)].to_dict("records"):
        run = str(first["run"])
        x = xs[run]
        if x is not None:
            yield RunLoss(
                str(first["adapter"]),
                int(first["seed"]),
                x,
                _seen(first, frames),
                float(first["training_flops"]),
                float(first["training_seconds"]),
                float(np.mean(values[run])),
                budgets[run],
                str(first["point"]),
            )


def _seen(record: Mapping[Any, Any], frames: Mapping[str, int]) -> int | None:
    """Tokens, or frames of video."""
    if str(record["run"]) in frames:
        return int(record["training_rows"]) * frames[str(record["run"])]
    return None if pd.isna(record["training_tokens"]) else int(record["training_tokens"])


def _data(losses: pd.DataFrame) -> str:
    sets = sorted(
        {f"{d} ({s})" for d, s in zip(losses["data"], losses["split"], strict=True)}
        if len(losses)
        else ()
    )
    return ", ".join(sets)


def _row(
    point: pd.DataFrame,
    bits_per_byte: pd.DataFrame,
    xs: Mapping[str, float | None],
    frames: Mapping[str, int],
) -> ScalingRow:
    first = point.iloc[0]
    by_seed = point.groupby("seed")["value"]
    bits = bits_per_byte[bits_per_byte["run"].isin(set(point["run"]))]
    bits_by_seed = [float(v) for v in bits.groupby("seed")["value"].mean()]
    noise_seeds = int(point.groupby("seed").size().min())
    spread = None if noise_seeds < 2 else float(by_seed.std().max())
    x = xs[str(first["run"])]
    assert x is not None
    seen = [_seen(record, frames) for record in point.drop_duplicates("run").to_dict("records")]
    return ScalingRow(
        adapter=str(first["adapter"]),
        family=str(first["family"]),
        label=str(first["point"]),
        x=x,
        non_embedding=int(first["non_embedding"]),
        parameters=int(first["parameters"]),
        seen=_mean_seen(seen),
        training_flops=float(point["training_flops"].mean()),
        training_seconds=float(point["training_seconds"].mean()),
        loss=over_seeds([float(v) for v in by_seed.mean()]),
        bits_per_byte=over_seeds(bits_by_seed) if bits_by_seed else None,
        n=int(first["n"]),
        noise_seeds=noise_seeds,
        noise_spread=spread,
        seeds=tuple(sorted(int(s) for s in point["seed"].unique())),
    )


def _mean_seen(seen: Sequence[int | None]) -> int | None:
    """Runs that were given time see as much as their machine lets them."""
    known = [each for each in seen if each is not None]
    return round(float(np.mean(known))) if len(known) == len(seen) else None


def _references(rows: pd.DataFrame) -> dict[str, tuple[float, float | None]]:
    found: dict[str, tuple[float, float | None]] = {}
    if not len(rows):
        return found
    for name in N_GRAMS:
        loss, bits = (rows[rows["metric"] == f"{name}_{m}"] for m in ("loss", "bits_per_byte"))
        if len(loss) and len(bits):
            found[name] = (float(loss["value"].iloc[0]), float(bits["value"].iloc[0]))
    copied = rows[rows["metric"] == "copy_last_loss"]
    if len(copied):
        found[COPY_LAST] = (float(copied["value"].iloc[0]), None)
    return found


def _rate(
    section: ScalingSection,
    table: list[ScalingRow],
    losses: pd.DataFrame,
    xs: Mapping[str, float | None],
) -> tuple[ScalingRate | None, str]:
    points: dict[str, list[Point]] = {section.baseline: [], section.candidate: []}
    if len(losses):
        means = losses.groupby(["adapter", "run", "seed"])["value"].mean().reset_index()
        for record in means.itertuples():
            x = xs[str(record.run)]
            if str(record.adapter) in points and x is not None:
                points[str(record.adapter)].append(
                    Point(
                        x=x,
                        seed=int(str(record.seed)),
                        loss=float(str(record.value)),
                        run=str(record.run),
                    )
                )
    for adapter, own in points.items():
        if len({p.x for p in own}) < 2:
            return None, f"{adapter} has fewer than two finished points"
    rate = scaling_rate(
        points[section.candidate], baseline=points[section.baseline], axis=section.x
    )
    return rate, ""


def bits(nats: float) -> float:
    """Nats as bits."""
    return nats / log(2)
