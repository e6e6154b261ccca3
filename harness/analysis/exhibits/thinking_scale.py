"""A thinking_scale section: gain from thinking along an axis of training, with its trend."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

from harness.analysis.exhibits.gain_draws import (
    MEASURES,
    DrawnGain,
    Measure,
    Place,
    drawn_gains,
    gain_trend,
)
from harness.analysis.exhibits.thinking import ThinkingRow, lost_settings
from harness.analysis.frame import SuiteFrame
from harness.analysis.rates.verdict import MIN_POINTS
from harness.analysis.trends.trend import Trend
from harness.planning.budget import axis_value, section_runs
from harness.planning.followed import followed_labels
from harness.planning.planned import Suite
from harness.planning.sections import ThinkingScaleSection


@dataclass(frozen=True)
class ScaledGain:
    """A setting's row on one set, at one place on the axis, and what training one run cost."""

    x: float
    row: ThinkingRow
    tokens: int | None
    training_flops: float
    training_seconds: float


@dataclass(frozen=True)
class ScaleTrend:
    """One setting's gain on one set per doubling of x; `of` is its row at the smallest x."""

    of: ThinkingRow
    measure: Measure
    trend: Trend


@dataclass(frozen=True)
class ThinkingScaleExhibit:
    """`points` in order of adapter, setting, set and x; every one from runs of its own.

    `lost` as in `ThinkingExhibit`.
    """

    section: ThinkingScaleSection
    points: tuple[ScaledGain, ...]
    trends: tuple[ScaleTrend, ...]
    device: tuple[str, ...]
    lost: tuple[str, ...] = ()

    def drawn(self) -> list[ThinkingRow]:
        """One row for each setting that a figure shows, as in `ThinkingShiftExhibit`."""
        settings = list({(p.row.adapter, p.row.setting): p.row for p in self.points}.values())
        if self.section.thinking is not None:
            return settings
        dearest: dict[str, ThinkingRow] = {}
        for row in settings:
            if row.flops >= dearest.setdefault(row.adapter, row).flops:
                dearest[row.adapter] = row
        return list(dearest.values())


def thinking_scale_exhibit(
    section: ThinkingScaleSection, suite: Suite, frame: SuiteFrame
) -> ThinkingScaleExhibit:
    """Gather one thinking_scale section from a suite's records."""
    xs = {
        run.run_id: x
        for run in section_runs(section, suite)
        if (x := axis_value(run, section.x)) is not None
    }
    rows = frame.of(section.experiment, section.evaluation) if len(frame.rows) else frame.rows
    losses = rows[(rows["metric"] == "loss") & rows["run"].isin(xs)] if len(rows) else rows
    if not len(losses):
        return ThinkingScaleExhibit(section, (), (), ())
    followed = followed_labels(section.thinking)
    lines: dict[tuple[str, str, str], list[tuple[ScaledGain, DrawnGain]]] = {}
    # Each place on the axis has models of its own, so their seeds are drawn apart.
    for number, (_, model) in enumerate(
        losses.groupby(["adapter", losses["run"].map(xs)], sort=True), start=1
    ):
        first = model.iloc[0]
        for data, group in model.groupby("data", sort=False):
            for gain in drawn_gains(group, followed, models=number):
                point = ScaledGain(
                    xs[str(first["run"])],
                    gain.row,
                    None if first.isna()["training_tokens"] else int(first["training_tokens"]),
                    float(model["training_flops"].mean()),
                    float(model["training_seconds"].mean()),
                )
                key = (gain.row.adapter, gain.row.setting, str(data))
                lines.setdefault(key, []).append((point, gain))
    return ThinkingScaleExhibit(
        section,
        tuple(point for line in lines.values() for point, _ in line),
        tuple(trend for line in lines.values() for trend in _trends(line)),
        tuple(sorted(set(losses["device"]))),
        lost_settings(losses),
    )


def _trends(line: list[tuple[ScaledGain, DrawnGain]]) -> list[ScaleTrend]:
    points = [(Place(log2(point.x)), gain) for point, gain in line]
    return [
        ScaleTrend(
            line[0][0].row,
            measure,
            gain_trend(points, measure, enough=(MIN_POINTS, "point")),
        )
        for measure in MEASURES
    ]
