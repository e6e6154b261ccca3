"""Every exhibit of the paper, the sections that are its counterparts here, and how far they are."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.paper.beside import scale_of
from harness.analysis.paper.numbers import EXHIBITS
from harness.analysis.tables.table import Cell, Table
from harness.planning.planned import Suite

NAME = "paper-index"
_HEADER = ("exhibit", "shows", "suite", "scale here", "files", "evaluations", "to make it")
Counterpart = tuple[Suite, Gathered]


def paper_index(shown: Sequence[SuiteExhibits]) -> Table:
    """A row per exhibit of the paper and section that names it, in the paper's order; an exhibit
    without a section has a row too.
    """
    shows = {e: s.shows for each in shown for e, s in each.paper.settings.items()}
    found = {exhibit: _counterparts(exhibit, shown) for exhibit in EXHIBITS}
    rows: list[list[Cell]] = []
    data: list[dict[str, object]] = []
    for exhibit, counterparts in found.items():
        for suite, gathered in counterparts:
            rows.append(_cells(exhibit, shows.get(exhibit, ""), suite, gathered))
            data.append(_data(exhibit, shows.get(exhibit, ""), suite, gathered))
        if not counterparts:
            empty = [Cell(exhibit), Cell(shows.get(exhibit, "")), Cell("none given")]
            rows.append([*empty, *[Cell("")] * 4])
            data.append({"exhibit": exhibit, "shows": shows.get(exhibit, "")})
    return Table(
        name=NAME,
        title="The paper's exhibits and their counterparts here",
        header=_HEADER,
        rows=rows,
        data=data,
        notes=_notes(found),
        text_columns=5,
    )


def _counterparts(exhibit: str, shown: Sequence[SuiteExhibits]) -> list[Counterpart]:
    return [
        (each.suite, gathered)
        for each in shown
        for gathered in each.gathered
        if exhibit in gathered.section.paper
    ]


def _cells(exhibit: str, shows: str, suite: Suite, gathered: Gathered) -> list[Cell]:
    missing = gathered.missing
    return [
        Cell(exhibit),
        Cell(shows),
        Cell(suite.name),
        Cell(scale_of(gathered.runs).words),
        Cell(f"{suite.name}/{gathered.stem}"),
        Cell(f"{_done(gathered):,} of {missing.planned:,}", bold=not missing.count),
        Cell(missing.command if missing.count else ""),
    ]


def _done(gathered: Gathered) -> int:
    return gathered.missing.planned - gathered.missing.count


def _data(exhibit: str, shows: str, suite: Suite, gathered: Gathered) -> dict[str, object]:
    scale, missing = scale_of(gathered.runs), gathered.missing
    parameters, tokens = scale.parameters or (None, None), scale.tokens or (None, None)
    return {
        "exhibit": exhibit,
        "shows": shows,
        "suite": suite.name,
        "file": str(suite.path),
        "section": gathered.section.title,
        "stem": gathered.stem,
        "parameters_low": parameters[0],
        "parameters_high": parameters[1],
        "tokens_low": tokens[0],
        "tokens_high": tokens[1],
        "data": ", ".join(scale.data),
        "done": _done(gathered),
        "planned": missing.planned,
        "command": missing.command if missing.count else "",
    }


def _notes(found: dict[str, list[Counterpart]]) -> list[str]:
    notes = ["Evaluations: done of planned, bold where all are. Files: suite and stem."]
    bare = [exhibit for exhibit, counterparts in found.items() if not counterparts]
    if bare:
        notes.append(f"No section of the suites given names {', '.join(bare)}.")
    return notes
