"""Slurm's own commands, and what they print: the one place where a cluster is spoken to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from harness.errors import HarnessError

_TIMEOUT_SECONDS = 60
#: Job ids that fit in one command line, generously.
_IDS_PER_CALL = 500

#: States of a job that is over; every other one still counts on the run.
FINAL = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "REVOKED", "TIMEOUT"),
)
#: Set by the job that a command is given in, by torchrun, or by users for sbatch: of no script's.
_INHERITED = re.compile(r"(SLURM|SBATCH|SUBMITIT|PMI|PMIX|SRUN)_|(RANK|WORLD_SIZE|MASTER_\w+)$")
_KEPT = frozenset(("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT"))
#: A user's variables that would hide jobs from what is asked, or ask back.
_FILTERS = re.compile(r"(SQUEUE|SACCT|SCANCEL|SCONTROL)_")
#: Times as they can be read back, and no list of array elements cut short.
_PLAIN = {"SLURM_TIME_FORMAT": "standard", "SLURM_BITSTR_LEN": "0"}


class NoSlurm(HarnessError):
    """There is no Slurm here, or it does not answer."""


@dataclass(frozen=True)
class SlurmJob:
    """What Slurm says of one job or array element; `reason` is why it waits or how it ended."""

    state: str
    node: str = ""
    reason: str = ""

    @property
    def is_over(self) -> bool:
        return self.state in FINAL


def available() -> bool:
    """Slurm's commands are installed here."""
    return shutil.which("squeue") is not None


@contextmanager
def own_environment() -> Iterator[None]:
    """Without the variables of a job that this process may run in: they would rule the new one."""
    dropped = {k: v for k, v in os.environ.items() if _INHERITED.match(k) and k not in _KEPT}
    for name in dropped:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(dropped)


def call(*words: str) -> str:
    """What a command prints; NoSlurm with its complaint where it fails."""
    environment = {k: v for k, v in os.environ.items() if not _FILTERS.match(k)} | _PLAIN
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise NoSlurm(
            f"the command {words[0]} is not on this machine",
            hint="submit from a login node of the cluster, or `harness run` here",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise NoSlurm(f"{words[0]} did not answer in {_TIMEOUT_SECONDS} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        why = said[-1].removeprefix(f"{words[0]}: ") if said else f"exit code {done.returncode}"
        away = "configuration" in why or "contact" in why
        hint = "is SLURM_CONF set, and is this a login node of the cluster?" if away else None
        raise NoSlurm(f"{words[0]} failed: {why}", hint=hint)
    return done.stdout


# --- jobs ------------------------------------------------------------------------------------


def jobs_of(elements: Iterable[str]) -> dict[str, SlurmJob]:
    """Array element (`347_3`) or job id -> what Slurm says; absent where it knows nothing.

    The controller is asked first: it knows every job that can still run. Accounting remembers how
    those ended that it has forgotten. Raises NoSlurm where the controller does not answer.
    """
    wanted = set(elements)
    found = _queued(_arrays(wanted)) if wanted else {}
    forgotten = wanted - found.keys()
    return (_accounted(_arrays(forgotten)) if forgotten else {}) | found


def _arrays(elements: Iterable[str]) -> list[str]:
    return sorted({element.partition("_")[0] for element in elements}, key=int)


def _queued(job_ids: Sequence[str]) -> dict[str, SlurmJob]:
    found = {}
    for chunk in _chunks(job_ids):
        for line in _squeue("--jobs=" + ",".join(chunk)):
            element, state, node, reason = (part.strip() for part in line.split("|", 3))
            node = "" if node.startswith("(") else node
            found[element] = SlurmJob(state, node, "" if reason == "None" else reason)
    return found


def _squeue(*which: str) -> list[str]:
    form = "--format=%i|%T|%N|%r"
    try:
        out = call("squeue", "--noheader", "--array", "--states=all", form, *which)
    except NoSlurm as error:
        if "Invalid job id" in error.problem:  # the controller has forgotten it
            return []
        raise
    return [line for line in out.splitlines() if line.count("|") >= 3]


def _accounted(job_ids: Sequence[str]) -> dict[str, SlurmJob]:
    found: dict[str, SlurmJob] = {}
    form = "--format=JobID,State,NodeList,ExitCode"
    for chunk in _chunks(job_ids):
        try:
            out = call(
                "sacct", "--noheader", "--parsable2", "--allocations", form,
                "--jobs=" + ",".join(chunk),
            )  # fmt: skip
        except NoSlurm:  # a cluster without accounting
            return found
        for line in out.splitlines():
            element, state, node, code = line.split("|")
            state, _, by = state.partition(" by ")  # CANCELLED by 0
            ended = f"exit code {code}" if code not in ("0:0", "") else ""
            if state in FINAL:
                node = "" if node == "None assigned" else node
                job = SlurmJob(state, node, f"by user {by}" if by else ended)
                found |= dict.fromkeys(_elements(element), job)
    return found


def _elements(written: str) -> Iterator[str]:
    """Each of `7_[0-3,5%2]`: what never began of an array is one row of accounting."""
    job, _, inner = written.partition("_[")
    if not inner:
        yield written
        return
    for span in inner.rstrip("]").partition("%")[0].split(","):
        first, _, last = span.partition("-")
        for index in range(int(first), int(last or first) + 1):
            yield f"{job}_{index}"


def _chunks(job_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(job_ids), _IDS_PER_CALL):
        yield job_ids[start : start + _IDS_PER_CALL]


def job_named(name: str) -> str | None:
    """The id of the job or array of this name; None where Slurm knows none."""
    try:
        out = call("squeue", "--noheader", "--states=all", "--format=%F", f"--name={name}")
        ids = out.split()
    except NoSlurm as error:
        if "Invalid job" not in error.problem:
            raise
        ids = []
    if not ids:
        try:
            out = call(
                "sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID",
                "--starttime=now-30days", f"--name={name}",
            )  # fmt: skip
        except NoSlurm:  # a cluster without accounting
            return None
        ids = [line.partition("_")[0] for line in out.split()]
    return ids[0] if ids else None


def cancel(elements: Sequence[str]) -> None:
    """Cancel jobs or array elements; those that are gone already do not matter."""
    for chunk in _chunks(elements):
        try:
            call("scancel", *chunk)
        except NoSlurm as error:
            if "Invalid job id" not in error.problem:
                raise


def details(job_id: str) -> dict[str, str]:
    """`scontrol show job`'s KEY=VALUE pairs."""
    text = call("scontrol", "--oneliner", "show", "job", job_id)
    return dict(re.findall(r"(\w[\w:/]*)=(\S*)", text.splitlines()[0] if text else ""))


def configuration() -> str:
    """`scontrol show config`."""
    return call("scontrol", "show", "config")


def cluster_name(config: str | None = None) -> str:
    """The cluster that these commands speak to."""
    found = re.search(r"^ClusterName\s*=\s*(\S+)", config or configuration(), re.M)
    return found[1] if found else ""


def requeue(job_id: str) -> None:
    """Put a job back in the queue; fine where Slurm has done so already."""
    try:
        call("scontrol", "requeue", job_id)
    except NoSlurm as error:
        if "pending" not in error.problem.lower():
            raise
