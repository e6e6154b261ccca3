"""Every section of a report, ready to be shown: one place, so tables and figures cannot differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.analysis.exhibits.absent import Absent, absent, drawn_runs
from harness.analysis.exhibits.denoising import DenoisingExhibit, denoising_exhibit
from harness.analysis.exhibits.downstream import DownstreamExhibit, downstream_exhibit
from harness.analysis.exhibits.next_frame import NextFrameExhibit, next_frame_exhibit
from harness.analysis.exhibits.probe import ProbeExhibit, probe_exhibit
from harness.analysis.exhibits.scaling import ScalingExhibit, scaling_exhibit
from harness.analysis.exhibits.thinking import ThinkingExhibit, thinking_exhibit
from harness.analysis.exhibits.thinking_ablation import (
    ThinkingAblationExhibit,
    thinking_ablation_exhibit,
)
from harness.analysis.exhibits.thinking_scale import ThinkingScaleExhibit, thinking_scale_exhibit
from harness.analysis.exhibits.thinking_shift import ThinkingShiftExhibit, thinking_shift_exhibit
from harness.analysis.exhibits.tuning import TuningExhibit, tuning_exhibit
from harness.analysis.exhibits.uncertainty import UncertaintyExhibit, uncertainty_exhibit
from harness.analysis.frame import SuiteFrame
from harness.analysis.paper.numbers import PaperNumber, PaperNumbers, PaperSetting, cited
from harness.analysis.rates.holm import holm
from harness.analysis.spread import spread
from harness.planning.planned import PlannedRun, Suite
from harness.planning.sections import (
    DenoisingSection,
    DownstreamSection,
    NextFrameSection,
    ProbeSection,
    ScalingSection,
    Section,
    ThinkingAblationSection,
    ThinkingScaleSection,
    ThinkingSection,
    ThinkingShiftSection,
    TuningSection,
    UncertaintySection,
    evaluations_of,
)

Exhibit = (
    ScalingExhibit
    | ThinkingExhibit
    | ThinkingShiftExhibit
    | ThinkingScaleExhibit
    | ThinkingAblationExhibit
    | UncertaintyExhibit
    | DenoisingExhibit
    | DownstreamExhibit
    | NextFrameExhibit
    | ProbeExhibit
    | TuningExhibit
)


@dataclass(frozen=True)
class Gathered:
    """A section's exhibit, the stem of its files' names, and what is missing of it.

    The section's title names the paper's exhibits that it is the counterpart of, `paper` are their
    numbers and `settings` what they show; `runs` are those that the section reads.
    """

    section: Section
    exhibit: Exhibit
    stem: str
    missing: Absent
    runs: tuple[PlannedRun, ...] = ()
    paper: tuple[PaperNumber, ...] = ()
    settings: tuple[PaperSetting, ...] = ()


def gather(suite: Suite, frame: SuiteFrame, paper: PaperNumbers | None = None) -> list[Gathered]:
    """The report's sections in order; scaling verdicts are adjusted over all axes (Holm)."""
    known = PaperNumbers() if paper is None else paper
    report = [_titled(section) for section in suite.report]
    exhibits = _exhibits(report, suite, frame, known)
    scaling = {
        index: exhibit.rate
        for index, exhibit in enumerate(exhibits)
        if isinstance(exhibit, ScalingExhibit) and exhibit.rate is not None
    }
    for index, rate in zip(scaling, holm(list(scaling.values())), strict=True):
        exhibit = exhibits[index]
        assert isinstance(exhibit, ScalingExhibit)
        exhibits[index] = replace(exhibit, rate=rate)
    used: dict[str, Section] = {}
    return [
        Gathered(
            section,
            exhibit,
            _stem(section, used),
            absent(section, suite, frame),
            tuple(drawn_runs(section, suite)),
            known.of(*section.paper),
            tuple(known.settings[e] for e in section.paper if e in known.settings),
        )
        for section, exhibit in zip(report, exhibits, strict=True)
    ]


