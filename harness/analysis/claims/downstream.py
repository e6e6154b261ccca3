"""The claim that an EBT does better downstream though its pretraining loss is worse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.analysis.claims.candidate import (
    Candidate,
    evidence_of,
    joined,
    reading,
    too_few,
    widened,
)
from harness.analysis.claims.claim import (
    Bounds,
    Claim,
    Costs,
    Finding,
    Ratio,
    Sample,
    Unit,
)
from harness.analysis.claims.grounds import Asked, Ground, Shown
from harness.analysis.claims.timing import costs_of, seconds_ratio, timed
from harness.analysis.exhibits.downstream import (
    BASELINE_FAMILY,
    DownstreamExhibit,
    DownstreamRow,
    Score,
)
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.pattern import ONCE
from harness.analysis.exhibits.samples import Difference, Interval
from harness.analysis.tables.downstream import set_name
from harness.planning.eval_spec import LikelihoodEval
from harness.planning.sections import DownstreamSection

PRETRAINING, DOWNSTREAM = "pretraining", "downstream"
EBT = "ebt"
CLAIM = Claim(
    name="downstream",
    title="Better downstream at a worse pretraining loss",
    statement="At a pretraining loss worse than Transformer++'s, an EBT's perplexity is better on "
    "downstream sets.",
    paper="pretraining 33.43 against 31.36; better on 3 of 4 sets",
    exhibits=("Table 3",),
    parts=(PRETRAINING, DOWNSTREAM),
    definition="Two parts, and the claim needs both. Pretraining: the EBT's loss on the held-out "
    "part of the training data less Transformer++'s at the same size, paired by training seed and "
    "document. For: the whole interval is above 0, so the EBT is worse. Against: all of it is "
    "below 0. Downstream: Transformer++'s loss less the EBT's on each set, over all tokens of "
    f"prompt and answer ({ONCE}). For: the whole interval is above 0, so the EBT is better. "
    "Against: all of it is below 0. One model has to show both. Where no set has a perplexity of "
    "all tokens, those of answers decide, and without these the tasks; whatever does not decide is "
    "listed as exploratory. It may decide from 3 training seeds on; what is missing or has no "
    "interval is undecided. Adjusted over all (Holm, by Student's t).",
    suites="suites/cpu/downstream.yaml, suites/paper/downstream.yaml",
    together="model",
)
#: What counts first, if a section has any of it: measure and tokens ("" for tasks).
_ORDER = (("perplexity", "all"), ("perplexity", "answer"), ("", ""))
_READ = reading(null="0")


@dataclass(frozen=True)
class _Pair:
    """An EBT and the Transformer++ of the same size, whatever is finished of them."""

    model: str
    baseline: str


@dataclass(frozen=True)
class _Place:
    """One set under one evaluation, and its row where anything of it is measured."""

    evaluation: str
    data: str
    pretraining: bool
    row: DownstreamRow | None = None


def found(shown: Sequence[Shown]) -> list[Candidate]:
    """Both parts of every begun section that compares an EBT with Transformer++."""
    return [
        candidate
        for each in shown
        for gathered in each.gathered
        if isinstance(gathered.exhibit, DownstreamExhibit) and each.begun(gathered)
        for candidate in _of_section(each, gathered, gathered.exhibit)
    ]


def _of_section(
    shown: Shown, gathered: Gathered, exhibit: DownstreamExhibit
) -> Iterator[Candidate]:
    section = exhibit.section
    asked = [
        each
        for name in section.evaluations
        for each in shown.ground(section.experiment, name).asked
    ]
    perplexities = [e for e in asked if isinstance(e.evaluation.spec, LikelihoodEval)]
    counted = _counted(exhibit.rows, tasks=not perplexities)
    home = shown.ground(section.experiment, section.pretraining).asked
    unmeasured = _unmeasured(exhibit.rows, counted, home, perplexities or asked)
    for pair in _pairs(shown, gathered):
        for row in exhibit.rows:
            if row.pretraining and not row.measure.is_perplexity:
                continue
            listed = "" if row.pretraining or row in counted else _listed(row, counted)
            score = row.of(pair.model)
            if not listed or (score is not None and score.comparison is not None):
                place = _Place(row.evaluation, row.data, row.pretraining, row)
                yield _candidate(shown, gathered, place, pair, listed)
        for place in unmeasured:
            yield _candidate(shown, gathered, place, pair, "")


def _unmeasured(
    rows: Sequence[DownstreamRow],
    counted: Sequence[DownstreamRow],
    home: Sequence[Asked],
    asked: Sequence[Asked],
) -> list[_Place]:
    """The sets that are planned to decide and of which nothing is measured yet, each once."""
    found_there = {(row.data, row.split) for row in counted}
    places: dict[tuple[str, str], _Place] = {}
    for each in asked:
        key = each.data, str(each.evaluation.spec.split)
        if key not in found_there:
            places.setdefault(key, _Place(each.evaluation.name, each.data, False))
    if home and not any(row.pretraining for row in rows):
        places["", ""] = _Place(home[0].evaluation.name, home[0].data, True)
    return list(places.values())


def _pairs(shown: Shown, gathered: Gathered) -> Iterator[_Pair]:
    """By the plan: every EBT with the baseline at the same place on the axes."""
    section = gathered.section
    assert isinstance(section, DownstreamSection)
    if section.baseline is None:
        return
    if shown.family(section.experiment, section.baseline) != BASELINE_FAMILY:
        return
    models = shown.models_of(gathered)
    for model, runs in models.items():
        other = f"{section.baseline}{model.removeprefix(runs[0].adapter_label)}"
        if runs[0].record.family == EBT and other in models:
            yield _Pair(model, other)


def _counted(rows: Sequence[DownstreamRow], *, tasks: bool) -> list[DownstreamRow]:
    """The rows that decide, one per set: chosen by what they measure, never by how they come out.

    As `exhibits.pattern` counts: rolling windows where a set has several, a task's first metric.
    `tasks` count only where no perplexity is planned.
    """
    for name, tokens in _ORDER if tasks else _ORDER[:2]:
        own = [
            row
            for row in rows
            if not row.pretraining
            and row.measure.tokens == tokens
            and (row.measure.is_task or row.measure.name == name)
        ]
        kept: dict[tuple[str, str], DownstreamRow] = {}
        for row in own:
            first = kept.setdefault((row.data, row.split), row)
            if row.windows == "rolling" and first.windows != "rolling":
                kept[row.data, row.split] = row
        if kept:
            return list(kept.values())
    return []


def _listed(row: DownstreamRow, counted: Sequence[DownstreamRow]) -> str:
    if any((row.data, row.split, row.measure) == (c.data, c.split, c.measure) for c in counted):
        return "this set counts once already, in rolling windows"
    return "beside the perplexities that the paper reports"


def _candidate(
    shown: Shown, gathered: Gathered, place: _Place, pair: _Pair, listed: str
) -> Candidate:
    exhibit, row = gathered.exhibit, place.row
    assert isinstance(exhibit, DownstreamExhibit)
    experiment, both = exhibit.section.experiment, [pair.model, pair.baseline]
    ground = shown.ground(experiment, place.evaluation, models=both, data=place.data)
    score = None if row is None else row.of(pair.model)
    comparison = None if score is None else score.comparison
    difference = None if comparison is None else comparison.difference
    reason = joined(ground.untrusted, listed, too_few(ground.seeds))
    # Downstream, what speaks for the claim is that the EBT is better.
    sign = 1 if place.pretraining or (row is not None and row.measure.higher_is_better) else -1
    bounds = None if difference is None else difference.interval
    finding = Finding(
        claim=CLAIM.name,
        part=PRETRAINING if place.pretraining else DOWNSTREAM,
        source=shown.source(gathered, ground),
        what=_what(place, exhibit),
        candidate=pair.model,
        baseline=pair.baseline,
        estimate=None if difference is None else sign * difference.value,
        unit="nats" if row is None else _unit(row),
        interval=None if bounds is None else _bounds(bounds, sign),
        paper=None,
        sample=_sample(row, score, 0 if difference is None else difference.seeds),
        costs=ground.costs(_costs(shown, ground, row, pair)),
        evidence=evidence_of(reason),
        reason=reason,
        shown_by=shown.ground(experiment, exhibit.section.pretraining, models=both).planned_runs,
    )
    measure = ("", "") if row is None else (row.measure.name, row.measure.tokens)
    return widened(
        finding,
        (place.pretraining, *ground.key, place.data, *measure),
        _READ,
        untrusted=bool(ground.untrusted),
        open_=joined(ground.lacking, _no_interval(difference, ground)),
    )


def _no_interval(difference: Difference | None, ground: Ground) -> str:
    if difference is None:
        return "" if ground.lacking else "no difference: a loss is not finite or was not measured"
    return "" if difference.interval is not None else "no interval of the difference"


def _bounds(interval: Interval, sign: int) -> Bounds:
    low, high = sorted(sign * bound for bound in interval)
    return Bounds(low, high)


def _what(place: _Place, exhibit: DownstreamExhibit) -> str:
    row = place.row
    name = f"{place.evaluation}: {place.data}" if row is None else set_name(row, exhibit)
    if place.pretraining:
        return f"how much worse the pretraining loss is ({name})"
    if row is None:
        return f"how much better it is on {name}"
    tokens = {"all": " of all tokens", "answer": " of answers", "": ""}[row.measure.tokens]
    measured = "loss" if row.measure.is_perplexity else row.measure.name
    return f"how much better the {measured}{tokens} is on {name}"


def _unit(row: DownstreamRow) -> Unit:
    if row.measure.is_perplexity:
        return "nats"
    return "share" if row.measure.percent == 100 else "score" if row.measure.is_task else "bits"


def _sample(row: DownstreamRow | None, score: Score | None, seeds: int) -> Sample:
    if row is None or score is None:
        return Sample(0, "documents", seeds)
    if row.measure.is_task:
        return Sample(score.documents or score.n, "questions", seeds)
    known = score.documents is not None
    return Sample(score.documents or score.n, "documents" if known else "tokens", seeds)


def _costs(shown: Shown, ground: Ground, row: DownstreamRow | None, pair: _Pair) -> Costs:
    of = "one prediction, EBT over Transformer++"
    ours, theirs = (None if row is None else row.of(m) for m in (pair.model, pair.baseline))
    if row is None or ours is None or theirs is None:
        return Costs(of)
    first = ground.asked[0]
    costs = shown.costs(first.run.experiment, first.evaluation.name, row.measure.source)
    both = [
        timed(each for each in costs if (each.model, each.data) == (model, row.data))
        for model in (pair.model, pair.baseline)
    ]
    return costs_of(
        of,
        nfe=_over(ours.nfe, theirs.nfe),
        flops=_over(ours.flops, theirs.flops),
        seconds=seconds_ratio([(both[0], both[1])]),
    )


def _over(ours: float | None, theirs: float | None) -> Ratio:
    return Ratio(ours / theirs if ours is not None and theirs else None)
