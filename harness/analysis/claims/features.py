"""The claim that an EBT's features tell images apart better than DiT's."""

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
from harness.analysis.claims.claim import Bounds, Claim, Costs, Finding, Ratio, Sample
from harness.analysis.claims.grounds import Shown
from harness.analysis.claims.timing import costs_of, seconds_ratio, timed
from harness.analysis.claims.variants import not_from_noisy
from harness.analysis.exhibits.downstream import Comparison
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.probe import TOPS, ProbeExhibit, ProbeScore, ProbeSet

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
    "image as the paper's does; what is missing or has no interval is undecided, and top-5 is "
    "listed as exploratory. Adjusted over all (Holm, by Student's t).",
    suites="suites/cpu/probe.yaml, suites/paper/image_probe.yaml",
)


def found(shown: Sequence[Shown]) -> list[Candidate]:
    """Every EBT that a begun probe section compares with a DiT."""
    return [
        candidate
        for each in shown
        for gathered in each.gathered
        if isinstance(gathered.exhibit, ProbeExhibit) and each.begun(gathered)
        for candidate in _of_section(each, gathered, gathered.exhibit)
    ]


def _of_section(shown: Shown, gathered: Gathered, exhibit: ProbeExhibit) -> Iterator[Candidate]:
    section = exhibit.section
    if section.baseline is None or shown.family(section.experiment, section.baseline) != DIT:
        return
    models = shown.models_of(gathered)
    for model, runs in models.items():
        other = f"{section.baseline}{model.removeprefix(runs[0].adapter_label)}"
        if runs[0].record.family != EBT or other not in models:
            continue
        both = shown.ground(section.experiment, section.evaluation, models=[model, other])
        for data in both.sets:
            for top in ("top-1", "top-5"):
                one = _Compared(model, other, data, top, exhibit)
                if top == "top-1" or one.comparison is not None:
                    yield _candidate(shown, gathered, one)


@dataclass(frozen=True)
class _Compared:
    """An EBT and the DiT of the same size on one set, by one accuracy, whatever is finished."""

    model: str
    other: str
    data: str
    top: str
    exhibit: ProbeExhibit

    @property
    def set(self) -> ProbeSet | None:
        return next((one for one in self.exhibit.sets if one.data == self.data), None)

    def score(self, model: str) -> ProbeScore | None:
        return next((s for s in self.set.scores if s.model == model), None) if self.set else None

    @property
    def comparison(self) -> Comparison | None:
        score = self.score(self.model)
        accuracy = None if score is None else score.top1 if self.top == "top-1" else score.top5
        return None if accuracy is None else accuracy.comparison


def _candidate(shown: Shown, gathered: Gathered, one: _Compared) -> Candidate:
    section = one.exhibit.section
    difference = None if one.comparison is None else one.comparison.difference
    models = [one.model, one.other]
    ground = shown.ground(section.experiment, section.evaluation, models=models, data=one.data)
    reason = joined(
        ground.untrusted,
        not_from_noisy(shown.models[section.experiment][one.model]),
        "" if one.top == "top-1" else "beside top-1",
        too_few(ground.seeds),
    )
    bounds = None if difference is None else difference.interval
    finding = Finding(
        claim=CLAIM.name,
        part=ACCURACY,
        source=shown.source(gathered, ground),
        what=f"{one.top} accuracy on {one.data}, less {one.other}'s",
        candidate=one.model,
        baseline=one.other,
        estimate=None if difference is None else difference.value,
        unit="share",
        interval=None if bounds is None else Bounds(*bounds),
        paper=None,
        sample=Sample(
            0 if one.set is None else one.set.images,
            "images",
            0 if difference is None else difference.seeds,
        ),
        costs=ground.costs(_costs(shown, one)),
        evidence=evidence_of(reason),
        reason=reason,
    )
    without = "" if ground.lacking else "no difference: an accuracy was not measured"
    if difference is not None:
        without = "no interval of the difference" * (bounds is None)
    return widened(
        finding,
        (*ground.key, one.top),
        reading(null="0"),
        untrusted=bool(ground.untrusted),
        open_=joined(ground.lacking, without),
    )


def _costs(shown: Shown, one: _Compared) -> Costs:
    of = "one image's features, EBT over DiT"
    ours, theirs = one.score(one.model), one.score(one.other)
    if ours is None or theirs is None:
        return Costs(of)
    section = one.exhibit.section
    costs = shown.costs(section.experiment, section.evaluation, TOPS[0].source)
    both = [
        timed(each for each in costs if (each.model, each.data) == (model, one.data))
        for model in (one.model, one.other)
    ]
    flops = ours.flops / theirs.flops if ours.flops is not None and theirs.flops else None
    return costs_of(
        of, nfe=Ratio(None), flops=Ratio(flops), seconds=seconds_ratio([(both[0], both[1])])
    )
