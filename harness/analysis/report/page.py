"""The page as data: what its templates show, in the order in which they show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.claims.claim import ClaimVerdict
from harness.analysis.exhibits.absent import Absent
from harness.analysis.report.disclosure import Disclosure
from harness.analysis.report.pictures import Picture
from harness.analysis.report.run_rows import RunRow
from harness.analysis.tables.table import Table


@dataclass(frozen=True)
class Head:
    """Where the page comes from: facts as (name, value), and the command that makes it again."""

    facts: Sequence[tuple[str, str]]
    command: str


@dataclass(frozen=True)
class Shown:
    """A table and where it is: `links` are (words, anchor) for each row, where there are any."""

    table: Table
    anchor: str
    csv: str
    links: Sequence[Sequence[tuple[str, str]]] = ()


@dataclass(frozen=True)
class Figure:
    """A picture and its number on the page; `csv` is the key of its data."""

    picture: Picture
    number: int
    csv: str


@dataclass(frozen=True)
class ExhibitPart:
    """One section of a suite's report; `runs` is how many it reads."""

    anchor: str
    title: str
    kind: str
    figures: Sequence[Figure]
    tables: Sequence[Shown]
    missing: Absent
    runs: int


@dataclass(frozen=True)
class SuitePart:
    """A suite: what it is, what is missing of it, its exhibits."""

    name: str
    version: int
    description: str
    path: str
    runs: int
    notes: Sequence[str]
    exhibits: Sequence[ExhibitPart]


@dataclass(frozen=True)
class ClaimPart:
    """A verdict with its findings as a table, each linked to its exhibit and runs; `training` is
    what all of these runs took.
    """

    verdict: ClaimVerdict
    findings: Shown
    training: str


@dataclass(frozen=True)
class Page:
    """Everything but what is packed."""

    head: Head
    claims: Sequence[ClaimPart]
    overview: Sequence[Shown]
    suites: Sequence[SuitePart]
    runs: Sequence[RunRow]
    disclosures: Sequence[Disclosure]
    notes: Sequence[str] = ()

    @property
    def figures(self) -> list[Figure]:
        return [f for suite in self.suites for part in suite.exhibits for f in part.figures]
