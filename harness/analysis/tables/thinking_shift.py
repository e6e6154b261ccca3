"""Tables of a thinking_shift section: the trend of every setting, and the gains it goes through."""

from __future__ import annotations

from harness.analysis.exhibits.thinking import ThinkingRow
from harness.analysis.exhibits.thinking_shift import ShiftTrend, ThinkingShiftExhibit
from harness.analysis.resampling import resampled
from harness.analysis.tables.table import Cell, Table, percent, percent_range
from harness.analysis.tables.trends import (
    TREND_HEADER,
    gain_data,
    lost_note,
    model_words,
    readings_note,
    row_data,
    setting_words,
    trend_cells,
    trend_data,
)
from harness.quantities import si

_OVER = {"perplexity_ratio": "doubling of ratio", "bigram_loss": "nat of bigrams"}


def thinking_shift_tables(exhibit: ThinkingShiftExhibit, stem: str) -> list[Table]:
    """The trends, then the gains by set in order of their distance."""
    trends = sorted(exhibit.trends, key=lambda t: (t.measure, t.magnitude != "perplexity_ratio"))
    drawn = {(r.adapter, r.label, r.setting) for r in exhibit.drawn()}
    order = [s.data for s in exhibit.shifts]
    rows = sorted(exhibit.rows, key=lambda r: order.index(r.data))
    return [
        Table(
            name=stem,
            title=f"{exhibit.section.title}: trend of gain over OOD magnitude",
            header=("gain of", "per", "model", "steps × samples", "NFE", *TREND_HEADER),
            rows=[_trend_cells(t) for t in trends],
            data=[_trend_data(t) for t in trends],
            notes=_notes(exhibit),
            text_columns=3,
        ),
        Table(
            name=f"{stem}-gains",
            title=f"{exhibit.section.title}: gain by set",
            header=(
                "set",
                "model",
                "steps × samples",
                "perplexity ratio",
                "bigrams (nats)",
                "loss gain ↑",
                "95 % interval",
                "perplexity gain ↑",
                "95 % interval",
                "FLOPs/token",
            ),
            rows=[
                _gain_cells(r, exhibit) for r in rows if (r.adapter, r.label, r.setting) in drawn
            ],
            data=[_gain_data(r, exhibit) for r in rows],
            notes=_gain_notes(exhibit),
            text_columns=2,
        ),
    ]


def _trend_cells(trend: ShiftTrend) -> list[Cell]:
    return [
        Cell(trend.measure),
        Cell(_OVER[trend.magnitude]),
        Cell(model_words(trend.of)),
        Cell(setting_words(trend.of)),
        Cell(f"{trend.of.nfe:.4g}"),
        *trend_cells(trend.trend),
    ]


def _trend_data(trend: ShiftTrend) -> dict[str, object]:
    return {
        "measure": trend.measure,
        "magnitude": trend.magnitude,
        "x": "log2 of the ratio" if trend.magnitude == "perplexity_ratio" else "nats",
        **row_data(trend.of),
        **trend_data(trend.trend),
        "seeds": trend.of.seeds,
    }


def _gain_cells(row: ThinkingRow, exhibit: ThinkingShiftExhibit) -> list[Cell]:
    shift = next(s for s in exhibit.shifts if s.data == row.data)
    ratio, bigram = shift.perplexity_ratio, shift.bigram_loss
    return [
        Cell(row.data),
        Cell(model_words(row)),
        Cell(setting_words(row)),
        Cell("" if ratio is None else f"{ratio:.2f}"),
        Cell("" if bigram is None else f"{bigram:.2f}"),
        Cell(percent(row.gain)),
        Cell(percent_range(row.gain_interval)),
        Cell(percent(row.perplexity_gain)),
        Cell(percent_range(row.perplexity_interval)),
        Cell(si(row.flops).strip()),
    ]


def _gain_data(row: ThinkingRow, exhibit: ThinkingShiftExhibit) -> dict[str, object]:
    shift = next(s for s in exhibit.shifts if s.data == row.data)
    return {
        "data": row.data,
        "ood_perplexity_ratio": shift.perplexity_ratio,
        "ood_bigram_loss": shift.bigram_loss,
        **row_data(row),
        **gain_data(row),
    }


def _notes(exhibit: ThinkingShiftExhibit) -> list[str]:
    lost = [lost_note(exhibit.lost)] if exhibit.lost else []
    if not exhibit.rows:
        return lost
    notes = [
        "Slope: least squares through the sets, in points of gain (a difference of percentages) "
        "per doubling of the perplexity ratio, or per nat of cross-entropy under bigrams of the "
        f"training set. {resampling_note(exhibit)} Rank correlation: Spearman's, ties share ranks.",
        readings_note([t.trend for t in exhibit.trends], "set"),
        *lost,
    ]
    if not any(s.perplexity_ratio is not None for s in exhibit.shifts):
        notes.append(
            "No perplexity ratio: no model that cannot think was evaluated on the held-out part "
            "of the training data. It is never taken from a model whose gain is shown."
        )
    return notes


def resampling_note(exhibit: ThinkingShiftExhibit) -> str:
    """What the slope's interval resamples, in a sentence."""
    seeds = {row.seeds for row in exhibit.rows}
    who = "documents (one training seed: about this model alone)"
    if seeds != {1}:
        who = f"{resampled(seeds)} (seeds alike on every set)"
    if not exhibit.measured_by:
        return f"Interval by resampling {who}; bigram cross-entropy is held."
    return (
        f"Interval by resampling {who}; the perplexity ratio is {exhibit.measured_by}'s, its "
        "documents and seeds resampled along; bigram cross-entropy is held."
    )


def _gain_notes(exhibit: ThinkingShiftExhibit) -> list[str]:
    if not exhibit.rows:
        return []
    shown = "settings followed" if exhibit.section.thinking else "each model's most expensive one"
    counts = {r.data: f"{r.n:,} in {r.documents:,}" for r in exhibit.rows}
    listed = "; ".join(f"{data}: {text}" for data, text in counts.items())
    if len(set(counts.values())) == 1:
        listed = f"{next(iter(counts.values()))} on every set"
    return [
        "Gain: (L(trained) − L(setting)) / L(trained) of loss, and the same of perplexity, paired "
        f"by document. Shown: {shown}; the CSV has all. Time on {', '.join(exhibit.device)}.",
        f"Tokens in documents: {listed}.",
    ]
