"""`harness publish`: put finished runs where others can read them, and say what was left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.planning.planned import Suite
from harness.publishing.publish import PUBLISHED, REFUSED, Outcome, State, publish
from harness.quantities import counted, si
from harness.show.console import terminal

_LISTED = 5
#: What is said of runs that were left out, and what to do about it.
_LEFT_OUT: dict[State, tuple[str, str]] = {
    "unfinished": ("not finished", "harness run, then publish again"),
    "changed": (
        "made by other source code or data than now",
        "redo them with `harness run --redo-changed`, or publish them marked so: --changed",
    ),
    "private": (
        "of data or settings at places that only this machine has",
        "name them relative to the folder that commands run in, a link to them for example, and "
        "run again: names are part of what a run is",
    ),
    "differs": (
        "published before with other numbers",
        "keep those, or publish what is here instead: --replace",
    ),
}


def publish_suites(
    suites: Sequence[Suite], results: Path, *, changed: bool, replace: bool, as_json: bool
) -> int:
    """Publish the finished runs of these suites and print what became of each.

    Returns the exit code: 1 where a run was refused, or nothing is published.
    """
    outcomes = publish(suites, results, changed=changed, replace=replace)
    if as_json:
        print(json.dumps(_document(outcomes), indent=1, allow_nan=False))
    else:
        _print(outcomes)
    return int(bool(_of(outcomes, *REFUSED)) or not _of(outcomes, *PUBLISHED))


def _of(outcomes: Sequence[Outcome], *states: State) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.state in states]


def _by_folder(outcomes: Sequence[Outcome]) -> dict[Path, list[Outcome]]:
    found: dict[Path, list[Outcome]] = {}
    for outcome in _of(outcomes, *PUBLISHED):
        assert outcome.folder is not None
        found.setdefault(outcome.folder.parent, []).append(outcome)
    return found


def _document(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "devices": [
            {"folder": str(folder), "device": own[0].device, "runs": len(own)}
            | {name: sum(getattr(o, name) for o in own) for name in _TOTALS}
            for folder, own in _by_folder(outcomes).items()
        ],
        "runs": [
            asdict(outcome)
            | {name: value and str(value) for name, value in _paths(outcome).items()}
            for outcome in outcomes
        ],
    }


def _paths(outcome: Outcome) -> dict[str, Path | None]:
    return {"folder": outcome.folder, "leftover": outcome.leftover}


_TOTALS = ("evaluations", "files", "bytes")


def _print(outcomes: Sequence[Outcome]) -> None:
    console = terminal()
    for folder, own in _by_folder(outcomes).items():
        states = {state: len(_of(own, state)) for state in PUBLISHED}
        evaluations, files, size = (sum(getattr(o, name) for o in own) for name in _TOTALS)
        told = ", ".join(f"{count} {state}" for state, count in states.items() if count)
        console.print(
            f"{own[0].device}: {counted(len(own), 'run')} ({told}), "
            f"{counted(evaluations, 'evaluation')}, {counted(files, 'file')}, {si(size)}B "
            f"in {folder}",
            soft_wrap=True,
            markup=False,
        )
    if not _by_folder(outcomes):
        console.print("Nothing is published.")
    _print_left_out(outcomes)


def _print_left_out(outcomes: Sequence[Outcome]) -> None:
    """On standard error, one message for each reason."""
    if kept := [str(outcome.leftover) for outcome in outcomes if outcome.leftover is not None]:
        what = "folders of what was published before could not be removed; nothing reads them"
        _say(what, kept, "who may write in them can remove them")
    partly = [outcome for outcome in _of(outcomes, *PUBLISHED) if outcome.missing]
    if partly:
        lacking = counted(sum(len(outcome.missing) for outcome in partly), "evaluation")
        _say(f"{lacking} left out, not done", [f"{o.name}: {_some(o.missing)}" for o in partly])
    for state, (what, hint) in _LEFT_OUT.items():
        if left := _of(outcomes, state):
            why = [o.name + (f": {_some(o.reasons)}" if o.reasons else "") for o in left]
            _say(f"{counted(len(left), 'run')} left out, {what}", why, hint)


def _say(what: str, each: Sequence[str], hint: str = "") -> None:
    console = terminal(stderr=True)
    lines = [f"{what}:", *(f"  {line}" for line in each[:_LISTED])]
    if len(each) > _LISTED:
        lines.append(f"  and {len(each) - _LISTED} more")
    for line in [*lines, *([hint] if hint else [])]:
        console.print(line, soft_wrap=True, markup=False)


def _some(reasons: Sequence[str]) -> str:
    more = len(reasons) - _LISTED
    return "; ".join(reasons[:_LISTED]) + (f"; and {more} more" if more > 0 else "")
