"""What a suite still needs: runs to train and evaluations to do, against the records."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.planning.eval_spec import EvalBase
from harness.planning.planned import PlannedRun
from harness.planning.spec import TrainSpec
from harness.protocol import Frozen
from harness.provenance import is_changed
from harness.records import RunFolder, State, write_json

Standing = Literal["new", "partial", "evaluate", "done", "failed", "changed"]


@dataclass(frozen=True)
class PendingRun:
    """A run with work left; `expected_flops` orders the queue."""

    run_id: str
    spec: TrainSpec
    eval_ids: tuple[str, ...]
    expected_flops: float


def merged(runs: Iterable[PlannedRun]) -> dict[str, tuple[PlannedRun, dict[str, EvalBase]]]:
    """Run id -> the run, and every evaluation (by id) that any experiment wants of it."""
    found: dict[str, tuple[PlannedRun, dict[str, EvalBase]]] = {}
    for run in runs:
        _, evaluations = found.setdefault(run.run_id, (run, {}))
        evaluations |= {e.eval_id: e.spec for e in run.evaluations}
    return found


def standing(run: PlannedRun, eval_ids: Collection[str], results: Path) -> Standing:
    """What the records say of a run.

    `evaluate`: trained, with evaluations missing; `changed`: all done, by other code or data.
    """
    folder = RunFolder(results, run.run_id)
    if not folder.path.exists():
        return "new"
    return standing_in(folder, folder.status().state, run, eval_ids)


def standing_in(
    folder: RunFolder, state: State, run: PlannedRun, eval_ids: Collection[str]
) -> Standing:
    """`standing` of a run whose folder exists and says that it is in `state`."""
    if state == "done" and folder.training.exists():
        if not all(folder.evaluation(e).is_done() for e in eval_ids):
            return "evaluate"
        return "changed" if is_changed(run.record, folder, eval_ids) else "done"
    if state == "failed":
        return "failed"
    return "partial" if folder.train_log.exists() else "new"


def prepare(
    run: PlannedRun, evaluations: Mapping[str, EvalBase], results: Path, flops: float
) -> PendingRun:
    """Write the specs that a worker will read, and name what is left to do."""
    folder = RunFolder(results, run.run_id)
    _write_once(folder.spec, run.spec)
    for eval_id, spec in evaluations.items():
        _write_once(folder.evaluation(eval_id).spec, spec)
    return PendingRun(run.run_id, run.spec, tuple(evaluations), flops)


def _write_once(path: Path, spec: Frozen) -> None:
    """What the suite can write again is not waited for; a crash may have left it empty."""
    if not path.exists() or path.stat().st_size == 0:
        write_json(path, spec.model_dump(mode="json"), durable=False)


def set_aside(run_id: str, results: Path) -> Path:
    """Move a run's folder to `replaced/`, so that it can be done again and nothing is lost."""
    folder = RunFolder(results, run_id)
    target = results / "replaced" / f"{run_id}-{time.time_ns()}"
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.path.rename(target)
    return target
