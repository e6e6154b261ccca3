"""What the figure of a downstream section draws: a dot per model and row, on one of two axes."""

from __future__ import annotations

from dataclasses import dataclass

from harness.analysis.exhibits.downstream import DownstreamExhibit, DownstreamRow, Score
from harness.analysis.exhibits.samples import Interval
from harness.analysis.tables.downstream import set_name

_LINE_INCHES = 0.115
_SET_INCHES = 0.14
_FRAME_INCHES = 0.5


@dataclass(frozen=True)
class Dot:
    """One model on one row: a ratio, a difference in points, or the number itself."""

    name: str
    pretraining: bool
    tokens: str
    score: Score
    value: float
    interval: Interval | None

    @property
    def series(self) -> tuple[str, str]:
        return self.score.model, self.tokens

    @property
    def decided(self) -> bool:
        comparison = self.score.comparison
        return comparison is None or comparison.verdict != "undecided"


@dataclass(frozen=True)
class Panel:
    """Dots on one axis; `reference` is where no difference lies, None for plain numbers."""

    label: str
    log: bool
    reference: float | None
    dots: tuple[Dot, ...]

    @property
    def names(self) -> list[str]:
        """Pretraining, then by the first model's value, the better ones on top."""
        first: dict[str, Dot] = {}
        for dot in self.dots:
            first.setdefault(dot.name, dot)
        sign = 1 if self.log else -1
        return sorted(first, key=lambda n: (not first[n].pretraining, sign * first[n].value))

    @property
    def series(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys(dot.series for dot in self.dots))

    @property
    def height(self) -> float:
        return _FRAME_INCHES + len(self.names) * (_SET_INCHES + _LINE_INCHES * len(self.series))


def in_order(row: DownstreamRow, exhibit: DownstreamExhibit) -> list[Score]:
    """The row's scores in the order of the exhibit's models."""
    return [score for model in exhibit.models if (score := row.of(model)) is not None]


def perplexity_panel(exhibit: DownstreamExhibit) -> Panel:
    """Perplexities over the baseline's, or themselves without one."""
    baseline = exhibit.section.baseline
    dots = [
        Dot(
            set_name(row, exhibit) + (" (pretraining)" if row.pretraining else ""),
            row.pretraining,
            row.measure.tokens,
            score,
            *drawn,
        )
        for row in exhibit.rows
        if row.measure.is_perplexity
        for score in in_order(row, exhibit)
        if (drawn := _ratio(score, compared=baseline is not None)) is not None
    ]
    label = "perplexity" if baseline is None else f"perplexity over that of {baseline}"
    reference = None if baseline is None else 1.0
    return Panel(f"{label} (left is better)", log=True, reference=reference, dots=tuple(dots))


def _ratio(score: Score, *, compared: bool) -> tuple[float, Interval | None] | None:
    if not compared:
        return None if score.value is None else (score.value, score.interval)
    comparison = score.comparison
    if comparison is None or comparison.ratio is None:
        return None
    return comparison.ratio, comparison.ratio_interval


def task_panel(exhibit: DownstreamExhibit) -> Panel:
    """Shares that are better where they are higher, in points less the baseline's."""
    baseline = exhibit.section.baseline
    dots = [
        Dot(f"{set_name(row, exhibit)}, {row.measure.name}", False, "", score, *drawn)
        for row in exhibit.rows
        if (scale := row.measure.percent) is not None and row.measure.higher_is_better
        for score in in_order(row, exhibit)
        if (drawn := _points(score, scale, compared=baseline is not None)) is not None
    ]
    label = "task metrics, in per cent"
    if baseline is not None:
        label = f"task metrics less those of {baseline}, in points"
    reference = None if baseline is None else 0.0
    return Panel(f"{label} (right is better)", log=False, reference=reference, dots=tuple(dots))


def _points(score: Score, scale: float, *, compared: bool) -> tuple[float, Interval | None] | None:
    value, interval = score.value, score.interval
    if compared:
        if score.comparison is None:
            return None
        value, interval = score.comparison.difference.value, score.comparison.difference.interval
    if value is None:
        return None
    return scale * value, None if interval is None else (scale * interval[0], scale * interval[1])
