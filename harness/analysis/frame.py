"""The tidy table: one row per measurement of every run of a suite, by declared columns.

A required column that a record lacks is an error that names the file; any other stays missing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.run_records import RunRecord, suite_records
from harness.analysis.set_names import short_names
from harness.errors import HarnessError
from harness.fields import NUMBER, TEXT, TRUTH, WHOLE, check_seed, refused
from harness.planning.planned import PlannedRun, Suite
from harness.planning.spec import thinking_of
from harness.protocol import Descent, Diffusion, Single
from harness.publishing.layout import PublishedRun, folders_now, published_folder
from harness.records import EvalFolder, RunFolder

#: Seconds before what is published is read again, if it was replaced meanwhile.
_WAITS = (0.1, 0.5, 2.0, 5.0, 10.0)
_REDO = "it was written by another version; remove the folder to redo it"
#: What a column of a type is made of.
_KINDS = {"string": TEXT, "Int64": WHOLE, "Float64": NUMBER, "boolean": TRUTH}
#: The tags that say how a model thought.
_THINKING = tuple(
    dict.fromkeys(name for kind in (Single, Descent, Diffusion) for name in kind.model_fields)
)


@dataclass(frozen=True)
class Column:
    """A column, the key that it is read by, and whether every record must have it."""

    name: str
    key: str
    dtype: str
    required: bool = False


@dataclass(frozen=True)
class Columns:
    """The columns that are read from one part of a record, `""` for the record itself."""

    part: str
    columns: tuple[Column, ...]

    @cached_property
    def _keys(self) -> tuple[str, ...]:
        return tuple(column.key for column in self.columns)

    @cached_property
    def _required(self) -> frozenset[str]:
        return frozenset(column.key for column in self.columns if column.required)

    def values(self, record: Mapping[str, Any], place: Path) -> list[Any]:
        """Each column's value in a record of the file `place`; None where it is missing."""
        part = record.get(self.part) if self.part else record
        part = part if isinstance(part, dict) else {}
        if lacking := self._required - part.keys():
            named = f"{self.part}.{min(lacking)}".lstrip(".")
            raise HarnessError(f"the record has no {named!r}", where=str(place), hint=_REDO)
        return list(map(part.get, self._keys))


_MEASURED = Columns(
    "",
    (
        Column("metric", "name", "string", required=True),
        Column("value", "value", "Float64", required=True),
        Column("n", "n", "Int64", required=True),
        Column("unit", "unit", "string", required=True),
        Column("seed", "train_seed", "Int64", required=True),
        Column("noise_seed", "noise_seed", "Int64", required=True),
        Column("step", "step", "Int64", required=True),
        Column("tokens_seen", "tokens_seen", "Int64", required=True),
        Column("device", "device", "string", required=True),
        Column("higher_is_better", "higher_is_better", "boolean"),
    ),
)
_TAGS = Columns(
    "tags",
    (
        Column("data", "data", "string", required=True),
        Column("split", "split", "string", required=True),
        Column("level", "level", "Float64"),
        Column("kind", "kind", "string"),
        Column("steps", "steps", "Int64"),
        Column("samples", "samples", "Int64"),
        Column("step_size", "step_size", "Float64"),
        Column("extra_steps", "extra_steps", "string"),
        Column("noise", "noise", "string"),
        Column("noise_std", "noise_std", "Float64"),
        Column("accept", "accept", "string"),
        Column("select", "select", "string"),
        Column("tolerance", "tolerance", "Float64"),
        Column("recursions", "recursions", "Int64"),
        Column("start", "start", "string"),
        Column("sampler", "sampler", "string"),
        Column("filter_width", "filter_width", "Float64"),
        Column("trained", "trained", "boolean"),
        Column("windows", "windows", "string"),
        Column("tokens", "tokens", "string"),
        Column("documents", "documents", "Int64"),
        Column("skipped", "skipped", "Int64"),
        Column("dropped", "dropped", "Int64"),
        Column("chance", "chance", "Float64"),
        Column("classes", "classes", "Int64"),
        Column("train_images", "train_images", "Int64"),
        Column("features", "features", "Int64"),
        Column("l2", "l2", "Float64"),
        Column("l2_at_edge", "l2_at_edge", "boolean"),
        Column("converged", "converged", "boolean"),
    ),
)
_COSTS = Columns(
    "cost",
    (
        Column("nfe", "nfe", "Float64"),
        Column("forward", "forward", "Float64"),
        Column("backward", "backward", "Float64"),
        Column("steps_used", "steps_used", "Float64"),
        Column("flops", "flops", "Float64"),
        Column("flops_vocabulary", "flops_vocabulary", "Float64"),
        Column("seconds", "seconds", "Float64"),
        Column("fit_seconds", "fit_seconds", "Float64"),
        Column("peak_memory_bytes", "peak_memory_bytes", "Int64"),
    ),
)
_TRAINING = Columns(
    "",
    (
        Column("training_steps", "steps", "Int64", required=True),
        Column("training_rows", "rows", "Int64", required=True),
        Column("training_tokens", "tokens", "Int64", required=True),
        Column("training_seconds", "seconds", "Float64", required=True),
        Column("training_device", "device", "string", required=True),
        Column("training_flops", "flops", "Float64", required=True),
        Column("training_flops_vocabulary", "flops_vocabulary", "Float64", required=True),
        Column("training_peak_memory_bytes", "peak_memory_bytes", "Int64", required=True),
    ),
)


