"""One process's work: spec -> data -> adapter -> train -> evaluate -> status.

Run as `python -m harness.launch.worker --results DIR`: reads one JSON job per line on standard
input, writes one JSON event per line on standard output, and keeps torch loaded between jobs. What
the job itself prints, tracebacks included, goes to the run's log.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from harness.capabilities import Compiles
from harness.cost import device_name
from harness.data.datasets import load_clips, load_images
from harness.data.images import ImageRows
from harness.data.text import TextRows, prepare_text
from harness.data.video import ClipRows
from harness.errors import HarnessError, reason_of
from harness.evals.context import EvalContext
from harness.launch.claims import claim_of
from harness.launch.evaluating import check_prepared, evaluate_all
from harness.launch.job import Job
from harness.launch.preconditions import begun, check_data, check_device_class, data_digests
from harness.launch.stop import StopFlag, Stopped
from harness.launch.trained import untrained
from harness.planning.spec import NextFrameTask, NextTokenTask, TrainSpec
from harness.protocol import TextShape
from harness.provenance import provenance
from harness.records import RunFolder, read_json, write_json
from harness.training.batches import RowBatches
from harness.training.loop import NonFiniteLoss, Operation, train
from harness.training.parallel import ALONE, Ranks, check_parts, device_of, lost_peer

Event = dict[str, Any]


@dataclass(frozen=True)
class Ending:
    """How work on a run ended, and why where it is not done."""

    how: Literal["done", "failed", "stopped", "held"]
    reason: str | None = None


def work(
    results: Path,
    job: Job,
    *,
    stop: StopFlag,
    emit: Callable[[Event], None],
    ranks: Ranks = ALONE,
) -> Ending:
    """Train and evaluate one run, unless another process holds it.

    Every rank calls it. Rank 0 holds the run, writes and evaluates; the others return once training
    has ended, and with it their group (`Ranks.leave`). No exception of the run escapes. status.json
    says how training ended and why; evaluations after it leave it alone.
    """
    folder = RunFolder(results, job.run_id)
    leads = ranks.rank == 0
    with folder.hold(wait_seconds=job.hold_seconds) if leads else nullcontext(True) as held:
        progress: dict[str, Any] = {}

        def note(event: Event) -> None:
            progress.update({k: event[k] for k in ("step", "total_steps") if k in event})
            if leads:
                emit({"run": job.run_id, **event})

        def run() -> Ending:
            elsewhere = ranks.broadcast(_elsewhere(folder, job, held=held) if leads else None)
            return elsewhere or _work(results, folder, job, stop, note, ranks)

        own = _ending(run, ranks)
        ending = _as_first_told(own, ranks)
        told = leads or (own.how == "failed" and own == ending)
        if told and ending.how in ("failed", "stopped") and not folder.training.exists():
            try:
                folder.set_status(ending.how, ending.reason, **progress)
            except OSError:  # a full disk: the caller still hears the reason
                traceback.print_exc()
        return ending


def _elsewhere(folder: RunFolder, job: Job, *, held: bool) -> Ending | None:
    """That the run is another's, if it is."""
    if not held:
        return Ending("held", "another process works on it")
    claim = claim_of(folder)
    if claim is not None and str(claim) != job.claim:
        return Ending("held", f"submission {claim.submission} has it")
    return None


def _ending(run: Callable[[], Ending], ranks: Ranks) -> Ending:
    try:
        return run()
    except (Stopped, KeyboardInterrupt):
        return Ending("stopped", "stopped by a signal; run again to continue")
    except NonFiniteLoss as error:
        return Ending("failed", f"not finite: {error}")
    except Exception as error:
        traceback.print_exc()
        if lost_peer(error):
            return Ending("failed", "another process of the run ended and gave no reason; see logs")
        own = ranks.rank > 0 and not isinstance(error, HarnessError)
        return Ending(
            "failed", f"rank {ranks.rank}: {reason_of(error)}" if own else reason_of(error)
        )


def _as_first_told(ending: Ending, ranks: Ranks) -> Ending:
    """The ending for the reason that the rank which failed first gave: the others lost it."""
    if ending.how != "failed" or ending.reason is None:
        return ending
    return replace(ending, reason=ranks.first_reason(ending.reason) or ending.reason)


