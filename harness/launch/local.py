"""Run a suite on this machine: a few worker processes, each serving runs one after another.

Importing torch costs seconds, so small runs share a worker. A run that fails, or a worker that dies,
ends that run only. Runs with a budget in seconds get the machine to themselves.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.launch.job import Job
from harness.launch.pending import PendingRun
from harness.records import RunFolder

Event = dict[str, Any]
_GRACE_SECONDS = 60.0


@dataclass
class Outcome:
    """How each run ended: run id -> (`done`, `failed`, `stopped` or `held`, reason)."""

    endings: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    interrupted: bool = False

    def of(self, ending: str) -> list[str]:
        return [run_id for run_id, (how, _) in self.endings.items() if how == ending]


@dataclass(frozen=True)
class LocalOptions:
    """How to run; nothing here changes a number."""

    workers: int | None = None
    device: str = "auto"
    checkpoint_seconds: float = 60.0
    checkpoint_steps: int | None = None


class _Worker:
    """A worker process and the thread that reads its events."""

    def __init__(self, results: Path, events: queue.Queue[tuple[_Worker, Event | None]]) -> None:
        self.run_id: str | None = None
        # Its own session: Ctrl-C reaches the parent alone, which then asks each worker to stop.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.launch.worker", "--results", str(results)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )
        self._errors: deque[str] = deque(maxlen=20)
        threading.Thread(target=self._read, args=(events,), daemon=True).start()
        threading.Thread(target=self._read_errors, daemon=True).start()

    def _read(self, events: queue.Queue[tuple[_Worker, Event | None]]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            events.put((self, json.loads(line)))
        events.put((self, None))

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._errors.append(line)

    def give(self, job: Job) -> None:
        assert self.process.stdin is not None
        self.run_id = job.run_id
        try:
            self.process.stdin.write(job.line())
            self.process.stdin.flush()
        except BrokenPipeError:
            return  # the reader thread reports the death

    def ask_to_stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Let the worker end; kill it where it does not."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            self.process.kill()
        try:
            self.process.wait(timeout=_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self) -> str:
        """How the process died, with the end of what it said."""
        code = self.process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return f"the worker was killed by {name}{hint}"
        said = "".join(self._errors).strip().splitlines()
        return f"the worker ended with code {code}" + (f": {said[-1]}" if said else "")


def run_local(
    pending: Sequence[PendingRun],
    results: Path,
    *,
    options: LocalOptions,
    on_event: Callable[[Event], None],
) -> Outcome:
    """Bring every pending run to its end; Ctrl-C and SIGTERM leave the rest resumable."""
    outcome = Outcome()
    together = [p for p in pending if p.spec.budget.seconds is None]
    alone = [p for p in pending if p.spec.budget.seconds is not None]
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for group, workers in ((together, options.workers), (alone, 1)):
            if group and not outcome.interrupted:
                _serve(group, results, options, workers, on_event, outcome)
    finally:
        signal.signal(signal.SIGTERM, previous)
    return outcome


def _serve(
    group: Sequence[PendingRun],
    results: Path,
    options: LocalOptions,
    workers: int | None,
    on_event: Callable[[Event], None],
    outcome: Outcome,
) -> None:
    # Longest first, so that no worker is left alone with a long run at the end.
    waiting = deque(sorted(group, key=lambda p: -p.expected_flops))
    threads = max(p.spec.threads for p in group)
    count = min(len(waiting), workers or max(1, available_cores() // threads))
    events: queue.Queue[tuple[_Worker, Event | None]] = queue.Queue()
    active = [_Worker(results, events) for _ in range(count)]
    for worker in active:
        worker.give(_job(waiting.popleft(), options))
    pool = _Pool(results, options, on_event, outcome, waiting, active, events)
    try:
        while any(w.run_id for w in pool.active):
            pool.handle(*_next(events))
    except KeyboardInterrupt:
        outcome.interrupted = True
        pool.stop()
    finally:
        for worker in pool.active:
            worker.close()


def _next(events: queue.Queue[tuple[_Worker, Event | None]]) -> tuple[_Worker, Event | None]:
    while True:  # a plain get() would not let Ctrl-C through on every platform
        try:
            return events.get(timeout=0.5)
        except queue.Empty:
            continue


def _job(pending: PendingRun, options: LocalOptions) -> Job:
    return Job(
        pending.run_id, pending.eval_ids, options.device, options.checkpoint_seconds,
        options.checkpoint_steps,
    )


@dataclass
class _Pool:
    """The workers and what is left to do."""

    results: Path
    options: LocalOptions
    on_event: Callable[[Event], None]
    outcome: Outcome
    waiting: deque[PendingRun]
    active: list[_Worker]
    events: queue.Queue[tuple[_Worker, Event | None]]

    def handle(self, worker: _Worker, event: Event | None) -> None:
        if event is None:
            self._died(worker)
            return
        self.on_event(event)
        if event["event"] == "end":
            self.outcome.endings[event["run"]] = (event["ending"], event["reason"])
            worker.run_id = None
            if self.waiting and not self.outcome.interrupted:
                worker.give(_job(self.waiting.popleft(), self.options))

    def _died(self, worker: _Worker) -> None:
        """A worker is gone: its run failed, and another worker takes its place."""
        self.active.remove(worker)
        if worker.run_id is None:
            return
        reason = worker.last_words()
        RunFolder(self.results, worker.run_id).set_status("failed", reason)
        self.outcome.endings[worker.run_id] = ("failed", reason)
        self.on_event({"event": "end", "run": worker.run_id, "ending": "failed", "reason": reason})
        if self.waiting and not self.outcome.interrupted:
            fresh = _Worker(self.results, self.events)
            self.active.append(fresh)
            fresh.give(_job(self.waiting.popleft(), self.options))

    def stop(self) -> None:
        """Ask every worker to checkpoint, and wait a while for it."""
        for worker in self.active:
            worker.ask_to_stop()
        deadline = time.monotonic() + _GRACE_SECONDS
        while any(w.run_id for w in self.active) and time.monotonic() < deadline:
            try:
                self.handle(*self.events.get(timeout=0.5))
            except queue.Empty:
                continue
            except KeyboardInterrupt:
                return


def available_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
