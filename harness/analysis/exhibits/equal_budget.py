"""Two families at an equal place on the axis: the difference of their losses, by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Literal

from harness.analysis.exhibits.scaling import RunLoss, ScalingExhibit
from harness.analysis.intervals import SeedMean, over_seeds

Lower = Literal["candidate", "baseline", "undecided"]


@dataclass(frozen=True)
class BudgetDifference:
    """Candidate minus baseline at one budget, paired by training seed.

    `candidate` and `baseline` are the mean losses of the paired seeds alone, `of_candidate` and
    `of_baseline` what those seeds spent on average.
    """

    budget: float
    label: str
    difference: SeedMean
    candidate: float
    baseline: float
    seeds: tuple[int, ...]
    of_candidate: Spent
    of_baseline: Spent

    @property
    def lower(self) -> Lower:
        """Whose loss is lower, where the 95 % interval excludes no difference."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None or low <= 0 <= high:
            return "undecided"
        return "candidate" if high < 0 else "baseline"


@dataclass(frozen=True)
class Spent:
    """What one training run of a point cost, and how many tokens or frames it predicted."""

    seen: int | None
    flops: float
    seconds: float


def budget_differences(exhibit: ScalingExhibit) -> list[BudgetDifference]:
    """One per tokens, FLOPs, seconds, width … that both families were given."""
    section = exhibit.section
    found: dict[tuple[float, str], dict[str, dict[int, RunLoss]]] = {}
    for run in exhibit.runs:
        if run.budget is not None:
            point = found.setdefault((run.budget, run.label), {})
            point.setdefault(run.adapter, {})[run.seed] = run
    return [
        _difference(budget, label, by_adapter[section.candidate], by_adapter[section.baseline])
        for (budget, label), by_adapter in sorted(found.items())
        if by_adapter.get(section.candidate, {}).keys()
        & by_adapter.get(section.baseline, {}).keys()
    ]


def _difference(
    budget: float, label: str, ours: Mapping[int, RunLoss], theirs: Mapping[int, RunLoss]
) -> BudgetDifference:
    seeds = tuple(sorted(ours.keys() & theirs.keys()))
    return BudgetDifference(
        budget=budget,
        label=label,
        difference=over_seeds([ours[seed].loss - theirs[seed].loss for seed in seeds]),
        candidate=mean(ours[seed].loss for seed in seeds),
        baseline=mean(theirs[seed].loss for seed in seeds),
        seeds=seeds,
        of_candidate=_spent([ours[seed] for seed in seeds]),
        of_baseline=_spent([theirs[seed] for seed in seeds]),
    )


def _spent(runs: Sequence[RunLoss]) -> Spent:
    seen = [run.seen for run in runs if run.seen is not None]
    return Spent(
        seen=round(mean(seen)) if len(seen) == len(runs) else None,
        flops=mean(run.training_flops for run in runs),
        seconds=mean(run.training_seconds for run in runs),
    )
