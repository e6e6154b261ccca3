"""Writes records of a suite without training anything, so that analysis can be checked by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness.launch.pending import prepare
from harness.planning.eval_spec import EvalBase
from harness.planning.planned import PlannedRun, Suite
from harness.provenance import source_digest
from harness.records import Measurement, RunFolder, write_json

Evaluator = Callable[[PlannedRun, EvalBase, Path], list[Measurement]]


def write_run(run: PlannedRun, results: Path, evaluator: Evaluator) -> None:
    """Record `run` as done, with `evaluator`'s measurements for each of its evaluations."""
    prepare(run, {e.spec.eval_id: e.spec for e in run.evaluations}, results, 0.0)
    folder = RunFolder(results, run.run_id)
    write_json(
        folder.training,
        {
            "steps": 10,
            "rows": 80,
            "tokens": 1280,
            "seconds": 2.0,
            "flops": 5e9,
            "flops_vocabulary": 1e9,
            "peak_memory_bytes": 1_000_000,
            "device": "test device",
            "weights_sha256": "00",
        },
    )
    write_json(folder.provenance, {"source_digest": source_digest(run.record)})
    folder.set_status("done", step=10, total_steps=10)
    for planned in run.evaluations:
        evaluation = folder.evaluation(planned.spec.eval_id)
        evaluation.path.mkdir(parents=True, exist_ok=True)
        found = evaluator(run, planned.spec, evaluation.path)
        evaluation.write(
            planned.spec.model_dump(mode="json"),
            found,
            provenance={"source_digest": source_digest(run.record)},
        )


def write_suite(suite: Suite, results: Path, evaluator: Evaluator) -> None:
    for run in suite.runs:
        write_run(run, results, evaluator)


def measured(run: PlannedRun, name: str, value: float | None, **given: Any) -> Measurement:
    """A measurement with defaults for what a test does not care about."""
    defaults: dict[str, Any] = {
        "n": 100,
        "unit": "nats/token",
        "higher_is_better": False,
        "step": 10,
        "tokens_seen": 1280,
        "train_seed": run.spec.seed,
        "noise_seed": 0,
        "device": "test device",
        "tags": {"data": "builtin/docs", "split": "validation"},
        "cost": {},
    }
    return Measurement(name=name, value=value, **(defaults | given))


def save_documents(folder: Path, settings: list[str], sums: np.ndarray, n: np.ndarray) -> None:
    """by_document.npz as the thinking evaluator writes it."""
    np.savez_compressed(folder / "by_document.npz", sums=sums, n=n, settings=np.array(settings))
