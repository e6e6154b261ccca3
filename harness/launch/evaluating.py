"""A trained run's evaluations, each written whole or not at all."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from harness.cost import device_name
from harness.data.decoded import content_digests
from harness.data.measured import prepared_digest
from harness.data.pixels.recipes import check_local
from harness.data.pixels.sources import names_pixels, split_pixels
from harness.data.task_files import find_task, task_digest, task_key
from harness.errors import reason_of
from harness.evals.context import EvalContext
from harness.evals.denoising import evaluate_denoising
from harness.evals.energy import evaluate_energy
from harness.evals.likelihood import evaluate_likelihood
from harness.evals.lm_tasks import evaluate_lm_task
from harness.evals.next_frame import evaluate_next_frame
from harness.evals.probe import evaluate_probe
from harness.evals.thinking import evaluate_thinking
from harness.launch.stop import StopFlag
from harness.launch.trained import with_weights
from harness.planning.eval_spec import (
    DenoisingEval,
    EnergyEval,
    EvalBase,
    EvalSpec,
    LikelihoodEval,
    LmTaskEval,
    NextFrameEval,
    ProbeEval,
    ThinkingEval,
)
from harness.provenance import provenance
from harness.records import EvalFolder, Measurement, RunFolder, read_json

_EVAL: TypeAdapter[Any] = TypeAdapter(EvalSpec)

#: Each kind of evaluation's function; what it keeps beside its measurements goes into the folder.
EVALUATORS: dict[type[EvalBase], Callable[[Any, EvalContext, Path], list[Measurement]]] = {
    LikelihoodEval: evaluate_likelihood,
    ThinkingEval: evaluate_thinking,
    EnergyEval: evaluate_energy,
    LmTaskEval: evaluate_lm_task,
    NextFrameEval: evaluate_next_frame,
    DenoisingEval: evaluate_denoising,
    ProbeEval: evaluate_probe,
}


def check_prepared(evaluations: Sequence[EvalFolder], cache: Path) -> None:
    """HarnessError where one reads images of the Hub that were not prepared into `cache`.

    Looks at no image, so that it is known before hours of training.
    """
    for evaluation in evaluations:
        spec = _EVAL.validate_python(read_json(evaluation.spec))
        if not names_pixels(spec.data):
            continue
        for split in _splits(spec):
            found = split_pixels(spec.data, split)
            if not found.source.is_local and prepared_digest(spec.data, split, cache) is None:
                check_local(found)


def evaluate_all(
    folder: RunFolder,
    missing: Sequence[EvalFolder],
    context: EvalContext,
    stop: StopFlag,
    command: Sequence[str],
) -> list[str]:
    """Do every missing evaluation; one that raises stops no other. Returns why some failed.

    The final checkpoint is evaluated; HarnessError where it is gone or damaged. A signal interrupts
    an evaluation: Stopped.
    """
    context = with_weights(context, folder)
    reasons = []
    for evaluation in missing:
        spec = _EVAL.validate_python(read_json(evaluation.spec))
        try:
            with stop.interrupting():
                evaluate(spec, evaluation, context, command)
        except Exception as error:
            traceback.print_exc()
            evaluation.note_end("failed", reason_of(error))
            name = f"evaluation {evaluation.path.name} ({spec.kind} on {spec.data})"
            reasons.append(f"{name}: {reason_of(error)}")
    return reasons


def evaluate(
    spec: EvalBase, folder: EvalFolder, context: EvalContext, command: Sequence[str]
) -> None:
    """Do one evaluation of a trained adapter and write its record."""
    began = time.monotonic()
    found = EVALUATORS[type(spec)](spec, context, folder.path)
    folder.error.unlink(missing_ok=True)
    folder.write(
        spec.model_dump(mode="json"),
        found,
        seconds=time.monotonic() - began,
        provenance=provenance(
            context.record,
            device=device_name(context.device, context.spec.threads),
            data=evaluation_digests(spec, context.cache),
            command=command,
        ),
    )


def evaluation_digests(spec: EvalBase, cache: Path) -> dict[str, str]:
    """Name -> digest, as of now, of what an evaluation covers."""
    if isinstance(spec, LmTaskEval):
        found = find_task(spec.data, spec.include)
        return {task_key(spec.data, spec.include): task_digest(found)}
    digests: dict[str, str] = {}
    for split in _splits(spec):
        digests |= content_digests(spec.data, split, cache=cache)
    return digests


def _splits(spec: EvalBase) -> tuple[str, ...]:
    """What is measured on, and what is fitted on before."""
    return ("train", spec.split) if isinstance(spec, ProbeEval) else (spec.split,)
