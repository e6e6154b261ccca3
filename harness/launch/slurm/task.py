"""One process of a run's job: `python -m harness.launch.slurm.task SUBMISSION_FOLDER ARRAY`.

It learns its run from the submission's record and Slurm's variables, and everything else from the
run's own spec.json. On a warning the run writes a checkpoint and goes back into the queue.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError, reason_of
from harness.launch.claims import release
from harness.launch.slurm import requeue
from harness.launch.slurm.attempt import Attempt
from harness.launch.slurm.settle import record_end
from harness.launch.slurm.snapshot import check_environment
from harness.launch.slurm.submission import Submission
from harness.launch.stop import StopFlag

if TYPE_CHECKING:
    from harness.launch.worker import Ending

#: A copy of the run that Slurm gave up with its node notices in seconds that it was replaced.
_WATCH_SECONDS = 2.0


class _Watch:
    """Ends this process, however busy, once the run is another's."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.over.wait(_WATCH_SECONDS):
            try:
                ours = self.attempt.is_ours()
            except (OSError, HarnessError):  # the file server's trouble: look again
                continue
            if not ours:
                print("this run went to another job, or another attempt: this one ends")
                sys.stdout.flush()
                os._exit(0)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 where the run is done, requeued or another's, 1 where it failed."""
    stop = StopFlag()
    stop.install(signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
    signal.signal(signal.SIGCONT, signal.SIG_IGN)
    parser = argparse.ArgumentParser(prog="harness.launch.slurm.task")
    parser.add_argument("submission", type=Path)
    parser.add_argument("array", type=int)
    given = parser.parse_args(arguments)
    folder: Path = given.submission
    attempt = Attempt(Submission(folder.parents[1], folder.name), given.array)
    if not attempt.finds_its_claim():
        print(
            f"run {attempt.folder.run_id} is not this job's: another has it, or it was taken back"
        )
        return 0
    attempt.begin()
    if attempt.rank == 0 and attempt.is_lost():
        times = attempt.submission.profile.max_timeouts + 1
        return requeue.stop(attempt, f"its job was lost {times} times without gaining a step")
    watch = _Watch(attempt)
    ending = _work(attempt, stop)
    watch.over.set()
    _say(ending)
    if attempt.rank == 0:
        return _finish(attempt, ending, stop)
    return 1 if ending.how == "failed" else 0


def _work(attempt: Attempt, stop: StopFlag) -> Ending:
    print(
        f"run {attempt.folder.run_id}: {attempt.element.name}, attempt {attempt.restart + 1}",
        flush=True,
    )
    from harness.launch.worker import Ending, output_to, work
    from harness.training.parallel import joined

    profile = attempt.submission.profile
    name = "worker.log" if attempt.rank == 0 else f"rank-{attempt.rank}.log"
    try:
        check_environment(attempt.submission.code)
        _tell_ranks(attempt)
        with output_to(attempt.folder.logs / name), joined(profile.device) as ranks:
            results, job = attempt.submission.results, attempt.job()
            ending = work(results, job, stop=stop, emit=lambda event: None, ranks=ranks)
            _say(ending)
            return ending
    except HarnessError as error:
        reason = reason_of(error)
        if attempt.rank == 0:
            record_end(attempt.folder, attempt.element.eval_ids, "failed", reason)
        return Ending("failed", reason)


def _say(ending: Ending) -> None:
    when = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"{when} {ending.how}" + (f": {ending.reason}" if ending.reason else ""), flush=True)


def _tell_ranks(attempt: Attempt) -> None:
    """Say in torchrun's variables who this process is among those that train the run."""
    if attempt.size > 1:
        from submitit.helpers import TorchDistributedEnvironment

        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)


def _finish(attempt: Attempt, ending: Ending, stop: StopFlag) -> int:
    """Rank 0: give the run back, or put its job back into the queue."""
    if not attempt.is_ours():
        return 0
    if ending.how == "stopped":
        # Another rank's signal stops this one too, which may not have had its own yet.
        warned = signal.SIGUSR2 in stop.signals or not stop.signals
        return requeue.after_stop(attempt, warned=warned)
    if ending.how == "held":
        reason = "another process holds this run and does not end"
        return requeue.stop(attempt, reason)
    attempt.note("end", ending=ending.how, reason=ending.reason)
    release(attempt.folder, attempt.claim)
    return 0 if ending.how == "done" else 1


if __name__ == "__main__":
    sys.exit(main())
