"""One process of a run's job: `python -m harness.launch.slurm.task SUBMISSION_FOLDER ARRAY`.

It learns its run from the submission's record and Slurm's variables, and everything else from the
run's own spec.json. On a warning the run writes a checkpoint and goes back into the queue.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.launch.claims import Claim, Owner, claim_of, own, owner_of, release
from harness.launch.job import Job
from harness.launch.slurm import requeue
from harness.launch.slurm.snapshot import check_environment
from harness.launch.slurm.submission import Submission
from harness.launch.stop import StopFlag
from harness.records import RunFolder

if TYPE_CHECKING:
    from harness.launch.worker import Ending

#: A copy of the run that Slurm gave up with its node notices in seconds that it was replaced.
_WATCH_SECONDS = 2.0
_HOLD_SECONDS = 120.0


class Task:
    """This process's place: its run, its claim, and which attempt of the job it belongs to."""

    def __init__(self, submission: Submission, array: int) -> None:
        environment = os.environ
        self.submission = submission
        self.claim = Claim(submission.id, array, int(environment["SLURM_ARRAY_TASK_ID"]))
        self.element = submission.plan.arrays[array][self.claim.index]
        self.folder = RunFolder(submission.results, self.element.run_id)
        self.job_id = environment["SLURM_JOB_ID"]
        self.restart = int(environment.get("SLURM_RESTART_COUNT", 0))
        self.rank = int(environment.get("SLURM_PROCID", 0))
        self.size = int(environment.get("SLURM_NTASKS", 1))

    def is_ours(self) -> bool:
        """The run is claimed by this job, and no later attempt of it has begun."""
        if claim_of(self.folder) != self.claim:
            return False
        owner = owner_of(self.folder)
        return owner is None or owner.job_id != self.job_id or owner.restart <= self.restart

    def begin(self) -> None:
        """Say that this attempt has the run now; an earlier one that still lives ends itself."""
        if self.rank == 0:
            environment, host = os.environ, socket.gethostname()
            array_id = environment.get("SLURM_ARRAY_JOB_ID")
            node = environment.get("SLURM_JOB_NODELIST", host)
            element = f"{array_id}_{self.claim.index}" if array_id else self.job_id
            own(self.folder, Owner(self.claim, element, node, self.job_id, self.restart))
            self.note("start", job=element, node=node, host=host)

    def note(self, event: str, **details: Any) -> None:
        self.submission.note(self.claim, event, restart=self.restart, **details)

    def job(self) -> Job:
        """The work as a worker takes it."""
        profile = self.submission.profile
        return Job(
            self.element.run_id,
            self.element.eval_ids,
            device=profile.device,
            checkpoint_seconds=profile.checkpoint_seconds,
            command=self.submission.plan.command,
            claim=str(self.claim),
            hold_seconds=_HOLD_SECONDS,
        )


class _Watch:
    """Ends this process, however busy, once the run is another's."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.over = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not self.over.wait(_WATCH_SECONDS):
            if not self.task.is_ours():
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
    task = Task(Submission(folder.parents[1], folder.name), given.array)
    if not task.is_ours():
        print(f"run {task.folder.run_id} is not this job's: another has it, or it was taken back")
        return 0
    task.begin()
    watch = _Watch(task)
    ending = _work(task, stop)
    watch.over.set()
    _say(ending)
    if task.rank == 0:
        return _finish(task, ending, stop)
    return 1 if ending.how == "failed" else 0


def _work(task: Task, stop: StopFlag) -> Ending:
    print(f"run {task.folder.run_id}: {task.element.name}, attempt {task.restart + 1}", flush=True)
    from harness.launch.worker import Ending, output_to, work
    from harness.training.parallel import joined

    profile = task.submission.profile
    name = "worker.log" if task.rank == 0 else f"rank-{task.rank}.log"
    try:
        check_environment(task.submission.code)
        _tell_ranks(task)
        with output_to(task.folder.logs / name), joined(profile.device) as ranks:
            results, job = task.submission.results, task.job()
            ending = work(results, job, stop=stop, emit=lambda event: None, ranks=ranks)
            _say(ending)
            return ending
    except HarnessError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines())
        if task.rank == 0 and not task.folder.training.exists():
            task.folder.change_status("failed", reason)
        return Ending("failed", reason)


def _say(ending: Ending) -> None:
    when = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"{when} {ending.how}" + (f": {ending.reason}" if ending.reason else ""), flush=True)


def _tell_ranks(task: Task) -> None:
    """Say in torchrun's variables who this process is among those that train the run."""
    if task.size > 1:
        from submitit.helpers import TorchDistributedEnvironment

        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)


def _finish(task: Task, ending: Ending, stop: StopFlag) -> int:
    """Rank 0: give the run back, or put its job back into the queue."""
    if ending.how == "stopped":
        return requeue.after_stop(task, warned=signal.SIGUSR2 in stop.signals)
    if ending.how == "held":
        reason = "another process holds this run and does not end"
        return requeue.stop(task, reason)
    task.note("end", ending=ending.how, reason=ending.reason)
    release(task.folder, task.claim)
    return 0 if ending.how == "done" else 1


if __name__ == "__main__":
    sys.exit(main())
