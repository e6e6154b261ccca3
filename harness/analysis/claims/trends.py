"""What claims on trends of the gain share: slope and order that must both exclude chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.analysis.claims.candidate import (
    Candidate,
    Reading,
    Widening,
    evidence_of,
    joined,
    unweighed,
)
from harness.analysis.claims.claim import LEVEL, Bearing, Bounds, Costs, Finding, Sample
from harness.analysis.claims.gains import Thinker, costs_over
from harness.analysis.claims.grounds import Ground, Shown, training_costs
from harness.analysis.exhibits.gain_draws import Measure
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.thinking import ThinkingExhibit, ThinkingRow
from harness.analysis.tables.trends import setting_words
from harness.analysis.trends.trend import Trend, shown_p
from harness.planning.spec import thinking_label
from harness.quantities import counted


@dataclass(frozen=True)
class Followed:
    """A trend of one setting's gain, and on which rows it stands.

    `over` says per what the slope is, `where` on which sets, `points` what they are.
    """

    claim: str
    part: str
    trend: Trend
    measure: Measure
    rows: tuple[ThinkingRow, ...]
    over: str
    where: str
    points: str
    paper: float | None


def trend_candidate(
    shown: Shown,
    gathered: Gathered,
    thinker: Thinker,
    followed: Followed,
    *,
    ground: Ground,
    why: str,
) -> Candidate:
    """The candidate of a trend; `why` is the claim's own reason that it may not decide."""
    trend, row = followed.trend, followed.rows[0]
    seeds = min(each.seeds for each in followed.rows)
    listed = "sensitivity line: the paper's gain is of perplexity" * (followed.measure == "loss")
    few = trend.reason if trend.reading == "descriptive" else ""
    reason = joined(
        shown.untrusted, thinker.other, thinker.undeclared(row.setting), listed, few, why
    )
    setting = setting_words(row)
    finding = Finding(
        claim=followed.claim,
        part=followed.part,
        source=shown.source(gathered, ground),
        what=f"slope of the {followed.measure} gain of {setting} {followed.over}{followed.where}",
        candidate=f"{thinker.model}, {setting}",
        baseline=f"{thinker.model}, {thinker.trained.steps} × {thinker.trained.samples} (trained)",
        estimate=trend.slope,
        unit="points",
        interval=None if trend.interval is None else Bounds(*trend.interval),
        paper=followed.paper if followed.measure == "perplexity" else None,
        sample=Sample(
            min(each.documents for each in followed.rows),
            f"documents or more at each of {counted(trend.points, followed.points)}",
            seeds,
            trend.points,
        ),
        costs=training_costs(ground, _costs(shown, row)),
        evidence=evidence_of(reason),
        reason=joined(reason, _ranks(trend)),
    )
    key = (
        *(ground.runs, ground.evaluations, row.setting, followed.measure),
        *(followed.over, followed.where),
    )
    untrusted = bool(shown.untrusted)
    if trend.interval is None or trend.slope is None:
        return unweighed(replace(finding, reason=joined(finding.reason, trend.reason)), key)
    slope = Widening(trend.slope, trend.interval, seeds)
    p = 1.0 if trend.ranks.p is None else max(slope.p, trend.ranks.p)
    return Candidate(finding, key, p, slope.at, _reading(trend), untrusted)


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


def _costs(shown: Shown, row: ThinkingRow) -> Costs:
    """Of the setting over the trained one, on the set of `row`, where a section shows both."""
    of = f"one predicted token on {row.data}, over the trained thinking"
    for gathered in shown.gathered:
        if isinstance(gathered.exhibit, ThinkingExhibit):
            own = [
                r
                for r in gathered.exhibit.rows
                if (r.adapter, r.label, r.data) == (row.adapter, row.label, row.data)
            ]
            trained = next((r for r in own if r.trained), None)
            if trained is not None and any(r.setting == row.setting for r in own):
                return costs_over(of, row, trained)
    return Costs(of)


def lost_words(lost: Sequence[str], *, model: str, thinker: Thinker, setting: str) -> str:
    """Why a trend may not decide whose model has no loss somewhere; empty where it has all.

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
