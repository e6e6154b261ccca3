"""Tables of an uncertainty section: does energy rank hard predictions, and does it know noise?"""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.exhibits.uncertainty import (
    REAL,
    ContentRow,
    Estimate,
    UncertaintyExhibit,
    UncertaintyRow,
)
from harness.analysis.resampling import MIN_DOCUMENTS
from harness.analysis.tables.table import Cell, Table, minus
from harness.quantities import counted, si


def uncertainty_tables(exhibit: UncertaintyExhibit, stem: str) -> list[Table]:
    """Rank correlations of final energy and loss; and energies of real input and of counterparts.

    The second is named `…-inputs`.
    """
    return [_correlations(exhibit, stem), _inputs(exhibit, f"{stem}-inputs")]


def _correlations(exhibit: UncertaintyExhibit, stem: str) -> Table:
    with_entropy = any(row.entropy.value is not None for row in exhibit.rows)
    return Table(
        name=stem,
        title=f"{exhibit.section.title}: rank correlation of final energy and loss",
        header=(
            "model",
            "set",
            "steps × samples",
            "FLOPs/prediction",
            "loss ↓",
            "correlation ↑",
            "95 % interval",
            "within documents ↑",
            "within positions ↑",
            *(["entropy's ↑", "less energy's"] if with_entropy else []),
        ),
        rows=[
            [
                Cell(row.model),
                Cell(row.data),
                Cell(row.setting.replace("x", " × ", 1)),
                Cell(si(row.flops).strip()),
                Cell(number(row.of(REAL).loss[-1], 4)),
                Cell(number(row.correlation, 3, signed=True)),
                Cell(between(row.correlation, 3)),
                Cell(with_range(row.within_documents, 3)),
                Cell(number(row.within_positions, 3, signed=True)),
                *(_entropy_cells(row) if with_entropy else []),
            ]
            for row in exhibit.rows
        ],
        data=[_correlation_data(row) for row in exhibit.rows],
        notes=_correlation_notes(exhibit, with_entropy=with_entropy),
        text_columns=2,
    )


def _entropy_cells(row: UncertaintyRow) -> list[Cell]:
    return [
        Cell(number(row.entropy, 3, signed=True)),
        Cell(with_range(row.entropy_excess, 3)),
    ]


def _inputs(exhibit: UncertaintyExhibit, stem: str) -> Table:
    pairs = [(row, content) for row in exhibit.rows for content in row.contents]
    return Table(
        name=stem,
        title=f"{exhibit.section.title}: energy of real, shuffled and random input",
        header=(
            "model",
            "set",
            "input",
            "energy at start",
            "final energy",
            "95 % interval",
            "over real",
            "AUROC ↑",
            "AUROC of documents ↑",
            "loss",
        ),
        rows=[
            [
                Cell(row.model),
                Cell(row.data),
                Cell(content.content),
                Cell(number(content.energy[0], 3)),
                Cell(number(content.energy[-1], 3)),
                Cell(between(content.energy[-1], 3)),
                Cell(with_range(content.excess, 3)),
                Cell(with_range(content.auroc, 3, signed=False)),
                Cell(with_range(content.auroc_documents, 3, signed=False)),
                Cell(number(content.loss[-1], 4)),
            ]
            for row, content in pairs
        ],
        data=[_input_data(row, content) for row, content in pairs],
        notes=_input_notes(exhibit),
        text_columns=3,
    )


# --- cells -----------------------------------------------------------------------------------


def number(estimate: Estimate, digits: int, *, signed: bool = False) -> str:
    """The value alone; empty where missing."""
    if estimate.value is None:
        return ""
    return minus(f"{estimate.value:{'+' if signed else ''}.{digits}f}")


def between(estimate: Estimate, digits: int) -> str:
    """`[0.120, 0.340]`; empty where there is no interval."""
    if estimate.interval is None:
        return ""
    low, high = (f"{bound:.{digits}f}" for bound in estimate.interval)
    return minus(f"[{low}, {high}]")


def with_range(estimate: Estimate, digits: int, *, signed: bool = True) -> str:
    """`+0.230 [0.120, 0.340]`."""
    return f"{number(estimate, digits, signed=signed)} {between(estimate, digits)}".strip()


# --- full numbers ----------------------------------------------------------------------------


def _facts(row: UncertaintyRow) -> dict[str, object]:
    return {
        "model": row.adapter,
        "label": row.label,
        "data": row.data,
        "setting": row.setting,
        "trained_steps": row.trained_steps,
        "nfe": row.nfe,
        "flops": row.flops,
        "seconds": row.seconds,
        "n": row.n,
        "ranked": row.kept,
        "documents": row.documents,
        "seeds": row.seeds,
        "noise_seeds": row.noise_seeds,
    }


def _numbers(name: str, estimate: Estimate) -> dict[str, object]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _correlation_data(row: UncertaintyRow) -> dict[str, object]:
    return {
        **_facts(row),
        **_numbers("loss", row.of(REAL).loss[-1]),
        "loss_trained_steps": _trained_loss(row),
        **_numbers("correlation", row.correlation),
        **_numbers("within_documents", row.within_documents),
        "within_positions": row.within_positions.value,
        **_numbers("entropy_correlation", row.entropy),
        **_numbers("entropy_less_energy", row.entropy_excess),
    }


