"""`harness logs`: what a run printed, wherever it ran."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

from rich.markup import escape

from harness.errors import HarnessError
from harness.launch.claims import owner_of
from harness.launch.slurm.submission import submissions_of
from harness.records import RunFolder
from harness.show.console import terminal


def print_logs(run: str, results: Path, *, lines: int) -> None:
    """Print the end of every log of a run: its own, and those of its job."""
    folder = RunFolder(results, _whole_id(run, results))
    console = terminal()
    found = list(_logs(folder, results))
    if not found:
        status = folder.status()
        why = escape(f": {status.reason}" if status.reason else "")
        console.print(f"{folder.run_id} is {status.state} and has printed nothing yet{why}.")
    for path in found:
        console.print(f"[bold]==> {path} <==[/]", soft_wrap=True, highlight=False)
        with path.open(encoding="utf-8", errors="replace") as handle:
            print("".join(deque(handle, maxlen=lines)), end="")


def _logs(folder: RunFolder, results: Path) -> Iterator[Path]:
    """Slurm's side of every job first: it says why a run never came to its own log."""
    for submission, claim in submissions_of(folder.run_id, results):
        yield from submission.log_files(claim)
    yield from sorted(folder.logs.glob("*.log"), key=lambda path: (path.name != "worker.log", path))


def _whole_id(run: str, results: Path) -> str:
    """The run that an id, the beginning of one, or a job means; HarnessError where none does."""
    known = sorted(path.name for path in (results / "runs").glob("*") if path.is_dir())
    if run in known:
        return run
    if run[:1].isdecimal():
        for name in known:
            owner = owner_of(RunFolder(results, name))
            if owner is not None and run in (owner.job, owner.job_id):
                return name
    found = [name for name in known if name.startswith(run)]
    if len(found) == 1:
        return found[0]
    raise HarnessError(
        f"{len(found)} runs begin like this" if found else "there is no such run",
        where=str(results / "runs"),
        given=run,
        allowed=found or known,
        hint="`harness plan SUITE` lists run ids; `harness status SUITE` jobs, which do as well",
    )
