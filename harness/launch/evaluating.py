"""A trained run's evaluations, each written whole or not at all."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import replace

from pydantic import TypeAdapter
from torch import nn

from harness.cost import device_name
from harness.data.builtin import dataset_digest
from harness.errors import HarnessError, reason_of
from harness.evals.context import EvalContext
from harness.evals.denoising import evaluate_denoising
from harness.evals.likelihood import evaluate_likelihood
from harness.evals.next_frame import evaluate_next_frame
from harness.evals.thinking import evaluate_thinking
from harness.launch.stop import StopFlag
from harness.planning.spec import (
    DenoisingEval,
    EvalSpec,
    LikelihoodEval,
    NextFrameEval,
    ThinkingEval,
)
from harness.provenance import provenance
from harness.records import EvalFolder, Measurement, RunFolder, read_json
from harness.training import checkpoint as ckpt

_AnyEval = LikelihoodEval | ThinkingEval | DenoisingEval | NextFrameEval
_EVAL: TypeAdapter[_AnyEval] = TypeAdapter(EvalSpec)


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
    final = _final_checkpoint(folder)
    assert isinstance(context.adapter, nn.Module)
    ckpt.load_model(final, context.adapter)
    per_step = context.spec.tokens_per_step
    context = replace(
        context, step=final.step, tokens_seen=None if per_step is None else final.step * per_step
    )
    reasons = []
    for evaluation in missing:
        spec = _EVAL.validate_python(read_json(evaluation.spec))
        try:
            with stop.interrupting():
                _evaluate(spec, evaluation, context, command)
        except Exception as error:
            traceback.print_exc()
            evaluation.note_end("failed", reason_of(error))
            name = f"evaluation {evaluation.path.name} ({spec.kind} on {spec.data})"
            reasons.append(f"{name}: {reason_of(error)}")
    return reasons


def _final_checkpoint(folder: RunFolder) -> ckpt.Checkpoint:
    """The checkpoint that training ended with; HarnessError where it is gone or damaged."""
    newest = ckpt.newest_checkpoint(folder.checkpoints)
    recorded = read_json(folder.training)
    if newest is None or newest.weights_hash() != recorded["weights_sha256"]:
        raise HarnessError(
            "the run is trained, but its final checkpoint is gone or damaged, so it cannot be "
            "evaluated",
            hint=f"remove runs/{folder.run_id} to train it again",
        )
    return newest


def _evaluate(
    spec: _AnyEval,
    folder: EvalFolder,
    context: EvalContext,
    command: Sequence[str],
) -> None:
    began = time.monotonic()
    found: list[Measurement]
    if isinstance(spec, LikelihoodEval):
        found = evaluate_likelihood(spec, context)
    elif isinstance(spec, ThinkingEval):
        found = evaluate_thinking(spec, context, folder.path)
    elif isinstance(spec, NextFrameEval):
        found = evaluate_next_frame(spec, context)
    else:
        found = evaluate_denoising(spec, context, folder.path)
    folder.error.unlink(missing_ok=True)
    folder.write(
        spec.model_dump(mode="json"),
        found,
        seconds=time.monotonic() - began,
        provenance=provenance(
            context.record,
            device=device_name(context.device, context.spec.threads),
            data={f"{spec.data}/{spec.split}": dataset_digest(spec.data, spec.split)},
            command=command,
        ),
    )
