"""The claim that an EBT gains by thinking: more steps, or the best of several samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.analysis.claims.candidate import (
    Candidate,
    evidence_of,
    joined,
    reading,
    too_few,
    unweighed,
    widened,
)
from harness.analysis.claims.claim import Bounds, Claim, Costs, Finding, Sample
from harness.analysis.claims.gains import Thinker, costs_over, thinkers
from harness.analysis.claims.grounds import Ground, Shown
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.thinking import ThinkingExhibit, ThinkingRow
from harness.analysis.exhibits.thinking_ablation import ThinkingAblationExhibit
from harness.analysis.exhibits.thinking_shift import ThinkingShiftExhibit
from harness.analysis.rates.verdict import SMALL_RATE
from harness.analysis.resampling import MIN_DOCUMENTS
from harness.analysis.tables.table import percent
from harness.analysis.tables.trends import setting_words

GAIN = "gain"
PAPER = 0.29
CLAIM = Claim(
    name="thinking",
    title="Gain from thinking",
    statement="Given more optimization steps, or several starts of which the lowest energy wins, "
    "an EBT's perplexity falls below that of its own trained number of steps.",
    paper="up to 29 % of the perplexity",
    exhibits=("Fig 6a", "Table 2"),
    parts=(GAIN,),
    definition="A finding is one setting of one trained model on one set: the perplexity that it "
    "saves, as a fraction of that at the trained number of steps, paired by document. For: the "
    f"whole interval is above 0. Against: all of it is below +{100 * SMALL_RATE:g} %. Settings "
    "that decide are declared before anything is measured: those that another section of the "
    "suite follows, else the one of most steps × samples; all others are listed as exploratory. "
    "It may decide for S2 as the paper has it, from 3 training seeds on. Intervals resample "
    "training seeds, then documents, and are adjusted over all of them (Holm, by Student's t).",
    suites="suites/cpu/thinking.yaml, suites/paper/thinking_ood.yaml",
)
_READ = reading(null="0 %", little=(SMALL_RATE, f"+{100 * SMALL_RATE:g} %"))
#: A model on a set: adapter, label, data.
_Key = tuple[str, str, str]


def found(shown: Sequence[Shown]) -> list[Candidate]:
    """Every setting beyond the trained one, on every set, of every EBT."""
    candidates = [
        candidate
        for each in shown
        for kind in (ThinkingExhibit, ThinkingAblationExhibit, ThinkingShiftExhibit)
        for gathered in each.gathered
        if isinstance(gathered.exhibit, kind)
        for candidate in _of_section(each, gathered, gathered.exhibit)
    ]
    return candidates


def _of_section(
    shown: Shown,
    gathered: Gathered,
    exhibit: ThinkingExhibit | ThinkingAblationExhibit | ThinkingShiftExhibit,
) -> Iterator[Candidate]:
    section, rows = exhibit.section, _rows(exhibit)
    trained: dict[_Key, ThinkingRow] = {_key(row): row for row in rows if row.trained}
    whole = isinstance(exhibit, ThinkingExhibit)
    for model, thinker in thinkers(shown, section.experiment, section.evaluation).items():
        own = [row for row in rows if f"{row.adapter} {row.label}".strip() == model]
        for row in own:
            if row.setting in thinker.tried:
                ground = shown.ground(
                    section.experiment, section.evaluation, models=[model], data=row.data
                )
                yield _candidate(shown, gathered, thinker, row, trained.get(_key(row)), ground)
        if whole:
            yield from _lost(shown, gathered, thinker, own)


def _rows(
    exhibit: ThinkingExhibit | ThinkingAblationExhibit | ThinkingShiftExhibit,
) -> list[ThinkingRow]:
    if isinstance(exhibit, ThinkingAblationExhibit):
        return [row for each in exhibit.rows for row in (each.trained, *each.ways.values())]
    return list(exhibit.rows)


def _key(row: ThinkingRow) -> _Key:
    return row.adapter, row.label, row.data


def _candidate(
    shown: Shown,
    gathered: Gathered,
    thinker: Thinker,
    row: ThinkingRow,
    trained: ThinkingRow | None,
    ground: Ground,
) -> Candidate:
    reason = joined(
        shown.untrusted,
        thinker.other,
        thinker.undeclared(row.setting),
        too_few(row.seeds),
        _no_interval(row),
    )
    bounds = row.perplexity_interval
    finding = Finding(
        claim=CLAIM.name,
        part=GAIN,
        source=shown.source(gathered, ground),
        what=f"perplexity gain of {setting_words(row)} on {row.data}"
        + ", answers alone" * (row.tokens == "answer"),
        candidate=f"{thinker.model}, {setting_words(row)}",
        baseline=f"{thinker.model}, {thinker.trained.steps} × {thinker.trained.samples} (trained)",
        estimate=row.perplexity_gain,
        unit="fraction",
        interval=None if bounds is None else Bounds(*bounds),
        paper=PAPER,
        sample=Sample(row.documents, "documents", row.seeds),
        costs=ground.costs(_costs(row, trained)),
        evidence=evidence_of(reason),
        reason=joined(reason, f"loss gain {percent(row.gain)}".replace("-", "−")),
    )
    key = (ground.runs, row.data, row.tokens, row.setting)
    return widened(finding, key, _READ, untrusted=bool(shown.untrusted))


def _no_interval(row: ThinkingRow) -> str:
    if row.perplexity_gain is None:
        return "a perplexity is beyond what a float holds"
    if row.perplexity_interval is not None:
        return ""
    few = row.documents < MIN_DOCUMENTS
    return f"no interval: fewer than {MIN_DOCUMENTS} documents" if few else "no interval"


def _costs(row: ThinkingRow, trained: ThinkingRow | None) -> Costs:
    of = "one predicted token, over the trained thinking"
    if trained is None:
        return Costs(of)
    return costs_over(of, row, trained)


def _lost(
    shown: Shown, gathered: Gathered, thinker: Thinker, rows: Sequence[ThinkingRow]
) -> Iterator[Candidate]:
    """Declared settings without a row, on sets that were evaluated: they stay undecided."""
    section = gathered.exhibit.section
    assert isinstance(gathered.exhibit, ThinkingExhibit)
    evaluation = gathered.exhibit.section.evaluation
    ground = shown.ground(section.experiment, evaluation, models=[thinker.model])
    for data in ground.sets:
        there = {row.setting for row in rows if row.data == data}
        on_set = shown.ground(section.experiment, evaluation, models=[thinker.model], data=data)
        for setting in thinker.declared:
            if setting in there:
                continue
            reason = joined(shown.untrusted, thinker.other)
            finding = Finding(
                claim=CLAIM.name,
                part=GAIN,
                source=shown.source(gathered, on_set),
                what=f"perplexity gain of {setting.replace('x', ' × ', 1)} on {data}",
                candidate=f"{thinker.model}, {setting.replace('x', ' × ', 1)}",
                baseline=f"{thinker.model}, trained",
                estimate=None,
                unit="fraction",
                interval=None,
                paper=PAPER,
                sample=Sample(0, "documents", len(on_set.runs)),
                costs=on_set.costs(Costs("one predicted token, over the trained")),
                evidence=evidence_of(reason),
                reason=joined(reason, "no gain: a loss is not finite"),
            )
            key = (on_set.runs, data, "", setting)
            yield unweighed(finding, key, untrusted=bool(shown.untrusted))
