"""Tables of a denoising section: quality against cost, what equal quality costs, and verdicts."""

from __future__ import annotations

from harness.analysis.exhibits.denoising import (
    DenoisingExhibit,
    DenoisingRow,
    Quality,
    intervals_over,
)
from harness.analysis.exhibits.equal_quality import (
    highest,
)
from harness.analysis.tables.equal_quality import passes_table, ratio_table, verdict_table
from harness.analysis.tables.places import place_cells, place_data, places_of
from harness.analysis.tables.table import Cell, Table, plus_minus
from harness.quantities import counted, counted_range, si


def denoising_tables(exhibit: DenoisingExhibit, stem: str) -> list[Table]:
    """Quality against cost, what equal quality costs the others, and which model is better.

    Last, where there are such settings, the paper's comparison of k passes with 100 k.
    """
    tables = [_quality(exhibit, stem), ratio_table(exhibit, stem), verdict_table(exhibit, stem)]
    passes = passes_table(exhibit, stem)
    return [*tables, passes] if passes.rows else tables


def _quality(exhibit: DenoisingExhibit, name: str) -> Table:
    best = [
        highest([r for r in exhibit.at(place) if r.adapter == adapter])
        for place in exhibit.places
        for adapter in dict.fromkeys(r.adapter for r in exhibit.at(place))
    ]
    return Table(
        name=name,
        title=f"{exhibit.section.title}: quality against cost",
        header=(
            *places_of(exhibit),
            "model",
            "thinking",
            "NFE",
            "FLOPs",
            "ms",
            "PSNR ↑ (dB)",
            "per image ↑",
            "SSIM ↑",
            "MSE ↓",
        ),
        rows=[_cells(exhibit, r, any(r is b for b in best)) for r in exhibit.rows],
        data=[_data(r) for r in exhibit.rows],
        notes=_notes(exhibit),
        text_columns=len(places_of(exhibit)) + 2,
    )


def _notes(exhibit: DenoisingExhibit) -> list[str]:
    if not exhibit.models:
        return []
    over = intervals_over(exhibit.models)
    notes = [
        f"n = {counted_range((r.images for r in exhibit.models), 'image')}, "
        f"{counted_range((r.seeds for r in exhibit.models), 'training seed')}, "
        f"{counted(exhibit.models[0].noise_seeds, 'noise seed')}. PSNR of the "
        "mean MSE (the paper's) and its mean over images, pixels on 0..255; bold: each model's "
        "best." + (f" ± half a 95 % interval over {over}." if over else ""),
        "NFE, FLOPs and time per image; one descent step is a forward and a backward pass. "
        f"Time on {', '.join(exhibit.device)}.",
    ]
    filtered = [r for r in exhibit.rows if r.thinking is None and r.setting]
    if filtered:
        notes.append(
            f"Filters: of the width with the lowest MSE on the first {filtered[0].images:,} of "
            "these very images, which flatters them."
        )
    if all(r.ssim is None for r in exhibit.models):
        notes.append("No SSIM: the images are smaller than its window of 11 pixels.")
    if exhibit.lost:
        notes.append(f"Left out, their error is not finite: {'; '.join(exhibit.lost)}.")
    return notes


def _cells(exhibit: DenoisingExhibit, row: DenoisingRow, best: bool) -> list[Cell]:
    return [
        *place_cells(exhibit, row.place),
        Cell(row.adapter),
        Cell(row.setting),
        Cell("" if row.nfe is None else f"{row.nfe:g}"),
        Cell(si(row.flops).strip()),
        Cell("" if row.seconds is None else f"{1e3 * row.seconds:.2f}"),
        Cell(_shown(row.psnr, 2), bold=best),
        Cell(_shown(row.psnr_per_image, 2)),
        Cell(_shown(row.ssim, 3)),
        Cell(f"{row.mse:.1f}"),
    ]


def _shown(quality: Quality | None, digits: int) -> str:
    return "" if quality is None else plus_minus(quality.value, quality.half_width, digits)


def _data(row: DenoisingRow) -> dict[str, object]:
    numbers: dict[str, object] = {}
    for name in ("psnr", "psnr_per_image", "ssim"):
        quality: Quality | None = getattr(row, name)
        numbers[name] = None if quality is None else quality.value
        numbers[f"{name}_low"] = None if quality is None else quality.low
        numbers[f"{name}_high"] = None if quality is None else quality.high
    return {
        **place_data(row.place),
        "model": row.adapter,
        "thinking": row.setting,
        "recursions": None if row.thinking is None else row.recursions,
        "start": row.start,
        "sampler": row.sampler,
        "nfe": row.nfe,
        "flops": row.flops,
        "seconds": row.seconds,
        **numbers,
        "mse": row.mse,
        "images": row.images,
        "seeds": row.seeds,
        "noise_seeds": row.noise_seeds,
        "intervals_over": row.over,
    }
