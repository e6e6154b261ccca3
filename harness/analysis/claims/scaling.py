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
from harness.analysis.claims.grounds import Ground, Shown
from harness.analysis.claims.timing import costs_of, mean_ratio, training_seconds_ratio
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.scaling import ScalingExhibit, ScalingRow
from harness.analysis.paper.rates import papers_rates
from harness.analysis.rates.points import Interval, order_interval
from harness.analysis.rates.rate import DEFAULT_BOOTSTRAP, ScalingRate
from harness.analysis.rates.verdict import MIN_POINTS, SMALL_RATE, Gate, decide, gate_design
from harness.analysis.tables.scaling import axis_name
from harness.planning.budget import axis_value
from harness.planning.planned import PlannedRun
from harness.planning.sections import ScalingSection
from harness.planning.spec import NextFrameTask

FAMILIES = ("transformer++", "ebt")
_AXES = {
    "data": "data",
    "batch": "batch size",
    "depth": "depth",
    "parameters": "parameters",
    "flops": "FLOPs",
    "width": "width",
}
#: What the paper claims it of: each axis on text, two of them on video.
PARTS = (
    *(f"{name} on text" for name in _AXES.values()),
    *("parameters on video", "width on video"),
)
CLAIM = Claim(
    name="scaling",
    title="Faster scaling",
    statement="EBT's loss falls faster than Transformer++'s: on text along data, batch size, "
    "depth, parameters, FLOPs and width, on video along parameters and width.",
    paper="up to 35 % faster on text, 34 % on video",
    exhibits=("Fig 4a", "Fig 4b", "Fig 4c", "Fig 5a", "Fig 5b", "Fig 5c", "Fig 9", "Fig B.3"),
    parts=PARTS,
    definition="Each axis, on text and on video, is a part, and the claim needs all. A finding is "
    "one axis of one suite: the ratio of the exponents of L(x) = E + A·x^(−a), EBT's over "
    "Transformer++'s, minus one. For: the whole interval is above 0. Against: all of it is below "
    f"+{100 * SMALL_RATE:g} %. It may decide with 5 points and 3 seeds, over 2 decades of data, "
    "parameters or FLOPs; of batch size, depth and width with a simulated half-width of at most 10 "
    "points. A run that is missing or without a finite loss leaves it undecided. Intervals by "
    "bootstrap, adjusted over all axes of all suites (Holm); suites that share a part of their "
    "runs count as several findings, though they are not independent. Nothing checks that a suite "
    "was written before its runs were seen: the largest budget of "
    "suites/registered/equal_flops.yaml was added after the five others had run. The paper's "
    "percentage of the same axis behaves like a ratio of raw log-log slopes, which the offset E "
    "biases: the magnitude compares it with the ratio of exponents.",
    suites="suites/registered",
)


def found(shown: Sequence[Shown]) -> list[Candidate]:
    """One candidate per begun scaling section that compares the paper's two families."""
    return [
        _candidate(each, gathered, gathered.exhibit)
        for each in shown
        for gathered in each.gathered
        if isinstance(gathered.exhibit, ScalingExhibit)
        and _papers(each, gathered.exhibit.section)
        and each.begun(gathered)
    ]


def _papers(shown: Shown, section: ScalingSection) -> bool:
    """The baseline and the candidate are of the families that the paper compares."""
    both = (section.baseline, section.candidate)
    return tuple(shown.family(section.experiment, label) for label in both) == FAMILIES


def scaling_part(section: ScalingSection, runs: Sequence[PlannedRun]) -> str:
    """`data on text`, which of the claim's parts this is of; it may be none."""
    video = any(isinstance(run.spec.task, NextFrameTask) for run in runs)
    return f"{_AXES.get(section.x, section.x)} on {'video' if video else 'text'}"


def planned_gate(section: ScalingSection, runs: Sequence[PlannedRun]) -> Gate:
    """Whether the plan, once all of it is run, may yield a verdict, whatever has run of it."""
    xs, seeds = [], []
    for label in (section.candidate, section.baseline):
        points: dict[float, set[int]] = {}
        for run in runs:
            x = axis_value(run, section.x)
            if run.adapter_label == label and x is not None:
                points.setdefault(x, set()).add(run.spec.seed)
        xs.append(tuple(sorted(points)))
        seeds.append(min(map(len, points.values()), default=0))
    if not min(map(len, xs)):
        return Gate(False, f"0 points, {MIN_POINTS} needed", 0, 0, 0.0)
    return gate_design(
        section.x, xs=(xs[0], xs[1]), seeds=min(seeds), resamples=DEFAULT_BOOTSTRAP.resamples
    )