def _trained_loss(row: UncertaintyRow) -> float | None:
    """The loss after as many steps as in training, where the descent passes there."""
    losses = row.of(REAL).loss
    return losses[row.trained_steps].value if 0 < row.trained_steps < len(losses) else None


def _input_data(row: UncertaintyRow, content: ContentRow) -> dict[str, object]:
    return {
        **_facts(row),
        "input": content.content,
        **_numbers("start_energy", content.energy[0]),
        **_numbers("final_energy", content.energy[-1]),
        **_numbers("over_real", content.excess),
        **_numbers("auroc", content.auroc),
        **_numbers("auroc_documents", content.auroc_documents),
        **_numbers("loss", content.loss[-1]),
    }


# --- notes -----------------------------------------------------------------------------------


def _correlation_notes(exhibit: UncertaintyExhibit, *, with_entropy: bool) -> list[str]:
    if not exhibit.rows:
        return []
    one = exhibit.prediction
    notes = [
        f"Spearman's ρ over all {one}s of the set, of each {one}'s energy after the last step and "
        "its loss there; mean over noise seeds and training seeds, interval by resampling "
        f"{exhibit.resampling}. Within documents, and within positions of the row, means weighted "
        f"by {one}s: what is left once neither can drive it.",
        correlation_finding(exhibit.rows, one),
    ]
    if with_entropy:
        notes.append(
            "Entropy's: the same of the predicted distribution's own entropy, which needs no "
            "energy; less energy's: the paired difference. " + entropy_finding(exhibit.rows)
        )
    return notes + _sizes(exhibit)


def correlation_finding(rows: Sequence[UncertaintyRow], one: str) -> str:
    """Whether hard predictions have high energy, in words."""
    judged = [row.correlation for row in rows if row.correlation.interval is not None]
    if not judged:
        return f"No intervals: fewer than {MIN_DOCUMENTS} documents. Nothing follows for others."
    largest = max((e.value for e in judged if e.value is not None), key=abs, default=0.0)
    return (
        f"Hard {one}s end with higher energy in {_sides(judged)} (models × sets; by the interval "
        f"of ρ); the correlation farthest from 0 is {minus(f'{largest:+.2f}')}."
    )


def entropy_finding(rows: Sequence[UncertaintyRow]) -> str:
    """How often the distribution's entropy ranks losses better than its energy does."""
    judged = [row.entropy_excess for row in rows if row.entropy_excess.interval is not None]
    if not judged:
        return "Whether it ranks losses better than energy is not decided: no intervals."
    return (
        f"Its ρ is higher than energy's in {_sides(judged)} (by the interval of the difference, "
        "paired)."
    )


def _input_notes(exhibit: UncertaintyExhibit) -> list[str]:
    if not exhibit.rows:
        return []
    one = exhibit.prediction
    made = (
        f"Shuffled: each row's own {one}s in a keyed random order; random: "
        + ("tokens uniform over the vocabulary" if one == "token" else "uniform pixel noise")
        + ". Over real: mean difference of final energies in the same places. "
    )
    notes = [
        made
        + f"AUROC: the probability that a {one} of such input has a higher final energy than a "
        "real one (0.5 cannot tell them apart), of documents by their mean energies. Intervals by "
        f"resampling {exhibit.resampling}; levels of energy differ from seed to seed.",
        *filter(None, [input_finding(exhibit.rows)]),
        "Energies are read without noise, under the landscape of the last step made: up to the "
        "trained number of steps, successive ones of a model with several landscapes lie under "
        "different ones. Final energies of one model lie under one.",
    ]
    return notes + _sizes(exhibit)


def input_finding(rows: Sequence[UncertaintyRow]) -> str:
    """Whether what is not real has higher energy, in words."""
    parts = []
    for content in dict.fromkeys(c.content for row in rows for c in row.contents):
        judged = [e for e in (row.of(content).excess for row in rows) if e.interval is not None]
        if content != REAL and judged:
            parts.append(f"{content} input in {_sides(judged)}")
    if not parts:
        return ""
    return f"Higher mean final energy than real input: {'; '.join(parts)}."


def _sides(estimates: Sequence[Estimate]) -> str:
    """`2 of 4, lower in 1, undecided in 1`, by which side of 0 the intervals lie on."""
    bounds = [e.interval for e in estimates if e.interval is not None]
    above, below = sum(low > 0 for low, _ in bounds), sum(high < 0 for _, high in bounds)
    return f"{above} of {len(bounds)}, lower in {below}, undecided in {len(bounds) - above - below}"


def _sizes(exhibit: UncertaintyExhibit) -> list[str]:
    """n of each set, once, with cost per prediction on the device."""
    found: dict[str, str] = {}
    for row in exhibit.rows:
        kept = "" if row.kept == row.n else f", of which the first {row.kept:,} are ranked"
        found[row.data] = (
            f"{row.data}: n = {row.n:,} {exhibit.prediction}s{kept} in "
            f"{counted(row.documents, 'document')}; {counted(row.seeds, 'training seed')}, "
            f"{counted(row.noise_seeds, 'noise seed')}."
        )
    times = [
        f"{row.model} {row.nfe:g} NFE, {1e6 * row.seconds:.0f} µs"
        for row in exhibit.rows
        if row.seconds is not None and row.data == exhibit.rows[0].data
    ]
    cost = f"Cost per {exhibit.prediction} on {', '.join(exhibit.device)}: {'; '.join(times)}."
    return [*found.values(), cost]
