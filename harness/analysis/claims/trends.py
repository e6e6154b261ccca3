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
from harness.analysis.claims.claim import (
    LEVEL,
    Bearing,
    Bounds,
    Costs,
    Finding,
    Sample,
    costs_of,
)
from harness.analysis.claims.gains import Thinker
from harness.analysis.claims.grounds import Ground, Shown, mean_ratio
from harness.analysis.exhibits.equal_quality import COSTS
from harness.analysis.exhibits.gain_draws import Measure
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.thinking import ThinkingRow
from harness.analysis.tables.trends import setting_words
from harness.analysis.trends.trend import Trend, shown_p
from harness.planning.sections import ThinkingScaleSection, ThinkingShiftSection
from harness.planning.spec import thinking_label
from harness.quantities import counted


@dataclass(frozen=True)
class Followed:
    """A trend of one setting's gain, and on which rows it stands.

    `model` is whose it is, `over` says per what the slope is, `where` on which sets, `points` what
    they are.
    """

    claim: str
    part: str
    model: str
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
        candidate=f"{followed.model}, {setting}",
        baseline=f"{followed.model}, {thinker.trained.steps} × {thinker.trained.samples} (trained)",
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
        costs=ground.costs(_costs(shown, gathered, thinker, followed.rows)),
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


def _costs(
    shown: Shown, gathered: Gathered, thinker: Thinker, rows: Sequence[ThinkingRow]
) -> Costs:
    """Of the setting over the trained one, means over the rows' models and sets."""
    section = gathered.section
    assert isinstance(section, ThinkingShiftSection | ThinkingScaleSection)
    models = {f"{row.adapter} {row.label}".strip() for row in rows}
    sets, wanted = {row.data for row in rows}, thinking_label(thinker.trained)
    trained = [
        each
        for each in shown.costs(section.experiment, section.evaluation)
        if each.model in models and each.data in sets and each.setting == wanted
    ]
    return costs_of(
        "one predicted token, over the trained thinking",
        [
            mean_ratio([getattr(row, cost) for row in rows], [each.of(cost) for each in trained])
            for cost in COSTS
        ],
    )


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