def _candidate(shown: Shown, gathered: Gathered, exhibit: ScalingExhibit) -> Candidate:
    section, rate = exhibit.section, exhibit.rate
    models = shown.models_of(gathered)
    ground = shown.ground(section.experiment, section.evaluation, models=models)
    gate, part = planned_gate(section, gathered.runs), scaling_part(section, gathered.runs)
    reason = joined(
        ground.untrusted,
        "" if part in PARTS else f"the paper claims nothing along {part}",
        gate.reason,
    )
    paper = [number.value for number in papers_rates(exhibit, gathered.paper)]
    finding = Finding(
        claim=CLAIM.name,
        part=part,
        source=shown.source(gathered, ground),
        what=f"scaling rate along {axis_name(exhibit)}",
        candidate=section.candidate,
        baseline=section.baseline,
        estimate=None if rate is None else rate.rho.value,
        unit="fraction",
        interval=None if rate is None else _bounds(rate.rho.interval),
        paper=paper[0] / 100 if len(paper) == 1 and paper[0] is not None else None,
        sample=_sample(exhibit, gate),
        costs=ground.costs(_costs(shown, exhibit, ground)),
        evidence=evidence_of(reason),
        reason=reason,
        caveat="" if rate is None else rate.caveat,
    )
    key = (section.x, *ground.key)
    untrusted, open_ = bool(ground.untrusted), _open(exhibit, ground)
    if rate is None:
        return unweighed(finding, key, untrusted=untrusted, open_=open_)
    return Candidate(finding, key, rate.p, _widening(rate), _reading(rate, gate), untrusted, open_)


def _open(exhibit: ScalingExhibit, ground: Ground) -> str:
    """Why the section decides nothing, whatever its rate: what is left might be the better half."""
    rate = exhibit.rate
    lost = f"runs are left out whose loss is not finite: {', '.join(exhibit.lost)}"
    without = "" if rate is None or rate.rho.interval is not None else rate.rho.reason
    return joined(
        ground.lacking,
        lost * bool(exhibit.lost),
        f"no rate: {exhibit.no_rate}" if rate is None else without,
    )


def _widening(rate: ScalingRate) -> Callable[[float], Bounds | None]:
    def at(level: float) -> Bounds | None:
        if rate.draws is None or rate.draws.rates is None or rate.rho.value is None:
            return None
        return _bounds(order_interval(rate.draws.rates, level=level, method=""), adjusted=True)

    return at


def _reading(rate: ScalingRate, gate: Gate) -> Reading:
    """The verdict of the definitions, at the interval given."""

    def read(bounds: Bounds, p: float) -> tuple[Bearing, str]:
        interval = Interval(bounds.low, bounds.high, bounds.level, "")
        verdict = decide(replace(rate.rho, interval=interval), gate=gate, at_bound=rate.at_bound)
        words: dict[str, Bearing] = {"faster": "for", "not faster": "against"}
        return words.get(verdict.status, "undecided"), verdict.text

    return read


def _bounds(interval: Interval | None, *, adjusted: bool = False) -> Bounds | None:
    if interval is None:
        return None
    return Bounds(interval.low, interval.high, interval.level, adjusted)


def _sample(exhibit: ScalingExhibit, gate: Gate) -> Sample:
    """What was measured, and not what was planned, where that is less."""
    by_family = [
        [row for row in exhibit.rows if row.adapter == adapter]
        for adapter in (exhibit.section.baseline, exhibit.section.candidate)
    ]
    return Sample(
        n=len(exhibit.runs),
        of="training runs",
        seeds=min((len(row.seeds) for row in exhibit.rows), default=0),
        points=min(gate.points, *map(len, by_family)),
    )


# --- costs ------------------------------------------------------------------------------------


def _costs(shown: Shown, exhibit: ScalingExhibit, ground: Ground) -> Costs:
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
    below = sum(b.training_flops for _, b in pairs)
    trained: dict[str, dict[str, tuple[str, float]]] = {}
    for row in ground.rows:
        own = trained.setdefault(row.model, {})
        own[row.run] = row.training_device, row.training_seconds

    def timed(row: ScalingRow) -> list[tuple[str, float]]:
        return list(trained.get(f"{row.adapter} {row.label}".strip(), {}).values())

    return costs_of(
        "training EBT over Transformer++ at the same points; NFE: of one prediction",
        nfe=_nfe(shown, exhibit),
        flops=Ratio(sum(a.training_flops for a, _ in pairs) / below if below else None),
        seconds=training_seconds_ratio((timed(a), timed(b)) for a, b in pairs),
    )


def _nfe(shown: Shown, exhibit: ScalingExhibit) -> Ratio:
    section = exhibit.section
    measured = shown.costs(section.experiment, section.evaluation)
    ours, theirs = (
        [each.nfe for each in measured if each.adapter == adapter]
        for adapter in (section.candidate, section.baseline)
    )
    return mean_ratio(ours, theirs)
