"""The claim that an EBT denoises better than DiT with a hundredth of its forward passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
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
    costs_of,
)
from harness.analysis.claims.equal_passes import EqualPasses
from harness.analysis.claims.grounds import Ground, Shown
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
from harness.protocol import Descent

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
    "An EBT that starts from noise is listed only, other numbers of passes too. It may decide from "
    "3 training seeds on; adjusted over all (Holm). FLOPs and time at equal quality stand beside: "
    "an EBT's pass goes backward too.",
    suites="suites/cpu/denoising.yaml, suites/paper/image_denoising.yaml",
)
_QUALITY = reading(null="0 dB", little=(TOLERANCE_DB, f"{TOLERANCE_DB:g} dB"))


def found(shown: Sequence[Shown]) -> list[Candidate]:
    """Both parts of every denoising section, of every pair of an EBT and a DiT."""
    return [
        candidate
        for each in shown
        for gathered in each.gathered
        if isinstance(gathered.exhibit, DenoisingExhibit)
        for candidate in _of_section(each, gathered, gathered.exhibit)
    ]


def _of_section(shown: Shown, gathered: Gathered, exhibit: DenoisingExhibit) -> Iterator[Candidate]:
    gaps = [g for g in hundredfold(exhibit) if (g.row.family, g.other.family) == (EBT, DIT)]
    for gap in gaps:
        yield _quality(shown, gathered, exhibit, gap, gaps)
    for pair in equal_quality(exhibit):
        if pair.row.family == EBT and pair.others[0].family == DIT:
            yield _passes(shown, gathered, exhibit, pair)


# --- quality at a hundred times the passes ----------------------------------------------------


def _quality(
    shown: Shown, gathered: Gathered, exhibit: DenoisingExhibit, gap: Gap, gaps: Sequence[Gap]
) -> Candidate:
    row, other = gap.row, gap.other
    ground = _ground(shown, exhibit, row, other.adapter)
    runs = shown.models[exhibit.section.experiment][row.adapter]
    declared = _declared(runs[0], gap, gaps)
    reason = joined(
        shown.untrusted,
        not_from_noisy(runs),
        "" if gap is declared else "not the number of passes that the paper compares there",
        too_few(gap.seeds),
        _no_interval(gap),
    )
    finding = Finding(
        claim=CLAIM.name,
        part=QUALITY,
        source=shown.source(gathered, ground),
        what=f"PSNR at {exhibit.place_name(row.place)}: {row.adapter}, {row.setting}, less "
        f"{other.adapter}, {other.setting}",
        candidate=row.adapter,
        baseline=other.adapter,
        estimate=gap.difference,
        unit="dB",
        interval=None if gap.interval is None else Bounds(*gap.interval),
        paper=None,
        sample=Sample(gap.images, "images", gap.seeds),
        costs=ground.costs(
            costs_of("one image, EBT over DiT", [_inverse(gap.ratio(c)) for c in COSTS]),
        ),
        evidence=evidence_of(reason),
        reason=reason,
    )
    key = (QUALITY, ground.runs, ground.evaluations, row.place.level, row.label, other.label)
    return widened(finding, key, _QUALITY, untrusted=bool(shown.untrusted))


def _declared(run: PlannedRun, of: Gap, gaps: Sequence[Gap]) -> Gap | None:
    """The comparison that decides between the models of `of` at its place: chosen by passes."""
    trained = run.record.trained_thinking(run.config)
    if not isinstance(trained, Descent):
        return None
    place = of.row.place
    own = [
        gap
        for gap in gaps
        if (gap.row.place, gap.row.adapter, gap.other.adapter)
        == (place, of.row.adapter, of.other.adapter)
        and gap.other.start == "trained"
    ]
    for times in (1,) if place.trained is not False else (TIMES_OUT, 1):
        found = [gap for gap in own if gap.row.nfe == trained.steps * times]
        if found:
            # Applied again to its own output, as the paper does, before more steps.
            return max(found, key=lambda gap: (gap.row.recursions, gap.other.recursions))
    return None


def _no_interval(gap: Gap) -> str:
    return "no interval: few images in common, or their errors not kept" * (gap.interval is None)


def _inverse(ratio: float | None) -> Ratio:
    """A cost ratio of the other over the row, the other way round."""
    return Ratio(None if not ratio else 1 / ratio)


# --- passes at equal quality ------------------------------------------------------------------


def _passes(
    shown: Shown, gathered: Gathered, exhibit: DenoisingExhibit, pair: EqualQuality
) -> Candidate:
    row, equal = pair.row, EqualPasses(pair)
    ground = _ground(shown, exhibit, row, pair.against)
    interval = pair.ratio_interval("nfe")
    reason = joined(
        shown.untrusted,
        not_from_noisy(shown.models[exhibit.section.experiment][row.adapter]),
        too_few(pair.seeds),
        equal.lacking,
    )
    finding = Finding(
        claim=CLAIM.name,
        part=PASSES,
        source=shown.source(gathered, ground),
        what=f"passes of {pair.against} for one of {row.adapter} at equal PSNR, "
        f"{exhibit.place_name(row.place)}",
        candidate=f"{row.adapter}, {row.setting}",
        baseline=f"{pair.against}, "
        + ("never its equal" if pair.other is None else pair.other.setting),
        estimate=inf if pair.other is None else pair.ratio("nfe"),
        unit="×",
        interval=None if interval is None else Bounds(*interval),
        paper=float(HUNDRED),
        sample=Sample(pair.images, "images", pair.seeds),
        costs=ground.costs(_costs(pair)),
        evidence=evidence_of(reason),
        reason=joined(reason, equal.words),
    )
    key = (PASSES, ground.runs, ground.evaluations, row.place.level)
    untrusted = bool(shown.untrusted)
    if equal.lacking:
        return unweighed(finding, key, untrusted=untrusted)
    return Candidate(finding, key, equal.p, equal.at, equal.read, untrusted)


def _costs(pair: EqualQuality) -> Costs:
    """EBT over DiT at equal quality, with intervals; 0 where DiT never gets there."""

    def ratio(cost: Cost) -> Ratio:
        value, interval = pair.ratio(cost), pair.ratio_interval(cost)
        bounds = None
        if interval is not None:
            low, high = (0.0 if isinf(bound) else 1 / bound for bound in reversed(interval))
            bounds = low, high
        return replace(_inverse(value), interval=bounds)

    return costs_of(
        "one image at equal PSNR, EBT over DiT (0: DiT never gets there)",
        [ratio(cost) for cost in COSTS],
    )


def _ground(shown: Shown, exhibit: DenoisingExhibit, row: DenoisingRow, other: str) -> Ground:
    section = exhibit.section
    models = [row.adapter, other]
    return shown.ground(section.experiment, section.evaluation, models=models, data=row.place.data)
