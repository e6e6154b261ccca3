"""What the tables of trends have in common: cells, CSV columns and wording."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.exhibits.thinking import ThinkingRow
from harness.analysis.tables.table import Cell, minus, percent_range
from harness.analysis.trends.trend import Trend, shown_p

#: The header over `trend_cells`; slopes are differences of percentages.
TREND_HEADER = (
    "points",
    "slope (points)",
    "95 % interval",
    "without farthest",
    "rank ρ",
    "p",
    "reading",
)


def setting_words(row: ThinkingRow) -> str:
    """`12 × 5`, with what else differs from the trained descent."""
    return row.setting.replace("x", " × ", 1)


def model_words(row: ThinkingRow) -> str:
    """The adapter, and its place on the axes where there are some."""
    return f"{row.adapter} {row.label}".strip()


def trend_cells(trend: Trend) -> list[Cell]:
    """Points, slope with interval, rank correlation with p, and the reading."""
    decided = trend.reading in ("grows", "shrinks")
    ranks = trend.ranks
    return [
        Cell(str(trend.points)),
        Cell(_points(trend.slope)),
        Cell(percent_range(trend.interval, 2).removesuffix(" %")),
        Cell(_points(trend.without_farthest)),
        Cell("" if ranks.rho is None else minus(f"{ranks.rho:+.2f}")),
        Cell("" if ranks.p is None else shown_p(ranks.p).removeprefix("= ")),
        Cell(trend.reading, bold=decided),
    ]


def trend_data(trend: Trend) -> dict[str, object]:
    """The same, in full: slopes are fractions, not percent."""
    low, high = trend.interval or (None, None)
    return {
        "points": trend.points,
        "slope": trend.slope,
        "slope_low": low,
        "slope_high": high,
        "intercept": trend.intercept,
        "slope_without_farthest": trend.without_farthest,
        "rank_correlation": trend.ranks.rho,
        "p": trend.ranks.p,
        "p_method": trend.ranks.method,
        "reading": trend.reading,
        "reason": trend.reason,
        "left_out": ", ".join(trend.left_out),
    }


def row_data(row: ThinkingRow) -> dict[str, object]:
    """Which model and setting, and what it costs per predicted token."""
    return {
        "model": row.adapter,
        "label": row.label,
        "setting": row.setting,
        "steps": row.steps,
        "samples": row.samples,
        "nfe": row.nfe,
        "steps_used": row.steps_used,
        "flops": row.flops,
        "seconds": row.seconds,
    }


def gain_data(row: ThinkingRow) -> dict[str, object]:
    """The gains of a row with intervals, and what they stand on."""
    low, high = row.gain_interval or (None, None)
    ppl_low, ppl_high = row.perplexity_interval or (None, None)
    return {
        "loss": row.loss,
        "gain": row.gain,
        "gain_low": low,
        "gain_high": high,
        "perplexity_gain": row.perplexity_gain,
        "perplexity_low": ppl_low,
        "perplexity_high": ppl_high,
        "n": row.n,
        "documents": row.documents,
        "seeds": row.seeds,
        "noise_seeds": row.noise_seeds,
    }


def readings_note(trends: Sequence[Trend], noun: str) -> str:
    """How many trends say what, and that their number is not adjusted for."""
    if not trends:
        return ""
    lacking = dict.fromkeys(name for t in trends for name in t.left_out)
    beyond = f" Left out, perplexity's gain being beyond a float: {', '.join(lacking)}."
    beyond = beyond if lacking else ""
    counts = {word: sum(t.reading == word for t in trends) for word in READINGS}
    listed = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    text = f"Of {len(trends)} trends: {listed}"
    if counts["descriptive"] == len(trends):
        reasons = dict.fromkeys(t.reason for t in trends)
        return f"Descriptive, no verdict: {'; '.join(reasons)}.{beyond}"
    methods = dict.fromkeys(t.ranks.method for t in trends)
    bare = dict.fromkeys(t.reason for t in trends if t.interval is None)
    without = f" {'; '.join(bare)}." if bare else ""
    return (
        f"{text} (not adjusted for their number). A gain grows or shrinks where the slope's "
        f"interval excludes 0 and p ≤ 0.05, both pointing the same way; p of the orders of the "
        f"{noun}s ({'; '.join(methods)}), which a tilt that all {noun}s share does not "
        f"lessen.{without}{beyond}"
    )


def lost_note(lost: Sequence[str]) -> str:
    """Which settings have no row since a loss is not finite."""
    return f"No row, since a loss is not finite: {'; '.join(lost)}."


READINGS = ("grows", "shrinks", "undecided", "descriptive")


def _points(gain: float | None) -> str:
    return "" if gain is None else minus(f"{100 * gain:+.2f}")
