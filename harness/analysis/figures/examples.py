"""Figures of a denoising section's example images: one per noise level, one row per setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.analysis.exhibits.denoising import (
    REFERENCES,
    DenoisingExhibit,
    DenoisingRow,
    Place,
    load_examples,
)
from harness.analysis.exhibits.equal_quality import (
    BY_COST,
    TOLERANCE_DB,
    by_cost,
    cheapest_best,
    highest,
)
from harness.analysis.figures.page import DataRow, Drawing, Frame
from harness.analysis.figures.strips import (
    SHOWN,
    Row,
    room,
    shown_pixels,
    spread,
    strips_figure,
)
from harness.analysis.figures.style import REFERENCE, TEXT, family_color
from harness.quantities import counted_range, si

Images = NDArray[np.float32]


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
    """Clean, noisy, filtered and denoised images at each place that has stored examples."""
    found = []
    sets = list(dict.fromkeys(place.data for place in exhibit.places))
    for place in exhibit.places:
        strips = _strips(exhibit, place)
        number = f"-{sets.index(place.data) + 1}" if len(sets) > 1 else ""
        if strips:
            name = f"denoising-examples{number}-{place.level:g}"
            found.append(_figure(exhibit, place, strips, name, missing))
    return found


def chosen(rows: Sequence[DenoisingRow]) -> list[DenoisingRow]:
    """The cheapest, the best and the dearest of one adapter's settings, and the best of each
    sampler, each once.
    """
    ordered = sorted(rows, key=by_cost)
    samplers = dict.fromkeys(r.sampler for r in rows)
    best = [cheapest_best([r for r in ordered if r.sampler == sampler]) for sampler in samplers]
    wanted = [ordered[0], cheapest_best(ordered), *best, ordered[-1]]
    return [r for r in ordered if any(r is w for w in wanted)]


def _strips(exhibit: DenoisingExhibit, place: Place) -> list[_Strip]:
    found: list[_Strip] = []
    for example in exhibit.examples:
        if example.place != place:
            continue
        images = load_examples(example.path)
        if "clean" not in images:  # none were to be kept
            continue
        if not found:
            found.append(_Strip("clean", (), TEXT, images["clean"], None, "clean", example.path))
            found += _reference_strips(exhibit, place, images, example.path)
        own = [r for r in exhibit.at(place) if r.adapter == example.adapter and r.label in images]
        for row in chosen(own) if own else ():
            details = (row.setting, f"PSNR {row.psnr.value:.2f} dB, {si(row.flops)}FLOP")
            color = family_color(row.family)
            pixels = images[row.label]
            found.append(_Strip(row.adapter, details, color, pixels, row, row.label, example.path))
    return found


def _reference_strips(
    exhibit: DenoisingExhibit, place: Place, images: Mapping[str, Images], path: Path
) -> list[_Strip]:
    """The noisy input and the better filter."""
    rows = exhibit.references(place)
    filters = [r for r in rows if r.setting]
    shown = [*(r for r in rows if not r.setting), *([highest(filters)] if filters else [])]
    kinds = {name: kind for kind, name in REFERENCES.items()}
    found = []
    for row in shown:
        details = (*filter(None, [row.setting]), f"PSNR {row.psnr.value:.2f} dB")
        kind = kinds[row.adapter]
        if kind in images:
            found.append(_Strip(row.adapter, details, REFERENCE, images[kind], row, kind, path))
    return found


def _figure(
    exhibit: DenoisingExhibit, place: Place, strips: Sequence[_Strip], name: str, missing: str
) -> Drawing:
    shown = spread(min(len(s.images) for s in strips))
    title = f"{exhibit.section.title}: examples, {exhibit.place_name(place)}"
    models = exhibit.at(place)
    images = counted_range((row.images for row in models), "image")
    seeds = counted_range((row.seeds for row in models), "training seed")
    note = (
        f"{len(shown)} images spread over the set, of each model's lowest training seed. PSNR of "
        f"the setting: of the mean MSE over all its {images}, mean of {seeds}. Of each model: the "
        f"cheapest setting (by {BY_COST}), the cheapest within {TOLERANCE_DB:g} dB of its best "
        "(and of each sampler's), and the dearest."
    )
    frame = Frame(title, "", (), [note, *([missing] if missing else [])])
    rows = [
        Row((s.name, *s.details), s.color, [shown_pixels(s.images[image]) for image in shown])
        for s in strips
    ]
    figure = strips_figure(frame, rows, size=room(SHOWN))
    return Drawing(name, title, figure, tuple(_data(strips, shown, place)))


def _data(strips: Sequence[_Strip], shown: Sequence[int], place: Place) -> list[DataRow]:
    """One row per image shown: where its pixels are, its own MSE, and its setting's PSNR."""
    clean = strips[0].images
    found: list[DataRow] = []
    for strip in strips:
        for image in shown:
            error = shown_pixels(strip.images[image]) - shown_pixels(clean[image])
            found.append(
                {
                    "data": place.data,
                    "level": place.level,
                    "model": strip.name if strip.row is None else strip.row.adapter,
                    "thinking": "" if strip.row is None else strip.row.setting,
                    "image": image,
                    "image_mse": float(np.square(255 * error.astype(np.float64)).mean()),
                    "psnr": None if strip.row is None else strip.row.psnr.value,
                    "nfe": None if strip.row is None else strip.row.nfe,
                    "stored_as": strip.stored,
                    "source": "/".join(strip.source.parts[-4:]),
                }
            )
    return found
