"""The claim that the gain from thinking grows with training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.analysis.claims.candidate import Candidate
from harness.analysis.claims.claim import LEVEL, Claim
from harness.analysis.claims.gains import Thinker, followed_of, thinkers
from harness.analysis.claims.grounds import Shown
from harness.analysis.claims.trends import Followed, lost_words, smallest_p, trend_candidate
from harness.analysis.exhibits.gain_draws import MEASURES, Measure
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.thinking_scale import ThinkingScaleExhibit
from harness.analysis.rates.verdict import MIN_POINTS
from harness.planning.budget import axis_value

SLOPE = "slope"
#: As many slopes, all in order, Holm leaves something of at the fewest points.
MOST_SLOPES = int((1 - LEVEL) / smallest_p(MIN_POINTS))
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
    f"paper has it, at the settings that the section follows, with {MIN_POINTS} points and 3 "
    "training seeds; a point without a gain leaves it undecided. Adjusted over all slopes (Holm): "
    f"{MIN_POINTS} points in perfect order have p = 1/{round(1 / smallest_p(MIN_POINTS))}, which "
    f"is enough for {MOST_SLOPES} slopes at most. suites/cpu/thinking.yaml has four of "
    f"{MIN_POINTS} points and so decides nothing. Slopes of the loss gain are exploratory.",
    suites="suites/paper/thinking_scale.yaml",
    limits=f"together with no more than {MOST_SLOPES - 1} other slopes",
)
_AXES = {"data": "training tokens", "flops": "training FLOPs", "seconds": "training time"}


def found(shown: Sequence[Shown]) -> list[Candidate]:
    """Every trend of gain along training that a begun section plans."""
    return [
        candidate
        for each in shown
        for gathered in each.gathered
        if isinstance(gathered.exhibit, ThinkingScaleExhibit) and each.begun(gathered)
        for candidate in _of_section(each, gathered, gathered.exhibit)
    ]


def _of_section(
    shown: Shown, gathered: Gathered, exhibit: ThinkingScaleExhibit
) -> Iterator[Candidate]:
    section = exhibit.section
    thinking = thinkers(shown, section.experiment, section.evaluation)
    planned = shown.models_of(gathered)
    for adapter in dict.fromkeys(run.adapter_label for run in gathered.runs):
        models = [model for model, runs in planned.items() if runs[0].adapter_label == adapter]
        own = [thinking[model] for model in models if model in thinking]
        if len(own) < len(models) or not own:
            continue
        whole = shown.ground(section.experiment, section.evaluation, models=models)
        for setting in followed_of(section, own[0]):
            for data in whole.sets:
                for measure in MEASURES:
                    yield from _slope(shown, gathered, own, (adapter, setting, data), measure)


def _slope(
    shown: Shown,
    gathered: Gathered,
    thinking: Sequence[Thinker],
    line: tuple[str, str, str],
    measure: Measure,
) -> Iterator[Candidate]:
    """The slope of a line: adapter, setting and set; of loss only where it was found."""
    exhibit = gathered.exhibit
    assert isinstance(exhibit, ThinkingScaleExhibit)
    section, (adapter, setting, data) = exhibit.section, line
    trend = next(
        (
            each.trend
            for each in exhibit.trends
            if (each.of.adapter, each.of.setting, each.of.data) == line and each.measure == measure
        ),
        None,
    )
    if trend is None and measure == "loss":
        return
    models = [thinker.model for thinker in thinking]
    ground = shown.ground(section.experiment, section.evaluation, models=models, data=data)
    followed = Followed(
        claim=CLAIM.name,
        part=SLOPE,
        model=adapter,
        setting=setting,
        measure=measure,
        trend=trend,
        rows=tuple(
            point.row
            for point in exhibit.points
            if (point.row.adapter, point.row.setting, point.row.data) == line
        ),
        over=f"per doubling of {_AXES.get(section.x, section.x)}",
        where=f" on {data}",
        planned=len({axis_value(each.run, section.x) for each in ground.asked}),
        needed=MIN_POINTS,
        noun="point",
        paper=None,
    )
    on_set = [name for name in exhibit.lost if name.endswith(f" on {data}")]
    followed = replace(
        followed,
        why="" if section.x == "data" else "the paper's axis is training tokens",
        lost=lost_words(on_set, model=adapter, thinker=thinking[0], setting=setting),
    )
    yield trend_candidate(shown, gathered, thinking[0], followed, ground=ground)
