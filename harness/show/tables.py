"""`harness table`: every section's tables on the terminal and in files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from harness.analysis.exhibits.every_suite import every_suite
from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.tables.sections import section_tables
from harness.analysis.tables.table import Cell, Table
from harness.planning.planned import Suite
from harness.quantities import counted
from harness.show.console import terminal

#: Rows of a table over several suites that a terminal is shown.
_MOST = 25


def print_tables(
    suites: Sequence[Suite],
    results: Path,
    out: Callable[[Suite], Path],
    *,
    overview: Path | None = None,
    as_json: bool,
) -> None:
    """Print the tables of every report section; write them to `out(suite)` as Markdown, LaTeX and
    CSV. Those over several suites come last, and go to `overview` where that is given.
    """
    several = len(suites) > 1
    documents, gathered = [], []
    for suite, shown in zip(suites, every_suite(suites, results), strict=True):
        tables = [table for section in shown.gathered for table in section_tables(section)]
        written = _write(tables, out(suite))
        documents.append(_document(suite.name, shown.notes, tables))
        gathered.append(shown)
        if not as_json:
            _print_suite(shown, tables, written, out(suite), several=several)
    if several and overview is not None:
        # Imported here: one suite has no use for it, and it takes a while.
        from harness.analysis.overview.tables import overview_tables

        tables = overview_tables(gathered)
        written = _write(tables, overview)
        documents.append(_document(None, [], tables))
        if not as_json:
            _print_overview(tables, written, overview)
    if as_json:
        print(json.dumps(documents, indent=1, allow_nan=False))


def _write(tables: Sequence[Table], out: Path) -> int:
    """How many were written. One without a row is not: it would replace one that has some."""
    filled = [table for table in tables if table.rows]
    for table in filled:
        table.write(out)
    return len(filled)


def _document(suite: str | None, notes: Sequence[str], tables: Sequence[Table]) -> dict[str, Any]:
    """A suite's exhibits as data; those over several suites are of none."""
    return {
        "suite": suite,
        "notes": list(notes),
        "tables": [
            {"name": t.name, "title": t.title, "rows": list(t.data), "notes": list(t.notes)}
            for t in tables
        ],
    }


def _print_suite(
    shown: SuiteExhibits, tables: Sequence[Table], written: int, out: Path, *, several: bool
) -> None:
    """Of several suites only the tables that have rows, and one line of a suite without any."""
    console, suite = terminal(), shown.suite
    if several and not written:
        console.print(escape(_nothing_yet(suite)), soft_wrap=True)
        return
    if several:
        console.rule(escape(f"{suite.name} ({suite.path})"), align="left")
    for table in tables:
        if table.rows or not several:
            _print(console, table)
    for note in shown.notes:
        console.print(f"[yellow]{escape(note)}[/]")
    if written:
        console.print(_where(written, out), soft_wrap=True)
    elif not suite.report:
        console.print(escape(f"{suite.path} has no report sections, so there is no table"))


def _nothing_yet(suite: Suite) -> str:
    """`text_data: nothing yet, 30 runs: harness run suites/cpu/text_data.yaml`."""
    if not suite.report:
        return f"{suite.name}: {suite.path} has no report sections, so there is no table"
    runs = counted(len({run.run_id for run in suite.runs}), "run")
    return f"{suite.name}: nothing yet, {runs}: {suite.command('run')}"


def _print_overview(tables: Sequence[Table], written: int, out: Path) -> None:
    console = terminal()
    if not written:
        return
    console.rule("all suites", align="left")
    for table in tables:
        if table.rows:
            _print(console, table, most=_MOST, folder=out)
    console.print(_where(written, out), soft_wrap=True)


def _where(written: int, out: Path) -> str:
    return escape(f"{counted(written, 'table')} as .md, .tex and .csv in {out}")


def _print(
    console: Console, table: Table, *, most: int | None = None, folder: Path | None = None
) -> None:
    """A table, or the first rows of it and the file that has all."""
    console.print(f"\n[bold]{escape(table.title)}[/]")
    if table.rows:
        shown = RichTable(box=None, header_style="bold", pad_edge=False)
        for index, name in enumerate(table.header):
            justify = "left" if index < table.text_columns else "right"
            shown.add_column(escape(name), justify=justify)  # type: ignore[arg-type]
        for row in table.rows[:most]:
            shown.add_row(*(_styled(cell) for cell in row))
        console.print(shown)
        if most is not None and len(table.rows) > most:
            more = f"… and {len(table.rows) - most} more rows: {folder}/{table.name}.md"
            console.print(escape(more), soft_wrap=True)
    for note in table.notes:
        console.print(f"[dim]{escape(note)}[/]")


def _styled(cell: Cell) -> str:
    return f"[bold]{escape(cell.text)}[/]" if cell.bold else escape(cell.text)
