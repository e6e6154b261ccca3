"""How scores of a downstream section are written, and what lies between two of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import floor, log10

from harness.analysis.exhibits.downstream import Comparison, Score
from harness.analysis.exhibits.measures import Measure
from harness.analysis.exhibits.pattern import MIN_SEEDS
from harness.analysis.exhibits.samples import Interval

#: Numbers from here on are written as powers of ten.
_MANY = 1e5


@dataclass(frozen=True)
class Form:
    """How a measure's numbers are written: times `scale`, with `digits`, and a unit.

    Fewer digits where a number or its interval then has no more than `significant`.
    """

    scale: float
    digits: int
    unit: str
    significant: int | None = None

    def write(self, value: float, interval: Interval | None, *, sign: str = "") -> str:
        most = self._digits(max(map(abs, (value, *(interval or ())))))

        def one(number: float) -> str:
            scaled = self.scale * number
            kind = "f" if abs(scaled) < _MANY else "e"
            digits = most if kind == "f" else 2
            return format(scaled, f"{sign}.{digits}{kind}").replace("-", "−")

        text = one(value)
        if interval is not None:
            text += f" [{one(interval[0])}, {one(interval[1])}]"
        return text + self.unit

    def _digits(self, size: float) -> int:
        if self.significant is None or size == 0:
            return self.digits
        whole = 1 + floor(log10(self.scale * size))
        return min(self.digits, max(0, self.significant - whole))


def form_of(measure: Measure, size: float) -> Form:
    """Fewer digits for larger perplexities; shares in percent."""
    if measure.is_task:
        return Form(1, 3, "") if measure.percent is None else Form(measure.percent, 1, " %")
    if measure.is_perplexity:
        digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3
        return Form(1, digits, "")
    return Form(1, 3, "")


def score_text(measure: Measure, score: Score | None) -> str:
    """`12.34 [12.01, 12.60]`; empty where missing."""
    if score is None or score.value is None:
        return ""
    return form_of(measure, score.value).write(score.value, score.interval)


def difference_text(measure: Measure, comparison: Comparison) -> str:
    """`× 0.970 [0.952, 0.991]` of perplexities, a signed difference of all else."""
    difference = comparison.difference
    if measure.is_perplexity:
        low_high = comparison.ratio_interval
        return (
            ""
            if comparison.ratio is None
            else "× " + Form(1, 3, "").write(comparison.ratio, low_high)
        )
    scale = measure.percent
    form = Form(1, 4, "") if scale is None else Form(scale, 1, " points")
    return form.write(difference.value, difference.interval, sign="+")


def few_seeds(seeds: Iterable[int]) -> str:
    """What intervals over so few training seeds leave open; empty where all are enough."""
    fewest = min(seeds, default=MIN_SEEDS)
    if fewest >= MIN_SEEDS:
        return ""
    if fewest > 1:
        text = (
            f"with fewer than {MIN_SEEDS} training seeds how far trainings differ is hardly known"
        )
    else:
        text = (
            "with one training seed they are of that trained model, not of another training of it"
        )
    return f"{text}: exploratory"
