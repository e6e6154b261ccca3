"""Tables of a tuning section: losses at every learning rate, and what each model was given."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.exhibits.tuning import Trial, TuningBudget, TuningExhibit, TuningGrid
from harness.analysis.tables.table import Cell, Table, minus, plus_minus
from harness.quantities import counted, duration, si

_DIGITS = 3


def tuning_tables(exhibit: TuningExhibit, stem: str) -> list[Table]:
    """The losses with the chosen rates and, once there are any, the budgets beside each other."""
    losses = _losses(exhibit, stem)
    return [losses, _budgets(exhibit, f"{stem}-budgets")] if losses.rows else [losses]


def rate_text(lr: float) -> str:
    """`2e-3`, `0.016` is `1.6e-2`."""
    mantissa, _, exponent = f"{lr:.3g}".partition("e")
    if exponent:
        return f"{mantissa}e{int(exponent)}"
    return f"{lr:.3g}" if lr >= 0.1 else _scientific(lr)


def _scientific(lr: float) -> str:
    mantissa, _, exponent = f"{lr:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


# --- losses ------------------------------------------------------------------------------------


def _losses(exhibit: TuningExhibit, name: str) -> Table:
    section = exhibit.section
    grids = exhibit.grids if exhibit.found else ()
    labels = _labels(grids)
    return Table(
        name,
        f"{section.title}: validation loss on {exhibit.data or 'nothing yet'} at every rate",
        header=(
            *("model", _axes(exhibit)),
            *labels,
            *("chosen", "at the edge", "rise to neighbors", "spread", "seeds"),
        ),
        rows=[_grid_cells(grid, labels) for grid in grids],
        data=[_trial_data(exhibit, grid, trial) for grid in grids for trial in grid.trials],
        notes=_notes(exhibit, grids),
        text_columns=2,
    )


def _labels(grids: Sequence[TuningGrid]) -> list[str]:
    """Every label that is tried, lowest rate first."""
    rates: dict[str, float] = {}
    for grid in grids:
        for trial in grid.trials:
            rates[trial.label] = min(trial.lr, rates.get(trial.label, trial.lr))
    return sorted(rates, key=lambda label: rates[label])


def _axes(exhibit: TuningExhibit) -> str:
    axes = dict.fromkeys(axis for grid in exhibit.grids for axis, _ in grid.place.labels)
    return ", ".join(axes) or "point"


def _grid_cells(grid: TuningGrid, labels: Sequence[str]) -> list[Cell]:
    chosen = grid.chosen
    by_label = {trial.label: trial for trial in grid.trials}
    tried = [by_label.get(label) for label in labels]
    seeds = {len(t.losses) + len(t.diverged) + len(t.missing) for t in grid.trials}
    return [
        Cell(grid.place.adapter),
        Cell(grid.place.point),
        *(
            Cell("" if t is None else trial_text(t), bold=t is not None and t is chosen)
            for t in tried
        ),
        Cell(chosen_text(grid)),
        Cell("no" if chosen is not None and grid.edge is None else _edge(grid)),
        Cell(" / ".join("–" if r is None else minus(f"{r:+.{_DIGITS}f}") for r in grid.rises)),
        Cell("" if grid.spread is None else f"{grid.spread:.{_DIGITS}f}"),
        Cell("–".join(map(str, sorted({min(seeds), max(seeds)})))),
    ]


def trial_text(trial: Trial) -> str:
    """The mean loss, else what of it diverged or is missing."""
    if trial.loss is not None:
        return plus_minus(trial.loss.value, trial.loss.half_width, _DIGITS)
    planned = len(trial.losses) + len(trial.diverged) + len(trial.missing)
    said = []
    if trial.diverged:
        share = "" if len(trial.diverged) == planned else f" {len(trial.diverged)} of {planned}"
        said.append(f"diverged{share}")
    if trial.missing:
        share = "" if len(trial.missing) == planned else f" {len(trial.missing)} of {planned}"
        said.append(f"missing{share}")
    return ", ".join(said)


def chosen_text(grid: TuningGrid) -> str:
    """The chosen rate; `so far` where trials are missing."""
    if grid.chosen is None:
        return "none"
    return rate_text(grid.chosen.lr) + ("" if grid.complete else " so far")


def _edge(grid: TuningGrid) -> str:
    return "" if grid.edge is None else f"yes: {grid.edge}"


def _trial_data(exhibit: TuningExhibit, grid: TuningGrid, trial: Trial) -> dict[str, object]:
    loss = trial.loss
    return {
        "model": grid.place.adapter,
        **dict(grid.place.labels),
        "tried": trial.label,
        "lr": trial.lr,
        "loss": None if loss is None else loss.value,
        "loss_low": None if loss is None else loss.low,
        "loss_high": None if loss is None else loss.high,
        "n": trial.n,
        "seeds": " ".join(map(str, sorted(trial.losses))),
        "diverged": " ".join(map(str, trial.diverged)),
        "missing": " ".join(map(str, trial.missing)),
        "chosen": trial is grid.chosen,
        "edge": grid.edge if trial is grid.chosen else None,
        "complete": grid.complete,
        "tokens": trial.tokens,
        "training_flops": trial.flops,
        "training_seconds": trial.seconds,
        "data": exhibit.data,
    }


def _notes(exhibit: TuningExhibit, grids: Sequence[TuningGrid]) -> list[str]:
    if not grids:
        return []
    targets = {trial.n for grid in grids for trial in grid.trials if trial.n is not None}
    of = f"over {max(targets):,} targets" if len(targets) == 1 else "over different targets"
    notes = [
        f"Loss in nats per token {of}; bold: chosen, the lowest mean over training seeds. A rate "
        "with a seed that diverged or is missing is not chosen. Rise: the loss at the next lower "
        "and the next higher rate above the chosen one's; spread: highest minus lowest loss.",
        f"The choice is made on {exhibit.data}: what is reported on the same set is a little too "
        "low, for every model that had as many trials alike.",
    ]
    for edge in ("lowest", "highest"):
        own = [f"{g.place.adapter} {g.place.point}".strip() for g in grids if g.edge == edge]
        if own:
            notes.append(
                f"The {edge} rate is chosen, a better one may lie beyond: {', '.join(own)}."
            )
    diverged = sum(len(trial.diverged) for grid in grids for trial in grid.trials)
    if diverged:
        notes.append(f"{counted(diverged, 'run')} ended in a loss that is not finite.")
    return [*notes, *budget_notes(exhibit)]


# --- budgets -----------------------------------------------------------------------------------


def budget_notes(exhibit: TuningExhibit) -> list[str]:
    """Whether all models were given the same at each point, in words."""
    points = dict.fromkeys(budget.place.labels for budget in exhibit.budgets)
    if len({budget.place.adapter for budget in exhibit.budgets}) < 2:
        return []
    differing: dict[str, list[str]] = {}
    for labels in points:
        own = [b for b in exhibit.budgets if b.place.labels == labels]
        if len(own) > 1:
            what = ", ".join(exhibit.unequal(labels)) or "nothing"
            differing.setdefault(what, []).append(own[0].place.point)
    said = []
    for what, where in differing.items():
        at = "everywhere" if len(where) == len(points) else f"at {', '.join(where)}"
        equal = [each for each in ("trials", "tokens", "FLOPs") if each not in what]
        same = f"equal {' and '.join(equal)}" if equal else "nothing equal"
        said.append(f"{same}, {what} differ {at}" if what != "nothing" else f"all equal {at}")
    return [f"What the models were given: {'; '.join(said)}."] if said else []


def _budgets(exhibit: TuningExhibit, name: str) -> Table:
    timed = any(budget.seconds is not None for budget in exhibit.budgets)
    return Table(
        name,
        f"{exhibit.section.title}: what each model was given",
        header=(
            *("model", _axes(exhibit), "rates", "from", "to", "seeds", "tokens a trial"),
            *("FLOPs a trial", "FLOPs of all", *(["time a trial"] * timed)),
            "differs in",
        ),
        rows=[_budget_cells(exhibit, budget, timed=timed) for budget in exhibit.budgets],
        data=[_budget_data(exhibit, budget) for budget in exhibit.budgets],
        notes=[
            "As planned, FLOPs by the adapters' formulas; differs in: what the models at a point "
            "were not given alike. At equal tokens FLOPs differ, since an EBT's step costs more."
        ],
        text_columns=2,
    )


def _all_flops(budget: TuningBudget) -> float | None:
    if budget.flops is None or budget.seeds is None:
        return None
    return budget.flops * len(budget.rates) * budget.seeds


def _budget_cells(exhibit: TuningExhibit, budget: TuningBudget, *, timed: bool) -> list[Cell]:
    seconds = "" if budget.seconds is None else duration(budget.seconds)
    texts = [
        budget.place.adapter,
        budget.place.point,
        str(len(budget.rates)),
        rate_text(min(budget.rates)),
        rate_text(max(budget.rates)),
        "differ" if budget.seeds is None else str(budget.seeds),
        si(budget.tokens).strip(),
        si(budget.flops).strip(),
        si(_all_flops(budget)).strip(),
        *([seconds] * timed),
        ", ".join(exhibit.unequal(budget.place.labels)) or "nothing",
    ]
    return [Cell(text) for text in texts]


def _budget_data(exhibit: TuningExhibit, budget: TuningBudget) -> dict[str, object]:
    return {
        "model": budget.place.adapter,
        **dict(budget.place.labels),
        "rates": " ".join(f"{lr:g}" for lr in budget.rates),
        "trials": len(budget.rates),
        "seeds": budget.seeds,
        "tokens": budget.tokens,
        "flops": budget.flops,
        "all_flops": _all_flops(budget),
        "seconds": budget.seconds,
        "differs_in": ", ".join(exhibit.unequal(budget.place.labels)),
    }
