"""The claim that EBT scales faster than Transformer++, along each axis, on text and on video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from harness.analysis.claims.candidate import Candidate, Reading, evidence_of, joined, unweighed
from harness.analysis.claims.claim import (
    Bearing,
    Bounds,
    Claim,
    Costs,
    Finding,
    Ratio,
    Sample,
)
from harness.analysis.claims.grounds import Shown, mean_ratio
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.scaling import SMOOTH_L1, ScalingExhibit
from harness.analysis.rates.points import Interval, order_interval
from harness.analysis.rates.rate import ScalingRate
from harness.analysis.rates.verdict import SMALL_RATE, decide
from harness.analysis.tables.scaling import axis_name

RATE = "rate"
FAMILIES = ("transformer++", "ebt")
TEXT, VIDEO = 0.35, 0.34
CLAIM = Claim(
    name="scaling",
    title="Faster scaling",
    statement="Along data, batch size, parameters, FLOPs, depth and width, EBT's loss falls faster "
    "than Transformer++'s, on text and on video.",
    paper="up to 35 % faster on text, 34 % on video",
    exhibits=("Fig 4a", "Fig 4b", "Fig 4c", "Fig 5a", "Fig 5b", "Fig 5c", "Fig 9", "Fig B.3"),
    parts=(RATE,),
    definition="A finding is one axis of one suite: the ratio of the exponents of "
    "L(x) = E + A·x^(−a), EBT's over Transformer++'s, minus one. For: the whole interval is above "
    f"0. Against: all of it is below +{100 * SMALL_RATE:g} %. It may decide with 5 points and 3 "
    "seeds, over 2 decades of data, parameters or FLOPs; of batch size, depth and width with a "
    "simulated half-width of at most 10 points. Intervals by bootstrap, adjusted over all axes of "
    "all suites (Holm). The paper's percentages behave like ratios of raw log-log slopes, which "
    "the offset E biases: the magnitude compares them with the ratio of exponents.",
    suites="suites/registered",
)


def found(shown: Sequence[Shown]) -> list[Candidate]:
    """One candidate per scaling section that compares the paper's two families."""
    candidates: list[Candidate] = []
    for each in shown:
        for gathered in each.gathered:
            exhibit = gathered.exhibit
            if isinstance(exhibit, ScalingExhibit) and exhibit.rows and _papers(each, exhibit):
                candidates.append(_candidate(each, gathered, exhibit))
    return candidates


def _papers(shown: Shown, exhibit: ScalingExhibit) -> bool:
    """The baseline and the candidate are of the families that the paper compares."""
    section = exhibit.section
    both = (section.baseline, section.candidate)
    return tuple(shown.family(section.experiment, label) for label in both) == FAMILIES


def _candidate(shown: Shown, gathered: Gathered, exhibit: ScalingExhibit) -> Candidate:
    section, rate = exhibit.section, exhibit.rate
    models = [f"{row.adapter} {row.label}".strip() for row in exhibit.rows]
    ground = shown.ground(section.experiment, section.evaluation, models=models)
    reason = _exploratory(shown, exhibit)
    finding = Finding(
        claim=CLAIM.name,
        part=RATE,
        source=shown.source(gathered, ground),
        what=f"scaling rate along {axis_name(exhibit)}",
        candidate=section.candidate,
        baseline=section.baseline,
        estimate=None if rate is None else rate.rho.value,
        unit="fraction",
        interval=None if rate is None else _bounds(rate.rho.interval),
        paper=VIDEO if exhibit.unit == SMOOTH_L1 else TEXT,
        sample=_sample(exhibit),
        costs=ground.costs(_costs(shown, exhibit)),
        evidence=evidence_of(reason),
        reason=reason,
    )
    key = (section.x, ground.runs, ground.evaluations)
    untrusted = bool(shown.untrusted)
    if rate is None:
        return unweighed(finding, key, untrusted=untrusted)
    if rate.rho.interval is None and not reason:
        finding = replace(finding, reason=rate.rho.reason)
    return Candidate(finding, key, rate.p, _widening(rate), _reading(rate), untrusted)


def _exploratory(shown: Shown, exhibit: ScalingExhibit) -> str:
    rate = exhibit.rate
    lost = f"runs are left out whose loss is not finite: {', '.join(exhibit.lost)}"
    return joined(
        shown.untrusted,
        "the paper claims nothing along seconds" * (exhibit.section.x == "seconds"),
        lost * bool(exhibit.lost),
        f"no rate: {exhibit.no_rate}" if rate is None else rate.gate.reason,
    )


def _widening(rate: ScalingRate) -> Callable[[float], Bounds | None]:
    def at(level: float) -> Bounds | None:
        if rate.draws is None or rate.draws.rates is None or rate.rho.value is None:
            return None
        return _bounds(order_interval(rate.draws.rates, level=level, method=""), adjusted=True)

    return at


def _reading(rate: ScalingRate) -> Reading:
    """The verdict of the definitions, at the interval given."""

    def read(bounds: Bounds, p: float) -> tuple[Bearing, str]:
        interval = Interval(bounds.low, bounds.high, bounds.level, "")
        verdict = decide(
            replace(rate.rho, interval=interval), gate=rate.gate, at_bound=rate.at_bound
        )
        words: dict[str, Bearing] = {"faster": "for", "not faster": "against"}
        return words.get(verdict.status, "undecided"), verdict.text

    return read


def _bounds(interval: Interval | None, *, adjusted: bool = False) -> Bounds | None:
    if interval is None:
        return None
    return Bounds(interval.low, interval.high, interval.level, adjusted)


def _sample(exhibit: ScalingExhibit) -> Sample:
    rows, gate = exhibit.rows, None if exhibit.rate is None else exhibit.rate.gate
    by_family = [
        {row.x for row in rows if row.adapter == adapter}
        for adapter in (exhibit.section.baseline, exhibit.section.candidate)
    ]
    return Sample(
        n=len(exhibit.runs),
        of="training runs",
        seeds=min(len(row.seeds) for row in rows) if gate is None else gate.seeds,
        points=min(map(len, by_family)) if gate is None else gate.points,
    )


def _costs(shown: Shown, exhibit: ScalingExhibit) -> Costs:
    """What training takes the candidate over the baseline, summed over the points that both have:
    those of equal names, or else the n-th smallest of each.
    """
    section = exhibit.section
    ours, theirs = (
        {row.label: row for row in exhibit.rows if row.adapter == adapter}
        for adapter in (section.candidate, section.baseline)
    )
    pairs = [(ours[label], theirs[label]) for label in ours if label in theirs]
    if not pairs and len(ours) == len(theirs):
        pairs = list(zip(ours.values(), theirs.values(), strict=True))
    return Costs(
        of="training EBT over Transformer++ at the same points; NFE: of one prediction",
        nfe=_nfe(shown, exhibit),
        flops=_ratio([(a.training_flops, b.training_flops) for a, b in pairs]),
        seconds=_ratio([(a.training_seconds, b.training_seconds) for a, b in pairs]),
    )


def _nfe(shown: Shown, exhibit: ScalingExhibit) -> Ratio:
    section = exhibit.section
    measured = shown.costs(section.experiment, section.evaluation)
    ours, theirs = (
        [each.nfe for each in measured if each.adapter == adapter]
        for adapter in (section.candidate, section.baseline)
    )
    return mean_ratio(ours, theirs)


def _ratio(pairs: Sequence[tuple[float, float]]) -> Ratio:
    below = sum(theirs for _, theirs in pairs)
    return Ratio(sum(ours for ours, _ in pairs) / below if below else None)
