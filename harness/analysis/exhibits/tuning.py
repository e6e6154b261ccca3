"""A tuning section: losses at every learning rate, the chosen one, and what trials were given."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from harness.analysis.frame import SuiteFrame
from harness.analysis.intervals import SeedMean, over_seeds
from harness.planning.planned import PlannedRun, RunCost, Suite
from harness.planning.sections import TuningSection
from harness.planning.tuned import Place, tuned_grids

Edge = Literal["lowest", "highest"]


@dataclass(frozen=True)
class Trial:
    """One learning rate of one model; `losses` are by training seed.

    `diverged` are the seeds whose loss is not finite, `missing` those without a result yet. `loss`
    is a mean over all seeds, and None where one of them diverged or is missing.
    """

    label: str
    lr: float
    losses: Mapping[int, float]
    diverged: tuple[int, ...]
    missing: tuple[int, ...]
    n: int | None
    tokens: int | None
    flops: float | None
    seconds: float | None

    @property
    def loss(self) -> SeedMean | None:
        if self.diverged or self.missing:
            return None
        return over_seeds(list(self.losses.values()))


@dataclass(frozen=True)
class TuningGrid:
    """The trials of one model at one point, lowest rate first."""

    place: Place
    family: str
    trials: tuple[Trial, ...]

    @property
    def complete(self) -> bool:
        """Every trial has a result, if only that it diverged."""
        return not any(trial.missing for trial in self.trials)

    @property
    def chosen(self) -> Trial | None:
        """The lowest mean loss, so far where the grid is not complete; None without any loss."""
        finite = [trial for trial in self.trials if trial.loss is not None]
        return min(finite, key=_mean_loss) if finite else None

    @property
    def edge(self) -> Edge | None:
        """Which end of the grid the chosen rate lies at: a better one may lie beyond."""
        if self.chosen is None or self.chosen is self.trials[0] is self.trials[-1]:
            return None
        ends: dict[Edge, Trial] = {"lowest": self.trials[0], "highest": self.trials[-1]}
        return next((name for name, trial in ends.items() if trial is self.chosen), None)

    @property
    def rises(self) -> tuple[float | None, float | None]:
        """How much the loss rises to the next lower and the next higher rate, where known."""
        if self.chosen is None:
            return None, None
        place = self.trials.index(self.chosen)
        lower = self.trials[place - 1] if place else None
        higher = self.trials[place + 1] if place + 1 < len(self.trials) else None
        best = _mean_loss(self.chosen)
        rises = [
            None if trial is None or trial.loss is None else trial.loss.value - best
            for trial in (lower, higher)
        ]
        return rises[0], rises[1]

    @property
    def spread(self) -> float | None:
        """Highest minus lowest mean loss of the rates that have one; None of fewer than two."""
        means = [trial.loss.value for trial in self.trials if trial.loss is not None]
        return max(means) - min(means) if len(means) > 1 else None


def _mean_loss(trial: Trial) -> float:
    assert trial.loss is not None
    return trial.loss.value


@dataclass(frozen=True)
class TuningBudget:
    """What a plan gives one model's tuning at one point; costs are by formula, of one trial.

    None where trials of a grid differ, and of tokens and FLOPs where seconds decide.
    """

    place: Place
    rates: tuple[float, ...]
    seeds: int | None
    tokens: int | None
    flops: float | None
    seconds: float | None


@dataclass(frozen=True)
class TuningExhibit:
    """`budgets` are in the order of `grids`; `data` is what losses are of."""

    section: TuningSection
    grids: tuple[TuningGrid, ...]
    budgets: tuple[TuningBudget, ...]
    data: str
    device: tuple[str, ...]

    @property
    def found(self) -> bool:
        """There is a result."""
        return any(trial.losses or trial.diverged for g in self.grids for trial in g.trials)

    def unequal(self, labels: tuple[tuple[str, str], ...]) -> list[str]:
        """In what the models' budgets differ at a point: trials, seeds, tokens, FLOPs, seconds."""
        own = [budget for budget in self.budgets if budget.place.labels == labels]
        compared: dict[str, set[object]] = {
            "trials": {len(budget.rates) for budget in own},
            "seeds": {budget.seeds for budget in own},
            "tokens": {budget.tokens for budget in own},
            "FLOPs": {budget.flops for budget in own},
            "seconds": {budget.seconds for budget in own},
        }
        return [what for what, values in compared.items() if len(values) > 1]


