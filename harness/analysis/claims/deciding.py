"""Which of the suites given could decide a claim once they are run, and what that takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from harness.analysis.claims.claim import LEVEL, ClaimVerdict, Deciding
from harness.analysis.claims.gains import followed_of, thinkers, thinks
from harness.analysis.claims.grounds import Shown
from harness.analysis.claims.scaling import planned_gate, scaling_part
from harness.analysis.claims.trends import smallest_p
from harness.analysis.claims.variants import not_from_noisy, not_s2
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.pattern import MIN_SEEDS
from harness.analysis.exhibits.thinking_shift import SETS_FOR_TREND
from harness.analysis.rates.verdict import MIN_POINTS
from harness.planning.budget import axis_value
from harness.planning.planned import PlannedRun
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


def deciding(verdict: ClaimVerdict, shown: Sequence[Shown]) -> tuple[Deciding, ...]:
    """The unfinished suites whose design may decide a claim, by what training them takes."""
    found = [each for suite in shown if (each := _deciding(verdict, suite)) is not None]
    return tuple(sorted(found, key=lambda each: inf if each.flops is None else each.flops))


def _deciding(verdict: ClaimVerdict, shown: Shown) -> Deciding | None:
    runs: dict[str, PlannedRun] = {}
    evaluations: set[str] = set()
    others = sum(shown.suite.name not in finding.suites for finding in verdict.confirmatory)
    for gathered in shown.gathered:
        if not gathered.missing.names or not _may_decide(gathered, shown, verdict, others):
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
    for run in gathered.runs:
        if run.run_id not in shown.finished and any(e.name in named for e in run.evaluations):
            yield run


def _may_decide(gathered: Gathered, shown: Shown, verdict: ClaimVerdict, others: int) -> bool:
    """Whether the design, once all of it is run, lets a finding of the section decide.

    `others` are the findings of other suites that may decide, for which p is adjusted too.
    """
    section, runs, claim = gathered.section, gathered.runs, verdict.claim.name
    if not isinstance(section, SECTIONS[claim]) or _fewest_seeds(runs) < MIN_SEEDS:
        return False
    if any(run.run_id in shown.distrusted for run in runs):
        return False
    diverged = shown.exhibits.frame.diverged
    if any(run.run_id in diverged for run in runs):
        return False
    families = {run.record.family for run in runs}
    match section:
        case ScalingSection():
            named = scaling_part(section, runs) in verdict.claim.parts
            return named and _families(section, runs) and planned_gate(section, runs).passed
        case ThinkingShiftSection() if claim == "distance":
            return _slopes_may_decide(section, shown, others)
        case ThinkingScaleSection():
            return section.x == "data" and _slopes_may_decide(section, shown, others)
        case ThinkingSection() | ThinkingAblationSection() | ThinkingShiftSection():
            return _thinks(runs)
        case DenoisingSection():
            paper = [
                run for run in runs if run.record.family == "ebt" and not not_from_noisy([run])
            ]
            return bool(paper) and "dit" in families
        case DownstreamSection() | ProbeSection():
            wanted = "dit" if isinstance(section, ProbeSection) else "transformer++"
            labels = {r.adapter_label for r in runs if r.record.family == wanted}
            return section.baseline in labels and "ebt" in families
        case _:
            return False


def _slopes_may_decide(
    section: ThinkingShiftSection | ThinkingScaleSection, shown: Shown, others: int
) -> bool:
    """Whether so many points, in perfect order, have a p that Holm leaves something of."""
    own, fewest = _planned_slopes(section, shown)
    return own > 0 and smallest_p(fewest) * (own + others) <= 1 - LEVEL + 1e-12


def _planned_slopes(
    section: ThinkingShiftSection | ThinkingScaleSection, shown: Shown
) -> tuple[int, int]:
    """How many slopes of the paper's EBT decide, and of how few points."""
    found, fewest = 0, 0
    thinking = thinkers(shown, section.experiment, section.evaluation)
    lines: dict[str, list[str]] = {}
    for model, thinker in thinking.items():
        if not thinker.other:
            adapter = shown.models[section.experiment][model][0].adapter_label
            line = adapter if isinstance(section, ThinkingScaleSection) else model
            lines.setdefault(line, []).append(model)
    for models in lines.values():
        thinker = thinking[models[0]]
        settings = [s for s in followed_of(section, thinker) if s in thinker.declared]
        ground = shown.ground(section.experiment, section.evaluation, models=models)
        if isinstance(section, ThinkingScaleSection):
            points = len({axis_value(each.run, section.x) for each in ground.asked})
            slopes, needed = len(settings) * len(ground.sets), MIN_POINTS
        else:
            everyone = shown.ground(section.experiment, section.evaluation).asked
            points, needed = len(ground.sets), SETS_FOR_TREND
            # The two distances are two parts, and the claim needs both.
            slopes = 2 * len(settings) * any(not thinks(each) for each in everyone)
        if points >= needed:
            found, fewest = found + slopes, min(fewest or points, points)
    return found, fewest


def _thinks(runs: Sequence[PlannedRun]) -> bool:
    return any(run.record.family == "ebt" and not not_s2([run]) for run in runs)


def _families(section: ScalingSection, runs: Sequence[PlannedRun]) -> bool:
    """The paper's two."""
    both = ((section.candidate, "ebt"), (section.baseline, "transformer++"))
    return all(
        {run.record.family for run in runs if run.adapter_label == label} == {family}
        for label, family in both
    )


def _fewest_seeds(runs: Sequence[PlannedRun]) -> int:
    seeds: dict[str, set[int]] = {}
    for run in runs:
        seeds.setdefault(run.setting, set()).add(run.spec.seed)
    return min(map(len, seeds.values()), default=0)
