"""What the page holds of every run beyond its row, and the data of tables and figures, packed.

The browser unpacks it when a run is opened or a CSV is asked for; a thousand runs take some 700
bytes each.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from numbers import Integral, Real
from typing import Any

import pandas as pd

from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.report.curves import Curve
from harness.analysis.report.runs import ReportedRun
from harness.planning.spec import thinking_label
from harness.provenance import without_absolute_paths

#: Of a measurement, in the order of a row in the page.
COLUMNS = (
    *("metric", "value", "unit", "n", "data", "split", "setting", "noise_seed"),
    *("nfe", "flops", "seconds", "trained"),
)
_DIGITS = 6
#: From here on six digits say nothing of what follows the point.
_LARGE = 10.0 ** (_DIGITS - 1)
#: Up to here every whole number is a float of its own.
_EXACT = 2.0**53
#: (run, evaluation) -> its measurements.
Measured = Mapping[tuple[str, str], Sequence[Sequence[Any]]]


@dataclass(frozen=True)
class Detail:
    """How much of each run is held: points of its curve, and measurements of an evaluation (all
    where None).
    """

    points: int
    measurements: int | None


#: From the fullest to the leanest.
DETAILS = (Detail(60, None), Detail(48, 60), Detail(32, 20), Detail(16, 6), Detail(8, 2))


def measured(shown: Sequence[SuiteExhibits]) -> Measured:
    """Every measurement once, as it was recorded."""
    found: dict[tuple[str, str], list[list[Any]]] = {}
    for suite in shown:
        rows = suite.frame.rows
        if rows.empty:
            continue
        first = rows.drop_duplicates(["run", "eval_id", "experiment"])
        kept = first.drop_duplicates(["run", "eval_id"])
        wanted = set(zip(kept["run"], kept["eval_id"], kept["experiment"], strict=True))
        known = set(found)
        table = zip(*(_column(rows, name) for name in _READ), strict=True)
        for run, eval_id, experiment, *values in table:
            if (run, eval_id) in known or (run, eval_id, experiment) not in wanted:
                continue
            found.setdefault((run, eval_id), []).append(_row(values))
    return found


_READ = (
    *("run", "eval_id", "experiment", "metric", "value", "unit", "n", "data", "split"),
    *("thinking", "level", "noise_seed", "nfe", "flops", "seconds", "trained"),
)


def _column(rows: pd.DataFrame, name: str) -> list[Any]:
    values = rows[name]
    return [None if missing else v for v, missing in zip(values, values.isna(), strict=True)]


def _row(values: Sequence[Any]) -> list[Any]:
    metric, value, unit, n, data, split, thinking, level, *rest = values
    setting = "" if thinking is None else thinking_label(thinking)
    if level is not None:
        setting = f"noise {level:g}" + (f", {setting}" if setting else "")
    *rest, trained = rest
    cells = [metric, value, unit, n, data, split, setting, *rest]
    return [*cells, int(bool(trained))]


def _shortened(value: Any) -> Any:
    """A whole number as it is; of others six digits, or one behind the point, so that none looks
    whole; None of what is not finite; anything else as it is.
    """
    if isinstance(value, Integral):
        return int(value)
    if not isinstance(value, Real):
        return value
    number = float(value)
    if not isfinite(number):
        return None
    if number.is_integer():
        return int(number) if abs(number) < _EXACT else number
    return round(number, 1) if abs(number) >= _LARGE else float(f"{number:.{_DIGITS}g}")


def run_details(
    runs: Sequence[ReportedRun], rows: Measured, exhibits: Sequence[str], detail: Detail
) -> dict[str, Any]:
    """All runs by id; origins and exhibits are held once each, long numbers shortened."""
    origins: dict[str, int] = {}
    places = {anchor: index for index, anchor in enumerate(exhibits)}
    found = {
        run.run_id: {
            "uses": [[place.suite, place.run.name] for place in run.places],
            "spec": run.planned.spec.model_dump(mode="json"),
            "origin": _origin(run, origins),
            "training": _training(run),
            "reason": run.status.reason,
            "curve": None if run.curve is None else _curve(run.curve, detail.points),
            "evaluations": _evaluations(run, rows, detail.measurements),
            "exhibits": [places[anchor] for anchor in run.exhibits],
        }
        for run in runs
    }
    return {
        "columns": COLUMNS,
        "exhibits": list(exhibits),
        "origins": [json.loads(text) for text in origins],
        "runs": found,
    }


def _origin(run: ReportedRun, origins: dict[str, int]) -> int | None:
    """Code, packages, data, device and command; runs of one command share it."""
    if not run.provenance:
        return None
    text = json.dumps(without_absolute_paths(run.provenance), sort_keys=True)
    return origins.setdefault(text, len(origins))


def _training(run: ReportedRun) -> dict[str, Any]:
    kept = {key: value for key, value in run.training.items() if value is not None}
    return {key: _shortened(value) for key, value in kept.items()}


def _curve(curve: Curve, points: int) -> dict[str, Any]:
    thinned = curve.thinned(points)
    values = {
        name: [None if v is None else float(f"{v:.4g}") for v in each]
        for name, each in thinned.values.items()
    }
    return {"logged": curve.logged, "steps": thinned.steps, "values": values}


def _evaluations(run: ReportedRun, rows: Measured, most: int | None) -> list[dict[str, Any]]:
    found = []
    for eval_id, (planned, record) in run.evaluations.items():
        own = rows.get((run.run_id, eval_id), ())
        kept = own if most is None else own[:most]
        state = "missing" if record is None else "changed" if record.changed else "done"
        found.append(
            {
                "name": planned.label,
                "id": eval_id,
                "state": state,
                "of": len(own),
                "rows": [[_shortened(cell) for cell in row] for row in kept],
            }
        )
    return found


def packed(value: Any) -> str:
    """JSON, deflated, in base64: text that may stand in a page as it is."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode("ascii")
