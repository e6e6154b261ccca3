"""Figures of a denoising section's example images: one per noise level, one row per setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.analysis.exhibits.denoising import (
    NOISY,
    TOLERANCE_DB,
    DenoisingExhibit,
    DenoisingRow,
    load_examples,
)
from harness.analysis.figures.page import (
    DataRow,
    Drawing,
    Frame,
    blank,
    surround,
)
from harness.analysis.figures.style import REFERENCE, TEXT, WIDTH, family_color, theme
from harness.quantities import counted, si

Images = NDArray[np.float32]

_SHOWN = 8
_LABEL_INCHES = 1.6
_MARGIN = 0.06
_GAP = 0.03


@dataclass(frozen=True)
class _Strip:
    """One row of images and what stands beside it."""

    name: str
    details: tuple[str, ...]
    color: str
    images: Images
    row: DenoisingRow | None
    stored: str
    source: Path


def example_figures(exhibit: DenoisingExhibit, *, missing: str = "") -> list[Drawing]:
    """Clean, noisy and denoised images at each level that has stored examples.

    Each adapter shows its cheapest setting, its best (the cheapest within `TOLERANCE_DB` of the
    highest PSNR) and its dearest.
    """
    found = []
    for level in exhibit.levels:
        stored = {
            adapter: (path, load_examples(path))
            for adapter, at, path in exhibit.examples
            if at == level
        }
        strips = _strips(exhibit, level, {a: s for a, s in stored.items() if a != NOISY})
        if strips:
            found.append(_figure(exhibit, level, strips, missing))
    return found


def chosen(rows: Sequence[DenoisingRow]) -> list[DenoisingRow]:
    """The cheapest, the best and the dearest of one adapter's settings, each once."""
    by_cost = sorted(rows, key=lambda r: (r.nfe or 0, r.flops or 0.0))
    top = max(r.psnr.value for r in rows) - TOLERANCE_DB
    best = next(r for r in by_cost if r.psnr.value >= top)
    return [r for r in by_cost if r in (by_cost[0], best, by_cost[-1])]


def stored_name(row: DenoisingRow) -> str:
    """The name under which the evaluator keeps a setting's images: `diffusion 100 x3 trained`."""
    steps = row.setting.split()[0]
    if row.start is None:
        return f"{steps}x{row.samples} {row.variant}".strip()
    return f"diffusion {steps} x{row.recursions} {row.start}"


def _strips(
    exhibit: DenoisingExhibit, level: float, stored: Mapping[str, tuple[Path, dict[str, Images]]]
) -> list[_Strip]:
    found: list[_Strip] = []
    for adapter, (path, images) in stored.items():
        if not found:
            noisy = next((r for r in exhibit.rows if r.level == level and r.nfe is None), None)
            given = () if noisy is None else (f"PSNR {noisy.psnr.value:.2f} dB",)
            found += [
                _Strip("clean", (), TEXT, images["clean"], None, "clean", path),
                _Strip("noisy input", given, REFERENCE, images["noisy"], noisy, "noisy", path),
            ]
        own = [
            r
            for r in exhibit.rows
            if (r.level, r.adapter) == (level, adapter) and stored_name(r) in images
        ]
        for row in chosen(own) if own else ():
            name = stored_name(row)
            quality = f"PSNR {row.psnr.value:.2f} dB, {si(row.flops)}FLOP"
            found.append(
                _Strip(
                    adapter,
                    (row.setting, quality),
                    family_color(row.family),
                    images[name],
                    row,
                    name,
                    path,
                )
            )
    return found


def _figure(
    exhibit: DenoisingExhibit, level: float, strips: Sequence[_Strip], missing: str
) -> Drawing:
    count = min(_SHOWN, *(len(s.images) for s in strips))
    title = f"{exhibit.section.title}: examples at noise level {level:g}"
    size = (WIDTH - 2 * _MARGIN - _LABEL_INCHES) / _SHOWN
    height = size * len(strips)
    # The noisy input is the same for every training seed, and so has one.
    first = max((s.row for s in strips if s.row is not None), key=lambda row: row.psnr.seeds)
    seeds = counted(first.psnr.seeds, "training seed")
    note = (
        f"The first {count} images, of the lowest training seed. PSNR of the setting: of the mean "
        f"MSE over all {first.images:,} images, mean of {seeds}. Of each "
        f"model: the cheapest setting, the cheapest within {TOLERANCE_DB:g} dB of its best, and "
        "the dearest."
    )
    with theme():
        figure = blank()
        frame = Frame(title, "", (), [note, *([missing] if missing else [])])
        bottom = surround(figure, frame, height=height)
        total = figure.get_figheight()
        # One axes in inches: an axes per image takes seconds to draw.
        axes = figure.add_axes((0, bottom / total, 1, height / total))
        axes.set_axis_off()
        axes.set_autoscale_on(False)
        axes.set(xlim=(0, WIDTH), ylim=(0, height))
        for index, strip in enumerate(strips):
            low = height - (index + 1) * size
            for column in range(count):
                left = _MARGIN + _LABEL_INCHES + column * size
                axes.imshow(
                    _pixels(strip.images[column]),
                    cmap="gray",
                    vmin=0,
                    vmax=1,
                    aspect="auto",
                    extent=(left, left + size - _GAP, low, low + size - _GAP),
                    interpolation="nearest",
                )
            axes.text(
                _MARGIN,
                low + (size - _GAP) / 2,
                "\n".join([strip.name, *strip.details]),
                color=strip.color,
                size=7,
                va="center",
                linespacing=1.35,
            )
    data = tuple(_data(strips, count, level))
    return Drawing(f"denoising-examples-{level:g}", title, figure, data)


def _pixels(image: Images) -> Images:
    """(C, H, W) in [-1, 1] as (H, W) grey or (H, W, 3), in [0, 1]."""
    scaled = np.clip((image + 1) / 2, 0, 1)
    if scaled.shape[0] == 1:
        return np.asarray(scaled[0], dtype=np.float32)
    return np.asarray(np.moveaxis(scaled[:3], 0, -1), dtype=np.float32)


def _data(strips: Sequence[_Strip], count: int, level: float) -> list[DataRow]:
    """One row per image shown: where its pixels are, its own MSE, and its setting's PSNR."""
    clean = strips[0].images
    found: list[DataRow] = []
    for strip in strips:
        for image in range(count):
            error = _pixels(strip.images[image]) - _pixels(clean[image])
            found.append(
                {
                    "level": level,
                    "model": strip.name if strip.row is None else strip.row.adapter,
                    "thinking": "" if strip.row is None else strip.row.setting,
                    "image": image,
                    "image_mse": float(np.square(255 * error.astype(np.float64)).mean()),
                    "psnr": None if strip.row is None else strip.row.psnr.value,
                    "nfe": None if strip.row is None else strip.row.nfe,
                    "stored_as": strip.stored,
                    "source": "/".join(strip.source.parts[-5:]),
                }
            )
    return found
