"""What claims on trends of the gain share: slope and order that must both exclude chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial

from harness.analysis.claims.candidate import (
    Candidate,
    Reading,
    Widening,
    evidence_of,
    joined,
    too_few,
    unweighed,
)
from harness.analysis.claims.claim import LEVEL, Bearing, Bounds, Finding, Sample
from harness.analysis.claims.gains import Thinker, costs_over, spoken
from harness.analysis.claims.grounds import Ground, Shown
from harness.analysis.claims.timing import Costed
from harness.analysis.exhibits.gain_draws import Measure
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.thinking import ThinkingRow
from harness.analysis.trends.trend import Trend, shown_p
from harness.planning.spec import thinking_label
from harness.quantities import counted


@dataclass(frozen=True)
class Followed:
    """A trend of one setting's gain as it is planned, and what was found of it: None, nothing.

    `model` is whose it is, `over` says per what the slope is, `where` on which sets. `planned` are
    its points, of which `needed` may decide; `noun` says what they are. `why` is the claim's own
    reason that it may not decide, `lost` what of it is missing or not finite.
    """

    claim: str
    part: str
    model: str
    setting: str
    measure: Measure
    trend: Trend | None
    rows: tuple[ThinkingRow, ...]
    over: str
    where: str
    planned: int
    needed: int
    noun: str
    paper: float | None
    shown_by: tuple[object, ...] = ()
    why: str = ""
    lost: str = ""


def smallest_p(points: int) -> float:
    """The least two-sided p that the order of so many points can have: two orders of all."""
    return 2 / factorial(points)


def trend_candidate(
    shown: Shown,
    gathered: Gathered,
    thinker: Thinker,
    followed: Followed,
    *,
    ground: Ground,
) -> Candidate:
    """The candidate of a trend, on the runs and evaluations of its ground."""
    trend, rows = followed.trend, followed.rows
    seeds = min((each.seeds for each in rows), default=0)
    listed = "sensitivity line: the paper's gain is of perplexity" * (followed.measure == "loss")
    few = ""
    if followed.planned < followed.needed:
        few = f"{counted(followed.planned, followed.noun)}, {followed.needed} needed"
    reason = joined(
        *(ground.untrusted, thinker.other, thinker.undeclared(followed.setting)),
        *(listed, few, too_few(ground.seeds), followed.why),
    )
    setting = spoken(followed.setting)
    interval = None if trend is None else trend.interval
    measured = 0 if trend is None else trend.points
    finding = Finding(
        claim=followed.claim,
        part=followed.part,
        source=shown.source(gathered, ground),
        what=f"slope of the {followed.measure} gain of {setting} {followed.over}{followed.where}",
        candidate=f"{followed.model}, {setting}",
        baseline=f"{followed.model}, {thinker.trained.steps} × {thinker.trained.samples} (trained)",
        estimate=None if trend is None else trend.slope,
        unit="points",
        interval=None if interval is None else Bounds(*interval),
        paper=followed.paper if followed.measure == "perplexity" else None,
        sample=Sample(
            min((each.documents for each in rows), default=0),
            f"documents or more at each of {counted(measured, followed.noun)}",
            seeds,
            measured,
        ),
        costs=ground.costs(costs_over(_costs(shown, ground), followed.setting, thinker)),
        evidence=evidence_of(reason),
        reason=joined(reason, "" if trend is None else _ranks(trend)),
        shown_by=followed.shown_by,
    )
    key = (*ground.key, followed.setting, followed.measure, followed.over, followed.where)
    untrusted, open_ = (
        bool(ground.untrusted),
        joined(ground.lacking, followed.lost, _open(followed)),
    )
    if trend is None or interval is None or trend.slope is None:
        return unweighed(finding, key, untrusted=untrusted, open_=open_)
    slope = Widening(trend.slope, interval, seeds)
    p = 1.0 if trend.ranks.p is None else max(slope.p, trend.ranks.p)
    return Candidate(finding, key, p, slope.at, _reading(trend), untrusted, open_)


def _costs(shown: Shown, ground: Ground) -> list[Costed]:
    """Of everything that the trend is made of."""
    places = {(each.model, each.data) for each in ground.asked}
    first = ground.asked[0]
    costs = shown.costs(first.run.experiment, first.evaluation.name)
    return [each for each in costs if (each.model, each.data) in places]


def _open(followed: Followed) -> str:
    """What the trend lacks of its plan; empty where nothing."""
    trend = followed.trend
    if trend is None:
        return f"no gain at any of {counted(followed.planned, followed.noun)}"
    without = f"no gain: {', '.join(trend.left_out)}" if trend.left_out else ""
    apart = followed.planned - trend.points - len(trend.left_out)
    short = f"{counted(apart, followed.noun)} without a place or a gain" if apart > 0 else ""
    return joined(without, short, trend.reason if trend.interval is None else "")


def _reading(trend: Trend) -> Reading:
    """For: slope and order both grow beyond chance; against: both shrink."""

    def read(bounds: Bounds, p: float) -> tuple[Bearing, str]:
        rho = trend.ranks.rho
        if bounds.low <= 0 <= bounds.high:
            return "undecided", "the slope's interval holds 0"
        if rho is None or p > 1 - LEVEL:
            return "undecided", "the slope's interval excludes 0, the order may be chance"
        if (bounds.low > 0) != (rho > 0):
            return "undecided", "slope and order point apart"
        return ("for", "it grows") if rho > 0 else ("against", "it shrinks")

    return read


def _ranks(trend: Trend) -> str:
    ranks = trend.ranks
    if ranks.rho is None or ranks.p is None:
        return ""
    return f"rank correlation {ranks.rho:+.2f}, p {shown_p(ranks.p)} unadjusted".replace("-", "−")


def lost_words(lost: Sequence[str], *, model: str, thinker: Thinker, setting: str) -> str:
    """What is not finite of a trend's models; empty where all is.

    `lost` are names as `ThinkingExhibit` has them; `model` is what those of the trend start with.
    """
    settings = (setting, thinking_label(thinker.trained))
    own = [
        name
        for name in lost
        if name.startswith(model)
        and any(name.partition(", ")[2].startswith(f"{each} on ") for each in settings)
    ]
    return f"a loss is not finite: {', '.join(own)}" if own else ""
