"""A claim: the one Slurm job that a run is given to, from before its submission until it is gone.

A file in the run's folder, made by linking, so that of two submitters on a shared file system one
succeeds. A job that finds another's claim leaves the run alone: whatever happens to bookkeeping,
no run is trained by two jobs.
"""

from __future__ import annotations

import getpass
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.records import RunFolder, locked, read_json, write_json


@dataclass(frozen=True)
class Claim:
    """The run is element `index` of array `array` of a submission."""

    submission: str
    array: int
    index: int

    def __str__(self) -> str:
        return f"{self.submission}/{self.array}/{self.index}"


def claim_of(folder: RunFolder) -> Claim | None:
    """Who has the run; None where nobody has."""
    try:
        found = json.loads(folder.claim.read_bytes())
        return Claim(found["submission"], found["array"], found["index"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise HarnessError(
            "this is no claim", where=str(folder.claim), hint="remove it if no job has the run"
        ) from error


@dataclass(frozen=True)
class Owner:
    """The attempt that had a run last: `job` is Slurm's element, `job_id` its own number.

    An attempt that ended before it came to the run has no `job_id`.
    """

    claim: Claim
    job: str
    node: str
    job_id: str
    restart: int


def owner_of(folder: RunFolder) -> Owner | None:
    """The attempt of a job that began last; None where the run never was in a job."""
    try:
        found = json.loads(folder.owner.read_bytes())
    except FileNotFoundError:
        return None
    return Owner(**found | {"claim": Claim(**found["claim"])})


def own(folder: RunFolder, owner: Owner) -> None:
    """Begin an attempt."""
    write_json(folder.owner, asdict(owner))


def take(folder: RunFolder, claim: Claim) -> bool:
    """Give the run to `claim`; False where another has it. What the run was is kept with it."""
    folder.path.mkdir(parents=True, exist_ok=True)
    before = read_json(folder.status_path) if folder.status_path.exists() else None
    written = asdict(claim) | {"user": getpass.getuser(), "time": time.time(), "before": before}
    descriptor, temporary = tempfile.mkstemp(dir=folder.path, prefix=".claim.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(json.dumps(written) + "\n")
        os.chmod(temporary, 0o644)
        os.link(temporary, folder.claim)
    except FileExistsError:
        return claim_of(folder) == claim  # a file server may have done it and said so twice
    except OSError as error:
        raise HarnessError(
            f"this file system cannot link files: {error.strerror or error}",
            where=str(folder.path),
            hint="give results on another one: --results",
        ) from error
    finally:
        Path(temporary).unlink()
    return True


def release(folder: RunFolder, claim: Claim) -> None:
    """Give the run back, if it is still `claim`'s."""
    if claim_of(folder) == claim:
        folder.claim.unlink(missing_ok=True)


def give_back(folder: RunFolder, claim: Claim) -> None:
    """Release a run that was never submitted: it is as it was before the claim."""
    if claim_of(folder) == claim and folder.status().state == "queued":
        before = read_json(folder.claim).get("before")
        if before is None:
            folder.status_path.unlink()
        else:
            write_json(folder.status_path, before)
    release(folder, claim)


@contextmanager
def claiming(results: Path, *, wait_seconds: float = 120.0) -> Iterator[None]:
    """Claims are read, settled and taken by one process at a time, on all machines."""
    with locked(results / "submissions" / ".lock", wait_seconds=wait_seconds) as held:
        if not held:
            raise HarnessError(
                f"another process has been submitting from these results for {wait_seconds:g} s",
                where=str(results),
                hint="wait for it, or end it",
            )
        yield
