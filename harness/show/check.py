"""`harness check`: every check of the contract on one adapter, as a table or as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.errors import HarnessError
from harness.planning.located import Located, Place, merge, read_override
from harness.planning.validate import validate, where_mentioned
from harness.protocol import AdapterRecord, Frozen
from harness.registry import adapter
from harness.show.console import terminal

if TYPE_CHECKING:
    from harness.conformance.examine import Finding
    from harness.conformance.subject import Subject

_STYLES = {"passed": "green", "failed": "bold red", "not offered": "dim", "skipped": "dim"}


def check_adapter(name: str, overrides: Sequence[str], *, slow: bool, as_json: bool) -> int:
    """Run and print every check; returns 1 where one fails, else 0.

    The config is the record's `example` with the overrides laid over it. Raises HarnessError for an
    unknown adapter and for a config that it refuses.
    """
    record = adapter(name)
    given = _given(record, overrides)
    config = _config(record, given)

    from harness.conformance.examine import examine

    subject = _subject(record, config, given)
    console = terminal()
    with console.status(f"checking {name}"):
        findings = list(examine(subject, slow=slow))
    if as_json:
        _print_json(subject, findings)
    else:
        _print_table(console, subject, findings)
    return int(any(finding.verdict == "failed" for finding in findings))


# --- the config ------------------------------------------------------------------------------


def _given(record: AdapterRecord, overrides: Sequence[str]) -> Located:
    """The example and, over it, what `--set` says; each key with its place."""
    example = dict(record.example)
    settings = Located({"config": example}, {("config",): Place(f"{record.name}'s example")})
    for text in overrides:
        _, layer = read_override(text, example="depth=2")
        moved = {("config", *k): place for k, place in layer.places.items()}
        settings = merge(settings, Located({"config": layer.tree}, moved))
    return settings.at("config")


def _config(record: AdapterRecord, given: Located) -> Frozen:
    try:
        return validate(record.config, given)
    except HarnessError as error:
        raise HarnessError(
            error.problem,
            where=error.where,
            allowed=error.allowed,
            given=error.given,
            hint=error.hint or f"`harness ls {record.name}` lists the settings; give them by --set",
        ) from error


def _subject(record: AdapterRecord, config: Frozen, given: Located) -> Subject:
    """What is checked; HarnessError where formulas or factory refuse the config given."""
    from harness.conformance.subject import subject_of

    try:
        subject = subject_of(record, config)
        if any(place.at == "--set" for place in given.places.values()):
            subject.build()
    except (ValueError, ArithmeticError) as error:
        if isinstance(error, HarnessError):
            raise
        raise HarnessError(
            str(error) or type(error).__name__,
            where=where_mentioned(str(error), type(config), given),
        ) from error
    return subject


# --- printing --------------------------------------------------------------------------------


def _print_json(subject: Subject, findings: Sequence[Finding]) -> None:
    document: dict[str, Any] = {
        "adapter": subject.record.name,
        "version": subject.record.version,
        "config": subject.config.model_dump(mode="json"),
        "shape": asdict(subject.shape),
        "passed": all(finding.verdict != "failed" for finding in findings),
        "checks": [asdict(finding) for finding in findings],
    }
    print(json.dumps(document, indent=1, allow_nan=False))


def _print_table(console: Console, subject: Subject, findings: Sequence[Finding]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("check", "verdict", "found"):
        table.add_column(column, overflow="fold", no_wrap=column != "found")
    for finding in findings:
        found = Text(finding.reason)
        if finding.verdict == "failed":
            found.append(f"\nmust hold: {finding.claim}", "dim")
        style = _STYLES[finding.verdict]
        table.add_row(finding.check, Text(finding.verdict, style), found)
    console.print(table)
    counts: Counter[str] = Counter(finding.verdict for finding in findings)
    listed = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _STYLES if counts[verdict])
    settings = json.dumps(subject.config.model_dump(mode="json"))
    console.print(f"\n{subject.record.name} version {subject.record.version}, config {settings}")
    if counts["failed"]:
        console.print(f"[bold red]does not keep the contract[/]: {listed}.")
    else:
        console.print(f"[green]keeps the contract[/]: {listed}.")
