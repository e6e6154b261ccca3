"""`harness table`: every section's tables on the terminal and in files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from harness.analysis.exhibits.denoising import DenoisingExhibit
from harness.analysis.exhibits.downstream import DownstreamExhibit
from harness.analysis.exhibits.gather import Exhibit, Gathered, gather
from harness.analysis.exhibits.next_frame import NextFrameExhibit
from harness.analysis.exhibits.probe import ProbeExhibit
from harness.analysis.exhibits.scaling import ScalingExhibit
from harness.analysis.exhibits.thinking import ThinkingExhibit
from harness.analysis.exhibits.thinking_ablation import ThinkingAblationExhibit
from harness.analysis.exhibits.thinking_scale import ThinkingScaleExhibit
from harness.analysis.exhibits.thinking_shift import ThinkingShiftExhibit
from harness.analysis.exhibits.uncertainty import UncertaintyExhibit
from harness.analysis.frame import SuiteFrame, load_frame
from harness.analysis.tables.denoising import denoising_tables
from harness.analysis.tables.downstream import downstream_tables
from harness.analysis.tables.next_frame import next_frame_tables
from harness.analysis.tables.probe import probe_tables
from harness.analysis.tables.scaling import scaling_tables
from harness.analysis.tables.table import Cell, Table
from harness.analysis.tables.thinking import thinking_tables
from harness.analysis.tables.thinking_ablation import thinking_ablation_tables
from harness.analysis.tables.thinking_scale import thinking_scale_tables
from harness.analysis.tables.thinking_shift import thinking_shift_tables
from harness.analysis.tables.uncertainty import uncertainty_tables
from harness.planning.planned import Suite
from harness.show.console import terminal

_LISTED = 5


def print_tables(suite: Suite, results: Path, out: Path, *, as_json: bool) -> None:
    """Print the tables of every report section; write them to `out` as Markdown, LaTeX and CSV."""
    frame = load_frame(suite, results)
    tables = [table for gathered in gather(suite, frame) for table in section_tables(gathered)]
    notes = completeness(suite, frame)
    # A table without a row is not written: it would replace one that has some.
    written = [path for table in tables if table.rows for path in table.write(out)]
    if as_json:
        document = {
            "suite": suite.name,
            "notes": notes,
            "tables": [
                {"name": t.name, "title": t.title, "rows": list(t.data), "notes": list(t.notes)}
                for t in tables
            ],
        }
        print(json.dumps(document, indent=1, allow_nan=False))
        return
    console = terminal()
    for table in tables:
        _print(console, table)
    for note in notes:
        console.print(f"[yellow]{escape(note)}[/]")
    if written:
        console.print(f"{len(written) // 3} tables as .md, .tex and .csv in {out}", soft_wrap=True)
    elif not suite.report:
        console.print(f"{suite.path} has no report sections, so there is no table")


#: What makes the tables of each kind of exhibit.
_TABLES: dict[type[Exhibit], Callable[[Any, str], list[Table]]] = {
    ScalingExhibit: scaling_tables,
    ThinkingExhibit: thinking_tables,
    ThinkingShiftExhibit: thinking_shift_tables,
    ThinkingScaleExhibit: thinking_scale_tables,
    ThinkingAblationExhibit: thinking_ablation_tables,
    UncertaintyExhibit: uncertainty_tables,
    DownstreamExhibit: downstream_tables,
    NextFrameExhibit: next_frame_tables,
    ProbeExhibit: probe_tables,
    DenoisingExhibit: denoising_tables,
}


def section_tables(gathered: Gathered) -> list[Table]:
    """The tables of one report section."""
    return _TABLES[type(gathered.exhibit)](gathered.exhibit, gathered.stem)


def completeness(suite: Suite, frame: SuiteFrame) -> list[str]:
    """What is missing and what was made by other code, in words; empty when all is well."""
    notes = []
    if frame.missing:
        shown = "; ".join(frame.missing[:_LISTED])
        more = len(frame.missing) - _LISTED
        notes.append(
            f"{len(frame.missing)} evaluations are missing: {shown}"
            + (f"; and {more} more" if more > 0 else "")
            + f". Make them: {suite.command('run')}"
        )
    if frame.changed:
        notes.append(
            f"{len(frame.changed)} runs were made by other source code or data than now. "
            f"Redo them: {suite.command('run')} --redo-changed"
        )
    return notes


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
