"""`harness report`: one HTML file of verdicts, exhibits, runs, definitions and disclosure."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from harness.analysis.outputs import written_to
from harness.analysis.report.assemble import Assembled, assemble
from harness.analysis.report.render import LIMIT, Rendered, render
from harness.errors import HarnessError
from harness.planning.planned import Suite
from harness.quantities import counted
from harness.records import write_text
from harness.show.console import terminal


def write_report(suites: Sequence[Suite], results: Path, out: Path, *, as_json: bool) -> None:
    """Write the report of `suites` to the file `out`; print its verdicts and what is missing."""
    with written_to(out):
        _check(out)
    assembled = assemble(suites, results, out)
    rendered = render(assembled)
    with written_to(out):
        write_text(out, rendered.html)
    if as_json:
        print(json.dumps(_document(assembled, rendered, out), indent=1, allow_nan=False))
    else:
        _print(assembled, rendered, out)


def _check(out: Path) -> None:
    """HarnessError where the report could not be written, before anything is read or drawn."""
    if out.is_dir():
        raise HarnessError(
            "this is a folder, not a file", where=f"--out {out}", hint=f"--out {out}/report.html"
        )
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise HarnessError(
            "cannot write here", where=str(folder), hint="give another place with --out"
        )


def _document(assembled: Assembled, rendered: Rendered, out: Path) -> dict[str, Any]:
    page = assembled.page
    return {
        "report": str(out),
        "bytes": rendered.bytes,
        "suites": [suite.name for suite in page.suites],
        "runs": len(page.runs),
        "runs_done": sum(run.record is not None for run in assembled.runs),
        "figures": len(page.figures),
        "claims": [
            {
                "claim": claim.verdict.claim.name,
                "status": claim.verdict.status,
                "reason": claim.verdict.reason,
            }
            for claim in page.claims
        ],
        "notes": [*(note for suite in page.suites for note in suite.notes), *rendered.spared],
    }


def _print(assembled: Assembled, rendered: Rendered, out: Path) -> None:
    console = terminal()
    page = assembled.page
    for claim in page.claims:
        verdict = claim.verdict
        title, text, reason = map(escape, (verdict.claim.title, verdict.text, verdict.reason))
        console.print(f"{title}: [bold]{text}[/], {reason}")
    for suite in page.suites:
        for note in suite.notes:
            console.print(f"[yellow]{escape(suite.name)}: {escape(note)}[/]")
    for note in rendered.spared:
        console.print(f"[yellow]{escape(note)}[/]")
    size = rendered.bytes / 1e6
    if rendered.bytes > LIMIT:
        console.print(
            f"[yellow]The file is larger than {LIMIT / 1e6:g} MB: report fewer suites.[/]"
        )
    done = sum(run.record is not None for run in assembled.runs)
    console.print(
        f"{escape(str(out))} ({size:.2g} MB): {counted(len(page.suites), 'suite')}, {done} of "
        f"{counted(len(page.runs), 'run')}, {counted(len(page.figures), 'figure')}",
        soft_wrap=True,
    )
