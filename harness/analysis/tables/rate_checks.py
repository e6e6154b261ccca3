"""Rows beside a scaling rate: how much of it hangs on how the curves were fitted."""

from __future__ import annotations

from dataclasses import dataclass

from harness.analysis.exhibits.scaling import ScalingExhibit
from harness.analysis.rates.points import Interval
from harness.analysis.rates.rate import HeldOut, ScalingRate
from harness.analysis.tables.table import Cell, percent, percent_range

_OF_RATE = "a check, no verdict"


@dataclass(frozen=True)
class RateCheck:
    """A rate fitted otherwise, or the error of a curve's prediction, both fractions."""

    name: str
    value: float | None
    interval: Interval | None
    points: int
    seeds: int
    words: str

    @property
    def cells(self) -> list[Cell]:
        interval = self.interval
        return [
            Cell(self.name),
            Cell(percent(self.value)),
            Cell("" if interval is None else percent_range((interval.low, interval.high))),
            Cell(str(self.points)),
            Cell(str(self.seeds)),
            Cell(self.words),
        ]

    @property
    def data(self) -> dict[str, object]:
        interval = self.interval
        return {
            "quantity": self.name,
            "value": self.value,
            "low": None if interval is None else interval.low,
            "high": None if interval is None else interval.high,
            "level": None if interval is None else interval.level,
            "points": self.points,
            "seeds": self.seeds,
            "label": "check",
            "verdict": "",
            "reason": self.words,
        }


def rate_checks(exhibit: ScalingExhibit) -> list[RateCheck]:
    """The rate by profile likelihood, under Huber loss and with one E, then how well each family's
    largest point is predicted from its others; what could not be worked out is left out.
    """
    rate = exhibit.rate
    if rate is None:
        return []
    section = exhibit.section
    families = (section.candidate, section.baseline)
    predicted = (
        _predicted(name, held_out, rate)
        for name, held_out in zip(families, rate.held_out, strict=True)
    )
    return [*_refitted(rate), *(check for check in predicted if check is not None)]


def _refitted(rate: ScalingRate) -> list[RateCheck]:
    size = rate.rho.points, rate.rho.seeds
    found = []
    if rate.profile is not None:
        name = "rate, profile likelihood"
        found.append(RateCheck(name, rate.rho.value, rate.profile, *size, _OF_RATE))
    if rate.huber is not None:
        found.append(RateCheck("rate, Huber loss", rate.huber, None, *size, _OF_RATE))
    if rate.shared_floor is not None:
        found.append(RateCheck("rate, one E for both", rate.shared_floor, None, *size, _OF_RATE))
    return found


def _predicted(name: str, held_out: HeldOut, rate: ScalingRate) -> RateCheck | None:
    if held_out.predicted is None:
        return None
    words = f"{held_out.predicted:.3f} from the other points, {held_out.observed:.3f} measured"
    if held_out.reason:
        words += f"; {held_out.reason}"
    title = f"largest point predicted, {name}"
    size = rate.rho.points - 1, rate.rho.seeds
    return RateCheck(title, held_out.error, None, *size, words)
