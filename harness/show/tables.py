"""`harness table`: every section's tables on the terminal and in files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from harness.analysis.exhibits.suites import SuiteExhibits, suite_exhibits
from harness.analysis.tables.sections import section_tables
from harness.analysis.tables.table import Cell, Table
from harness.planning.planned import Suite
from harness.show.console import terminal


def print_tables(
    suites: Sequence[Suite], results: Path, out: Callable[[Suite], Path], *, as_json: bool
) -> None:
    """Print the tables of every report section; write them to `out(suite)` as Markdown, LaTeX and
    CSV.
    """
    documents = []
    for suite in suites:
        shown = suite_exhibits(suite, results)
        tables = [table for gathered in shown.gathered for table in section_tables(gathered)]
        # A table without a row is not written: it would replace one that has some.
        written = [path for table in tables if table.rows for path in table.write(out(suite))]
        documents.append(_document(shown, tables))
        if not as_json:
            _print_suite(shown, tables, written, out(suite), named=len(suites) > 1)
    if as_json:
        print(json.dumps(documents, indent=1, allow_nan=False))


def _document(shown: SuiteExhibits, tables: Sequence[Table]) -> dict[str, Any]:
    return {
        "suite": shown.suite.name,
        "notes": shown.notes,
        "tables": [
            {"name": t.name, "title": t.title, "rows": list(t.data), "notes": list(t.notes)}
            for t in tables
        ],
    }


def _print_suite(
    shown: SuiteExhibits,
    tables: Sequence[Table],
    written: Sequence[Path],
    out: Path,
    *,
    named: bool,
) -> None:
    console = terminal()
    if named:
        console.rule(escape(f"{shown.suite.name} ({shown.suite.path})"), align="left")
    for table in tables:
        _print(console, table)
    for note in shown.notes:
        console.print(f"[yellow]{escape(note)}[/]")
    if written:
        console.print(f"{len(written) // 3} tables as .md, .tex and .csv in {out}", soft_wrap=True)
    elif not shown.suite.report:
        console.print(f"{shown.suite.path} has no report sections, so there is no table")


def _print(console: Console, table: Table) -> None:
    console.print(f"\n[bold]{escape(table.title)}[/]")
    if table.rows:
        shown = RichTable(box=None, header_style="bold", pad_edge=False)
        for index, name in enumerate(table.header):
            justify = "left" if index < table.text_columns else "right"
            shown.add_column(name, justify=justify)  # type: ignore[arg-type]
        for row in table.rows:
            shown.add_row(*(_styled(cell) for cell in row))
        console.print(shown)
    for note in table.notes:
        console.print(f"[dim]{escape(note)}[/]")


def _styled(cell: Cell) -> str:
    return f"[bold]{escape(cell.text)}[/]" if cell.bold else escape(cell.text)
