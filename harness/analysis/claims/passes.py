"""The claim that an EBT denoises better than DiT with a hundredth of its forward passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, isinf

from harness.analysis.claims.candidate import (
    Candidate,
    evidence_of,
    joined,
    reading,
    too_few,
    unweighed,
    widened,
)
from harness.analysis.claims.claim import (
    Bounds,
    Claim,
    Costs,
    Finding,
    Ratio,
    Sample,
)
from harness.analysis.claims.equal_passes import EqualPasses
from harness.analysis.claims.grounds import Ground, Shown
from harness.analysis.claims.timing import costs_of
from harness.analysis.claims.variants import not_from_noisy
from harness.analysis.exhibits.denoising import DenoisingExhibit, DenoisingRow
from harness.analysis.exhibits.equal_quality import (
    COSTS,
    HUNDRED,
    TOLERANCE_DB,
    Cost,
    EqualQuality,
    Gap,
    equal_quality,
    hundredfold,
)
from harness.analysis.exhibits.gather import Gathered
from harness.planning.planned import PlannedRun
from harness.planning.spec import thinking_label
from harness.protocol import Descent, Diffusion

QUALITY, PASSES = "quality", "passes"
EBT, DIT = "ebt", "dit"
#: How often the paper applies both models out of distribution, each time to its own output.
TIMES_OUT = 3
CLAIM = Claim(
    name="passes",
    title="Fewer forward passes",
    statement="An EBT removes noise from images better than DiT does with a hundred times as many "
    "forward passes.",
    paper="99 % fewer forward passes",
    exhibits=("Table 4", "Fig 10", "Fig 12"),
    parts=(QUALITY, PASSES),
    definition="Two parts, at each set and noise level. Quality: PSNR of the EBT less that of DiT "
    "at 100 times its forward passes, by DDIM from the timestep it was trained to, paired by "
    f"image; at the training noise with the trained steps, elsewhere with {TIMES_OUT} times as "
    "many where both were measured. For: the whole interval is above 0. Against: all of it is "
    f"below {TOLERANCE_DB:g} dB, which counts as equal. Passes: how many forward passes DiT's "
    f"cheapest setting within {TOLERANCE_DB:g} dB of the EBT's best takes for each of the EBT's; "
    "both are chosen anew in every resample, among all settings tried. For: the whole interval is "
    f"at or above {HUNDRED} (∞: no setting is its equal), DiT was tried with as many, and its best "
    f"PSNR with fewer lies more than {TOLERANCE_DB:g} dB below, beyond chance. Against: all of the "
    f"interval is below {HUNDRED}, and that PSNR lies within {TOLERANCE_DB:g} dB, beyond chance. "
    "One model has to show both at one set and noise level. An EBT that starts from noise is "
    "listed only, other numbers of passes too. It may decide from 3 training seeds on; what is "
    "missing or not finite leaves it undecided. Adjusted over all (Holm). FLOPs and time at equal "
    "quality stand beside: an EBT's pass goes backward too.",
    suites="suites/cpu/denoising.yaml, suites/paper/image_denoising.yaml",
    together="place",
)
_QUALITY = reading(null="0 dB", little=(TOLERANCE_DB, f"{TOLERANCE_DB:g} dB"))


def found(shown: Sequence[Shown]) -> list[Candidate]:
    """Both parts of every begun denoising section, of every pair of an EBT and a DiT."""
    return [
        candidate
        for each in shown
        for gathered in each.gathered
        if isinstance(gathered.exhibit, DenoisingExhibit) and each.begun(gathered)
        for candidate in _of_section(each, gathered, gathered.exhibit)
    ]


@dataclass(frozen=True)
class _Pair:
    """An EBT and a DiT at one set and noise level, by the plan, whatever is finished of them."""

    shown: Shown
    gathered: Gathered
    exhibit: DenoisingExhibit
    ebt: str
    dit: str
    data: str
    level: float

    @property
    def runs(self) -> list[PlannedRun]:
        return self.shown.models[self.exhibit.section.experiment][self.ebt]

    @cached_property
    def ground(self) -> Ground:
        section = self.exhibit.section
        return self.shown.ground(
            section.experiment,
            section.evaluation,
            models=[self.ebt, self.dit],
            data=self.data,
            level=self.level,
        )

    @property
    def trained(self) -> bool:
        """The noise is that of training, of all models."""
        section = self.exhibit.section
        asked = self.shown.ground(section.experiment, section.evaluation).asked
        return {getattr(each.run.spec.task, "train_level", None) for each in asked} == {self.level}

    @property
    def name(self) -> str:
        """`noise level 0.1`, with the set's name where there are several."""
        section = self.exhibit.section
        several = len(self.shown.ground(section.experiment, section.evaluation).sets) > 1
        return f"{self.data}, " * several + f"noise level {self.level:g}"

    @property
    def lost(self) -> str:
        """The settings without a finite error: the best of the others may not be the best."""
        own = [
            name
            for name in self.exhibit.lost
            if name.startswith((f"{self.ebt}, ", f"{self.dit}, "))
            and name.endswith(f" at {self.level:g}")
        ]
        return f"an error is not finite: {', '.join(own)}" if own else ""

    def has(self, row: DenoisingRow, other: str) -> bool:
        """Whether a row of the EBT against a model is of this pair and place."""
        place = row.place.data, row.place.level
        return (row.adapter, other, *place) == (self.ebt, self.dit, self.data, self.level)

    def settings(self, model: str) -> list[Descent | Diffusion]:
        """The settings that a model is evaluated at, by the plan."""
        planned = next(each for each in self.ground.asked if each.model == model)
        thinking = getattr(planned.evaluation.spec, "thinking", ())
        return [each for each in thinking if isinstance(each, Descent | Diffusion)]


