"""Table of a thinking section: gain of every setting on every set, with its cost."""

from __future__ import annotations

from harness.analysis.exhibits.magnitudes import ShiftRow
from harness.analysis.exhibits.thinking import ThinkingExhibit, ThinkingRow
from harness.analysis.exhibits.thinking_shift import SETS_FOR_TREND
from harness.analysis.resampling import MIN_DOCUMENTS
from harness.analysis.tables.table import Cell, Table, percent, percent_range
from harness.analysis.tables.trends import lost_note
from harness.quantities import counted, si


def thinking_tables(exhibit: ThinkingExhibit, stem: str) -> list[Table]:
    """The gain table."""
    best = {
        (row.adapter, row.label, row.data): min(
            (
                r
                for r in exhibit.rows
                if (r.adapter, r.label, r.data) == (row.adapter, row.label, row.data)
            ),
            key=lambda r: r.loss,
        )
        for row in exhibit.rows
    }
    shifts = {shift.data: shift for shift in exhibit.shifts}
    order = list(shifts)
    rows = sorted(
        exhibit.rows, key=lambda r: (order.index(r.data), r.adapter != "transformer++", r.nfe)
    )
    stops = any(row.steps_used is not None for row in rows)
    return [
        Table(
            name=stem,
            title=f"{exhibit.section.title}: gain over the trained number of steps",
            header=(
                "set",
                "model",
                "steps × samples",
                *(["steps used"] if stops else []),
                "NFE",
                "FLOPs/token",
                "µs/token",
                "loss ↓",
                "loss gain ↑",
                "95 % interval",
                "perplexity gain ↑",
            ),
            rows=[_cells(r, best[r.adapter, r.label, r.data] is r, stops) for r in rows],
            data=[_data(r, exhibit) for r in rows],
            notes=_notes(exhibit),
            text_columns=2,
        )
    ]


def _cells(row: ThinkingRow, best: bool, stops: bool) -> list[Cell]:
    setting = "1 pass" if row.steps is None else row.setting.replace("x", " × ", 1)
    return [
        Cell(row.data),
        Cell(f"{row.adapter} {row.label}".strip()),
        Cell(setting + (" (trained)" if row.trained and row.steps is not None else "")),
        *([Cell(_steps_used(row))] if stops else []),
        Cell(f"{row.nfe:.4g}"),
        Cell(si(row.flops).strip()),
        Cell(f"{1e6 * row.seconds:.1f}"),
        Cell(f"{row.loss:.4f}", bold=best and row.steps is not None),
        Cell("" if row.trained else percent(row.gain)),
        Cell(percent_range(row.gain_interval)),
        Cell("" if row.trained else percent(row.perplexity_gain)),
    ]


def _steps_used(row: ThinkingRow) -> str:
    """Mean where predictions may stop by themselves; all of them where they may not."""
    if row.steps_used is not None:
        return f"{row.steps_used:.2f}"
    return "" if row.steps is None else str(row.steps)


def _data(row: ThinkingRow, exhibit: ThinkingExhibit) -> dict[str, object]:
    low, high = row.gain_interval or (None, None)
    ppl_low, ppl_high = row.perplexity_interval or (None, None)
    shift = next((s for s in exhibit.shifts if s.data == row.data), None)
    return {
        "data": row.data,
        "model": row.adapter,
        "label": row.label,
        "setting": row.setting,
        "steps": row.steps,
        "samples": row.samples,
        "trained": row.trained,
        "steps_used": row.steps_used,
        "nfe": row.nfe,
        "flops": row.flops,
        "seconds": row.seconds,
        "loss": row.loss,
        "gain": row.gain,
        "gain_low": low,
        "gain_high": high,
        "perplexity_gain": row.perplexity_gain,
        "perplexity_low": ppl_low,
        "perplexity_high": ppl_high,
        "n": row.n,
        "tokens": row.tokens,
        "documents": row.documents,
        "seeds": row.seeds,
        "noise_seeds": row.noise_seeds,
        "ood_perplexity_ratio": None if shift is None else shift.perplexity_ratio,
        "ood_bigram_loss": None if shift is None else shift.bigram_loss,
    }


def _notes(exhibit: ThinkingExhibit) -> list[str]:
    lost = [lost_note(exhibit.lost)] if exhibit.lost else []
    if not exhibit.rows:
        return lost
    tried = [r for r in exhibit.rows if not r.trained]
    gaining = exhibit.gaining()
    notes = [
        "Gain: (L(trained) − L(setting)) / L(trained), a ratio of sums paired by document; "
        f"interval by resampling {exhibit.resampling}. Costs "
        f"per predicted token; NFE = steps × samples; time on {', '.join(exhibit.device)}.",
        _finding(tried, gaining),
    ]
    if any(r.steps_used is not None for r in exhibit.rows):
        notes.append(
            "With a tolerance a prediction stops once a step changes its energy by less; steps "
            "used are a mean over predictions, of the sample that is kept; NFE and FLOPs count "
            "predictions still moving, FLOPs also the passes that read energies; time is of the "
            "first rows."
        )
    if any(r.tokens == "answer" for r in exhibit.rows):
        notes.append("Losses, gains and OOD magnitudes are of the answers' tokens alone.")
    notes += lost
    notes += [_distance(shift, exhibit) for shift in exhibit.shifts]
    if len(exhibit.shifts) < SETS_FOR_TREND:
        notes.append(
            f"Fewer than {SETS_FOR_TREND} sets: how gain moves with OOD magnitude is descriptive."
        )
    return notes


def _distance(shift: ShiftRow, exhibit: ThinkingExhibit) -> str:
    first = next((r for r in exhibit.rows if r.data == shift.data), None)
    if first is None:
        return f"{shift.data}: no finite loss."
    what = "answer tokens" if first.tokens == "answer" else "tokens"
    of = exhibit.measured_by
    text = f"{shift.data}: n = {first.n:,} {what} in {counted(first.documents, 'document')}"
    if shift.perplexity_ratio is not None:
        ratio = f"{shift.perplexity_ratio:.2f}"
        text += f"; OOD magnitude (ratio of {of}'s perplexities) {ratio}"
    if shift.bigram_loss is not None:
        text += f"; cross-entropy under the training set's bigrams {shift.bigram_loss:.2f} nats"
    return text + "."


def _finding(tried: list[ThinkingRow], gaining: list[ThinkingRow]) -> str:
    judged = [r for r in tried if r.gain_interval is not None]
    if tried and not judged:
        return f"No intervals: fewer than {MIN_DOCUMENTS} documents. Nothing follows for others."
    if not gaining:
        return (
            f"No gain from thinking at this scale: of {len(tried)} settings beyond the trained "
            "one, none has an interval above zero."
        )
    top = max(gaining, key=lambda r: r.gain)
    return (
        f"{len(gaining)} of {len(tried)} settings have an interval above zero (not adjusted for "
        f"their number); the largest is {percent(top.gain)} ({top.steps} steps × {top.samples} "
        f"samples on {top.data})."
    )
