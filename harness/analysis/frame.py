"""The tidy table: one row per measurement of every run of a suite, by declared columns.

A required column that a record lacks is an error that names the file; any other stays missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analysis.set_names import short_names
from harness.errors import HarnessError
from harness.planning.planned import PlannedRun, Suite
from harness.planning.spec import thinking_of
from harness.provenance import data_changed, is_changed
from harness.records import EvalFolder, RunFolder, read_json


@dataclass(frozen=True)
class Column:
    """A column, the path it is read from, and whether every record must have it."""

    name: str
    path: tuple[str, ...]
    dtype: str
    required: bool = False


_MEASUREMENT = (
    Column("metric", ("name",), "string", required=True),
    Column("value", ("value",), "Float64", required=True),
    Column("n", ("n",), "Int64", required=True),
    Column("unit", ("unit",), "string", required=True),
    Column("seed", ("train_seed",), "Int64", required=True),
    Column("noise_seed", ("noise_seed",), "Int64", required=True),
    Column("step", ("step",), "Int64", required=True),
    Column("tokens_seen", ("tokens_seen",), "Int64", required=True),
    Column("device", ("device",), "string", required=True),
    Column("data", ("tags", "data"), "string", required=True),
    Column("split", ("tags", "split"), "string", required=True),
    Column("level", ("tags", "level"), "Float64"),
    Column("kind", ("tags", "kind"), "string"),
    Column("steps", ("tags", "steps"), "Int64"),
    Column("samples", ("tags", "samples"), "Int64"),
    Column("step_size", ("tags", "step_size"), "Float64"),
    Column("extra_steps", ("tags", "extra_steps"), "string"),
    Column("noise", ("tags", "noise"), "string"),
    Column("noise_std", ("tags", "noise_std"), "Float64"),
    Column("accept", ("tags", "accept"), "string"),
    Column("select", ("tags", "select"), "string"),
    Column("tolerance", ("tags", "tolerance"), "Float64"),
    Column("recursions", ("tags", "recursions"), "Int64"),
    Column("start", ("tags", "start"), "string"),
    Column("sampler", ("tags", "sampler"), "string"),
    Column("filter_width", ("tags", "filter_width"), "Float64"),
    Column("trained", ("tags", "trained"), "boolean"),
    Column("windows", ("tags", "windows"), "string"),
    Column("tokens", ("tags", "tokens"), "string"),
    Column("documents", ("tags", "documents"), "Int64"),
    Column("skipped", ("tags", "skipped"), "Int64"),
    Column("dropped", ("tags", "dropped"), "Int64"),
    Column("chance", ("tags", "chance"), "Float64"),
    Column("classes", ("tags", "classes"), "Int64"),
    Column("train_images", ("tags", "train_images"), "Int64"),
    Column("features", ("tags", "features"), "Int64"),
    Column("l2", ("tags", "l2"), "Float64"),
    Column("l2_at_edge", ("tags", "l2_at_edge"), "boolean"),
    Column("converged", ("tags", "converged"), "boolean"),
    Column("higher_is_better", ("higher_is_better",), "boolean"),
    Column("nfe", ("cost", "nfe"), "Float64"),
    Column("forward", ("cost", "forward"), "Float64"),
    Column("backward", ("cost", "backward"), "Float64"),
    Column("steps_used", ("cost", "steps_used"), "Float64"),
    Column("flops", ("cost", "flops"), "Float64"),
    Column("flops_vocabulary", ("cost", "flops_vocabulary"), "Float64"),
    Column("seconds", ("cost", "seconds"), "Float64"),
    Column("fit_seconds", ("cost", "fit_seconds"), "Float64"),
    Column("peak_memory_bytes", ("cost", "peak_memory_bytes"), "Int64"),
)
_TRAINING = (
    Column("training_steps", ("steps",), "Int64", required=True),
    Column("training_rows", ("rows",), "Int64", required=True),
    Column("training_tokens", ("tokens",), "Int64", required=True),
    Column("training_seconds", ("seconds",), "Float64", required=True),
    Column("training_device", ("device",), "string", required=True),
    Column("training_flops", ("flops",), "Float64", required=True),
    Column("training_flops_vocabulary", ("flops_vocabulary",), "Float64", required=True),
    Column("training_peak_memory_bytes", ("peak_memory_bytes",), "Int64", required=True),
)


@dataclass(frozen=True)
class SuiteFrame:
    """Every measurement of a suite's finished evaluations, and what is not there yet.

    Column `thinking` holds each measurement's setting, or None.

    `missing` names the runs and evaluations without a result; `changed` the run ids that
    other source code made. Results on data that have changed since count as missing.
    """

    rows: pd.DataFrame
    missing: tuple[str, ...]
    changed: tuple[str, ...]

    def of(self, experiment: str, evaluation: str) -> pd.DataFrame:
        """The rows of one experiment's evaluation."""
        rows = self.rows
        if rows.empty:
            return rows
        return rows[(rows["experiment"] == experiment) & (rows["evaluation"] == evaluation)]


