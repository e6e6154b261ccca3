"""`harness figures`: draw every section of the suites' reports that has something to draw."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from harness.analysis.exhibits.suites import SuiteExhibits, suite_exhibits
from harness.analysis.figures.page import write_figure
from harness.analysis.figures.sections import section_drawings
from harness.planning.planned import Suite


def write_figures(
    suites: Sequence[Suite], results: Path, out: Callable[[Suite], Path], *, as_json: bool
) -> None:
    """Write every figure of the reports to `out(suite)` as PNG, PDF and CSV, and print the paths.

    What cannot be drawn is said on a line of its own, with how to make it (on standard error
    where standard output is JSON).
    """
    aside = sys.stderr if as_json else sys.stdout
    listed = []
    for suite in suites:
        if len(suites) > 1 and not as_json:
            print(f"{suite.name} ({suite.path})")
        listed += _write(suite_exhibits(suite, results), out(suite), aside, quiet=as_json)
    if as_json:
        print(json.dumps(listed, indent=1, allow_nan=False))


def _write(shown: SuiteExhibits, out: Path, aside: TextIO, *, quiet: bool) -> list[dict[str, Any]]:
    listed = []
    for gathered in shown.gathered:
        drawings = section_drawings(gathered)
        for drawing in drawings:
            files = write_figure(drawing, out)
            listed.append(
                {
                    "suite": shown.suite.name,
                    "figure": drawing.name,
                    "title": drawing.title,
                    "png": str(files.png),
                    "pdf": str(files.pdf),
                    "csv": str(files.csv),
                }
            )
            if not quiet:
                print(f"{files.png} (.pdf, .csv): {drawing.title}")
        title, missing = gathered.section.title, gathered.missing.text
        if not drawings:
            print(f"{title}: not drawn, {missing or 'no results'}", file=aside)
        elif missing:
            print(f"{title}: {missing}", file=aside)
    if shown.frame.changed:
        print(shown.notes[-1], file=aside)
    if not shown.suite.report and not quiet:
        print(f"{shown.suite.path} has no report sections, so there is no figure")
    return listed