def _of_section(shown: Shown, gathered: Gathered, exhibit: DenoisingExhibit) -> Iterator[Candidate]:
    gaps = [g for g in hundredfold(exhibit) if (g.row.family, g.other.family) == (EBT, DIT)]
    equals = equal_quality(exhibit)
    for pair in _pairs(shown, gathered, exhibit):
        own = [gap for gap in gaps if pair.has(gap.row, gap.other.adapter)]
        declared = _declared(pair)
        for gap in own:
            yield _quality(pair, _labels(gap), gap, declared)
        if declared is not None and declared not in map(_labels, own):
            yield _quality(pair, declared, None, declared)
        yield _passes(pair, next((e for e in equals if pair.has(e.row, e.against)), None))


def _pairs(shown: Shown, gathered: Gathered, exhibit: DenoisingExhibit) -> Iterator[_Pair]:
    section = exhibit.section
    families = {m: runs[0].record.family for m, runs in shown.models_of(gathered).items()}
    asked = shown.ground(section.experiment, section.evaluation).asked
    levels = ((e.model, e.data, float(getattr(e.evaluation.spec, "level", 0))) for e in asked)
    places: dict[tuple[str, float], list[str]] = {}
    for model, data, level in levels:
        places.setdefault((data, level), []).append(model)
    for (data, level), there in places.items():
        models = dict.fromkeys(there)
        for ebt in (m for m in models if families.get(m) == EBT):
            for dit in (m for m in models if families.get(m) == DIT):
                yield _Pair(shown, gathered, exhibit, ebt, dit, data, level)


# --- quality at a hundred times the passes ----------------------------------------------------


def _quality(
    pair: _Pair, labels: tuple[str, str], gap: Gap | None, declared: tuple[str, str] | None
) -> Candidate:
    """Of two settings, by their labels; `declared` are those that decide."""
    ground = pair.ground
    reason = joined(
        ground.untrusted,
        not_from_noisy(pair.runs),
        "" if labels == declared else "not the number of passes that the paper compares there",
        too_few(ground.seeds),
    )
    ours, theirs = labels if gap is None else (gap.row.setting, gap.other.setting)
    ratios = [Ratio(None)] * 3 if gap is None else [_inverse(gap.ratio(cost)) for cost in COSTS]
    finding = Finding(
        claim=CLAIM.name,
        part=QUALITY,
        source=pair.shown.source(pair.gathered, ground),
        what=f"PSNR at {pair.name}: {pair.ebt}, {ours}, less {pair.dit}, {theirs}",
        candidate=pair.ebt,
        baseline=pair.dit,
        estimate=None if gap is None else gap.difference,
        unit="dB",
        interval=None if gap is None or gap.interval is None else Bounds(*gap.interval),
        paper=None,
        sample=Sample(0, "images", 0) if gap is None else Sample(gap.images, "images", gap.seeds),
        costs=ground.costs(_costs("one image, EBT over DiT", ratios, ground)),
        evidence=evidence_of(reason),
        reason=reason,
        shown_by=(*ground.key, pair.level),
    )
    return widened(
        finding,
        (QUALITY, *ground.key, pair.level, *labels),
        _QUALITY,
        untrusted=bool(ground.untrusted),
        open_=joined(ground.lacking, _no_interval(pair, gap)),
    )


def _labels(gap: Gap) -> tuple[str, str]:
    return gap.row.label, gap.other.label


