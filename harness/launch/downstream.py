"""Evaluations of one trained run by hand, beside whatever its suite does."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.errors import HarnessError, reason_of
from harness.planning.eval_spec import EvalBase
from harness.provenance import is_of_old
from harness.records import EvalFolder, RunFolder, locked, read_json, write_json
from harness.registry import adapter as find_adapter

if TYPE_CHECKING:
    from harness.evals.context import EvalContext


@dataclass(frozen=True)
class Done:
    """How an evaluation ended, and why where it failed."""

    spec: EvalBase
    folder: EvalFolder
    how: Literal["found", "done", "failed"]
    reason: str | None = None


def evaluate_by_hand(
    folder: RunFolder,
    specs: Sequence[EvalBase],
    results: Path,
    *,
    device: str,
    command: Sequence[str],
    note: Callable[[str], None],
) -> list[Done]:
    """Do each evaluation that is not done; one that fails stops no other.

    What is done stays as it is, with a note where other source code or data made it. Another
    process at the same evaluation is waited for. HarnessError where the run is not trained;
    KeyboardInterrupt leaves what was answered on disk.
    """
    context: EvalContext | None = None
    ends = []
    for spec in specs:
        evaluation = folder.evaluation(spec.eval_id)
        if evaluation.is_done():
            if is_of_old(find_adapter(read_json(folder.spec)["adapter"]), evaluation):
                note(
                    f"{spec.data}: found done, but by other source code or data than there are now;"
                    f" to do it anew, remove {evaluation.path}"
                )
            ends.append(Done(spec, evaluation, "found"))
            continue
        if context is None:
            note(f"loading {folder.run_id}")
            context = _loaded(folder, device, results)
        note(f"{spec.data} on {folder.run_id}")
        ends.append(_alone(spec, evaluation, context, command, note))
    return ends


def _loaded(folder: RunFolder, device: str, results: Path) -> EvalContext:
    from harness.launch.trained import trained  # loads torch, which results found done need not
    from harness.training.parallel import device_of

    return trained(folder, device_of(device), results)


def _alone(
    spec: EvalBase,
    evaluation: EvalFolder,
    context: EvalContext,
    command: Sequence[str],
    note: Callable[[str], None],
) -> Done:
    lock = evaluation.path / ".lock"
    with locked(lock) as held:
        if held:
            return _evaluated(spec, evaluation, context, command)
    note(f"{spec.data}: another process is at it; waiting for its result")
    with locked(lock, wait_seconds=float("inf")):
        if evaluation.is_done():
            return Done(spec, evaluation, "found")
        return _evaluated(spec, evaluation, context, command)


def _evaluated(
    spec: EvalBase, evaluation: EvalFolder, context: EvalContext, command: Sequence[str]
) -> Done:
    if evaluation.is_done():
        return Done(spec, evaluation, "found")
    from harness.launch.evaluating import evaluate

    write_json(evaluation.spec, spec.model_dump(mode="json"))
    try:
        evaluate(spec, evaluation, context, command)
    except KeyboardInterrupt:
        with suppress(OSError, HarnessError):
            evaluation.note_end("stopped", "interrupted; the same command goes on")
        raise
    except Exception as error:
        if not isinstance(error, HarnessError):
            traceback.print_exc()
        evaluation.note_end("failed", reason_of(error))
        return Done(spec, evaluation, "failed", str(error))
    return Done(spec, evaluation, "done")
