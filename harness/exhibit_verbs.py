"""The verbs that turn records into exhibits: parse, call, print."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.options import RESULTS, Json, Overrides, Results, SuitePaths, load_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.planning.planned import Suite


def table(
    suites: SuitePaths,
    overrides: Overrides = None,
    results: Results = RESULTS,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write to, of several suites with one of each inside, beside what they "
            "show together; default: RESULTS/tables/SUITE."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print suites' tables and verdicts; write them as Markdown, CSV and LaTeX."""
    _settle()
    from harness.show import tables as show

    loaded = load_all(suites, overrides, results)
    overview = out or results / "tables"
    folders = _folders(loaded, out, overview)
    show.print_tables(loaded, results, folders, overview=overview, as_json=as_json)


def figures(
    suites: SuitePaths,
    overrides: Overrides = None,
    results: Results = RESULTS,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write to, of several suites with one of each inside, beside what they "
            "show together; default: RESULTS/figures/SUITE."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw suites' figures as PNG and PDF, with the CSV they draw beside them."""
    _settle()
    from harness.show import figures as show

    loaded = load_all(suites, overrides, results)
    overview = out or results / "figures"
    folders = _folders(loaded, out, overview)
    show.write_figures(loaded, results, folders, overview=overview, as_json=as_json)


def publish(
    suites: SuitePaths,
    overrides: Overrides = None,
    results: Results = RESULTS,
    changed: Annotated[
        bool,
        typer.Option("--changed", help="Also runs that other source code or data made, so marked."),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also where other numbers were published before.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy finished runs' measurements to RESULTS/published, for others to make exhibits from."""
    _settle()
    from harness.show import publish as show

    loaded = load_all(suites, overrides, results)
    raise typer.Exit(
        show.publish_suites(loaded, results, changed=changed, replace=replace, as_json=as_json)
    )


def report(
    suites: SuitePaths,
    overrides: Overrides = None,
    results: Results = RESULTS,
    out: Annotated[
        Path | None, typer.Option(help="File to write; default: RESULTS/report.html.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one HTML file: verdicts on the paper's claims, exhibits, runs, definitions."""
    _settle()
    from harness.show import report as show

    loaded = load_all(suites, overrides, results)
    show.write_report(loaded, results, out or results / "report.html", as_json=as_json)


def _settle() -> None:
    """This process as exhibits are made fastest in it; before numpy is loaded."""
    # Records are many objects and none of them is garbage: look for it a hundred times less often.
    gc.set_threshold(100_000, 20, 20)
    # Work is spread over processes: threads beside them wait for each other more than they do, and
    # sums in another order would differ in their last digits from machine to machine.
    for setting in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ.setdefault(setting, "1")


def _folders(suites: list[Suite], out: Path | None, default: Path) -> Callable[[Suite], Path]:
    """Where the files of each suite go."""
    if out is not None and len(suites) == 1:
        return lambda suite: out
    return lambda suite: default / suite.name


EXHIBIT_VERBS = (table, figures, report, publish)
