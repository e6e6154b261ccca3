"""An attempt of a job at its run, as one of its processes sees it: by Slurm's variables."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.launch.claims import Claim, Owner, claim_of, own, owner_of
from harness.launch.job import Job
from harness.launch.slurm.submission import Submission
from harness.records import RunFolder

#: A copy of the run that Slurm gave up with its node has so long to notice, and to end.
_HOLD_SECONDS = 120.0
_UNSEEN_SECONDS = 75.0


class Attempt:
    """One process of one attempt: its run, its claim, and its rank among those that train it."""

    def __init__(self, submission: Submission, array: int) -> None:
        environment = os.environ
        self.submission = submission
        self.claim = Claim(submission.id, array, int(environment["SLURM_ARRAY_TASK_ID"]))
        self.element = submission.plan.arrays[array][self.claim.index]
        self.folder = RunFolder(submission.results, self.element.run_id)
        self.began = time.time()
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

    def finds_its_claim(self) -> bool:
        """`is_ours`, with patience where there is no claim: a node may not see it yet.

        Network file systems remember for up to a minute that a file was absent.
        """
        deadline = time.monotonic() + _UNSEEN_SECONDS
        while claim_of(self.folder) is None and time.monotonic() < deadline:
            with suppress(OSError), tempfile.NamedTemporaryFile(dir=self.folder.path, prefix="."):
                pass  # which makes the node ask for the folder's files anew
            time.sleep(1.0)
        return self.is_ours()

    def is_lost(self) -> bool:
        """Its node was lost so often, with no step gained, that another try is none."""
        starts = []
        for event in reversed(self.submission.attempts(self.claim)):
            if event["event"] != "start":
                break
            starts.append(event.get("step"))
        same = [step for step in starts if step == self.folder.newest_step()]
        return len(same) > self.submission.profile.max_timeouts + 1  # the one that begins is one

    def begin(self) -> None:
        """Say that this attempt has the run now; an earlier one that still lives ends itself."""
        if self.rank == 0:
            self._asked.unlink(missing_ok=True)  # an earlier attempt's, which Slurm requeued itself
            environment, host = os.environ, socket.gethostname()
            array_id = environment.get("SLURM_ARRAY_JOB_ID")
            node = environment.get("SLURM_JOB_NODELIST", host)
            element = f"{array_id}_{self.claim.index}" if array_id else self.job_id
            own(self.folder, Owner(self.claim, element, node, self.job_id, self.restart))
            step = self.folder.newest_step()
            self.note("start", job=element, node=node, host=host, step=step)

    def ask_script_to_requeue(self) -> None:
        """Where Slurm's commands are not in reach, as in a container: the script has them."""
        self._asked.parent.mkdir(exist_ok=True)
        self._asked.touch()

    @property
    def _asked(self) -> Path:
        return self.submission.requeue / self.job_id

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
