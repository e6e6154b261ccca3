"""What every model of every suite cost to train, and costs to ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from harness.analysis.exhibits.suites import SuiteExhibits
from harness.planning.planned import PlannedRun
from harness.planning.sections import TuningSection
from harness.planning.spec import NextFrameTask, NextTokenTask
from harness.protocol import Frozen

#: Kinds of evaluation whose cost is that of a prediction.
_ASKED = ("likelihood", "next_frame", "thinking", "denoising")
#: Families that the paper compares EBT with.
_BASELINES = ("transformer++", "dit")


@dataclass(frozen=True)
class Asking:
    """One prediction (token, frame or image) at the trained thinking, as an evaluation timed it."""

    evaluation: str
    data: str
    nfe: float | None
    forward: float | None
    backward: float | None
    flops: float | None
    flops_core: float | None
    seconds: float | None
    devices: tuple[str, ...]


@dataclass(frozen=True)
class CostRow:
    """One model at one point of an experiment; means over its runs, memory the largest of them.

    `seen` counts tokens, predicted frames or images of training; `…_core` leaves the vocabulary
    projection out and is None where there is none. Ratios are over `baseline` at the same point,
    None for the baseline itself and where it has no result; those of seconds also where not all
    runs of both were on one device.
    """

    suite: str
    experiment: str
    adapter: str
    family: str
    point: str
    runs: int
    non_embedding: int
    parameters: int
    seen: int | None
    unit: str
    training_flops: float
    training_flops_core: float | None
    training_seconds: float
    training_memory: int
    training_devices: tuple[str, ...]
    asking: Asking | None
    baseline: str
    training_ratio: float | None = None
    training_seconds_ratio: float | None = None
    asking_ratio: float | None = None
    asking_seconds_ratio: float | None = None


def cost_rows(shown: Sequence[SuiteExhibits]) -> list[CostRow]:
    """Every point that has a result, in the order of the suites; without trials of tuning."""
    return [row for each in shown for row in _suite_rows(each)]


def _suite_rows(shown: SuiteExhibits) -> Iterator[CostRow]:
    rows = shown.frame.rows
    if not len(rows):
        return
    for experiment in dict.fromkeys(run.experiment for run in shown.suite.runs):
        if is_tuning(shown, experiment):
            continue
        own = rows[rows["experiment"] == experiment]
        runs = {run.run_id: run for run in shown.suite.of(experiment)}
        asked = _asked(own, runs)
        found = {
            (str(adapter), str(point)): _row(shown.suite.name, at, runs, asked)
            for (adapter, point), at in own.groupby(["adapter", "point"], sort=False)
        }
        baseline = _baseline(shown, experiment, found)
        for row in found.values():
            yield _beside(row, found.get((baseline, row.point)), baseline)


def is_tuning(shown: SuiteExhibits, experiment: str) -> bool:
    """All that is reported of it are learning rates, which cost alike."""
    sections = [s for s in shown.suite.report if s.experiment == experiment]
    return bool(sections) and all(isinstance(s, TuningSection) for s in sections)


def _row(
    suite: str, own: pd.DataFrame, runs: dict[str, PlannedRun], asked: pd.DataFrame
) -> CostRow:
    """`own` are all measurements of one point."""
    each = own.drop_duplicates("run")
    first = each.iloc[0]
    seen, unit = _seen(each, runs[str(first["run"])])
    flops = float(each["training_flops"].mean())
    return CostRow(
        suite=suite,
        experiment=str(first["experiment"]),
        adapter=str(first["adapter"]),
        family=str(first["family"]),
        point=str(first["point"]),
        runs=len(each),
        non_embedding=int(first["non_embedding"]),
        parameters=int(first["parameters"]),
        seen=seen,
        unit=unit,
        training_flops=flops,
        training_flops_core=_core(flops, each["training_flops_vocabulary"]),
        training_seconds=float(each["training_seconds"].mean()),
        training_memory=int(each["training_peak_memory_bytes"].max()),
        training_devices=_names(each["training_device"]),
        asking=_asking(asked[asked["run"].isin(each["run"])] if len(asked) else asked),
        baseline="",
    )


def _seen(each: pd.DataFrame, run: PlannedRun) -> tuple[int | None, str]:
    """The mean over runs of one task, and its unit."""
    if isinstance(run.spec.task, NextTokenTask):
        tokens = _mean(each["training_tokens"])
        return None if tokens is None else round(tokens), "tokens"
    rows = float(each["training_rows"].mean())
    if isinstance(run.spec.task, NextFrameTask):
        return round(rows * run.spec.task.context), "frames"
    return round(rows), "images"


def _names(devices: pd.Series) -> tuple[str, ...]:
    return tuple(sorted(set(map(str, devices))))


def _core(flops: float, vocabulary: pd.Series) -> float | None:
    return None if vocabulary.isna().any() else flops - float(vocabulary.mean())


# --- asking ------------------------------------------------------------------------------------


def _asked(rows: pd.DataFrame, runs: dict[str, PlannedRun]) -> pd.DataFrame:
    """The measurements of an experiment that say what its models' own predictions cost.

    Of one evaluation and set, the first that most points have: elsewhere costs may differ.
    """
    timed = rows[rows["nfe"].notna() & rows["metric"].isin(["loss", "psnr"])]
    trained = timed[_as_trained(timed, runs)]
    if not len(trained):
        return trained
    sets = trained.groupby(["evaluation", "data", "split"], sort=False)
    points = {key: own.groupby(["adapter", "point"]).ngroups for key, own in sets}
    return sets.get_group(max(points, key=lambda key: points[key]))


def _as_trained(timed: pd.DataFrame, runs: dict[str, PlannedRun]) -> list[bool]:
    """Which measurements are of the thinking that the model was trained with."""
    trained = {name: run.record.trained_thinking(run.config) for name, run in runs.items()}
    #: Evaluations of one thinking, which their measurements do not repeat.
    stated = {
        (name, e.eval_id): getattr(e.spec, "thinking", None) in ("trained", trained[name])
        for name, run in runs.items()
        for e in run.evaluations
        if getattr(e.spec, "kind", None) in _ASKED
    }
    keys = zip(timed["run"], timed["eval_id"], timed["thinking"], strict=True)
    return [
        (run, eval_id) in stated
        and (thinking == trained[run] if isinstance(thinking, Frozen) else stated[run, eval_id])
        for run, eval_id, thinking in keys
    ]


def _asking(own: pd.DataFrame) -> Asking | None:
    """The mean over a point's runs."""
    if not len(own):
        return None
    flops = _mean(own["flops"])
    return Asking(
        evaluation=str(own["evaluation"].iloc[0]),
        data=str(own["data"].iloc[0]),
        nfe=_mean(own["nfe"]),
        forward=_mean(own["forward"]),
        backward=_mean(own["backward"]),
        flops=flops,
        flops_core=None if flops is None else _core(flops, own["flops_vocabulary"]),
        seconds=_mean(own["seconds"]),
        devices=_names(own["device"]),
    )


