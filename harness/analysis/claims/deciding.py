"""Which of the suites given could decide a claim once they are run, and what that takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from harness.analysis.claims.claim import Deciding
from harness.analysis.claims.grounds import Shown
from harness.analysis.claims.variants import not_from_noisy, not_s2
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.pattern import MIN_SEEDS
from harness.analysis.exhibits.thinking_shift import SETS_FOR_TREND
from harness.analysis.rates.rate import DEFAULT_BOOTSTRAP
from harness.analysis.rates.verdict import MIN_POINTS, gate_design
from harness.planning.budget import axis_value, section_runs
from harness.planning.compared import compared_runs
from harness.planning.planned import PlannedRun, Suite
from harness.planning.sections import (
    DenoisingSection,
    DownstreamSection,
    ProbeSection,
    ScalingSection,
    Section,
    ThinkingAblationSection,
    ThinkingScaleSection,
    ThinkingSection,
    ThinkingShiftSection,
    evaluations_of,
)

#: The sections that bear on each claim.
SECTIONS: dict[str, tuple[type[Section], ...]] = {
    "scaling": (ScalingSection,),
    "thinking": (ThinkingSection, ThinkingAblationSection, ThinkingShiftSection),
    "passes": (DenoisingSection,),
    "downstream": (DownstreamSection,),
    "distance": (ThinkingShiftSection,),
    "growth": (ThinkingScaleSection,),
    "features": (ProbeSection,),
}


def deciding(claim: str, shown: Sequence[Shown]) -> tuple[Deciding, ...]:
    """The unfinished suites whose design may decide a claim, by what training them takes."""
    found = [each for suite in shown if (each := _deciding(claim, suite)) is not None]
    return tuple(sorted(found, key=lambda each: inf if each.flops is None else each.flops))


def _deciding(claim: str, shown: Shown) -> Deciding | None:
    runs: dict[str, PlannedRun] = {}
    evaluations: set[str] = set()
    for gathered in shown.gathered:
        section = gathered.section
        if not gathered.missing.names or not isinstance(section, SECTIONS[claim]):
            continue
        if shown.untrusted or not _may_decide(section, shown):
            continue
        evaluations |= set(gathered.missing.names)
        runs |= {run.run_id: run for run in _unfinished(gathered, shown)}
    if not evaluations:
        return None
    costs = [run.cost.flops for run in runs.values()]
    known = [cost for cost in costs if cost is not None]
    return Deciding(
        suite=shown.suite.name,
        command=shown.suite.command("run"),
        runs=len(runs),
        evaluations=len(evaluations),
        flops=sum(known) if len(known) == len(costs) else None,
    )


def _unfinished(gathered: Gathered, shown: Shown) -> Iterator[PlannedRun]:
    """The section's runs without any result."""
    named = {name for _, name in evaluations_of(gathered.section)}
    for run in _runs(gathered.section, shown.suite):
        if run.run_id not in shown.finished and any(e.name in named for e in run.evaluations):
            yield run


def _runs(section: Section, suite: Suite) -> list[PlannedRun]:
    if isinstance(section, ScalingSection | ThinkingScaleSection):
        return section_runs(section, suite)
    if isinstance(section, DownstreamSection):
        return compared_runs(section, suite)
    return suite.of(section.experiment)


def _may_decide(section: Section, shown: Shown) -> bool:
    """Whether the design, once all of it is run, lets a finding of the section decide."""
    runs = _runs(section, shown.suite)
    if _fewest_seeds(runs) < MIN_SEEDS:
        return False
    families = {run.record.family for run in runs}
    match section:
        case ScalingSection():
            return section.x != "seconds" and _gate(section, runs)
        case ThinkingShiftSection():
            sets = {
                e.spec.data for r in runs for e in r.evaluations if e.name == section.evaluation
            }
            return _thinks(runs) and len(sets) >= SETS_FOR_TREND
        case ThinkingScaleSection():
            xs = {axis_value(run, section.x) for run in runs}
            return section.x == "data" and _thinks(runs) and len(xs) >= MIN_POINTS
        case ThinkingSection() | ThinkingAblationSection():
            return _thinks(runs)
        case DenoisingSection():
            paper = [
                run for run in runs if run.record.family == "ebt" and not not_from_noisy([run])
            ]
            return bool(paper) and "dit" in families
        case DownstreamSection() | ProbeSection():
            wanted = "dit" if isinstance(section, ProbeSection) else "transformer++"
            named = {r.adapter_label for r in runs if r.record.family == wanted}
            return section.baseline in named and "ebt" in families
        case _:
            return False


def _thinks(runs: Sequence[PlannedRun]) -> bool:
    return any(run.record.family == "ebt" and not not_s2([run]) for run in runs)


def _gate(section: ScalingSection, runs: Sequence[PlannedRun]) -> bool:
    """The paper's two families, at points and seeds that pass the gate of a scaling rate."""
    both = []
    for label, family in ((section.candidate, "ebt"), (section.baseline, "transformer++")):
        own = [run for run in runs if run.adapter_label == label]
        if {run.record.family for run in own} != {family}:
            return False
        xs = sorted({x for run in own if (x := axis_value(run, section.x))})
        if len(xs) < MIN_POINTS:
            return False
        both.append(tuple(xs))
    return gate_design(
        section.x,
        xs=(both[0], both[1]),
        seeds=_fewest_seeds(runs),
        resamples=DEFAULT_BOOTSTRAP.resamples,
    ).passed


def _fewest_seeds(runs: Sequence[PlannedRun]) -> int:
    seeds: dict[str, set[int]] = {}
    for run in runs:
        seeds.setdefault(run.setting, set()).add(run.spec.seed)
    return min(map(len, seeds.values()), default=0)