def effort_of(section: Section) -> float:
    """How long a section takes, to gather or to draw, over one that takes little."""
    return _EFFORT.get(section.kind, 1.0)


def _exhibits(
    report: Sequence[Section], suite: Suite, frame: SuiteFrame, known: PaperNumbers
) -> list[Exhibit]:
    """Each section's, in order; those of the same evaluations one by one, for what they share."""
    alike: dict[object, list[int]] = {}
    for index, section in enumerate(report):
        names = tuple(name for _, name in evaluations_of(section))
        alike.setdefault((section.experiment, names), []).append(index)
    groups = list(alike.values())
    found = spread(
        lambda group: [_exhibit(report[index], suite, frame, known) for index in group],
        groups,
        effort=lambda group: sum(effort_of(report[index]) for index in group),
    )
    exhibits = {
        index: exhibit
        for group, own in zip(groups, found, strict=True)
        for index, exhibit in zip(group, own, strict=True)
    }
    return [exhibits[index] for index in range(len(report))]


def _exhibit(section: Section, suite: Suite, frame: SuiteFrame, known: PaperNumbers) -> Exhibit:
    exhibit = _EXHIBITS[type(section)](section, suite, frame)
    if isinstance(exhibit, ScalingExhibit | ThinkingExhibit | DenoisingExhibit):
        return replace(exhibit, paper=known.of(*section.paper))
    return exhibit


def _titled(section: Section) -> Section:
    """The section, its title with the paper's exhibits: `Width (cf. paper Fig 5c)`."""
    if not section.paper:
        return section
    title = f"{section.title} (cf. paper {cited(section.paper)})"
    return section.model_copy(update={"title": title})


#: What gathers each kind of section.
_EXHIBITS: dict[type[Section], Callable[[Any, Suite, SuiteFrame], Exhibit]] = {
    ScalingSection: scaling_exhibit,
    ThinkingSection: lambda section, suite, frame: thinking_exhibit(section, frame),
    ThinkingShiftSection: lambda section, suite, frame: thinking_shift_exhibit(section, frame),
    ThinkingScaleSection: thinking_scale_exhibit,
    ThinkingAblationSection: lambda section, suite, frame: thinking_ablation_exhibit(
        section, frame
    ),
    UncertaintySection: lambda section, suite, frame: uncertainty_exhibit(section, frame),
    DownstreamSection: downstream_exhibit,
    NextFrameSection: next_frame_exhibit,
    ProbeSection: lambda section, suite, frame: probe_exhibit(section, frame),
    DenoisingSection: lambda section, suite, frame: denoising_exhibit(section, frame),
    TuningSection: tuning_exhibit,
}


#: Kinds of sections that take longer than others, to gather or to draw.
_EFFORT = {"uncertainty": 8.0, "thinking": 3.0, "denoising": 3.0, "downstream": 2.0}

#: What further files of one section end with: a section of that name would overwrite them.
_ENDINGS = {
    *("against", "budgets", "clips", "differences", "equal", "examples", "gains"),
    *("inputs", "paper", "passes", "rate", "stopping", "texts", "verdicts"),
}


def _stem(section: Section, used: dict[str, Section]) -> str:
    """`scaling-parameters`, with the evaluation where that is taken by sections of others, then
    with the experiment, and then a number.
    """
    base = _base(section)
    alike = [each for each in used.values() if _base(each) == base]
    named = [name for _, name in evaluations_of(section)]
    candidates = [base]
    if len(named) == 1 and not any(evaluations_of(e) == evaluations_of(section) for e in alike):
        ending = named[0].split("-")[0]
        candidates += [f"{base}-{named[0]}"] * (ending not in _ENDINGS and not ending.isdigit())
    of_experiment = f"{base}-{section.experiment}"
    candidates += [of_experiment]
    candidates += [f"{of_experiment}-{number}" for number in range(2, len(used) + 3)]
    found = next(c for c in candidates if c not in used)
    used[found] = section
    return found


def _base(section: Section) -> str:
    return f"scaling-{section.x}" if isinstance(section, ScalingSection) else section.kind
