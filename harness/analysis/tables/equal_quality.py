"""Tables of a denoising section that compare models: what equal quality costs, and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from math import isinf

from harness.analysis.exhibits.denoising import (
    DenoisingExhibit,
    intervals_over,
)
from harness.analysis.exhibits.equal_quality import (
    BY_COST,
    COSTS,
    TOLERANCE_DB,
    Cost,
    EqualQuality,
    Gap,
    best_gaps,
    equal_quality,
    hundredfold,
)
from harness.analysis.resampling import MIN_DOCUMENTS
from harness.analysis.tables.places import place_cells, place_data, places_of
from harness.analysis.tables.scores import few_seeds
from harness.analysis.tables.table import Cell, Table
from harness.quantities import counted_range

_RATIOS = ("NFE ×", "FLOPs ×", "time ×")


def ratio_table(exhibit: DenoisingExhibit, stem: str) -> Table:
    pairs = equal_quality(exhibit)
    resampled = ""
    if any(pair.chosen is not None for pair in pairs):
        resampled = (
            ", with 95 % interval, and the share of resamples without an equal, over "
            f"{intervals_over(exhibit.models)}: each resample chooses best and equal anew"
        )
    return Table(
        name=f"{stem}-equal-quality",
        title=f"{exhibit.section.title}: what equal quality costs",
        header=(
            *places_of(exhibit),
            "model",
            "its best",
            "PSNR (dB)",
            "equal of",
            "is",
            *_RATIOS,
            "never",
        ),
        rows=[
            [
                *place_cells(exhibit, pair.row.place),
                Cell(pair.row.adapter),
                Cell(pair.row.setting),
                Cell(f"{pair.psnr:.2f}"),
                Cell(pair.against),
                Cell("never reached" if pair.other is None else pair.other.setting),
                *(Cell(_ratio_text(pair, cost)) for cost in COSTS),
                Cell("" if pair.never is None else f"{100 * pair.never:.0f} %"),
            ]
            for pair in pairs
        ],
        data=[_ratio_data(pair) for pair in pairs],
        notes=[
            f"Best: the cheapest setting (by {BY_COST}) within {TOLERANCE_DB:g} dB of the model's "
            "highest PSNR. Ratios: the other model's cheapest equal over it, at a PSNR no lower "
            f"within the same tolerance{resampled}.",
            *_shared(pairs),
            "A ratio of NFE is not one of compute: 99 % fewer passes is one of NFE alone.",
        ],
        text_columns=len(places_of(exhibit)) + 2,
    )


def _shared(pairs: Sequence[EqualQuality]) -> list[str]:
    """What two models are compared on, where that is not all of both."""
    found = []
    if any((p.seeds, p.images) != (r.seeds, r.images) for p in pairs for r in (*p.own, *p.others)):
        seeds = counted_range((p.seeds for p in pairs), "training seed")
        images = counted_range((p.images for p in pairs), "image")
        nothing = any(not pair.images for pair in pairs)
        found.append(
            f"Each pair of models is compared on what both have, {seeds} and {images}"
            + (", or where that is nothing, each on its own." if nothing else ".")
        )
    return found


def _ratio_text(pair: EqualQuality, cost: Cost) -> str:
    """`12 [9.1, 25]`, with ∞ for a resample in which the other never gets there."""
    value, interval = pair.ratio(cost), pair.ratio_interval(cost)
    if value is None and interval is None:
        return ""
    shown = "∞" if value is None else f"{value:.3g}"
    if interval is not None and isinf(interval[0]) and value is None:
        return shown
    return shown if interval is None else f"{shown} [{_bound(interval[0])}, {_bound(interval[1])}]"


def _bound(value: float) -> str:
    return "∞" if isinf(value) else f"{value:.3g}"


def _ratio_data(pair: EqualQuality) -> dict[str, object]:
    found: dict[str, object] = {
        **place_data(pair.row.place),
        "model": pair.row.adapter,
        "best": pair.row.setting,
        "psnr": pair.psnr,
        "against": pair.against,
        "equal": None if pair.other is None else pair.other.setting,
        "images": pair.images,
        "seeds": pair.seeds,
    }
    for cost in COSTS:
        interval = pair.ratio_interval(cost)
        low, high = (None, None) if interval is None else interval
        found |= {
            f"{cost}_ratio": pair.ratio(cost),
            f"{cost}_ratio_low": _finite(low),
            f"{cost}_ratio_high": _finite(high),
        }
    return found | {"never_reached": pair.never}


def _finite(bound: float | None) -> float | None:
    """Missing where it is infinite: `never_reached` says why."""
    return None if bound is None or isinf(bound) else bound


# --- which is better -------------------------------------------------------------------------


def verdict_table(exhibit: DenoisingExhibit, stem: str) -> Table:
    gaps = best_gaps(exhibit)
    return Table(
        name=f"{stem}-verdicts",
        title=f"{exhibit.section.title}: which is better",
        header=(
            *places_of(exhibit),
            "model",
            "its highest",
            "PSNR (dB)",
            "against",
            "at",
            "PSNR (dB)",
            "difference (dB)",
            "images",
            "seeds",
            "verdict",
        ),
        rows=[[*_gap_cells(exhibit, gap), *_counts(gap), Cell(_verdict(gap))] for gap in gaps],
        data=[_gap_data(gap) for gap in gaps],
        notes=_gap_notes(exhibit, gaps),
        text_columns=len(places_of(exhibit)) + 2,
    )


def _gap_notes(exhibit: DenoisingExhibit, gaps: Sequence[Gap]) -> list[str]:
    notes = ["Each model's setting of highest PSNR, chosen on these images."]
    over = intervals_over(exhibit.models)
    if over:
        notes[0] += (
            f" Differences with 95 % interval over {over}, paired by training seed, noise seed and "
            "image; better or worse where it excludes 0; not adjusted for the number of rows."
        )
    if over and (few := few_seeds(gap.seeds for gap in gaps)):
        notes.append(f"Verdicts: {few}.")
    if any((gap.images, gap.seeds) != (gap.row.images, gap.row.seeds) for gap in gaps):
        notes.append(
            "PSNR and difference are of the images and training seeds that both have; a reference, "
            "which nobody trained, stands beside every seed."
        )
    if any(gap.interval is None for gap in gaps):
        notes.append(
            "Undecided without an interval: fewer than "
            f"{MIN_DOCUMENTS} images in common, no seed in common, errors of images not kept, or "
            "every image alike."
        )
    return notes


def _verdict(gap: Gap) -> str:
    """With one seed it is of one training of each model, whatever the images say."""
    if gap.verdict == "undecided" or gap.seeds > 1:
        return gap.verdict
    return f"{gap.verdict}, of one training"


def _counts(gap: Gap) -> list[Cell]:
    return [Cell(f"{gap.images:,}"), Cell(str(gap.seeds))]


def passes_table(exhibit: DenoisingExhibit, stem: str) -> Table:
    gaps = hundredfold(exhibit)
    return Table(
        name=f"{stem}-passes",
        title=f"{exhibit.section.title}: k passes against 100 k (the paper's comparison)",
        header=(
            *places_of(exhibit),
            "model",
            "k passes",
            "PSNR (dB)",
            "against",
            "100 k passes",
            "PSNR (dB)",
            "difference (dB)",
            *_RATIOS,
        ),
        rows=[
            [
                *_gap_cells(exhibit, gap),
                *(Cell("" if (r := gap.ratio(c)) is None else f"{r:.3g}") for c in COSTS),
            ]
            for gap in gaps
        ],
        data=[
            _gap_data(gap) | {f"{cost}_ratio": gap.ratio(cost) for cost in COSTS} for gap in gaps
        ],
        notes=[
            "99 % fewer passes is a ratio of NFE: FLOPs and time stand beside it, the other over "
            "the model."
        ],
        text_columns=len(places_of(exhibit)) + 2,
    )


def _gap_cells(exhibit: DenoisingExhibit, gap: Gap) -> list[Cell]:
    return [
        *place_cells(exhibit, gap.row.place),
        Cell(gap.row.adapter),
        Cell(gap.row.setting),
        Cell("" if gap.psnr is None else f"{gap.psnr[0]:.2f}"),
        Cell(gap.other.adapter),
        Cell(gap.other.setting),
        Cell("" if gap.psnr is None else f"{gap.psnr[1]:.2f}"),
        Cell(_difference(gap)),
    ]


def _difference(gap: Gap) -> str:
    def one(value: float) -> str:
        return f"{value:+.2f}".replace("-", "−")

    if gap.difference is None:
        return ""
    if gap.interval is None:
        return one(gap.difference)
    return f"{one(gap.difference)} [{one(gap.interval[0])}, {one(gap.interval[1])}]"


def _gap_data(gap: Gap) -> dict[str, object]:
    low, high = (None, None) if gap.interval is None else gap.interval
    own, theirs = (None, None) if gap.psnr is None else gap.psnr
    return {
        **place_data(gap.row.place),
        "model": gap.row.adapter,
        "thinking": gap.row.setting,
        "psnr": own,
        "against": gap.other.adapter,
        "at": gap.other.setting,
        "psnr_against": theirs,
        "difference": gap.difference,
        "difference_low": low,
        "difference_high": high,
        "images": gap.images,
        "seeds": gap.seeds,
        "verdict": gap.verdict,
    }
