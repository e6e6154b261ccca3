"""The claim that an EBT gains by thinking: more steps, or the best of several samples."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from harness.analysis.claims.candidate import (
    Candidate,
    evidence_of,
    joined,
    reading,
    too_few,
    widened,
)
from harness.analysis.claims.claim import Bounds, Claim, Finding, Sample
from harness.analysis.claims.gains import Thinker, costs_over, spoken, thinkers
from harness.analysis.claims.grounds import Ground, Shown
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.thinking import ThinkingExhibit, ThinkingRow
from harness.analysis.exhibits.thinking_ablation import WAYS, ThinkingAblationExhibit
from harness.analysis.exhibits.thinking_shift import ThinkingShiftExhibit
from harness.analysis.rates.verdict import SMALL_RATE
from harness.analysis.resampling import MIN_DOCUMENTS
from harness.analysis.tables.table import percent
from harness.planning.followed import followed_labels
from harness.planning.spec import descent_variant, thinking_label

GAIN = "gain"
#: The paper's, of the best of so many samples, a mean of four sets that it was not trained on.
PAPER, PAPER_SAMPLES = 0.29, 10
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
    "that decide are written in the suite: those that another section follows, else the one of "
    "most steps × samples; all others are listed as exploratory. That they were written before "
    "anything was measured is not checked. It may decide for S2 as the paper has it, from 3 "
    "training seeds on; what is missing, or beyond what a float holds, leaves it undecided. "
    "Intervals resample training seeds, then documents, and are adjusted over all of them (Holm, "
    f"by Student's t). The paper's number is the best of {PAPER_SAMPLES}, a mean of four sets "
    f"other than its training data: it stands beside the best of {PAPER_SAMPLES} on such sets.",
    suites="suites/cpu/thinking.yaml, suites/paper/thinking_ood.yaml",
)
_READ = reading(null="0 %", little=(SMALL_RATE, f"+{100 * SMALL_RATE:g} %"))
_Exhibit = ThinkingExhibit | ThinkingAblationExhibit | ThinkingShiftExhibit


def found(shown: Sequence[Shown]) -> list[Candidate]:
    """Every setting beyond the trained one, on every set, of every EBT of a begun section."""
    return [
        candidate
        for each in shown
        for kind in (ThinkingExhibit, ThinkingAblationExhibit, ThinkingShiftExhibit)
        for gathered in each.gathered
        if isinstance(gathered.exhibit, kind) and each.begun(gathered)
        for candidate in _of_section(each, gathered, gathered.exhibit)
    ]


def _of_section(shown: Shown, gathered: Gathered, exhibit: _Exhibit) -> Iterator[Candidate]:
    """Declared settings that have no gain stay undecided; others without one are not listed."""
    section = exhibit.section
    rows = {(_model(row), row.data, row.setting): row for row in _rows(exhibit)}
    for model, thinker in thinkers(shown, section.experiment, section.evaluation).items():
        shows = _shown_settings(exhibit, thinker)
        whole = shown.ground(section.experiment, section.evaluation, models=[model])
        for data in whole.sets:
            ground = shown.ground(section.experiment, section.evaluation, models=[model], data=data)
            for setting in thinker.tried:
                row = rows.get((model, data, setting))
                if row is not None or (setting in shows and setting in thinker.declared):
                    yield _candidate(shown, gathered, thinker, setting, row, ground)


def _rows(exhibit: _Exhibit) -> list[ThinkingRow]:
    if isinstance(exhibit, ThinkingAblationExhibit):
        return [row for each in exhibit.rows for row in each.ways.values()]
    return list(exhibit.rows)


def _model(row: ThinkingRow) -> str:
    return f"{row.adapter} {row.label}".strip()


def _shown_settings(exhibit: _Exhibit, thinker: Thinker) -> Collection[str]:
    """The settings that a section shows of a model, by its plan."""
    if isinstance(exhibit, ThinkingAblationExhibit):
        ways = [thinking_label(getattr(exhibit.section, way).descent) for way in WAYS]
        return ways if all(way in thinker.tried for way in ways) else []
    followed = None
    if isinstance(exhibit, ThinkingShiftExhibit):
        followed = followed_labels(exhibit.section.thinking)
    return thinker.tried.keys() if followed is None else followed


def _candidate(
    shown: Shown,
    gathered: Gathered,
    thinker: Thinker,
    setting: str,
    row: ThinkingRow | None,
    ground: Ground,
) -> Candidate:
    reason = joined(
        ground.untrusted, thinker.other, thinker.undeclared(setting), too_few(ground.seeds)
    )
    bounds = None if row is None else row.perplexity_interval
    data = ground.asked[0].data
    costs = shown.costs(gathered.section.experiment, ground.asked[0].evaluation.name)
    own = [each for each in costs if (each.model, each.data) == (thinker.model, data)]
    loss_gain = "" if row is None else f"loss gain {percent(row.gain)}".replace("-", "−")
    finding = Finding(
        claim=CLAIM.name,
        part=GAIN,
        source=shown.source(gathered, ground),
        what=f"perplexity gain of {spoken(setting)} on {data}"
        + ", answers alone" * (row is not None and row.tokens == "answer"),
        candidate=f"{thinker.model}, {spoken(setting)}",
        baseline=f"{thinker.model}, {thinker.trained.steps} × {thinker.trained.samples} (trained)",
        estimate=None if row is None else row.perplexity_gain,
        unit="fraction",
        interval=None if bounds is None else Bounds(*bounds),
        paper=PAPER if _papers(thinker, setting, ground) else None,
        sample=Sample(
            0 if row is None else row.documents,
            "documents",
            len({each.run for each in ground.rows}) if row is None else row.seeds,
        ),
        costs=ground.costs(costs_over(own, setting, thinker)),
        evidence=evidence_of(reason),
        reason=joined(reason, loss_gain),
    )
    return widened(
        finding,
        (ground.planned_runs, _measured(ground), setting),
        _READ,
        untrusted=bool(ground.untrusted),
        open_=joined(ground.lacking, _no_interval(row, ground)),
    )


def _measured(ground: Ground) -> tuple[str, ...]:
    """What the evaluations measure, whatever else is in their grids: some measure the same."""
    left_out = {"thinking", "timing_repeats", "batch_size"}
    specs = (each.evaluation.spec for each in ground.asked)
    return tuple(sorted({spec.model_dump_json(exclude=left_out) for spec in specs}))


def _papers(thinker: Thinker, setting: str, ground: Ground) -> bool:
    """Whether the paper's number is of such a setting on such a set."""
    descent = thinker.tried[setting]
    plain = not descent_variant(descent) and descent.samples == PAPER_SAMPLES
    return plain and not ground.asked[0].at_home


def _no_interval(row: ThinkingRow | None, ground: Ground) -> str:
    if row is None:
        return "" if ground.lacking else "no gain: a loss is not finite"
    if row.perplexity_gain is None:
        return "a perplexity is beyond what a float holds"
    if row.perplexity_interval is not None:
        return ""
    few = row.documents < MIN_DOCUMENTS
    return f"no interval: fewer than {MIN_DOCUMENTS} documents" if few else "no interval"