def _work(
    results: Path,
    folder: RunFolder,
    job: Job,
    stop: StopFlag,
    emit: Callable[[Event], None],
    ranks: Ranks,
) -> Ending:
    missing = [e for e in map(folder.evaluation, job.eval_ids) if not e.is_done()]
    trained = ranks.broadcast(folder.training.exists())
    if trained:
        ranks.leave()
        if ranks.rank or (folder.status().state == "done" and not missing):
            return Ending("done")
    spec = TrainSpec.model_validate(read_json(folder.spec))
    check_parts(spec, ranks)
    torch.set_num_threads(spec.threads)
    device = device_of(job.device, None if ranks.size == 1 else ranks.local_rank)
    data = data_digests(spec, results / "data")
    check_data(folder, data)
    context = untrained(spec, device, results)
    if not trained:
        check_prepared(missing, results / "data")
        _record_origin(folder, context, job, data, ranks)
        _train(folder, context, job, stop, emit, ranks)
        ranks.leave()
    if ranks.rank:
        return Ending("done")
    if folder.status().state != "done":
        steps = read_json(folder.training)["steps"]
        folder.set_status("done", step=steps, total_steps=steps)
    if not missing:
        return Ending("done")
    emit({"event": "phase", "phase": "evaluate"})
    reasons = evaluate_all(folder, missing, context, stop, job.command)
    return Ending("failed", "; ".join(reasons)) if reasons else Ending("done")


def _record_origin(
    folder: RunFolder, context: EvalContext, job: Job, data: dict[str, str], ranks: Ranks
) -> None:
    """Write what the run is made by and of; where it was begun by something else, both."""
    device = device_name(context.device, context.spec.threads)
    check_device_class(context.spec, device)
    devices = dict.fromkeys(ranks.all_gather(device))  # until all have looked at what was there
    if ranks.rank:
        return
    folder.set_status("running")
    known = provenance(context.record, device="+".join(devices), data=data, command=job.command)
    known["processes"] = ranks.size
    if begun(folder):
        before = {"processes": 1} | read_json(folder.provenance)
        for key in ("source_digest", "device", "processes"):
            if before[key] != known[key]:
                known[key] = f"{before[key]}+{known[key]}"
    write_json(folder.provenance, known)


def _train(
    folder: RunFolder,
    context: EvalContext,
    job: Job,
    stop: StopFlag,
    emit: Callable[[Event], None],
    ranks: Ranks,
) -> None:
    """Train to the end of the budget; Stopped where a signal asked for an end before."""
    spec, record, shape = context.spec, context.record, context.shape
    emit({"event": "phase", "phase": "train"})
    if spec.compile:
        assert isinstance(context.adapter, Compiles), "planning asks the record"
        torch._dynamo.reset()  # of what earlier runs of this worker compiled
        torch._dynamo.config.optimize_ddp = False  # the body is compiled whole, as alone
        context.adapter.compile_body()
    replay_bytes = record.replay_bytes
    operation = Operation(
        log_every=job.log_every,
        checkpoint_seconds=job.checkpoint_seconds,
        checkpoint_steps=job.checkpoint_steps,
        replays=replay_bytes is not None and replay_bytes(context.config, shape) > 0,
        should_stop=lambda: stop.asked,
        on_progress=lambda line: emit({"event": "progress", **line}),
    )
    finished = train(
        spec,
        context.adapter,
        RowBatches(_training_rows(spec, context.cache), spec, context.device, ranks),
        folder,
        total_steps=spec.total_steps(record.training_flops(context.config, shape).total),
        operation=operation,
        vocab_size=shape.vocab_size if isinstance(shape, TextShape) else None,
        ranks=ranks,
    )
    if not finished:
        raise Stopped


def _training_rows(spec: TrainSpec, cache: Path) -> TextRows | ImageRows | ClipRows:
    task = spec.task
    if isinstance(task, NextTokenTask):
        shards = prepare_text(task.data, "train", tokenizer=task.tokenizer, cache=cache)
        return TextRows(shards, context=task.context, rows=task.rows, drop_last=True)
    if isinstance(task, NextFrameTask):
        clips = load_clips(task.data, "train", cache=cache, autoencoder=task.autoencoder)
        return ClipRows(clips, context=task.context)
    return ImageRows(load_images(task.data, "train", cache=cache))


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Send everything printed, by Python or below it, to a run's log."""
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
    stop = StopFlag()
    stop.install()

    def emit(event: Mapping[str, Any]) -> None:
        try:
            events.write(json.dumps(event) + "\n")
        except BrokenPipeError:  # whoever gave the job is gone: keep what is done, and end
            stop.asked = True

    while not stop.asked and (job := _next_job(stop)) is not None:
        with output_to(RunFolder(results, job.run_id).logs / "worker.log"):
            ending = work(results, job, stop=stop, emit=emit)
            when = time.strftime("%Y-%m-%d %H:%M:%S")
            print(f"{when} {ending.how}" + (f": {ending.reason}" if ending.reason else ""))
        emit({"event": "end", "run": job.run_id, "ending": ending.how, "reason": ending.reason})


def _next_job(stop: StopFlag) -> Job | None:
    """The next line of standard input; None at its end, or when a signal comes while idle."""
    try:
        with stop.interrupting():
            line = sys.stdin.readline()
    except Stopped:
        return None
    return Job.of(line) if line else None


if __name__ == "__main__":
    main()
