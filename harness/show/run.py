"""`harness run`: work off what is missing, with a live table, and say how it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from harness.launch.local import LocalOptions, Outcome, run_local
from harness.launch.missing import Work, local_work
from harness.launch.progress import ProgressTable
from harness.planning.planned import Suite
from harness.records import RunFolder
from harness.show.console import terminal


def run_suite(
    suite: Suite, results: Path, *, options: LocalOptions, redo_changed: bool, as_json: bool
) -> int:
    """Run what is missing; returns the exit code (0; 1 where a run failed or another
    process holds it; 130 interrupted)."""
    console = terminal(stderr=as_json)
    began = time.monotonic()
    work = local_work(suite, results, redo_changed=redo_changed)
    if work.found_done:
        console.print(f"{len(work.found_done)} runs and their evaluations are found done.")
    if work.changed:
        console.print(
            f"[yellow]{len(work.changed)} finished runs were made by other source code or "
            "data than there are now; they are kept as they are. Redo them: --redo-changed[/]"
        )
    if work.claimed:
        console.print(f"{len(work.claimed)} runs are with Slurm: {suite.command('status')}")
    outcome = Outcome()
    names = {missing.run.run_id: missing.run.name for missing in work.missing}
    if work.missing:
        pending = [missing.begin(results) for missing in work.missing]
        with ProgressTable(names, console) as progress:
            outcome = run_local(pending, results, options=options, on_event=progress.on_event)
    problems = _problems(names, outcome, results)
    if as_json:
        print(json.dumps(_summary(suite, work, outcome, problems), indent=1, allow_nan=False))
    else:
        _report(console, suite, outcome, problems, time.monotonic() - began)
    if outcome.interrupted or outcome.of("stopped"):
        return 130
    return 1 if problems or work.claimed or outcome.of("held") else 0


def _problems(names: Mapping[str, str], outcome: Outcome, results: Path) -> list[dict[str, str]]:
    """Every run that failed, or of which an evaluation failed, with reason and log."""
    return [
        {
            "run": run_id,
            "name": names[run_id],
            "reason": reason or "unknown",
            "log": str(RunFolder(results, run_id).logs / "worker.log"),
        }
        for run_id, (how, reason) in outcome.endings.items()
        if how == "failed"
    ]


def _summary(
    suite: Suite, work: Work, outcome: Outcome, problems: list[dict[str, str]]
) -> dict[str, Any]:
    return {
        "suite": suite.name,
        "version": suite.version,
        "found_done": work.found_done,
        "changed": work.changed,
        "claimed": list(work.claimed),
        "endings": {run_id: how for run_id, (how, _) in outcome.endings.items()},
        "failed": problems,
        "interrupted": outcome.interrupted,
    }


def _report(
    console: Console,
    suite: Suite,
    outcome: Outcome,
    problems: list[dict[str, str]],
    seconds: float,
) -> None:
    held = outcome.of("held")
    if held:
        console.print(f"[yellow]{len(held)} runs are being worked on by another process.[/]")
    for problem in problems:
        what = escape(f"{problem['name']} ({problem['run']}): {problem['reason']}")
        console.print(f"[red]failed[/] {what}")
        console.print(f"       log: {escape(problem['log'])}", soft_wrap=True)
    if outcome.interrupted or outcome.of("stopped"):
        console.print("[yellow]interrupted[/]; the same command goes on from here.")
        return
    done = len(outcome.of("done"))
    if done:
        console.print(f"{done} runs done in {seconds:.0f} s.")
    if not problems and not held and suite.report:
        console.print(f"Next: {suite.command('table')}; {suite.command('figures')}", soft_wrap=True)
