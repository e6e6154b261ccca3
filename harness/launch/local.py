"""Run a suite on this machine: a few worker processes, each serving runs one after another.

Importing torch costs seconds, so small runs share a worker. A run that fails, or a worker that
dies, ends that run only. Runs with a budget in seconds get the machine to themselves.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.launch.job import Job
from harness.launch.pending import PendingRun
from harness.provenance import user_command
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
    """How to run; nothing here changes a number.

    A run is asked to stop, resumable, after an event of which `enough` says so.
    """

    workers: int | None = None
    device: str = "auto"
    checkpoint_seconds: float = 60.0
    checkpoint_steps: int | None = None
    log_every: int = 10
    enough: Callable[[Event], bool] = lambda event: False


class _Worker:
    """A worker process and the threads that read what it says."""

    def __init__(self, results: Path, events: queue.Queue[tuple[_Worker, Event | None]]) -> None:
        self.run_id: str | None = None
        self.stopping = False
        # Its own session: Ctrl-C reaches the parent alone, which then asks each worker to stop.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.launch.worker", "--results", str(results)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._said: deque[str] = deque(maxlen=20)
        self._readers = [
            threading.Thread(target=self._read, args=(events,), daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, events: queue.Queue[tuple[_Worker, Event | None]]) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                try:
                    events.put((self, json.loads(line)))
                except json.JSONDecodeError:  # a library's own print, or cut short by a death
                    continue
        events.put((self, None))

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            self._said.extend(lines)

    def give(self, job: Job) -> None:
        assert self.process.stdin is not None
        self.run_id = job.run_id
        try:
            self.process.stdin.write(job.line())
            self.process.stdin.flush()
        except BrokenPipeError:
            return  # the reader thread reports the death

    def ask_to_stop(self) -> None:
        self.stopping = True
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def end_input(self) -> None:
        """Nothing more to do: an idle worker ends."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            return

    def wait(self, seconds: float) -> None:
        """Give it `seconds` to end."""
        try:
            self.process.wait(timeout=max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return

    def kill(self) -> None:
        """End the process now, if it has not ended, and collect what it left."""
        self.process.kill()
        self.process.wait()
        self.end_input()
        for reader in self._readers:
            reader.join(timeout=1)

    def last_words(self) -> str:
        """How the process died, with the end of what it said."""
        code = self.process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return f"the worker was killed by {name}{hint}"
        self._readers[1].join(timeout=1)
        said = "".join(self._said).strip().splitlines()
        return f"the worker ended with code {code}" + (f": {said[-1]}" if said else "")


def run_local(
    pending: Sequence[PendingRun],
    results: Path,
    *,
    options: LocalOptions,
    on_event: Callable[[Event], None],
) -> Outcome:
    """Bring every pending run to its end; Ctrl-C and SIGTERM leave the rest resumable.

    The first signal lets every run write a checkpoint; the second ends the workers at once.
    """
    outcome = Outcome()
    together = [p for p in pending if p.spec.budget.seconds is None]
    alone = [p for p in pending if p.spec.budget.seconds is not None]
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for group, workers in ((together, options.workers), (alone, 1)):
            if group and not outcome.interrupted:
                _Pool(results, options, on_event, outcome).serve(group, workers)
    finally:
        signal.signal(signal.SIGTERM, previous)
    return outcome


class _Pool:
    """The workers, and the runs that wait for one."""

    def __init__(
        self,
        results: Path,
        options: LocalOptions,
        on_event: Callable[[Event], None],
        outcome: Outcome,
    ) -> None:
        self.results, self.options = results, options
        self.on_event, self.outcome = on_event, outcome
        self.command = user_command()
        self.waiting: deque[PendingRun] = deque()
        self.active: list[_Worker] = []
        self.events: queue.Queue[tuple[_Worker, Event | None]] = queue.Queue()

    def serve(self, group: Sequence[PendingRun], workers: int | None) -> None:
        """Work off `group`; a KeyboardInterrupt is taken as the wish to stop."""
        # Longest first, so that no worker is left alone with a long run at the end.
        self.waiting.extend(sorted(group, key=lambda p: -p.expected_flops))
        threads = max(p.spec.threads for p in group)
        count = min(len(group), workers or default_workers(self.options.device, threads))
        try:
            try:
                for _ in range(count):
                    self._hire()
                self._handle_all()
            except KeyboardInterrupt:
                self.outcome.interrupted = True
                self._stop()
            self._dismiss()
        except KeyboardInterrupt:
            self.outcome.interrupted = True
        finally:
            self._kill()

    def _hire(self) -> None:
        """Start a worker for the next run that waits."""
        if self.waiting and not self.outcome.interrupted:
            worker = _Worker(self.results, self.events)
            self.active.append(worker)
            worker.give(self._next_job())

    def _next_job(self) -> Job:
        pending, options = self.waiting.popleft(), self.options
        return Job(
            pending.run_id,
            pending.eval_ids,
            options.device,
            options.checkpoint_seconds,
            options.checkpoint_steps,
            self.command,
            options.log_every,
        )

    def _handle_all(self, seconds: float = float("inf")) -> None:
        """Take events until no worker has a run."""
        deadline = time.monotonic() + seconds
        while any(w.run_id for w in self.active) and time.monotonic() < deadline:
            try:  # a plain get() would not let Ctrl-C through on every platform
                worker, event = self.events.get(timeout=0.5)
            except queue.Empty:
                continue
            if event is None:
                self._died(worker)
            else:
                self._handle(worker, event)

    def _handle(self, worker: _Worker, event: Event) -> None:
        self.on_event(event)
        if event["event"] != "end":
            if self.options.enough(event):
                worker.ask_to_stop()
            return
        self.outcome.endings[event["run"]] = (event["ending"], event["reason"])
        worker.run_id = None
        if worker.stopping or event["ending"] == "stopped":  # it takes no more jobs
            worker.end_input()
            self._hire()
        elif self.waiting and not self.outcome.interrupted:
            worker.give(self._next_job())

    def _died(self, worker: _Worker) -> None:
        """A worker is gone: its run ends with it, and another worker takes its place."""
        self.active.remove(worker)
        reason = worker.last_words()
        worker.kill()
        if worker.run_id is not None:
            self._lost(worker.run_id, reason)
            self._hire()

    def _lost(self, run_id: str, reason: str) -> None:
        """Record a run that could not record its own end."""
        ending: Literal["stopped", "failed"] = "stopped" if self.outcome.interrupted else "failed"
        folder = RunFolder(self.results, run_id)
        if not folder.training.exists():  # status is of training: an evaluation leaves it alone
            try:
                folder.set_status(ending, reason)
            except OSError as error:
                reason = f"{reason}; its status could not be written: {error.strerror}"
        self.outcome.endings[run_id] = (ending, reason)
        self.on_event({"event": "end", "run": run_id, "ending": ending, "reason": reason})

    def _stop(self) -> None:
        """Let every worker checkpoint, and idle ones end."""
        for worker in self.active:
            worker.ask_to_stop()
        self._handle_all(_GRACE_SECONDS)

    def _dismiss(self) -> None:
        """Let the workers end by themselves."""
        for worker in self.active:
            worker.end_input()
        deadline = time.monotonic() + _GRACE_SECONDS
        for worker in self.active:
            if worker.run_id is None:
                worker.wait(deadline - time.monotonic())

    def _kill(self) -> None:
        """End whatever is left at once; the last checkpoints stay as they are."""
        for worker in self.active:
            worker.kill()
        for worker in self.active:
            if worker.run_id is not None:
                self._lost(worker.run_id, "ended at once; run again to go on from its checkpoint")
        self.active.clear()


def default_workers(device: str, threads: int) -> int:
    """Runs at once: one where there is a GPU, which they would share, else cores over threads."""
    if device == "cuda" or (device == "auto" and shutil.which("nvidia-smi") is not None):
        return 1
    return max(1, available_cores() // threads)


def available_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
