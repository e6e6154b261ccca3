"""From suites and their records to the page: verdicts, tables, exhibits, runs, disclosure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from harness.analysis.claims.judging import judge
from harness.analysis.claims.tables import findings_table
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.overview.tables import overview_tables
from harness.analysis.paper.index import paper_index
from harness.analysis.report.details import DETAILS, Measured, measured
from harness.analysis.report.disclosure import disclosures
from harness.analysis.report.drawn import DrawnSuite, drawn_suites
from harness.analysis.report.head import page_head
from harness.analysis.report.page import (
    ClaimPart,
    ExhibitPart,
    Figure,
    Page,
    Shown,
    SuitePart,
)
from harness.analysis.report.run_rows import run_rows
from harness.analysis.report.runs import ReportedRun, anchor_of, reported_runs
from harness.analysis.tables.sections import section_tables
from harness.analysis.tables.table import Table
from harness.planning.planned import Suite
from harness.quantities import counted, duration, si


@dataclass(frozen=True)
class Assembled:
    """The page, and what is packed beside it: runs with their measurements."""

    page: Page
    runs: Sequence[ReportedRun]
    measured: Measured


def assemble(suites: Sequence[Suite], results: Path, out: Path) -> Assembled:
    """Read the records of all suites and lay out the page that `out` gets."""
    drawn = drawn_suites(suites, results)
    shown = [each.shown for each in drawn]
    runs = reported_runs(shown, results, curve_points=DETAILS[0].points)
    rows = measured(shown)
    numbers = count(1)
    page = Page(
        head=page_head(suites, runs, out),
        claims=_claims(shown, runs),
        overview=_overview(shown),
        suites=[_suite(each, numbers) for each in drawn],
        runs=run_rows(runs, rows),
        disclosures=disclosures(shown, runs, results),
    )
    return Assembled(page, runs, rows)


def _claims(shown: Sequence[SuiteExhibits], runs: Sequence[ReportedRun]) -> list[ClaimPart]:
    training = {run.run_id: run.training for run in runs}
    parts = []
    for verdict in judge(shown):
        # Its notes, the claim and what counts, stand above it.
        table = replace(findings_table(verdict), notes=())
        links = [
            [(f.section, anchor_of(f.suites[0], f.stem)), *((run, f"run-{run}") for run in f.runs)]
            for f in verdict.findings
        ]
        used = {run for finding in verdict.findings for run in finding.runs}
        costs = [training.get(run, {}) for run in sorted(used)]
        flops = sum(each.get("flops") or 0.0 for each in costs)
        seconds = sum(each.get("seconds") or 0.0 for each in costs)
        took = f"{counted(len(used), 'run')}, {si(flops)}FLOPs, {duration(seconds)} of training"
        anchor = f"findings-{verdict.claim.name}"
        shown_table = Shown(table, anchor, f"claim/{table.name}", links)
        parts.append(ClaimPart(verdict, shown_table, took if used else ""))
    return parts


def _overview(shown: Sequence[SuiteExhibits]) -> list[Shown]:
    index = paper_index(shown)
    links = [
        [(str(row["stem"]), anchor_of(str(row["suite"]), str(row["stem"])))]
        if "stem" in row
        else []
        for row in index.data
    ]
    tables = [table for table in overview_tables(shown) if table.name != index.name]
    return [
        replace(_beside(index), links=links),
        *(_beside(table) for table in tables if table.rows),
    ]


def _suite(drawn: DrawnSuite, numbers: count[int]) -> SuitePart:
    shown = drawn.shown
    suite = shown.suite
    return SuitePart(
        name=suite.name,
        version=suite.version,
        description=suite.description,
        path=str(suite.path),
        runs=len({run.run_id for run in suite.runs}),
        notes=shown.notes,
        exhibits=[_exhibit(each, drawn, numbers) for each in shown.gathered],
    )


def _exhibit(gathered: Gathered, drawn: DrawnSuite, numbers: count[int]) -> ExhibitPart:
    suite = drawn.shown.suite.name
    figures = [
        Figure(picture, next(numbers), f"figure/{suite}/{picture.name}")
        for picture in drawn.pictures[gathered.stem]
    ]
    return ExhibitPart(
        anchor=anchor_of(suite, gathered.stem),
        title=gathered.section.title,
        kind=gathered.section.kind.replace("_", " "),
        figures=figures,
        tables=[_shown(table, suite) for table in section_tables(gathered)],
        missing=gathered.missing,
        runs=len({run.run_id for run in gathered.runs}),
    )


def _shown(table: Table, suite: str) -> Shown:
    return Shown(table, f"table.{suite}.{table.name}", f"table/{suite}/{table.name}")


def _beside(table: Table) -> Shown:
    """One of all suites side by side."""
    return Shown(table, f"overview.{table.name}", f"overview/{table.name}")
