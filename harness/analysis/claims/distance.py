"""The claim that the gain from thinking grows with distance from the training distribution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log2

from harness.analysis.claims.candidate import Candidate
from harness.analysis.claims.claim import Claim
from harness.analysis.claims.gains import thinkers
from harness.analysis.claims.grounds import Shown
from harness.analysis.claims.trends import Followed, lost_words, trend_candidate
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.thinking_shift import (
    SETS_FOR_TREND,
    Magnitude,
    ThinkingShiftExhibit,
)

SLOPE = "slope"
#: From 11.8 % at 1.0 times pretraining's perplexity to 23 % at 4.4 times, per doubling.
PAPER = (0.23 - 0.118) / log2(4.4)
CLAIM = Claim(
    name="distance",
    title="More gain out of distribution",
    statement="The farther a set lies from what was trained on, the more of its perplexity an EBT "
    "saves by thinking.",
    paper=f"about {100 * PAPER:.0f} points per doubling of distance (read off the plot)",
    exhibits=("Fig 7",),
    parts=(SLOPE,),
    definition="A finding is the least-squares slope of the perplexity gain of one setting of one "
    "model over its sets, per doubling of the ratio of Transformer++'s perplexities or per nat "
    "of cross-entropy under the training data's bigrams; neither distance comes from the EBT. "
    "For: the slope's interval is above 0 and the order of the sets grows beyond chance (exact "
    "permutations). Against: both the other way. It may decide for S2 as the paper has it, at the "
    f"settings that the section declares, with {SETS_FOR_TREND} sets and 3 training seeds. "
    "Adjusted over all of them (Holm); slopes of the loss gain are listed as exploratory.",
    suites="suites/cpu/thinking.yaml, suites/gpu/thinking.yaml, suites/paper/thinking_shift.yaml",
)
_OVER: dict[Magnitude, str] = {
    "perplexity_ratio": "per doubling of the perplexity ratio",
    "bigram_loss": "per nat of cross-entropy under bigrams",
}


def found(shown: Sequence[Shown]) -> list[Candidate]:
    """Every trend of gain over distance."""
    return [
        candidate
        for each in shown
        for gathered in each.gathered
        if isinstance(gathered.exhibit, ThinkingShiftExhibit)
        for candidate in _of_section(each, gathered, gathered.exhibit)
    ]


def _of_section(
    shown: Shown, gathered: Gathered, exhibit: ThinkingShiftExhibit
) -> Iterator[Candidate]:
    section = exhibit.section
    thinking = thinkers(shown, section.experiment, section.evaluation)
    for found_trend in exhibit.trends:
        of = found_trend.of
        model = f"{of.adapter} {of.label}".strip()
        if model not in thinking or of.setting not in thinking[model].tried:
            continue
        rows = tuple(
            row
            for row in exhibit.rows
            if (row.adapter, row.label, row.setting) == (of.adapter, of.label, of.setting)
        )
        followed = Followed(
            claim=CLAIM.name,
            part=SLOPE,
            model=model,
            trend=found_trend.trend,
            measure=found_trend.measure,
            rows=rows,
            over=_OVER[found_trend.magnitude],
            where="",
            points="set",
            paper=PAPER if found_trend.magnitude == "perplexity_ratio" else None,
        )
        ground = shown.ground(section.experiment, section.evaluation, models=[model])
        why = lost_words(
            exhibit.lost, model=f"{model}, ", thinker=thinking[model], setting=of.setting
        )
        yield trend_candidate(shown, gathered, thinking[model], followed, ground=ground, why=why)
