"""The claim that an EBT does better downstream though its pretraining loss is worse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    costs_of,
)
from harness.analysis.claims.grounds import Shown
from harness.analysis.exhibits.downstream import (
    BASELINE_FAMILY,
    Comparison,
    DownstreamExhibit,
    DownstreamRow,
    Score,
)
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.pattern import ONCE
from harness.analysis.exhibits.samples import Interval
from harness.analysis.tables.downstream import set_name

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
    "Against: all of it is below 0. Where no set has a perplexity of all tokens, those of answers "
    "decide, and without these the tasks; whatever does not decide is listed as exploratory. It "
    "may decide from 3 training seeds on; adjusted over all (Holm, by Student's t).",
    suites="suites/cpu/downstream.yaml, suites/paper/downstream.yaml",
)
#: What counts first, if a section has any of it: measure and tokens ("" for tasks).
_ORDER = (("perplexity", "all"), ("perplexity", "answer"), ("", ""))
_READ = reading(null="0")


def found(shown: Sequence[Shown]) -> list[Candidate]:
    """Both parts of every downstream section that compares an EBT with Transformer++."""
    return [
        candidate
        for each in shown
        for gathered in each.gathered
        if isinstance(gathered.exhibit, DownstreamExhibit)
        for candidate in _of_section(each, gathered, gathered.exhibit)
    ]


def _of_section(
    shown: Shown, gathered: Gathered, exhibit: DownstreamExhibit
) -> Iterator[Candidate]:
    section = exhibit.section
    if section.baseline is None:
        return
    if shown.family(section.experiment, section.baseline) != BASELINE_FAMILY:
        return
    for model in exhibit.compared:
        compared = [
            (row, score, score.comparison)
            for row in exhibit.rows
            if (score := row.of(model)) is not None
            if score.comparison is not None and score.family == EBT
        ]
        counted = _counted([row for row, _, _ in compared])
        for row, score, comparison in compared:
            if row.pretraining and not row.measure.is_perplexity:
                continue
            listed = "" if row.pretraining or row in counted else _listed(row, counted)
            yield _candidate(shown, gathered, row, score, comparison, listed)


def _counted(rows: Sequence[DownstreamRow]) -> list[DownstreamRow]:
    """The rows that decide, one per set: chosen by what they measure, never by how they come out.

    As `exhibits.pattern` counts: rolling windows where a set has several, a task's first metric.
    """
    for name, tokens in _ORDER:
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
    shown: Shown,
    gathered: Gathered,
    row: DownstreamRow,
    score: Score,
    comparison: Comparison,
    listed: str,
) -> Candidate:
    assert isinstance(gathered.exhibit, DownstreamExhibit)
    section, difference = gathered.exhibit.section, comparison.difference
    ground = shown.ground(
        section.experiment,
        row.evaluation,
        models=[score.model, comparison.baseline],
        data=row.data,
    )
    reason = joined(
        shown.untrusted,
        listed,
        too_few(difference.seeds),
        "no interval of the difference" * (difference.interval is None),
    )
    # Downstream, what speaks for the claim is that the EBT is better.
    sign = 1 if row.pretraining or row.measure.higher_is_better else -1
    bounds = difference.interval
    finding = Finding(
        claim=CLAIM.name,
        part=PRETRAINING if row.pretraining else DOWNSTREAM,
        source=shown.source(gathered, ground),
        what=_what(row, gathered.exhibit),
        candidate=score.model,
        baseline=comparison.baseline,
        estimate=sign * difference.value,
        unit=_unit(row),
        interval=None if bounds is None else _bounds(bounds, sign),
        paper=None,
        sample=_sample(row, score, difference.seeds),
        costs=ground.costs(_costs(score, row.of(comparison.baseline))),
        evidence=evidence_of(reason),
        reason=reason,
    )
    measure = (row.measure.name, row.measure.tokens)
    key = (row.pretraining, ground.runs, ground.evaluations, row.data, *measure)
    return widened(finding, key, _READ, untrusted=bool(shown.untrusted))


def _bounds(interval: Interval, sign: int) -> Bounds:
    low, high = sorted(sign * bound for bound in interval)
    return Bounds(low, high)


def _what(row: DownstreamRow, exhibit: DownstreamExhibit) -> str:
    name = set_name(row, exhibit)
    if row.pretraining:
        return f"how much worse the pretraining loss is ({name})"
    tokens = {"all": " of all tokens", "answer": " of answers", "": ""}[row.measure.tokens]
    measured = "loss" if row.measure.is_perplexity else row.measure.name
    return f"how much better the {measured}{tokens} is on {name}"


def _unit(row: DownstreamRow) -> Unit:
    if row.measure.is_perplexity:
        return "nats"
    return "share" if row.measure.percent == 100 else "score" if row.measure.is_task else "bits"


def _sample(row: DownstreamRow, score: Score, seeds: int) -> Sample:
    if row.measure.is_task:
        return Sample(score.documents or score.n, "questions", seeds)
    known = score.documents is not None
    return Sample(score.documents or score.n, "documents" if known else "tokens", seeds)


def _costs(score: Score, other: Score | None) -> Costs:
    of = "one prediction, EBT over Transformer++"
    if other is None:
        return Costs(of)
    pairs = ((score.nfe, other.nfe), (score.flops, other.flops), (score.seconds, other.seconds))
    return costs_of(of, [Ratio(a / b if a is not None and b else None) for a, b in pairs])
