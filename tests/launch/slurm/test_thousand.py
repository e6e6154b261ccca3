"""A thousand runs: Slurm is asked once, and files are opened as often as there is need."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.launch.claims import Claim, Owner, claim_of, own, take
from harness.launch.slurm.submission import Element, Plan, Submission
from harness.launch.status import SuiteStatus, status_of
from harness.planning.planned import Suite
from harness.planning.suite import load_suite
from harness.records import RunFolder
from tests.launch.slurm.desk import TOY, Desk, train
from tests.launch.slurm.fake_slurm import FakeSlurm

RUNS = 1000
ARRAYS = 4
_watching: list[list[str]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _watching and isinstance(arguments[0], str):
        _watching[-1].append(arguments[0])


@contextmanager
def opened(folder: Path) -> Iterator[Counter[str]]:
    """How often each file below `folder` is opened meanwhile."""
    if not hasattr(sys, "_opened_hook"):
        sys.addaudithook(_hook)  # for good: there is no way to take it off
        sys._opened_hook = True  # type: ignore[attr-defined]
    found: Counter[str] = Counter()
    _watching.append([])
    try:
        yield found
    finally:
        paths = [Path(path) for path in _watching.pop()]
        found.update(str(p.relative_to(folder)) for p in paths if p.is_relative_to(folder))


@pytest.fixture
def thousand(desk: Desk, slurm: FakeSlurm) -> Suite:
    """Runs in every state, and their jobs in four arrays."""
    path = desk.suite({"a": TOY}, seeds=list(range(RUNS)))
    suite = load_suite(path)
    elements = [
        Element(r.run_id, r.name, tuple(e.eval_id for e in r.evaluations)) for r in suite.runs
    ]
    size = RUNS // ARRAYS
    arrays = tuple(tuple(elements[i : i + size]) for i in range(0, RUNS, size))
    submission = Submission(
        desk.results,
        "20260101-000000-aaaa",
        Plan(suite.name, "fake", ("harness",), str(desk.folder), {"time": 60}, arrays),
    )
    submission.write()
    jobs: dict[str, Any] = {}
    for number in range(ARRAYS):
        submission.note_job(number, str(1000 * (number + 1)))
    with slurm.state() as state:
        for position, run in enumerate(suite.runs):
            claim = Claim(submission.id, *divmod(position, size))
            jobs[element(claim)] = _job(state["user"], claim)
            _leave(RunFolder(desk.results, run.run_id), run, position % 10, claim, jobs)
        state["elements"] = jobs
    return suite


def element(claim: Claim) -> str:
    return f"{1000 * (claim.array + 1)}_{claim.index}"


def _job(user: str, claim: Claim) -> dict[str, Any]:
    known = {"state": "PENDING", "node": "", "reason": "Priority", "exit": "0:0", "by": ""}
    named = {"array": str(1000 * (claim.array + 1)), "number": "0", "name": "x", "user": user}
    return known | named | {"partition": "", "throttle": "9", "queue": True, "sacct": True}


def _leave(folder: RunFolder, run: Any, kind: int, claim: Claim, jobs: dict[str, Any]) -> None:
    """Half are done; the rest run, evaluate, wait, failed, or were killed and not settled yet."""
    job = jobs[element(claim)]
    if kind < 5:
        train(folder, run, evaluated=True)
        job["queue"] = job["sacct"] = False
        return
    if kind == 5:
        folder.set_status("failed", "it broke")
        return
    take(folder, claim)
    if kind == 6:
        folder.set_status("queued")
    elif kind == 7:
        train(folder, run)
        job |= {"state": "RUNNING", "node": "n1"}
    else:
        folder.set_status("running", step=1, total_steps=20)
        folder.train_log.write_text('{"step": 10, "time": {"seconds": 5}}\n')
        own(folder, Owner(claim, element(claim), "n1", element(claim), 0))
        job |= {"state": "RUNNING" if kind == 8 else "TIMEOUT", "node": "n1", "queue": kind == 8}


def counted(suite: Suite, results: Path) -> tuple[SuiteStatus, Counter[str]]:
    with opened(results) as files:
        found = status_of(suite, results)
    return found, files


def test_status_of_a_thousand_runs(thousand: Suite, desk: Desk, slurm: FakeSlurm) -> None:
    found, files = counted(thousand, desk.results)
    each = RUNS // 10
    states = {"done": 5, "failed": 1, "queued": 1, "evaluating": 1, "running": 1, "stopped": 1}
    assert found.counts() == {state: count * each for state, count in states.items()}
    assert found.trouble is None
    assert (len(slurm.calls("squeue")), len(slurm.calls("sacct"))) == (1, 1)
    assert len(slurm.calls()) == 3, "and which cluster this is"

    # Ends that were recorded on the way are written and read again; the rest is read once.
    settled = {run.run_id for run in found.runs if run.state == "stopped"}
    assert not [path for path, n in files.items() if n > 1 and path.split("/")[1] not in settled]
    assert not [folder for folder in settled if claim_of(RunFolder(desk.results, folder))]

    slurm.forget_calls()
    again, files = counted(thousand, desk.results)
    assert again.counts() == found.counts()
    assert [call[0] for call in slurm.calls()] == ["scontrol", "squeue"]
    assert max(files.values()) == 1
    assert not any(path.endswith("spec.json") for path in files)
