"""A suite's report as it stands: its measurements and every section, gathered once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from harness.analysis.exhibits.gather import Gathered, gather
from harness.analysis.exhibits.origins import changed_note, published_note
from harness.analysis.frame import SuiteFrame, load_frame
from harness.analysis.paper.numbers import PaperNumbers
from harness.analysis.paper.reading import load_paper
from harness.planning.planned import Suite

_LISTED = 5


@dataclass(frozen=True)
class SuiteExhibits:
    """A suite, what was measured of it, its sections in order, and what is known of the paper."""

    suite: Suite
    frame: SuiteFrame
    gathered: tuple[Gathered, ...]
    paper: PaperNumbers = field(default_factory=PaperNumbers)

    @property
    def notes(self) -> list[str]:
        """What is missing, published or made by other code, in words; empty when all is well."""
        notes = []
        if self.paper.note and any(section.paper for section in self.suite.report):
            notes.append(f"{self.paper.note}.")
        if missing := self.frame.missing:
            shown = "; ".join(missing[:_LISTED])
            more = len(missing) - _LISTED
            notes.append(
                f"{len(missing)} evaluations are missing: {shown}"
                + (f"; and {more} more" if more > 0 else "")
                + f". Make them: {self.suite.command('run')}"
            )
        origins = published_note(self.frame), changed_note(self.frame, self.suite)
        return notes + [note for note in origins if note is not None]


def suite_exhibits(suite: Suite, results: Path) -> SuiteExhibits:
    """Read the records of `suite` under `results` and gather its report."""
    frame = load_frame(suite, results)
    paper = load_paper(results)
    return SuiteExhibits(suite, frame, tuple(gather(suite, frame, paper)), paper)