@dataclass(frozen=True)
class SuiteFrame:
    """Every measurement of a suite's finished evaluations, and what is not there yet.

    Column `thinking` holds each measurement's setting, or None; `folder` where its evaluation lies.

    `missing` names the runs and evaluations without a result; `changed` the run ids that
    other source code made. Results on data that have changed since count as missing. `records` are
    the trained runs by id, some of them published; `elsewhere` the devices that published runs of
    the suite too, which are not read. `diverged` are the ids of runs whose training ended in a loss
    that is not finite: their evaluations are missing for good; `ended` are those runs' folders.
    """

    rows: pd.DataFrame
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    records: Mapping[str, RunRecord] = field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()
    diverged: frozenset[str] = frozenset()
    ended: Mapping[str, RunFolder | PublishedRun] = field(default_factory=dict)

    @property
    def published(self) -> tuple[str, ...]:
        """The ids of the runs that are read, in part or whole, as they were published."""
        return tuple(run_id for run_id, record in self.records.items() if record.reads_published)

    def of(
        self, experiment: str, evaluation: str, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """The rows of one experiment's evaluation; fewer `columns` are taken faster."""
        rows = self.rows
        if rows.empty:
            return rows
        own = (rows["experiment"] == experiment) & (rows["evaluation"] == evaluation)
        return (rows if columns is None else rows[list(columns)])[own]


def load_frame(suite: Suite, results: Path) -> SuiteFrame:
    """Read the record of every run of `suite` under `results`, made here or published.

    What is published anew meanwhile is read again, so that no old and new files are read together.
    """
    run_ids = {run.run_id for run in suite.runs}
    for seconds in _WAITS:
        before = folders_now(results, run_ids)
        try:
            frame = _load(suite, results)
        except HarnessError:
            if folders_now(results, run_ids) == before:
                raise
        else:
            if folders_now(results, run_ids) == before:
                return frame
        time.sleep(seconds)
    raise HarnessError(
        "runs are being published while they are read",
        where=str(published_folder(results)),
        hint="run the same command again once that is done",
    )


def _load(suite: Suite, results: Path) -> SuiteFrame:
    found = suite_records(suite, results)
    table = _Table()
    missing: list[str] = []
    points = point_names(suite)
    for run in suite.runs:
        record = found.runs.get(run.run_id)
        common = None
        for planned in run.evaluations:
            evaluation = None if record is None else record.evaluations.get(planned.eval_id)
            if record is None or evaluation is None:
                missing.append(f"{run.name}: {planned.label}")
                continue
            common = common or _common(run, record, points[run.experiment, run.run_id])
            identity = {
                "evaluation": planned.name,
                "eval_id": planned.eval_id,
                "folder": str(evaluation.folder.path),
            }
            table.add(common | identity, evaluation.folder, run.spec.seed)
    changed = tuple(run_id for run_id, record in found.runs.items() if record.changed)
    frame = table.frame()
    _shorten(frame)
    return SuiteFrame(
        frame,
        tuple(missing),
        changed,
        found.runs,
        found.elsewhere,
        frozenset(found.diverged),
        found.diverged,
    )


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


def _common(run: PlannedRun, record: RunRecord, point: str) -> dict[str, Any]:
    """What all measurements of a run have in common."""
    counted = run.record.parameters(run.config, run.shape)
    training = _TRAINING.values(record.training, record.path / "training.json")
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
        **{c.name: value for c, value in zip(_TRAINING.columns, training, strict=True)},
        "point": point,
    }