def _declared(pair: _Pair) -> tuple[str, str] | None:
    """The settings whose comparison decides at a place, by the plan: chosen by their passes."""
    trained = pair.runs[0].record.trained_thinking(pair.runs[0].config)
    if not isinstance(trained, Descent):
        return None
    planned = [
        (ours, theirs)
        for ours in pair.settings(pair.ebt)
        for theirs in pair.settings(pair.dit)
        if isinstance(ours, Descent)
        and ours.samples == 1
        and isinstance(theirs, Diffusion)
        and (theirs.sampler, theirs.start) == ("ddim", "trained")
        and _passes_of(theirs) == HUNDRED * _passes_of(ours)
    ]
    for times in (1,) if pair.trained else (TIMES_OUT, 1):
        own = [both for both in planned if _passes_of(both[0]) == trained.steps * times]
        if own:
            # Applied again to its own output, as the paper does, before more steps.
            ours, theirs = max(own, key=lambda both: [each.recursions for each in both])
            return thinking_label(ours), thinking_label(theirs)
    return None


def _passes_of(setting: Descent | Diffusion) -> int:
    return setting.steps * setting.recursions


def _no_interval(pair: _Pair, gap: Gap | None) -> str:
    if gap is None:
        return "" if pair.ground.lacking else pair.lost or "no difference in PSNR"
    return "no interval: few images in common, or their errors not kept" * (gap.interval is None)


def _inverse(ratio: float | None) -> Ratio:
    """A cost ratio of the other over the row, the other way round."""
    return Ratio(None if not ratio else 1 / ratio)


def _costs(of: str, ratios: Sequence[Ratio], ground: Ground) -> Costs:
    """Of NFE, FLOPs and seconds; these only where one device measured both models."""
    nfe, flops, seconds = ratios
    if len(ground.device) == 1:
        return Costs(of, nfe, flops, seconds)
    return costs_of(of, nfe=nfe, flops=flops, seconds=Ratio(None))


# --- passes at equal quality ------------------------------------------------------------------


def _passes(pair: _Pair, found_equal: EqualQuality | None) -> Candidate:
    ground = pair.ground
    equal = None if found_equal is None else EqualPasses(found_equal)
    reason = joined(ground.untrusted, not_from_noisy(pair.runs), too_few(ground.seeds))
    interval, ours, theirs = None, "", ""
    if found_equal is not None:
        interval, ours = found_equal.ratio_interval("nfe"), f", {found_equal.row.setting}"
        other = found_equal.other
        theirs = ", never its equal" if other is None else f", {other.setting}"
    finding = Finding(
        claim=CLAIM.name,
        part=PASSES,
        source=pair.shown.source(pair.gathered, ground),
        what=f"passes of {pair.dit} for one of {pair.ebt} at equal PSNR, {pair.name}",
        candidate=f"{pair.ebt}{ours}",
        baseline=f"{pair.dit}{theirs}",
        estimate=_estimate(found_equal),
        unit="×",
        interval=None if interval is None else Bounds(*interval),
        paper=float(HUNDRED),
        sample=Sample(0, "images", 0)
        if found_equal is None
        else Sample(found_equal.images, "images", found_equal.seeds),
        costs=ground.costs(_equal_costs(found_equal, ground)),
        evidence=evidence_of(reason),
        reason=joined(reason, "" if equal is None else equal.words),
        shown_by=(*ground.key, pair.level),
    )
    key = (PASSES, *ground.key, pair.level)
    untrusted, lacking = bool(ground.untrusted), "no PSNR" if equal is None else equal.lacking
    open_ = joined(ground.lacking, pair.lost, lacking)
    if equal is None or lacking:
        return unweighed(finding, key, untrusted=untrusted, open_=open_)
    return Candidate(finding, key, equal.p, equal.at, equal.read, untrusted, open_)


def _estimate(equal: EqualQuality | None) -> float | None:
    if equal is None:
        return None
    return inf if equal.other is None else equal.ratio("nfe")


def _equal_costs(equal: EqualQuality | None, ground: Ground) -> Costs:
    """EBT over DiT at equal quality, with intervals; 0 where DiT never gets there."""
    of = "one image at equal PSNR, EBT over DiT (0: DiT never gets there)"
    if equal is None:
        return Costs(of)

    def ratio(cost: Cost) -> Ratio:
        value, interval = equal.ratio(cost), equal.ratio_interval(cost)
        bounds = None
        if interval is not None:
            low, high = (0.0 if isinf(bound) else 1 / bound for bound in reversed(interval))
            bounds = low, high
        return replace(_inverse(value), interval=bounds)

    return _costs(of, [ratio(cost) for cost in COSTS], ground)
