"""Table of a thinking section: losses as trained, beside those of a model that cannot think."""

from __future__ import annotations

from collections import Counter

from harness.analysis.exhibits.thinking import ThinkingExhibit
from harness.analysis.exhibits.thinking_models import ModelRow
from harness.analysis.resampling import MIN_DOCUMENTS, resampled
from harness.analysis.tables.table import Cell, Table, minus
from harness.quantities import counted


def thinking_model_tables(exhibit: ThinkingExhibit, stem: str) -> list[Table]:
    """The table, nearest set first; none where nothing is compared."""
    if not exhibit.models:
        return []
    order = [shift.data for shift in exhibit.shifts]
    rows = sorted(exhibit.models, key=lambda row: order.index(row.data))
    ratios = {shift.data: shift.perplexity_ratio for shift in exhibit.shifts}
    baselines = " and ".join(dict.fromkeys(row.baseline for row in rows))
    return [
        Table(
            name=f"{stem}-models",
            title=f"{exhibit.section.title}: loss as trained, beside that of {baselines}",
            header=(
                *("set", "model", "steps × samples", "perplexity ratio", "loss ↓"),
                *(f"loss of {baselines} ↓", "difference ↓", "95 % interval", "FLOPs ratio"),
                "reading",
            ),
            rows=[_cells(row, ratios[row.data]) for row in rows],
            data=[_data(row, ratios[row.data]) for row in rows],
            notes=_notes(exhibit, rows, baselines),
            text_columns=2,
        )
    ]


def _cells(row: ModelRow, ratio: float | None) -> list[Cell]:
    interval = row.difference.interval
    between = "" if interval is None else f"[{interval[0]:+.3f}, {interval[1]:+.3f}]"
    return [
        Cell(row.data),
        Cell(f"{row.adapter} {row.label}".strip()),
        Cell(row.setting.replace("x", " × ", 1)),
        Cell("" if ratio is None else f"{ratio:.2f}"),
        Cell(f"{row.loss:.4f}"),
        Cell(f"{row.baseline_loss:.4f}"),
        Cell(minus(f"{row.difference.value:+.3f}")),
        Cell(minus(between)),
        Cell("" if row.flops_ratio is None else f"{row.flops_ratio:.3g}"),
        Cell(row.reading, bold=row.reading != "undecided"),
    ]


def _data(row: ModelRow, ratio: float | None) -> dict[str, object]:
    low, high = row.difference.interval or (None, None)
    return {
        "data": row.data,
        "model": row.adapter,
        "label": row.label,
        "setting": row.setting,
        "ood_perplexity_ratio": ratio,
        "loss": row.loss,
        "baseline": row.baseline,
        "baseline_loss": row.baseline_loss,
        "difference": row.difference.value,
        "low": low,
        "high": high,
        "reading": row.reading,
        "flops_ratio": row.flops_ratio,
        "n": row.n,
        "tokens": row.tokens,
        "documents": row.documents,
        "seeds": row.difference.seeds,
    }


def _notes(exhibit: ThinkingExhibit, rows: list[ModelRow], baselines: str) -> list[str]:
    said = Counter(row.reading for row in rows)
    drawn = [row.difference.seeds for row in rows if row.difference.by_document]
    over = f"by resampling {resampled(drawn)}" if drawn else ""
    if len(drawn) < len(rows):
        few = f"Student's t over training seeds of fewer than {MIN_DOCUMENTS} documents"
        over = f"{over}; {few}" if over else few
    notes = [
        f"Difference: a model's loss less that of {baselines}, in nats per token, both as trained, "
        f"paired by training seed and by document; interval {over}.",
        f"Of {counted(len(rows), 'difference')} {said['lower']} lower, {said['higher']} higher, "
        f"{said['undecided']} undecided (not adjusted for their number).",
        "FLOPs ratio: of a predicted token. Perplexity ratio: how far a set lies from training, by "
        f"{exhibit.measured_by}.",
    ]
    if any(row.difference.interval is None for row in rows):
        notes.append("No interval: one seed of too few documents, or all differences alike.")
    if any(row.tokens == "answer" for row in rows):
        notes.append("Losses are of the answers' tokens alone.")
    return notes
