"""The claim that the gain from thinking grows with distance from the training distribution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import log2

from harness.analysis.claims.candidate import Candidate, joined
from harness.analysis.claims.claim import Claim
from harness.analysis.claims.gains import followed_of, thinkers, thinks
from harness.analysis.claims.grounds import Ground, Shown
from harness.analysis.claims.trends import Followed, lost_words, trend_candidate
from harness.analysis.exhibits.gain_draws import MEASURES
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.thinking_shift import (
    MAGNITUDES,
    SETS_FOR_TREND,
    Magnitude,
    ShiftTrend,
    ThinkingShiftExhibit,
)

#: The two measures of distance, each a part: a trend has to show both.
PARTS: dict[Magnitude, str] = {"perplexity_ratio": "perplexity ratio", "bigram_loss": "bigrams"}
#: From 11.8 % at 1.0 times pretraining's perplexity to 23 % at 4.4 times, per doubling.
PAPER = (0.23 - 0.118) / log2(4.4)
CLAIM = Claim(
    name="distance",
    title="More gain out of distribution",
    statement="The farther a set lies from what was trained on, the more of its perplexity an EBT "
    "saves by thinking.",
    paper=f"about {100 * PAPER:.0f} points per doubling of distance (read off the plot)",
    exhibits=("Fig 7",),
    parts=tuple(PARTS.values()),
    definition="A trend is the gain of one setting of one model over its sets; it is measured by "
    "the least-squares slope of the perplexity gain per doubling of the ratio of Transformer++'s "
    "perplexities, and again per nat of cross-entropy under the training data's bigrams; neither "
    "distance comes from the EBT. The two order the same sets much alike, so they are two parts of "
    "one vote and not two votes: a trend is for the claim where both are. For: the slope's "
    "interval is above 0 and the order of the sets grows beyond chance (exact permutations). "
    "Against: both the other way. It may decide for S2 as the paper has it, at the settings that "
    f"the section follows, with {SETS_FOR_TREND} sets and 3 training seeds; a set without a gain "
    "or a distance leaves it undecided. Adjusted over all slopes (Holm); those of the loss gain "
    "are listed as exploratory. The p of the order holds where the sets could trade places if "
    "distance meant nothing. Sets made of one another do not: in suites/cpu/thinking.yaml six of "
    "ten are the same held-out documents, five with more and more typos and one shuffled. There a "
    "small p says that the gain follows the corruption of those documents, not that it would over "
    "ten independent sets.",
    suites="suites/cpu/thinking.yaml, suites/gpu/thinking.yaml, suites/paper/thinking_shift.yaml",
    together="trend",
)
_OVER: dict[Magnitude, str] = {
    "perplexity_ratio": "per doubling of the perplexity ratio",
    "bigram_loss": "per nat of cross-entropy under bigrams",
}


def found(shown: Sequence[Shown]) -> list[Candidate]:
    """Every trend of gain over distance that a begun section plans."""
    return [
        candidate
        for each in shown
        for gathered in each.gathered
        if isinstance(gathered.exhibit, ThinkingShiftExhibit) and each.begun(gathered)
        for candidate in _of_section(each, gathered, gathered.exhibit)
    ]


def _of_section(
    shown: Shown, gathered: Gathered, exhibit: ThinkingShiftExhibit
) -> Iterator[Candidate]:
    section = exhibit.section
    everyone = shown.ground(section.experiment, section.evaluation)
    measuring = [each.model for each in everyone.asked if not thinks(each)]
    for model, thinker in thinkers(shown, section.experiment, section.evaluation).items():
        own = [t for t in exhibit.trends if f"{t.of.adapter} {t.of.label}".strip() == model]
        ground = shown.ground(section.experiment, section.evaluation, models=[model])
        for setting in followed_of(section, thinker):
            lost = lost_words(exhibit.lost, model=f"{model}, ", thinker=thinker, setting=setting)
            for followed, magnitude in _followed(exhibit, own, model, setting, ground):
                by = ground
                if magnitude == "perplexity_ratio":
                    if not measuring:
                        continue
                    by = shown.ground(section.experiment, section.evaluation, models=measuring)
                of_them = "" if by is ground else by.lacking
                said = replace(followed, why=by.untrusted, lost=joined(lost, of_them))
                yield trend_candidate(shown, gathered, thinker, said, ground=ground)


def _followed(
    exhibit: ThinkingShiftExhibit,
    trends: Sequence[ShiftTrend],
    model: str,
    setting: str,
    ground: Ground,
) -> Iterator[tuple[Followed, Magnitude]]:
    """A setting's gains over both magnitudes; those of loss only where they were found."""
    found_trends = {(t.magnitude, t.measure): t.trend for t in trends if t.of.setting == setting}
    rows = tuple(
        row
        for row in exhibit.rows
        if (f"{row.adapter} {row.label}".strip(), row.setting) == (model, setting)
    )
    for magnitude in MAGNITUDES:
        for measure in MEASURES:
            trend = found_trends.get((magnitude, measure))
            if trend is not None or measure == "perplexity":
                yield (
                    Followed(
                        claim=CLAIM.name,
                        part=PARTS[magnitude],
                        model=model,
                        setting=setting,
                        measure=measure,
                        trend=trend,
                        rows=rows,
                        over=_OVER[magnitude],
                        where="",
                        planned=len(ground.sets),
                        needed=SETS_FOR_TREND,
                        noun="set",
                        paper=PAPER if magnitude == "perplexity_ratio" else None,
                        shown_by=(*ground.key, setting),
                    ),
                    magnitude,
                )
