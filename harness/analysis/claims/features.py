"""The claim that an EBT's features tell images apart better than DiT's."""

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
from harness.analysis.claims.claim import Bounds, Claim, Costs, Finding, Ratio, Sample
from harness.analysis.claims.grounds import Shown
from harness.analysis.claims.variants import not_from_noisy
from harness.analysis.exhibits.downstream import Comparison
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.probe import ProbeExhibit, ProbeScore, ProbeSet

ACCURACY = "accuracy"
EBT, DIT = "ebt", "dit"
CLAIM = Claim(
    name="features",
    title="Better image features",
    statement="A linear classifier on the features of an EBT that learnt to remove noise is right "
    "more often than one on DiT's.",
    paper="top-1 of 5.32 % against 0.31 % (ImageNet)",
    exhibits=("Table 4",),
    parts=(ACCURACY,),
    definition="A finding is the top-1 accuracy on one labelled set less that of DiT at the same "
    "size, paired by training seed and image. For: the whole interval is above 0. Against: all of "
    "it is below 0. It may decide from 3 training seeds on, for an EBT that starts from the noisy "
    "image as the paper's does; top-5 is listed as exploratory. Adjusted over all (Holm, by "
    "Student's t).",
    suites="suites/cpu/probe.yaml, suites/paper/image_probe.yaml",
)


def found(shown: Sequence[Shown]) -> list[Candidate]:
    """Every EBT that a probe section compares with a DiT."""
    return [
        candidate
        for each in shown
        for gathered in each.gathered
        if isinstance(gathered.exhibit, ProbeExhibit)
        for candidate in _of_section(each, gathered, gathered.exhibit)
    ]


def _of_section(shown: Shown, gathered: Gathered, exhibit: ProbeExhibit) -> Iterator[Candidate]:
    section = exhibit.section
    if section.baseline is None or shown.family(section.experiment, section.baseline) != DIT:
        return
    for one in exhibit.sets:
        for score in one.scores:
            if score.family != EBT:
                continue
            for name, accuracy in (("top-1", score.top1), ("top-5", score.top5)):
                if accuracy is not None and accuracy.comparison is not None:
                    yield _candidate(shown, gathered, one, score, name, accuracy.comparison)


def _candidate(
    shown: Shown,
    gathered: Gathered,
    one: ProbeSet,
    score: ProbeScore,
    name: str,
    comparison: Comparison,
) -> Candidate:
    assert isinstance(gathered.exhibit, ProbeExhibit)
    section, difference = gathered.exhibit.section, comparison.difference
    models = [score.model, comparison.baseline]
    ground = shown.ground(section.experiment, section.evaluation, models=models, data=one.data)
    reason = joined(
        shown.untrusted,
        not_from_noisy(shown.models[section.experiment][score.model]),
        "" if name == "top-1" else "beside top-1",
        too_few(difference.seeds),
        "no interval of the difference" * (difference.interval is None),
    )
    other = next((s for s in one.scores if s.model == comparison.baseline), None)
    finding = Finding(
        claim=CLAIM.name,
        part=ACCURACY,
        source=shown.source(gathered, ground),
        what=f"{name} accuracy on {one.data}, less {comparison.baseline}'s",
        candidate=score.model,
        baseline=comparison.baseline,
        estimate=difference.value,
        unit="share",
        interval=None if difference.interval is None else Bounds(*difference.interval),
        paper=None,
        sample=Sample(one.images, "images", difference.seeds),
        costs=ground.costs(_costs(score, other)),
        evidence=evidence_of(reason),
        reason=reason,
    )
    key = (ground.runs, ground.evaluations, name)
    return widened(finding, key, reading(null="0"), untrusted=bool(shown.untrusted))


def _costs(score: ProbeScore, other: ProbeScore | None) -> Costs:
    of = "one image's features, EBT over DiT"
    if other is None:
        return Costs(of)
    pairs = ((score.flops, other.flops), (score.seconds, other.seconds))
    flops, seconds = (Ratio(a / b if a is not None and b else None) for a, b in pairs)
    return Costs(of, flops=flops, seconds=seconds)