def load_frame(suite: Suite, results: Path) -> SuiteFrame:
    """Read the records of every run of `suite` under `results`."""
    records: list[dict[str, Any]] = []
    missing: list[str] = []
    changed: dict[str, None] = {}
    points = point_names(suite)
    for run in suite.runs:
        folder = RunFolder(results, run.run_id)
        wanted = [planned.spec.eval_id for planned in run.evaluations]
        usable = _usable(folder)
        if usable and is_changed(run.record, folder, wanted):
            changed[run.run_id] = None
        common = (
            _common(run, folder) | {"point": points[run.experiment, run.run_id]} if usable else {}
        )
        for planned in run.evaluations:
            evaluation = folder.evaluation(planned.spec.eval_id)
            if not (usable and _evaluated(evaluation)):
                missing.append(f"{run.name}: {planned.label}")
                continue
            identity = {
                "evaluation": planned.name,
                "eval_id": planned.spec.eval_id,
                "folder": str(evaluation.path),
            }
            records += [common | identity | row for row in _measurements(evaluation)]
    frame = pd.DataFrame.from_records(records)
    types = {c.name: c.dtype for c in (*_MEASUREMENT, *_TRAINING)}
    frame = frame.astype({k: v for k, v in types.items() if k in frame.columns})
    _shorten(frame)
    return SuiteFrame(frame, tuple(missing), tuple(changed))


def _shorten(frame: pd.DataFrame) -> None:
    """Call data sets by their short names."""
    if len(frame):
        names = short_names([*map(str, frame["data"]), *map(str, frame["training_data"])])
        for column in ("data", "training_data"):
            frame[column] = frame[column].map(names).astype("string")


def point_names(suite: Suite) -> dict[tuple[str, str], str]:
    """(experiment, run id) -> its place on the axes: `large`, or `depth=4 lr=1`."""
    axes: dict[str, set[str]] = {}
    for run in suite.runs:
        axes.setdefault(run.experiment, set()).update(run.labels)
    return {
        (run.experiment, run.run_id): " ".join(
            label if len(axes[run.experiment]) == 1 else f"{axis}={label}"
            for axis, label in run.labels.items()
        )
        for run in suite.runs
    }


def _usable(folder: RunFolder) -> bool:
    """The run is trained, on data that are still the same."""
    if folder.status().state != "done" or not folder.training.exists():
        return False
    recorded = read_json(folder.provenance) if folder.provenance.exists() else {}
    return not data_changed(recorded.get("data", {}), folder.path.parents[1] / "data")


def _evaluated(evaluation: EvalFolder) -> bool:
    if not evaluation.is_done():
        return False
    recorded = read_json(evaluation.done).get("provenance", {})
    return not data_changed(recorded.get("data", {}), evaluation.path.parents[3] / "data")


def _common(run: PlannedRun, folder: RunFolder) -> dict[str, Any]:
    counted = run.record.parameters(run.config, run.shape)
    training = read_json(folder.training)
    return {
        "run": run.run_id,
        "experiment": run.experiment,
        "adapter": run.adapter_label,
        "family": run.record.family,
        "training_data": run.spec.task.data,
        "train_level": getattr(run.spec.task, "train_level", None),
        "parameters": counted.total,
        "non_embedding": counted.non_embedding,
        "depth": run.spec.config.get("depth"),
        "width": run.spec.config.get("width"),
        "batch_size": run.spec.batch_size,
        **_pick(training, _TRAINING, folder.training),
    }


def _measurements(evaluation: EvalFolder) -> list[dict[str, Any]]:
    return [
        _pick(m, _MEASUREMENT, evaluation.measurements) | {"thinking": _thinking(m, evaluation)}
        for m in evaluation.read()
    ]


def _thinking(measurement: Mapping[str, Any], evaluation: EvalFolder) -> Any:
    try:
        return thinking_of(measurement.get("tags", {}))
    except ValueError as error:
        raise HarnessError(
            "a measurement is of a thinking that this version does not know",
            where=str(evaluation.measurements),
            hint="it was written by another version; remove the folder to redo it",
        ) from error


def _pick(record: Mapping[str, Any], columns: Sequence[Column], path: Path) -> dict[str, Any]:
    picked = {}
    for column in columns:
        value: Any = record
        for part in column.path:
            if not isinstance(value, Mapping) or part not in value:
                if column.required:
                    raise HarnessError(
                        f"the record has no {'.'.join(column.path)!r}",
                        where=str(path),
                        hint="it was written by another version; remove the folder to redo it",
                    )
                value = None
                break
            value = value[part]
        picked[column.name] = value
    return picked
