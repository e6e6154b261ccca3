"""The claim that the gain from thinking grows with training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.analysis.claims.candidate import Candidate, joined
from harness.analysis.claims.claim import Claim
from harness.analysis.claims.gains import thinkers
from harness.analysis.claims.grounds import Shown
from harness.analysis.claims.trends import Followed, lost_words, trend_candidate
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.thinking_scale import ThinkingScaleExhibit
from harness.analysis.rates.verdict import MIN_POINTS

SLOPE = "slope"
CLAIM = Claim(
    name="growth",
    title="More gain with more training",
    statement="The longer an EBT is trained, the more of its perplexity it saves by thinking.",
    paper="from 4 to 8 % early to 10 to 14 % late (read off the plot)",
    exhibits=("Fig 6b",),
    parts=(SLOPE,),
    definition="A finding is the least-squares slope of the perplexity gain of one setting on one "
    "set, per doubling of the training tokens; every point is a run of its own with its own "
    "complete schedule. For: the slope's interval is above 0 and the order of the points grows "
    "beyond chance (exact permutations). Against: both the other way. It may decide for S2 as the "
    f"paper has it, at the settings that the section declares, with {MIN_POINTS} points and 3 "
    "training seeds. Adjusted over all of them (Holm); slopes of the loss gain are listed as "
    "exploratory.",
    suites="suites/cpu/thinking.yaml, suites/paper/thinking_scale.yaml",
)
_AXES = {"data": "training tokens", "flops": "training FLOPs", "seconds": "training time"}


def found(shown: Sequence[Shown]) -> list[Candidate]:
    """Every trend of gain along training."""
    return [
        candidate
        for each in shown
        for gathered in each.gathered
        if isinstance(gathered.exhibit, ThinkingScaleExhibit)
        for candidate in _of_section(each, gathered, gathered.exhibit)
    ]


def _of_section(
    shown: Shown, gathered: Gathered, exhibit: ThinkingScaleExhibit
) -> Iterator[Candidate]:
    section = exhibit.section
    thinking = thinkers(shown, section.experiment, section.evaluation)
    for found_trend in exhibit.trends:
        of = found_trend.of
        rows = tuple(
            point.row
            for point in exhibit.points
            if (point.row.adapter, point.row.setting, point.row.data)
            == (of.adapter, of.setting, of.data)
        )
        models = list(dict.fromkeys(f"{row.adapter} {row.label}".strip() for row in rows))
        own = [thinking[model] for model in models if model in thinking]
        if len(own) < len(models) or of.setting not in own[0].tried:
            continue
        followed = Followed(
            claim=CLAIM.name,
            part=SLOPE,
            model=of.adapter,
            trend=found_trend.trend,
            measure=found_trend.measure,
            rows=rows,
            over=f"per doubling of {_AXES.get(section.x, section.x)}",
            where=f" on {of.data}",
            points="point",
            paper=None,
        )
        ground = shown.ground(section.experiment, section.evaluation, models=models, data=of.data)
        axis = "" if section.x == "data" else "the paper's axis is training tokens"
        on_set = [name for name in exhibit.lost if name.endswith(f" on {of.data}")]
        lost = lost_words(on_set, model=of.adapter, thinker=own[0], setting=of.setting)
        yield trend_candidate(
            shown, gathered, own[0], followed, ground=ground, why=joined(axis, lost)
        )