def _mean(values: pd.Series) -> float | None:
    return None if values.isna().any() else float(values.mean())


# --- beside the baseline -----------------------------------------------------------------------


def _baseline(shown: SuiteExhibits, experiment: str, found: dict[tuple[str, str], CostRow]) -> str:
    """What a section of the experiment compares with, else its only Transformer++ or DiT."""
    for section in shown.suite.report:
        named = getattr(section, "baseline", getattr(section, "full", None))
        if section.experiment == experiment and named is not None:
            return str(named)
    alike = {row.adapter for row in found.values() if row.family in _BASELINES}
    return alike.pop() if len(alike) == 1 else ""


def _beside(row: CostRow, other: CostRow | None, baseline: str) -> CostRow:
    row = replace(row, baseline=baseline)
    if other is None or row.adapter == baseline:
        return row
    row = replace(
        row,
        training_ratio=_over(row.training_flops, other.training_flops),
        training_seconds_ratio=_over(row.training_seconds, other.training_seconds)
        if _alike(row.training_devices, other.training_devices)
        else None,
    )
    ours, theirs = row.asking, other.asking
    if ours is None or theirs is None:
        return row
    return replace(
        row,
        asking_ratio=_over(ours.flops, theirs.flops),
        asking_seconds_ratio=_over(ours.seconds, theirs.seconds)
        if _alike(ours.devices, theirs.devices)
        else None,
    )


def _alike(ours: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
    """All of one device: of two devices the shares may differ, and with them the time."""
    return ours == theirs and len(ours) == 1


def _over(ours: float | None, theirs: float | None) -> float | None:
    return None if not ours or not theirs else ours / theirs
