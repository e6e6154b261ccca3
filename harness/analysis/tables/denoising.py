"""Tables of a denoising section: quality against cost, and cost ratios at equal quality."""

from __future__ import annotations

from harness.analysis.exhibits.denoising import (
    TOLERANCE_DB,
    DenoisingExhibit,
    DenoisingRow,
    EqualQuality,
)
from harness.analysis.tables.table import Cell, Table, plus_minus
from harness.quantities import counted, si


def denoising_tables(exhibit: DenoisingExhibit, stem: str) -> list[Table]:
    """Quality against cost, and what equal quality costs the other adapter."""
    return [_quality(exhibit, stem), _ratios(exhibit, f"{stem}-equal-quality")]


def _quality(exhibit: DenoisingExhibit, name: str) -> Table:
    best = {
        (level, adapter): max(own, key=lambda r: r.psnr.value)
        for level in exhibit.levels
        for adapter in {r.adapter for r in exhibit.rows}
        if (own := [r for r in exhibit.rows if r.level == level and r.adapter == adapter])
    }
    notes = []
    if exhibit.rows:
        first = exhibit.rows[-1]
        notes = [
            f"n = {first.images} images, {counted(first.psnr.seeds, 'training seed')}, "
            f"{counted(first.noise_seeds, 'noise seed')}; ± 95 % t interval over training seeds. "
            "PSNR of the mean MSE (the paper's), pixels on 0..255; bold: best of each model at a "
            "level.",
            "NFE, FLOPs and time per image; one descent step is a forward and a backward pass. "
            f"Time on {', '.join(exhibit.device)}.",
        ]
    return Table(
        name=name,
        title=f"{exhibit.section.title}: quality against cost",
        header=(
            "noise level",
            "model",
            "thinking",
            "NFE",
            "FLOPs/image",
            "ms/image",
            "PSNR ↑ (dB)",
            "per-image PSNR ↑ (dB)",
            "MSE ↓",
        ),
        rows=[_cells(r, best[r.level, r.adapter] is r) for r in exhibit.rows],
        data=[_data(r) for r in exhibit.rows],
        notes=notes,
        text_columns=3,
    )


def _cells(row: DenoisingRow, best: bool) -> list[Cell]:
    mean = row.psnr_per_image
    per_image = "" if mean is None else plus_minus(mean.value, mean.half_width, 2)
    return [
        Cell(f"{row.level:g}"),
        Cell(row.adapter),
        Cell(row.setting),
        Cell("" if row.nfe is None else f"{row.nfe:g}"),
        Cell(si(row.flops).strip()),
        Cell("" if row.seconds is None else f"{1e3 * row.seconds:.2f}"),
        Cell(plus_minus(row.psnr.value, row.psnr.half_width, 2), bold=best and row.nfe is not None),
        Cell(per_image),
        Cell(f"{row.mse.value:.1f}"),
    ]


def _data(row: DenoisingRow) -> dict[str, object]:
    return {
        "level": row.level,
        "model": row.adapter,
        "thinking": row.setting,
        "recursions": row.recursions,
        "start": row.start,
        "nfe": row.nfe,
        "flops": row.flops,
        "seconds": row.seconds,
        "psnr": row.psnr.value,
        "psnr_low": row.psnr.low,
        "psnr_high": row.psnr.high,
        "psnr_per_image": None if row.psnr_per_image is None else row.psnr_per_image.value,
        "mse": row.mse.value,
        "images": row.images,
        "seeds": row.psnr.seeds,
        "noise_seeds": row.noise_seeds,
    }


def _ratios(exhibit: DenoisingExhibit, name: str) -> Table:
    pairs = exhibit.equal_quality()
    return Table(
        name=name,
        title=f"{exhibit.section.title}: what equal quality costs",
        header=(
            "noise level",
            "model",
            "its best",
            "PSNR (dB)",
            "cheapest equal of",
            "is",
            "NFE ×",
            "FLOPs ×",
            "time ×",
        ),
        rows=[_ratio_cells(pair) for pair in pairs],
        data=[
            {
                "level": p.row.level,
                "model": p.row.adapter,
                "best": p.row.setting,
                "psnr": p.row.psnr.value,
                "against": p.against,
                "equal": None if p.other is None else p.other.setting,
                "nfe_ratio": p.ratio("nfe"),
                "flops_ratio": p.ratio("flops"),
                "seconds_ratio": p.ratio("seconds"),
            }
            for p in pairs
        ],
        notes=[
            f"Best: the cheapest setting within {TOLERANCE_DB:g} dB of the model's highest PSNR. "
            "Ratios: the other model's cost over this one's, at a PSNR no lower within the same "
            "tolerance. A ratio of NFE is not one of compute.",
        ],
        text_columns=3,
    )


def _ratio_cells(pair: EqualQuality) -> list[Cell]:
    ratios = [pair.ratio(cost) for cost in ("nfe", "flops", "seconds")]
    return [
        Cell(f"{pair.row.level:g}"),
        Cell(pair.row.adapter),
        Cell(pair.row.setting),
        Cell(f"{pair.row.psnr.value:.2f}"),
        Cell(pair.against),
        Cell("never reached" if pair.other is None else pair.other.setting),
        *(Cell("" if ratio is None else f"{ratio:.3g}") for ratio in ratios),
    ]
