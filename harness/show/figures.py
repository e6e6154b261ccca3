"""`harness figures`: draw every section of the suites' reports that has something to draw."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from harness.analysis.exhibits.every_suite import every_suite
from harness.analysis.exhibits.gather import Gathered, effort_of
from harness.analysis.exhibits.origins import changed_note
from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.figures.page import Drawing, write_figure
from harness.analysis.figures.rates import rates_figures
from harness.analysis.figures.sections import section_drawings
from harness.analysis.spread import spread
from harness.planning.planned import Suite
from harness.quantities import counted

Files = list[dict[str, Any]]


def write_figures(
    suites: Sequence[Suite],
    results: Path,
    out: Callable[[Suite], Path],
    *,
    overview: Path | None = None,
    as_json: bool,
) -> None:
    """Write every figure of the reports to `out(suite)` as PNG, PDF and CSV, and print the paths;
    those over several suites come last, and go to `overview` where that is given.

    What cannot be drawn is said on a line of its own, with how to make it (on standard error
    where standard output is JSON).
    """
    several = len(suites) > 1
    aside = sys.stderr if as_json else sys.stdout
    gathered = list(every_suite(suites, results))
    drawn = [shown for shown in gathered if not several or len(shown.frame.rows)]
    sections = [(section, out(shown.suite)) for shown in drawn for section in shown.gathered]
    written = spread(_draw_section, sections, effort=lambda given: effort_of(given[0].section))
    listed: Files = []
    for shown in gathered:
        if shown not in drawn:
            print(_nothing_yet(shown.suite), file=aside)
            continue
        if several and not as_json:
            print(f"{shown.suite.name} ({shown.suite.path})")
        listed += _told(shown, written, aside, quiet=as_json)
    if several and overview is not None:
        listed += _over_all(gathered, overview, quiet=as_json)
    if as_json:
        print(json.dumps(listed, indent=1, allow_nan=False))


def _draw_section(given: tuple[Gathered, Path]) -> Files:
    gathered, out = given
    return [_written(drawing, out) for drawing in section_drawings(gathered)]


def _written(drawing: Drawing, out: Path) -> dict[str, Any]:
    files = write_figure(drawing, out)
    paths = {"png": str(files.png), "pdf": str(files.pdf), "csv": str(files.csv)}
    return {"figure": drawing.name, "title": drawing.title, **paths}


def _nothing_yet(suite: Suite) -> str:
    runs = counted(len({run.run_id for run in suite.runs}), "run")
    return f"{suite.name}: nothing to draw yet, {runs}: {suite.command('run')}"


def _told(shown: SuiteExhibits, written: Iterator[Files], aside: TextIO, *, quiet: bool) -> Files:
    """Each section's files, and what is missing of it."""
    listed: Files = []
    for gathered in shown.gathered:
        files = next(written)
        listed += _named(shown.suite.name, files, quiet=quiet)
        title, missing = gathered.section.title, gathered.missing.text
        if not files:
            print(f"{title}: not drawn, {missing or 'no results'}", file=aside)
        elif missing:
            print(f"{title}: {missing}", file=aside)
    changed = changed_note(shown.frame, shown.suite)
    if changed is not None:
        print(changed, file=aside)
    if not shown.suite.report and not quiet:
        print(f"{shown.suite.path} has no report sections, so there is no figure")
    return listed


def _over_all(gathered: Sequence[SuiteExhibits], overview: Path, *, quiet: bool) -> Files:
    files = [_written(drawing, overview) for drawing in rates_figures(gathered)]
    if files and not quiet:
        print("all suites")
    return _named(None, files, quiet=quiet)


def _named(suite: str | None, files: Files, *, quiet: bool) -> Files:
    for each in files:
        if not quiet:
            print(f"{each['png']} (.pdf, .csv): {each['title']}")
    return [{"suite": suite, **each} for each in files]
