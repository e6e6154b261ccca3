"""One process's work: spec -> data -> adapter -> train -> evaluate -> status.

Run as `python -m harness.launch.worker --results DIR`: reads one JSON job per line on standard
input, writes one JSON event per line on standard output, and keeps torch loaded between jobs. What
the job itself prints goes to the run's log.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import nn

from harness.data.builtin import dataset_digest, load_images
from harness.data.images import ImageRows
from harness.data.text import TextRows, prepare_text
from harness.errors import HarnessError
from harness.evals.context import EvalContext, device_name
from harness.evals.denoising import evaluate_denoising
from harness.evals.likelihood import evaluate_likelihood
from harness.evals.thinking import evaluate_thinking
from harness.launch.job import Job
from harness.planning.shapes import shape_of
from harness.planning.spec import (
    DenoisingEval,
    EvalSpec,
    LikelihoodEval,
    NextTokenTask,
    ThinkingEval,
    TrainSpec,
)
from harness.protocol import Adapter, ImageShape, TextShape
from harness.provenance import provenance
from harness.records import EvalFolder, Measurement, RunFolder, read_json, write_json
from harness.registry import adapter as find_adapter
from harness.registry import load_factory
from harness.training import checkpoint as ckpt
from harness.training.batches import RowBatches
from harness.training.loop import NonFiniteLoss, Operation, train

Event = dict[str, Any]
_EVAL: TypeAdapter[LikelihoodEval | ThinkingEval | DenoisingEval] = TypeAdapter(EvalSpec)


class Stopped(BaseException):
    """A signal asked for an end outside training."""


class StopFlag:
    """Set by SIGINT and SIGTERM; training looks at it, evaluations are interrupted by it."""

    def __init__(self) -> None:
        self.asked = False
        self.interrupt = False

    def install(self) -> None:
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if self.interrupt:
            raise Stopped

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let a signal end the work inside at once (it writes its result last)."""
        self.interrupt = True
        try:
            if self.asked:
                raise Stopped
            yield
        finally:
            self.interrupt = False


def work(results: Path, job: Job, *, stop: StopFlag, emit: Callable[[Event], None]) -> str:
    """Train and evaluate one run; returns `done`, `failed`, `stopped` or `held`.

    Every ending is recorded in status.json with its reason; no exception of the run escapes.
    """
    folder = RunFolder(results, job.run_id)
    with folder.claim() as held:
        if not held:
            return "held"
        progress: dict[str, Any] = {}

        def note(event: Event) -> None:
            progress.update({k: event[k] for k in ("step", "total_steps") if k in event})
            emit({"run": job.run_id, **event})

        try:
            return _work(results, folder, job, stop, note)
        except (Stopped, KeyboardInterrupt):
            folder.set_status("stopped", "stopped by a signal; run again to continue", **progress)
            return "stopped"
        except NonFiniteLoss as error:
            folder.set_status("failed", f"not finite: {error}", **progress)
        except Exception as error:
            traceback.print_exc()
            folder.set_status("failed", _reason(error), **progress)
        return "failed"


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _work(
    results: Path, folder: RunFolder, job: Job, stop: StopFlag, emit: Callable[[Event], None]
) -> str:
    spec = TrainSpec.model_validate(read_json(folder.spec))
    torch.set_num_threads(spec.threads)
    device = _device(job.device)
    record = find_adapter(spec.adapter)
    config = record.config.model_validate(spec.config)
    shape = shape_of(spec.task)
    torch.manual_seed(spec.seed)
    adapter: Adapter = load_factory(record)(config, shape).to(device)
    cache = results / "data"
    if folder.status().state != "done" or not folder.training.exists():
        folder.set_status("running")
        emit({"event": "phase", "phase": "train"})
        data = {f"{spec.task.data}/train": dataset_digest(spec.task.data, "train")}
        known = provenance(record, device=device_name(device, spec.threads), data=data)
        write_json(folder.provenance, known)
        total = spec.total_steps(record.training_flops(config, shape).total)
        operation = Operation(
            checkpoint_seconds=job.checkpoint_seconds,
            checkpoint_steps=job.checkpoint_steps,
            should_stop=lambda: stop.asked,
            on_progress=lambda line: emit({"event": "progress", **line}),
        )
        batches = RowBatches(_training_rows(spec, cache), spec, device)
        vocab_size = shape.vocab_size if isinstance(shape, TextShape) else None
        finished = train(
            spec, adapter, batches, folder,
            total_steps=total, operation=operation, vocab_size=vocab_size,
        )
        if not finished:
            raise Stopped
        folder.set_status("done", step=read_json(folder.training)["steps"], total_steps=total)
    return _evaluate_all(results, folder, job, stop, emit, adapter, spec, device)


