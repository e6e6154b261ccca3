"""The tidy table: typed columns, missing values that stay missing, errors that name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.analysis.frame import load_frame
from harness.errors import HarnessError
from harness.planning.planned import Suite
from harness.protocol import Descent, Single
from harness.records import RunFolder, read_json, write_json
from tests.publishing.trained import suite_in, write_all, write_trained


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return suite_in(tmp_path)


def rewrite(suite: Suite, results: Path, change: dict[str, Any]) -> Path:
    """Change every measurement of the first run's first evaluation; None removes a key."""
    run = suite.runs[0]
    evaluation = RunFolder(results, run.run_id).evaluation(run.evaluations[0].eval_id)
    lines = []
    for line in evaluation.read():
        for place, value in change.items():
            *above, key = place.split(".")
            part = line[above[0]] if above else line
            part[key] = value
            if value is None:
                del part[key]
        lines.append(json.dumps(line) + "\n")
    evaluation.measurements.write_text("".join(lines))
    return evaluation.measurements


def test_no_run_gives_no_row_and_names_what_is_missing(suite: Suite, tmp_path: Path) -> None:
    frame = load_frame(suite, tmp_path)
    assert frame.rows.empty
    assert frame.of("text", "validation").empty
    assert frame.missing[0] == f"{suite.runs[0].name}: validation on builtin/docs"
    assert len(frame.missing) == 2 * len(suite.runs)
    assert frame.records == {}


def test_columns_have_types_and_what_is_missing_stays_missing(suite: Suite, tmp_path: Path) -> None:
    write_all(suite.runs, tmp_path)
    rows = load_frame(suite, tmp_path).rows
    assert len(rows) == 4 * 2 + 4 * 3, "one line of Transformer++'s thinking, two of the EBT's"
    types = {"value": "Float64", "n": "Int64", "steps": "Int64", "device": "string"}
    types |= {"trained": "boolean", "nfe": "Float64", "training_flops": "Float64"}
    assert {name: str(rows[name].dtype) for name in types} == types
    validation = rows[rows["evaluation"] == "validation"]
    for name in ("steps", "nfe", "trained", "level", "peak_memory_bytes", "kind"):
        assert validation[name].isna().all(), name
        assert not (validation[name] == 0).any(), name
    assert rows["value"].notna().all()
    assert set(rows["training_tokens"]) == {1280}


def test_a_value_that_is_null_is_missing_not_nan(suite: Suite, tmp_path: Path) -> None:
    write_trained(suite.runs[0], tmp_path)
    path = rewrite(suite, tmp_path, {"n": 7})
    path.write_text(path.read_text().replace('"value": 3.0', '"value": null'))
    (value,) = load_frame(suite, tmp_path).of("text", "validation")["value"]
    assert value is pd.NA


def test_what_a_run_has_in_common_stands_in_each_of_its_rows(suite: Suite, tmp_path: Path) -> None:
    write_all(suite.runs, tmp_path)
    rows = load_frame(suite, tmp_path).rows
    for run in suite.runs:
        own = rows[rows["run"] == run.run_id]
        assert set(own["width"]) == {run.spec.config["width"]}
        assert set(own["point"]) == {run.labels["size"]}
        assert set(own["seed"]) == {run.spec.seed}
        assert set(own["adapter"]) == {run.adapter_label}
        for evaluation, folder in zip(own["eval_id"], own["folder"], strict=True):
            assert Path(folder) == RunFolder(tmp_path, run.run_id).evaluation(evaluation).path


def test_thinking_is_read_of_each_measurement(suite: Suite, tmp_path: Path) -> None:
    write_all(suite.runs, tmp_path)
    rows = load_frame(suite, tmp_path).of("text", "thinking")
    for row in rows.itertuples():
        if row.adapter == "ebt":
            assert row.thinking == Descent(steps=row.steps, samples=1)
        else:
            assert row.thinking == Single()
    assert set(rows["steps"].dropna()) == {2, 4}
    assert load_frame(suite, tmp_path).of("text", "validation")["thinking"].isna().all()


@pytest.mark.parametrize("lacking", ["value", "unit", "tags.data", "tags.split"])
def test_a_record_without_what_is_required_is_named(
    lacking: str, suite: Suite, tmp_path: Path
) -> None:
    write_trained(suite.runs[0], tmp_path)
    path = rewrite(suite, tmp_path, {lacking: None})
    with pytest.raises(HarnessError, match=rf"(?s){path}.*has no '{lacking}'"):
        load_frame(suite, tmp_path)


def test_so_is_a_training_without_its_cost(suite: Suite, tmp_path: Path) -> None:
    path = write_trained(suite.runs[0], tmp_path).training
    write_json(path, {name: each for name, each in read_json(path).items() if name != "flops"})
    with pytest.raises(HarnessError, match=rf"(?s){path}.*has no 'flops'"):
        load_frame(suite, tmp_path)


@pytest.mark.parametrize("steps", [-1, [2], "many"])
def test_a_thinking_of_another_version_is_named(
    steps: object, suite: Suite, tmp_path: Path
) -> None:
    write_trained(suite.runs[0], tmp_path)
    path = rewrite(suite, tmp_path, {"tags.kind": "descent", "tags.steps": steps})
    with pytest.raises(HarnessError, match=rf"(?s){path}.*a thinking that this version does not"):
        load_frame(suite, tmp_path)
