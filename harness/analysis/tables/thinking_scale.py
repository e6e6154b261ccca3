"""Tables of a thinking_scale section: trends along the axis, and the gains they go through."""

from __future__ import annotations

from harness.analysis.exhibits.thinking_scale import (
    ScaledGain,
    ScaleTrend,
    ThinkingScaleExhibit,
)
from harness.analysis.resampling import resampled
from harness.analysis.tables.table import Cell, Table, percent, percent_range
from harness.analysis.tables.trends import (
    TREND_HEADER,
    gain_data,
    lost_note,
    readings_note,
    row_data,
    setting_words,
    trend_cells,
    trend_data,
)
from harness.quantities import counted, si


def thinking_scale_tables(exhibit: ThinkingScaleExhibit, stem: str) -> list[Table]:
    """The trends, then the gains point by point."""
    x = exhibit.section.x
    drawn = {(r.adapter, r.setting) for r in exhibit.drawn()}
    trends = sorted(exhibit.trends, key=lambda t: t.measure)
    return [
        Table(
            name=stem,
            title=f"{exhibit.section.title}: trend of gain per doubling of {x}",
            header=("gain of", "set", "model", "steps × samples", "NFE", *TREND_HEADER),
            rows=[_trend_cells(t) for t in trends],
            data=[_trend_data(t, x) for t in trends],
            notes=_notes(exhibit),
            text_columns=3,
        ),
        Table(
            name=f"{stem}-gains",
            title=f"{exhibit.section.title}: gain at each point",
            header=(
                "set",
                "model",
                x,
                "steps × samples",
                "trained loss",
                "loss gain ↑",
                "95 % interval",
                "perplexity gain ↑",
                "95 % interval",
                "training FLOPs",
                "training time (s)",
            ),
            rows=[
                _gain_cells(p) for p in exhibit.points if (p.row.adapter, p.row.setting) in drawn
            ],
            data=[_gain_data(p, x) for p in exhibit.points],
            notes=_gain_notes(exhibit),
            text_columns=2,
        ),
    ]


def _trend_cells(trend: ScaleTrend) -> list[Cell]:
    row = trend.of
    return [
        Cell(trend.measure),
        Cell(row.data),
        Cell(row.adapter),
        Cell(setting_words(row)),
        Cell(f"{row.nfe:.4g}"),
        *trend_cells(trend.trend),
    ]


def _trend_data(trend: ScaleTrend, x: str) -> dict[str, object]:
    row = trend.of
    return {
        "measure": trend.measure,
        "data": row.data,
        "axis": x,
        **row_data(row),
        **trend_data(trend.trend),
        "seeds": row.seeds,
    }


def _gain_cells(point: ScaledGain) -> list[Cell]:
    row = point.row
    return [
        Cell(row.data),
        Cell(row.adapter),
        Cell(si(point.x).strip()),
        Cell(setting_words(row)),
        Cell(f"{row.loss / (1 - row.gain):.4f}"),
        Cell(percent(row.gain)),
        Cell(percent_range(row.gain_interval)),
        Cell(percent(row.perplexity_gain)),
        Cell(percent_range(row.perplexity_interval)),
        Cell(si(point.training_flops).strip()),
        Cell(f"{point.training_seconds:.3g}"),
    ]


def _gain_data(point: ScaledGain, x: str) -> dict[str, object]:
    row = point.row
    return {
        "data": row.data,
        "axis": x,
        "x": point.x,
        "tokens": point.tokens,
        "training_flops": point.training_flops,
        "training_seconds": point.training_seconds,
        **row_data(row),
        **gain_data(row),
    }


def _notes(exhibit: ThinkingScaleExhibit) -> list[str]:
    lost = [lost_note(exhibit.lost)] if exhibit.lost else []
    if not exhibit.points:
        return lost
    return [
        f"Slope: least squares, in points of gain per doubling of {exhibit.section.x}. Interval by "
        f"resampling {resampled(p.row.seeds for p in exhibit.points)} (seeds apart at each point, "
        "documents alike at all), wider than 95 % where seeds are few. Rank "
        "correlation: Spearman's, ties share ranks.",
        "Each point is a run of its own with its own complete schedule, not a stage of a longer "
        "run.",
        readings_note([t.trend for t in exhibit.trends], "point"),
        *lost,
    ]


def _gain_notes(exhibit: ThinkingScaleExhibit) -> list[str]:
    if not exhibit.points:
        return []
    sizes = {
        p.row.data: f"{p.row.n:,} tokens of {p.row.data} in {counted(p.row.documents, 'document')}"
        for p in exhibit.points
    }
    return [
        "Gain: (L(trained) − L(setting)) / L(trained) of loss, and the same of perplexity, paired "
        f"by document; intervals by resampling {resampled(p.row.seeds for p in exhibit.points)}; "
        f"n = {'; '.join(sizes.values())}. Training cost of one run.",
    ]