def _training_rows(spec: TrainSpec, cache: Path) -> TextRows | ImageRows:
    task = spec.task
    if isinstance(task, NextTokenTask):
        shards = prepare_text(task.data, "train", tokenizer=task.tokenizer, cache=cache)
        return TextRows(shards, context=task.context, rows=task.rows, drop_last=True)
    return ImageRows(load_images(task.data, "train"))


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _evaluate_all(
    results: Path,
    folder: RunFolder,
    job: Job,
    stop: StopFlag,
    emit: Callable[[Event], None],
    adapter: Adapter,
    spec: TrainSpec,
    device: torch.device,
) -> str:
    missing = [e for e in map(folder.evaluation, job.eval_ids) if not e.is_done()]
    if not missing:
        return "done"
    final = ckpt.newest_checkpoint(folder.checkpoints)
    if final is None:
        raise HarnessError(
            "the run is done but its checkpoint is gone or damaged, so it cannot be evaluated",
            where=str(folder.checkpoints), hint="remove the run folder to train it again",
        )
    assert isinstance(adapter, nn.Module)
    ckpt.load_model(final, adapter)
    context = EvalContext(
        adapter=adapter, record=find_adapter(spec.adapter),
        config=find_adapter(spec.adapter).config.model_validate(spec.config),
        shape=shape_of(spec.task), spec=spec, device=device, cache=results / "data",
        step=final.step,
        tokens_seen=None if spec.tokens_per_step is None else final.step * spec.tokens_per_step,
    )
    failed = False
    for evaluation in missing:
        emit({"event": "phase", "phase": "evaluate"})
        try:
            with stop.interrupting():
                _evaluate(evaluation, context)
        except Exception as error:
            failed = True
            traceback.print_exc()
            write_json(evaluation.error, {"reason": _reason(error), "time": time.time()})
    return "failed" if failed else "done"


def _evaluate(folder: EvalFolder, context: EvalContext) -> None:
    spec = _EVAL.validate_python(read_json(folder.spec))
    began = time.monotonic()
    found: list[Measurement]
    if isinstance(spec, LikelihoodEval):
        found = evaluate_likelihood(spec, context)
    elif isinstance(spec, ThinkingEval):
        found = evaluate_thinking(spec, context, folder.path)
    else:
        assert isinstance(context.shape, ImageShape)
        found = evaluate_denoising(spec, context, folder.path)
    folder.error.unlink(missing_ok=True)
    folder.write(
        spec.model_dump(mode="json"), found,
        seconds=time.monotonic() - began,
        provenance=provenance(
            context.record, device=device_name(context.device, context.spec.threads),
            data={f"{spec.data}/{spec.split}": dataset_digest(spec.data, spec.split)},
        ),
    )


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Send everything printed, by Python or below it, to the run's log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    saved = os.dup(1), os.dup(2)
    with path.open("a") as log:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            os.close(saved[0])
            os.close(saved[1])


def main(arguments: list[str] | None = None) -> None:
    """Serve jobs until standard input ends."""
    parser = argparse.ArgumentParser(prog="harness worker")
    parser.add_argument("--results", type=Path, required=True)
    results: Path = parser.parse_args(arguments).results
    events = os.fdopen(os.dup(1), "w", buffering=1)

    def emit(event: Mapping[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")

    stop = StopFlag()
    stop.install()
    warnings.simplefilter("default")
    for line in sys.stdin:
        job = Job.of(line)
        folder = RunFolder(results, job.run_id)
        with _output_to(folder.logs / "worker.log"):
            ending = work(results, job, stop=stop, emit=emit)
        emit({"event": "end", "run": job.run_id, "ending": ending, "reason": folder.status().reason})
        if stop.asked:
            break



if __name__ == "__main__":
    main()
