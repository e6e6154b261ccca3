"""`harness figures`: draw every section of a report that has something to draw."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from harness.analysis.exhibits.denoising import denoising_exhibit
from harness.analysis.exhibits.scaling import ScalingExhibit, scaling_exhibit
from harness.analysis.exhibits.thinking import thinking_exhibit
from harness.analysis.figures.absent import Absent, absent
from harness.analysis.figures.denoising import denoising_figure
from harness.analysis.figures.examples import example_figures
from harness.analysis.figures.page import Drawing, write_figure
from harness.analysis.figures.scaling import scaling_figure, seed_losses
from harness.analysis.figures.thinking import thinking_figures
from harness.analysis.frame import SuiteFrame, load_frame
from harness.analysis.holm import holm
from harness.planning.document import ScalingSection, Section, ThinkingSection
from harness.planning.suite import Suite


@dataclass(frozen=True)
class SectionDrawings:
    """One report section's figures, none where nothing was found, and what is missing."""

    section: Section
    drawings: tuple[Drawing, ...]
    missing: Absent


def write_figures(suite: Suite, results: Path, out: Path, *, as_json: bool) -> None:
    """Write every figure of the report to `out` as PNG, PDF and CSV, and print the paths.

    What cannot be drawn is said on a line of its own, with how to make it (on standard error
    where standard output is JSON).
    """
    frame = load_frame(suite, results)
    aside = sys.stderr if as_json else sys.stdout
    listed = []
    for found in draw_sections(suite, frame):
        for drawing in found.drawings:
            files = write_figure(drawing, out)
            listed.append(
                {"figure": drawing.name, "title": drawing.title, "png": str(files.png),
                 "pdf": str(files.pdf), "csv": str(files.csv)}
            )
            if not as_json:
                print(f"{files.png} (.pdf, .csv): {drawing.title}")
        if not found.drawings:
            print(f"{found.section.title}: not drawn, {found.missing.text or 'no results'}",
                  file=aside)
        elif found.missing.text:
            print(f"{found.section.title}: {found.missing.text}", file=aside)
    if frame.other_source:
        print(
            f"{len(frame.other_source)} runs were made by other source code than is installed now. "
            f"Redo them: harness run {suite.path} --redo-other-source", file=aside,
        )
    if as_json:
        print(json.dumps(listed, indent=1, allow_nan=False))
    elif not suite.report:
        print(f"{suite.path} has no report sections, so there is no figure")


def draw_sections(suite: Suite, frame: SuiteFrame) -> Iterator[SectionDrawings]:
    """Draw section by section; names are unique, and scaling verdicts adjusted over all axes."""
    scaling = _adjusted(suite, frame)
    used: set[str] = set()
    for index, section in enumerate(suite.report):
        missing = absent(section, suite, frame)
        drawings = _draw(section, suite, frame, scaling.get(index), missing.text)
        named = tuple(
            replace(d, name=_unique(d.name, section, used)) for d in drawings
        )
        yield SectionDrawings(section, named, missing)


def _adjusted(suite: Suite, frame: SuiteFrame) -> dict[int, ScalingExhibit]:
    """Report index -> scaling exhibit, its verdict adjusted for the number of axes."""
    if not len(frame.rows):
        return {}
    exhibits = {
        index: scaling_exhibit(section, suite, frame)
        for index, section in enumerate(suite.report)
        if isinstance(section, ScalingSection)
    }
    rates = {index: e.rate for index, e in exhibits.items() if e.rate is not None}
    for index, rate in zip(rates, holm(list(rates.values())), strict=True):
        exhibits[index] = replace(exhibits[index], rate=rate)
    return exhibits


def _draw(
    section: Section,
    suite: Suite,
    frame: SuiteFrame,
    scaling: ScalingExhibit | None,
    missing: str,
) -> list[Drawing]:
    if isinstance(section, ScalingSection):
        if scaling is None:
            return []
        seeds = seed_losses(section, suite, frame)
        drawing = scaling_figure(scaling, seeds=seeds, missing=missing)
        return [] if drawing is None else [drawing]
    if isinstance(section, ThinkingSection):
        return thinking_figures(thinking_exhibit(section, frame), missing=missing)
    exhibit = denoising_exhibit(section, frame)
    curves = denoising_figure(exhibit, missing=missing)
    return ([] if curves is None else [curves]) + example_figures(exhibit, missing=missing)


def _unique(name: str, section: Section, used: set[str]) -> str:
    """The name, with the experiment and then a number where another section has it already."""
    candidates = [name, f"{name}-{section.experiment}"]
    candidates += [f"{candidates[1]}-{number}" for number in range(2, len(used) + 3)]
    found = next(c for c in candidates if c not in used)
    used.add(found)
    return found