def chosen_rates(
    exhibit: TuningExhibit,
) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """(adapter label, labels of the other axes) -> the chosen rate, of complete grids alone."""
    return {
        (grid.place.adapter, grid.place.labels): grid.chosen.lr
        for grid in exhibit.grids
        if grid.complete and grid.chosen is not None
    }


def tuning_exhibit(section: TuningSection, suite: Suite, frame: SuiteFrame) -> TuningExhibit:
    """Gather one tuning section from a suite's records."""
    rows = frame.of(section.experiment, section.evaluation)
    losses = rows[rows["metric"] == "loss"] if len(rows) else rows
    by_run = {str(run): own for run, own in losses.groupby("run")} if len(losses) else {}
    grids = tuned_grids(section, suite)
    return TuningExhibit(
        section=section,
        grids=tuple(
            TuningGrid(
                place,
                next(iter(tried.values()))[0].record.family,
                tuple(_trial(label, runs, by_run, frame.diverged) for label, runs in tried.items()),
            )
            for place, tried in grids.items()
        ),
        budgets=tuple(_budget(place, list(tried.values())) for place, tried in grids.items()),
        data=", ".join(
            sorted({f"{d} ({s})" for d, s in zip(losses["data"], losses["split"], strict=True)})
            if len(losses)
            else ()
        ),
        device=tuple(sorted(set(losses["training_device"]))) if len(losses) else (),
    )


def _trial(
    label: str,
    runs: Sequence[PlannedRun],
    by_run: Mapping[str, pd.DataFrame],
    diverged: Collection[str],
) -> Trial:
    found = {run.spec.seed: by_run[run.run_id] for run in runs if run.run_id in by_run}
    finite = {seed: own for seed, own in found.items() if not own["value"].isna().any()}
    lost = {run.spec.seed for run in runs if run.run_id in diverged} | found.keys() - finite.keys()
    seeds = [run.spec.seed for run in runs]
    records = [own.iloc[0] for own in found.values()]
    tokens = [record["training_tokens"] for record in records]
    return Trial(
        label=label,
        lr=runs[0].spec.optimizer.lr,
        losses={seed: float(own["value"].mean()) for seed, own in finite.items()},
        diverged=tuple(seed for seed in seeds if seed in lost),
        missing=tuple(seed for seed in seeds if seed not in found and seed not in lost),
        n=int(records[0]["n"]) if records else None,
        tokens=int(tokens[0]) if tokens and not pd.isna(tokens[0]) else None,
        flops=_mean([float(record["training_flops"]) for record in records]),
        seconds=_mean([float(record["training_seconds"]) for record in records]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _budget(place: Place, tried: Sequence[Sequence[PlannedRun]]) -> TuningBudget:
    runs = [runs[0] for runs in tried]
    costs: list[RunCost] = [run.cost for run in runs]
    seeds = {tuple(run.spec.seed for run in each) for each in tried}
    tokens = {cost.tokens for cost in costs}
    flops = {cost.flops for cost in costs}
    seconds = {run.spec.budget.seconds for run in runs}
    return TuningBudget(
        place=place,
        rates=tuple(run.spec.optimizer.lr for run in runs),
        seeds=len(seeds.pop()) if len(seeds) == 1 else None,
        tokens=tokens.pop() if len(tokens) == 1 else None,
        flops=flops.pop() if len(flops) == 1 else None,
        seconds=seconds.pop() if len(seconds) == 1 else None,
    )
