"""`harness logs`: what a run printed, wherever it ran."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

from rich.markup import escape

from harness.launch.claims import owner_of
from harness.launch.slurm.submission import submissions_of
from harness.records import RunFolder, find_run
from harness.show.console import terminal


def print_logs(run: str, results: Path, *, lines: int) -> None:
    """Print the end of every log of a run: its own, and those of its job."""
    folder = _find_run(run, results)
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


def _find_run(given: str, results: Path) -> RunFolder:
    """The run that an id, the beginning of one, or a job means; HarnessError where none does."""
    if given[:1].isdecimal():
        for path in sorted((results / "runs").glob("*/")):
            owner = owner_of(RunFolder(results, path.name))
            if owner is not None and given in (owner.job, owner.job_id):
                return RunFolder(results, path.name)
    return find_run(results, given)
