"""`harness status` and `harness cancel`: where every run is, and an end to those that are out."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.errors import HarnessError
from harness.launch.slurm.cancel import cancel
from harness.launch.status import ACTIVE, RunStatus, SuiteStatus, status_of
from harness.planning.planned import Suite
from harness.quantities import counted, duration
from harness.show.console import terminal

_WATCH_SECONDS = 5.0
#: Columns from which reasons stand in the table.
_WIDE = 120
_STATES = (
    *("planned", "queued", "running", "evaluating", "evaluate", "done", "failed", "stopped"),
    "changed",
)
_COLORS = {"done": "green", "failed": "red", "stopped": "yellow", "running": "cyan"}


def print_status(
    suite: Suite, results: Path, *, states: Sequence[str], watch: bool, as_json: bool
) -> None:
    """Print the table once, or until nothing is queued or running."""
    for state in states:
        if state not in _STATES:
            raise HarnessError(
                "there is no such state", where="--state", given=state, allowed=_STATES
            )
    if as_json and watch:
        raise HarnessError("--watch follows in a terminal, --json prints once: give one of them")
    if as_json:
        print(json.dumps(_document(suite, status_of(suite, results), states), indent=1))
    elif watch:
        _watch(suite, results, states)
    else:
        console = terminal()
        found = status_of(suite, results)
        _print(console, suite, found, states)


def _watch(suite: Suite, results: Path, states: Sequence[str]) -> None:
    """A table that follows; where there is no terminal, a line per change."""
    console = terminal()
    found = status_of(suite, results)
    try:
        if not console.is_terminal:
            _follow(console, suite, results, found)
            return
        with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
            while True:
                shown = states or _that_fit(found, console)
                table = _table(found, shown, reasons=console.width >= _WIDE)
                hidden = len(found.runs) - table.row_count
                note = f"({counted(hidden, 'other run')} not shown)" if hidden else ""
                live.update(Group(table, note, _summary(suite, found)), refresh=True)
                if not _is_active(found):
                    return
                time.sleep(_WATCH_SECONDS)
                found = status_of(suite, results)
    except KeyboardInterrupt:
        console.print("The jobs go on.")


def _follow(console: Console, suite: Suite, results: Path, found: SuiteStatus) -> None:
    before: dict[str, str] = {}
    while True:
        for run in found.runs:
            if before.get(run.run_id) != run.state:
                where = f"  job {run.job}" if run.job else ""
                why = f"  {run.reason}" if run.reason else ""
                console.print(f"{run.state:10} {run.name}{where}{why}", markup=False)
        before = {run.run_id: run.state for run in found.runs}
        if not _is_active(found):
            console.print(_summary(suite, found))
            return
        time.sleep(_WATCH_SECONDS)
        found = status_of(suite, results)


def _is_active(found: SuiteStatus) -> bool:
    return any(run.state in ACTIVE for run in found.runs)


def _that_fit(found: SuiteStatus, console: Console) -> Sequence[str]:
    """Every state, or without what is done or has not begun where the screen is too small."""
    if len(found.runs) + 4 <= console.height:
        return ()
    return ("running", "evaluating", "failed", "stopped")


def _table(found: SuiteStatus, states: Sequence[str], *, reasons: bool) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("run")
    table.add_column("state", no_wrap=True)
    table.add_column("job", no_wrap=True)
    table.add_column("node", no_wrap=True)
    table.add_column("progress", justify="right", no_wrap=True)
    table.add_column("left", justify="right", no_wrap=True)
    if reasons:
        table.add_column("reason", overflow="fold")
    for run in found.runs:
        if not states or run.state in states:
            color = _COLORS.get(run.state, "")
            table.add_row(
                escape(run.name),
                Text(run.state, style=color),
                run.job or "",
                run.node or "",
                _progress(run),
                "" if run.left_seconds is None else duration(run.left_seconds),
                *([escape(run.reason or "")] if reasons else []),
            )
    return table


def _progress(run: RunStatus) -> str:
    if run.state in ("done", "changed") or run.share is None:
        return ""
    of = "" if run.total_steps is None else f"{run.step:,}/{run.total_steps:,} "
    return f"{of}{run.share:4.0%}"


def _summary(suite: Suite, found: SuiteStatus) -> str:
    counts = found.counts()
    listed = ", ".join(f"{counts[state]} {state}" for state in _STATES if state in counts)
    line = f"{escape(suite.name)}: {counted(len(found.runs), 'run')}: {listed}."
    if found.trouble:
        line += f"\n[yellow]Slurm could not be asked: {escape(found.trouble)}[/]"
    failed = [run for run in found.runs if run.state == "failed"]
    if failed:
        results = "" if suite.results is None else f" --results {suite.results}"
        line += f"\nNext: harness logs {failed[0].run_id}{results}"
        again = "retry" if any(run.job for run in failed) else "run"
        line += f"\n      {suite.command(again)}"
    return line


def _print(console: Console, suite: Suite, found: SuiteStatus, states: Sequence[str]) -> None:
    """The table, with reasons below it where the screen is narrow."""
    console.print(_table(found, states, reasons=console.width >= _WIDE))
    if console.width < _WIDE:
        for run in found.runs:
            if run.reason and (not states or run.state in states):
                console.print(f"{run.name}: {run.reason}", markup=False)
    console.print(_summary(suite, found), soft_wrap=True)


def _document(suite: Suite, found: SuiteStatus, states: Sequence[str]) -> dict[str, object]:
    runs = [asdict(run) for run in found.runs if not states or run.state in states]
    return {
        "suite": suite.name,
        "counts": found.counts(),
        "slurm_trouble": found.trouble,
        "runs": runs,
    }


def cancel_suite(suite: Suite, results: Path, *, as_json: bool) -> None:
    """Cancel what is queued or running on Slurm; running runs write a checkpoint first."""
    ended = cancel(suite, results)
    if as_json:
        found = {"cancelled": ended.elements, "out_of_reach": ended.out_of_reach}
        print(json.dumps({"suite": suite.name, **found}, indent=1))
        return
    console = terminal()
    if ended.out_of_reach:
        count = counted(ended.out_of_reach, "run")
        console.print(f"{count} just being submitted, or on another cluster: cancel again, there.")
    if not ended.elements:
        console.print("No run of this suite is queued or running on Slurm.")
        return
    console.print(f"{counted(len(ended.elements), 'run')} cancelled.")
    if ended.ending:
        console.print(f"{ended.ending} of them running until now: they end in a moment.")
    console.print(f"Next: {suite.command('status')}", soft_wrap=True)
