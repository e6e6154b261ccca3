"""One row for each run: what can be read of it without opening it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from harness.analysis.report.details import COLUMNS, Measured
from harness.analysis.report.runs import ReportedRun
from harness.planning.spec import NextTokenTask
from harness.quantities import duration, si

_METRIC, _VALUE, _TRAINED = (COLUMNS.index(name) for name in ("metric", "value", "trained"))


@dataclass(frozen=True)
class Number:
    """As it is read, and as it is sorted; both empty where it is missing."""

    text: str = ""
    value: str = ""


@dataclass(frozen=True)
class RunRow:
    """A run in the table of runs."""

    run_id: str
    suites: Sequence[str]
    experiment: str
    models: Sequence[str]
    labels: str
    seed: int
    size: Number
    parameters: Number
    seen: Number
    flops: Number
    seconds: Number
    memory: Number
    training_loss: Number
    loss: Number
    state: str
    reason: str
    device: str
    exhibits: Sequence[str]


def run_rows(runs: Sequence[ReportedRun], rows: Measured) -> list[RunRow]:
    """In the order of the suites."""
    return [_row(run, rows) for run in runs]


def _row(run: ReportedRun, rows: Measured) -> RunRow:
    training, planned = run.training, run.planned
    memory = training.get("peak_memory_bytes")
    last = None if run.curve is None else run.curve.last("loss")
    return RunRow(
        run_id=run.run_id,
        suites=run.suites,
        experiment=", ".join(dict.fromkeys(place.run.experiment for place in run.places)),
        models=list(dict.fromkeys(place.run.adapter_label for place in run.places)),
        labels="; ".join(dict.fromkeys(p.labels for p in run.places if p.labels)),
        seed=planned.spec.seed,
        size=_number(run.counted.non_embedding, _si),
        parameters=_number(run.counted.parameters, _si),
        seen=_seen(run),
        flops=_number(training.get("flops"), _si),
        seconds=_number(training.get("seconds"), duration),
        memory=_number(memory, lambda b: f"{b / 2**20:.0f} MiB"),
        training_loss=_number(last, lambda v: f"{v:.4g}"),
        loss=_number(_final_loss(run, rows), lambda v: f"{v:.4f}"),
        state=run.state,
        reason=run.status.reason or "",
        device="" if run.record is None else run.record.device,
        exhibits=run.exhibits,
    )


def _seen(run: ReportedRun) -> Number:
    """Tokens that training read, or rows where it reads no text."""
    if isinstance(run.planned.spec.task, NextTokenTask):
        return _number(run.training.get("tokens"), lambda n: f"{_si(n)} tokens")
    return _number(run.training.get("rows"), lambda n: f"{_si(n)} rows")


def _final_loss(run: ReportedRun, rows: Measured) -> float | None:
    """Of the first evaluation that has one as trained, over its noise seeds."""
    for eval_id in run.evaluations:
        values = [
            row[_VALUE]
            for row in rows.get((run.run_id, eval_id), ())
            if row[_METRIC] == "loss" and row[_TRAINED]
        ]
        if values and None not in values:
            return fmean(values)
    return None


def _si(value: float) -> str:
    return si(value).strip()


def _number(value: float | None, show: Callable[[float], str]) -> Number:
    return Number() if value is None else Number(show(value), f"{value:.6g}")