class _Table:
    """Rows of measurements; what those of one evaluation have in common is held once."""

    def __init__(self) -> None:
        self._places: list[Path] = []
        self._common: list[dict[str, Any]] = []
        self._counts: list[int] = []
        self._rows: list[list[Any]] = []
        self._thinkings: dict[tuple[Any, ...], Any] = {}

    def add(self, common: dict[str, Any], evaluation: EvalFolder, train_seed: int) -> None:
        """Every measurement of an evaluation."""
        place = evaluation.measurements
        lines = evaluation.read()
        check_seed(lines, train_seed, str(place))
        self._common.append(common)
        self._places.append(place)
        self._counts.append(len(lines))
        self._rows += [self._row(line, place) for line in lines]

    def frame(self) -> pd.DataFrame:
        """Typed columns; none at all where there is no row."""
        if not self._rows:
            return pd.DataFrame()
        common = pd.DataFrame.from_records(self._common)
        common = common.astype({column.name: column.dtype for column in _TRAINING.columns})
        places = np.repeat(np.arange(len(common)), self._counts)
        *measured, thinkings = zip(*self._rows, strict=True)
        declared = (*_MEASURED.columns, *_TAGS.columns, *_COSTS.columns)
        columns = {}
        for column, values in zip(declared, measured, strict=True):
            self._check(column, values)
            columns[column.name] = pd.Series(values, dtype="object")
        own = pd.DataFrame(columns).astype({column.name: column.dtype for column in declared})
        own["thinking"] = pd.Series(thinkings, dtype="object")
        repeated = common.take(places).reset_index(drop=True)
        return pd.concat([repeated, own], axis=1)

    def _check(self, column: Column, values: Sequence[Any]) -> None:
        """HarnessError where a value of a column is of another type."""
        kind = _KINDS[column.dtype].or_null
        if (at := kind.fault(values)) is not None:
            ends = np.cumsum(self._counts)
            evaluation = int(np.searchsorted(ends, at, side="right"))
            line = at - int(ends[evaluation]) + self._counts[evaluation] + 1
            where = f"{self._places[evaluation]}:{line}"
            raise refused(column.key, kind, values[at], where)

    def _row(self, line: Mapping[str, Any], place: Path) -> list[Any]:
        """A measurement's value for each declared column, and its thinking."""
        tags = _TAGS.values(line, place)
        return [
            *_MEASURED.values(line, place),
            *tags,
            *_COSTS.values(line, place),
            self._thinking(line["tags"], place),
        ]

    def _thinking(self, tags: Mapping[str, Any], place: Path) -> Any:
        """What the tags say; worked out once for all that say the same."""
        if "kind" not in tags:
            return None
        key = tuple(tags.get(name, ...) for name in _THINKING)
        try:
            if key not in self._thinkings:
                self._thinkings[key] = thinking_of(tags)
            return self._thinkings[key]
        except (TypeError, ValueError) as error:
            raise HarnessError(
                "a measurement is of a thinking that this version does not know",
                where=str(place),
                hint=_REDO,
            ) from error
