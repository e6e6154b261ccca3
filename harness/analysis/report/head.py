"""Where the page comes from: what it was made of, when, by which code, and how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.analysis.report.page import Head
from harness.analysis.report.runs import ReportedRun
from harness.planning.planned import Suite
from harness.provenance import git_state
from harness.quantities import counted, duration, si
from harness.records import read_json

_PACKAGE = "ebt-harness"


def page_head(suites: Sequence[Suite], runs: Sequence[ReportedRun], out: Path) -> Head:
    """The facts that a reader asks for first. The same records and code give the same."""
    done = [run for run in runs if run.record is not None]
    asked = sum(len(run.evaluations) for run in runs)
    ended = list(_ended(done))
    measured = sum(len(run.evaluations) - _lacking(run) for run in done)
    training = [run.training for run in done]
    flops = sum(each.get("flops") or 0.0 for each in training)
    facts = [
        ("suites", ", ".join(f"{suite.name} v{suite.version}" for suite in suites)),
        ("runs", f"{len(done):,} of {len(runs):,} done"),
        ("evaluations", f"{measured:,} of {asked:,} done"),
        ("training", f"{si(flops)}FLOPs, {duration(sum(t.get('seconds') or 0 for t in training))}"),
        ("evaluating", duration(sum(seconds for _, seconds in ended))),
        ("devices", "; ".join(_devices(done)) or "none yet"),
        ("code", _code()),
        ("newest record", _moment(max((time for time, _ in ended), default=0.0))),
    ]
    return Head([(name, text) for name, text in facts if text], _command(suites, out))


def _lacking(run: ReportedRun) -> int:
    return sum(record is None for _, record in run.evaluations.values())


def _ended(runs: Iterable[ReportedRun]) -> Iterable[tuple[float, float]]:
    """When each evaluation ended, and the seconds it took."""
    for run in runs:
        for _, record in run.evaluations.values():
            if record is not None:
                done = read_json(record.folder.done)
                yield float(done.get("finished") or 0.0), float(done.get("seconds") or 0.0)


def _devices(runs: Sequence[ReportedRun]) -> list[str]:
    """`AMD EPYC (1 thread): 12 runs`."""
    names = [run.record.device for run in runs if run.record is not None]
    return [f"{name}: {counted(names.count(name), 'run')}" for name in dict.fromkeys(names)]


def _code() -> str:
    state = git_state()
    try:
        number = version(_PACKAGE)
    except PackageNotFoundError:
        number = ""
    commit = state["commit"]
    words = [f"{_PACKAGE} {number}".strip()]
    words += [f"commit {commit[:12]}"] if commit else ["not from a repository"]
    words += ["with changes that are not committed"] if state["changed"] else []
    return ", ".join(words)


def _moment(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC" if time else ""


def _command(suites: Sequence[Suite], out: Path) -> str:
    words = ["harness", "report", *(str(suite.path) for suite in suites)]
    for override in dict.fromkeys(o for suite in suites for o in suite.overrides):
        words += ["--set", override]
    results = next((suite.results for suite in suites if suite.results is not None), None)
    words += [] if results is None else ["--results", str(results)]
    return shlex.join([*words, "--out", str(out)])
