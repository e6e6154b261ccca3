"""Where a row of a denoising section's table stands: on which set, at which noise level."""

from __future__ import annotations

from harness.analysis.exhibits.denoising import DenoisingExhibit, Place
from harness.analysis.tables.table import Cell


def places_of(exhibit: DenoisingExhibit) -> tuple[str, ...]:
    return ("data", "noise") if len({p.data for p in exhibit.places}) > 1 else ("noise",)


def place_cells(exhibit: DenoisingExhibit, place: Place) -> list[Cell]:
    level = Cell(f"{place.level:g}")
    return [Cell(place.data), level] if len(places_of(exhibit)) > 1 else [level]


def place_data(place: Place) -> dict[str, object]:
    return {"data": place.data, "level": place.level, "distribution": place.within}
