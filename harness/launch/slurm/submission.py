"""A submission's folder: what was to be submitted, written before; what Slurm answered, after.

submissions/<id>/
    submission.json    suite, profile, arrays of runs: written before anything is submitted
    array-<k>.json     the Slurm id of array k, once sbatch has answered
    attempts/<k>-<i>.jsonl    every start, requeue and end of element i of array k, by its task
    requeue/<job>      asks the job's script to requeue it
    code/              the source that its jobs run
    logs/              sbatch scripts, and what Slurm's side of each job printed
"""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.launch.claims import Claim
from harness.launch.slurm import commands
from harness.launch.slurm.profile import Profile
from harness.records import append_jsonl, locked, read_json, write_json


@dataclass(frozen=True)
class Element:
    """A run of an array, and the evaluations wanted of it."""

    run_id: str
    name: str
    eval_ids: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What is to be submitted: the content of submission.json."""

    suite: str
    cluster: str
    command: tuple[str, ...]
    directory: str
    profile: dict[str, Any]
    arrays: tuple[tuple[Element, ...], ...]

    @staticmethod
    def of(found: dict[str, Any]) -> Plan:
        arrays = tuple(
            tuple(Element(e["run_id"], e["name"], tuple(e["eval_ids"])) for e in array)
            for array in found["arrays"]
        )
        command = tuple(found["command"])
        where = found["cluster"], command, found["directory"]
        return Plan(found["suite"], *where, found["profile"], arrays)


def new_id(now: float | None = None) -> str:
    """Sorted by time, to parts of a millisecond: there is one submitter at a time."""
    now = time.time() if now is None else now
    return time.strftime("%Y%m%d-%H%M%S-", time.localtime(now)) + f"{int(now % 1 * 0x10000):04x}"


class Submission:
    """One submission under `<results>/submissions/<id>`."""

    def __init__(self, results: Path, submission_id: str, plan: Plan | None = None) -> None:
        self.results, self.id = results, submission_id
        self._plan = plan
        self.path = results / "submissions" / submission_id
        self.record = self.path / "submission.json"
        self.code = self.path / "code"
        self.logs = self.path / "logs"
        self.requeue = self.path / "requeue"

    @property
    def plan(self) -> Plan:
        if self._plan is None:
            self._plan = Plan.of(read_json(self.record))
        return self._plan

    @cached_property
    def profile(self) -> Profile:
        return Profile.model_validate(self.plan.profile)

    def element(self, claim: Claim) -> Element:
        return self.plan.arrays[claim.array][claim.index]

    @cached_property
    def user(self) -> str:
        """Who submitted it: others may be shown nothing of its jobs."""
        user: str = read_json(self.record)["user"]
        return user

    def write(self) -> None:
        """Say what is going to be submitted, before it is."""
        written = asdict(self.plan) | {"user": getpass.getuser(), "time": time.time()}
        write_json(self.record, written)

    def job_name(self, array: int) -> str:
        """The name by which an array is found again when sbatch's answer was lost."""
        return f"{self.plan.suite}-{self.id}-{array}"

    # --- what Slurm answered -------------------------------------------------------------

    @contextmanager
    def submitting(self) -> Iterator[None]:
        """Held while arrays are on their way to Slurm; the kernel drops it with the process."""
        with locked(self.path / ".lock") as held:
            assert held, "taken before there are claims by which others find it"
            yield

    def is_being_submitted(self) -> bool:
        """As far as this user may see."""
        try:
            with locked(self.path / ".lock") as free:
                return not free
        except HarnessError:
            return True

    def _array(self, array: int) -> Path:
        return self.path / f"array-{array}.json"

    def note_job(self, array: int, job_id: str) -> None:
        write_json(self._array(array), {"job_id": job_id, "time": time.time()})

    def job_id(self, array: int) -> str | None:
        """The array's Slurm id; found by its name and noted where sbatch's answer was lost."""
        path = self._array(array)
        if not path.exists():
            found = commands.job_named(self.job_name(array))
            if found is not None:
                with suppress(HarnessError):  # whoever may only read finds it again next time
                    self.note_job(array, found)
            return found
        job_id: str = read_json(path)["job_id"]
        return job_id

    def known_job_id(self, array: int) -> str | None:
        """The array's Slurm id without asking Slurm."""
        return read_json(self._array(array))["job_id"] if self._array(array).exists() else None

    # --- what the jobs did ---------------------------------------------------------------

    def _attempts(self, claim: Claim) -> Path:
        return self.path / "attempts" / f"{claim.array}-{claim.index}.jsonl"

    def note(self, claim: Claim, event: str, **details: Any) -> None:
        append_jsonl(self._attempts(claim), {"event": event, "time": time.time(), **details})

    def attempts(self, claim: Claim) -> list[dict[str, Any]]:
        """What was noted, but for what a dying node left of a line."""
        path = self._attempts(claim)
        found = []
        for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
            with suppress(ValueError):
                found.append(json.loads(line))
        return [event for event in found if isinstance(event, dict)]

    def log_files(self, claim: Claim, *, job_id: str | None = None) -> list[Path]:
        """What Slurm's side of the run's job printed, one file per process."""
        job_id = job_id or self.known_job_id(claim.array)
        ranks = range(self.profile.processes)
        paths = (self.logs / f"{job_id}_{claim.index}_{rank}_log.out" for rank in ranks)
        return [path for path in paths if path.exists()]


def submissions_of(run_id: str, results: Path) -> Iterator[tuple[Submission, Claim]]:
    """Every submission that holds the run, the oldest first, and its place there."""
    for record in sorted(results.glob("submissions/*/submission.json")):
        if run_id in record.read_text(encoding="utf-8"):
            submission = Submission(results, record.parent.name)
            for number, array in enumerate(submission.plan.arrays):
                for index, element in enumerate(array):
                    if element.run_id == run_id:
                        yield submission, Claim(submission.id, number, index)


def arrays_of(elements: Sequence[Element], size: int) -> tuple[tuple[Element, ...], ...]:
    """The runs in order, cut into arrays of at most `size`."""
    return tuple(tuple(elements[i : i + size]) for i in range(0, len(elements), size))
