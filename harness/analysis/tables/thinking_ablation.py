"""Table of a thinking_ablation section: gains of every model, beside the full one's."""

from __future__ import annotations

from harness.analysis.exhibits.thinking_ablation import (
    WAYS,
    AblationRow,
    Difference,
    ThinkingAblationExhibit,
    Way,
)
from harness.analysis.resampling import MIN_DOCUMENTS, resampled
from harness.analysis.tables.table import Cell, Table, minus
from harness.analysis.tables.trends import gain_data, lost_note, row_data
from harness.quantities import counted

NAMES: dict[Way, str] = {"longer": "longer", "verify": "longer + verify"}


def thinking_ablation_tables(exhibit: ThinkingAblationExhibit, stem: str) -> list[Table]:
    """One row per set and model, the full one first."""
    columns = [
        name
        for way in WAYS
        for name in (f"{NAMES[way]}: PPL gain ↑", "loss gain ↑", "PPL gain − full's")
    ]
    return [
        Table(
            name=stem,
            title=f"{exhibit.section.title}: gain over each model's own trained thinking",
            header=("set", "model", "trained loss", *columns),
            rows=[_cells(r) for r in exhibit.rows],
            data=[_data(r, way) for r in exhibit.rows for way in WAYS],
            notes=_notes(exhibit),
            text_columns=2,
        )
    ]


def _cells(row: AblationRow) -> list[Cell]:
    cells = [
        Cell(row.data),
        Cell(f"{row.adapter} {row.label}".strip()),
        Cell(f"{row.trained.loss:.4f}"),
    ]
    for way in WAYS:
        setting, difference = row.ways[way], row.differences[way]
        cells += [
            Cell(_with_interval(setting.perplexity_gain, setting.perplexity_interval)),
            Cell(_percent(setting.gain)),
            Cell(
                ""
                if difference is None
                else _with_interval(difference.perplexity, difference.perplexity_interval),
                bold=difference is not None and difference.excludes_zero,
            ),
        ]
    return cells


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    """`+7.2 [+5.0, +9.1]` in percent."""
    if value is None:
        return ""
    if interval is None:
        return _percent(value)
    low, high = interval
    return f"{_percent(value)} [{_percent(low)}, {_percent(high)}]"


def _percent(value: float) -> str:
    return minus(f"{100 * value:+.1f}" if abs(value) < 100 else f"{100 * value:+.2g}")


def _data(row: AblationRow, way: Way) -> dict[str, object]:
    setting, difference = row.ways[way], row.differences[way]
    return {
        "data": row.data,
        **row_data(setting),
        "model": row.adapter,
        "label": row.label,
        "full": row.full,
        "way": way,
        "trained_loss": row.trained.loss,
        **gain_data(setting),
        **_difference_data(difference),
    }


def _difference_data(difference: Difference | None) -> dict[str, object]:
    low, high = (difference and difference.loss_interval) or (None, None)
    ppl_low, ppl_high = (difference and difference.perplexity_interval) or (None, None)
    return {
        "gain_minus_full": difference and difference.loss,
        "gain_minus_full_low": low,
        "gain_minus_full_high": high,
        "perplexity_gain_minus_full": difference and difference.perplexity,
        "perplexity_gain_minus_full_low": ppl_low,
        "perplexity_gain_minus_full_high": ppl_high,
        "excludes_zero": difference and difference.excludes_zero,
        "paired_seeds": difference and difference.seeds,
    }


def _notes(exhibit: ThinkingAblationExhibit) -> list[str]:
    lost = [lost_note(exhibit.lost)] if exhibit.lost else []
    if not exhibit.rows:
        return lost
    section = exhibit.section
    longer, verify = section.longer, section.verify
    return [
        f"longer: {counted(longer.steps, 'step')} × {counted(longer.samples, 'sample')}; longer + "
        f"verify: {counted(verify.steps, 'step')} × {counted(verify.samples, 'sample')}. All in "
        "percent [95 % interval], paired by document; intervals by resampling "
        f"{resampled(r.trained.seeds for r in exhibit.rows)}.",
        "Differences are to the full model on the same documents and seeds; bold where the "
        f"interval excludes 0: {_excluding(exhibit)} (not adjusted for their number).",
        *_counts(exhibit),
        *lost,
    ]


def _excluding(exhibit: ThinkingAblationExhibit) -> str:
    found = [d for row in exhibit.rows for d in row.differences.values() if d is not None]
    judged = [d for d in found if d.perplexity_interval is not None]
    if found and not judged:
        return f"none has an interval (fewer than {MIN_DOCUMENTS} documents)"
    return f"{sum(d.excludes_zero for d in judged)} of {len(judged)}"


def _counts(exhibit: ThinkingAblationExhibit) -> list[str]:
    rows = {r.data: r.trained for r in exhibit.rows}
    return [
        f"{data}: n = {row.n:,} tokens in {counted(row.documents, 'document')}."
        for data, row in rows.items()
    ]
