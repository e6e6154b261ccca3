"""A thinking_shift section: gain against how far each set lies from training, with its trend."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, log2
from typing import Literal

import pandas as pd

from harness.analysis.exhibits.gain_draws import (
    MEASURES,
    DrawnGain,
    Measure,
    Place,
    drawn_gains,
    gain_trend,
)
from harness.analysis.exhibits.magnitudes import (
    ShiftRow,
    log_ratio_draws,
    measured_by,
    shift_rows,
)
from harness.analysis.exhibits.thinking import READ, ThinkingRow, lost_settings
from harness.analysis.frame import SuiteFrame
from harness.analysis.trends.trend import Trend
from harness.planning.followed import followed_labels
from harness.planning.sections import ThinkingShiftSection

Magnitude = Literal["perplexity_ratio", "bigram_loss"]

MAGNITUDES: tuple[Magnitude, ...] = ("perplexity_ratio", "bigram_loss")
#: Sets needed before a trend of gain over OOD magnitude is more than a description.
SETS_FOR_TREND = 8


@dataclass(frozen=True)
class ShiftTrend:
    """One setting's gain over one magnitude: per doubling of the ratio, or per nat of bigrams.

    `of` is the setting's row on one of the sets: which model and setting it is.
    """

    of: ThinkingRow
    measure: Measure
    magnitude: Magnitude
    trend: Trend


@dataclass(frozen=True)
class ThinkingShiftExhibit:
    """`rows` are the followed settings on every set; `shifts` in order of growing bigram loss.

    `measured_by` and `lost` as in `ThinkingExhibit`.
    """

    section: ThinkingShiftSection
    rows: tuple[ThinkingRow, ...]
    shifts: tuple[ShiftRow, ...]
    trends: tuple[ShiftTrend, ...]
    device: tuple[str, ...]
    measured_by: str = ""
    lost: tuple[str, ...] = ()

    def drawn(self) -> list[ThinkingRow]:
        """One row for each setting that a figure shows: what was asked for, else each model's
        most expensive setting.
        """
        settings = list({(r.adapter, r.label, r.setting): r for r in self.rows}.values())
        if self.section.thinking is not None:
            return settings
        dearest: dict[tuple[str, str], ThinkingRow] = {}
        for row in settings:
            known = dearest.setdefault((row.adapter, row.label), row)
            if row.flops > known.flops:
                dearest[row.adapter, row.label] = row
        return list(dearest.values())


def thinking_shift_exhibit(
    section: ThinkingShiftSection, frame: SuiteFrame
) -> ThinkingShiftExhibit:
    """Gather one thinking_shift section from a suite's records."""
    rows = frame.of(section.experiment, section.evaluation, READ)
    if not len(rows):
        return ThinkingShiftExhibit(section, (), (), (), ())
    losses = rows[rows["metric"] == "loss"]
    followed = followed_labels(section.thinking)
    shifts = shift_rows(rows)
    places = _places(rows, shifts)
    found: list[ThinkingRow] = []
    trends: list[ShiftTrend] = []
    models = losses.groupby(["adapter", "point"], sort=False)
    for number, (_, model) in enumerate(models, start=1):
        settings: dict[str, dict[str, DrawnGain]] = {}
        for data, group in model.groupby("data", sort=False):
            for gain in drawn_gains(group, followed, models=number):
                settings.setdefault(gain.row.setting, {})[str(data)] = gain
        order = [s.data for s in shifts]
        for on_sets in settings.values():
            found += [on_sets[data].row for data in order if data in on_sets]
            trends += _trends(on_sets, places)
    return ThinkingShiftExhibit(
        section,
        tuple(found),
        tuple(shifts),
        tuple(trends),
        tuple(sorted(set(losses["device"]))),
        measured_by(rows),
        lost_settings(losses),
    )


def _places(rows: pd.DataFrame, shifts: list[ShiftRow]) -> dict[Magnitude, dict[str, Place]]:
    """Where every set lies: the ratio in doublings and drawn again, bigrams in nats and known."""
    draws = log_ratio_draws(rows)
    return {
        "perplexity_ratio": {
            s.data: Place(log2(s.perplexity_ratio), draws[s.data] / log(2))
            for s in shifts
            if s.perplexity_ratio is not None and s.data in draws
        },
        "bigram_loss": {s.data: Place(s.bigram_loss) for s in shifts if s.bigram_loss is not None},
    }


def _trends(
    on_sets: dict[str, DrawnGain], places: dict[Magnitude, dict[str, Place]]
) -> list[ShiftTrend]:
    first = next(iter(on_sets.values())).row
    found = []
    for magnitude in MAGNITUDES:
        known = places[magnitude]
        points = [(known[data], gain) for data, gain in on_sets.items() if data in known]
        if points:
            found += [
                ShiftTrend(
                    first,
                    measure,
                    magnitude,
                    gain_trend(points, measure, enough=(SETS_FOR_TREND, "set")),
                )
                for measure in MEASURES
            ]
    return found
