"""What models cost, and ratios of seconds: those of two devices are no ratio of two models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, median

import pandas as pd

from harness.analysis.claims.claim import Costs, Ratio
from harness.analysis.exhibits.equal_quality import COSTS, Cost
from harness.planning.spec import thinking_label

#: Of one model at one place: the device and the seconds of each of its runs.
Timed = Sequence[tuple[str, float | None]]

#: The columns of a suite's frame that costs are read from.
COSTED = ("adapter", "point", "data", "thinking", "device", *COSTS)
NO_TIME = "no time: not measured on one device"


@dataclass(frozen=True)
class Costed:
    """What one measurement took, per prediction; None where it was not measured.

    `setting` is the label of the thinking, empty where the evaluation has none.
    """

    adapter: str
    model: str
    data: str
    setting: str
    device: str
    nfe: float | None
    flops: float | None
    seconds: float | None

    def of(self, cost: Cost) -> float | None:
        return {"nfe": self.nfe, "flops": self.flops, "seconds": self.seconds}[cost]


def costed(rows: pd.DataFrame) -> Iterator[Costed]:
    """Of each row of a suite's frame."""
    known = [rows[name] for name in ("adapter", "data", "thinking", "device", *COSTS)]
    zipped = zip(model_names(rows), *known, strict=True)
    for model, adapter, data, thinking, device, *costs in zipped:
        nfe, flops, seconds = (None if pd.isna(cost) else float(cost) for cost in costs)
        setting = "" if pd.isna(thinking) else thinking_label(thinking)
        yield Costed(str(adapter), str(model), str(data), setting, str(device), nfe, flops, seconds)


def model_names(rows: pd.DataFrame) -> pd.Series:
    """`ebt large`: adapter and place on the axes."""
    return (rows["adapter"].astype(str) + " " + rows["point"].astype(str)).str.strip()


def mean_ratio(ours: Sequence[float | None], theirs: Sequence[float | None]) -> Ratio:
    """Of two means; missing where one of the costs is."""
    both = [[cost for cost in costs if cost is not None] for costs in (ours, theirs)]
    if len(both[0]) < len(ours) or len(both[1]) < len(theirs) or not all(map(sum, both)):
        return Ratio(None)
    return Ratio(sum(both[0]) / len(both[0]) / (sum(both[1]) / len(both[1])))


def seconds_ratio(
    places: Iterable[tuple[Timed, Timed]],
    middle: Callable[[list[float]], float] = median,
) -> Ratio:
    """Ours over theirs, summed over the places at which one device ran both, each on that device.

    Of several such devices the one with most runs counts; missing where no place has any.
    """
    ours, below = 0.0, 0.0
    for pair in places:
        found = _on_one_device(*pair)
        if found is not None:
            ours, below = ours + middle(found[0]), below + middle(found[1])
    return Ratio(ours / below if below else None)


def training_seconds_ratio(places: Iterable[tuple[Timed, Timed]]) -> Ratio:
    """The same of means, as training costs are summed."""
    return seconds_ratio(places, mean)


def _on_one_device(ours: Timed, theirs: Timed) -> tuple[list[float], list[float]] | None:
    each: list[dict[str, list[float]]] = [{}, {}]
    for found, timed in zip(each, (ours, theirs), strict=True):
        for device, seconds in timed:
            if seconds is not None:
                found.setdefault(device, []).append(seconds)
    both = sorted(each[0].keys() & each[1].keys())
    if not both:
        return None
    device = max(both, key=lambda d: min(len(each[0][d]), len(each[1][d])))
    return each[0][device], each[1][device]


def timed(costs: Iterable[Costed]) -> Timed:
    """The seconds of measurements, by device."""
    return [(each.device, each.seconds) for each in costs]


def costs_of(of: str, nfe: Ratio, flops: Ratio, seconds: Ratio) -> Costs:
    """Ratios with what they compare, which says so where there is none of seconds."""
    return Costs(f"{of}; {NO_TIME}" if seconds.value is None else of, nfe, flops, seconds)
