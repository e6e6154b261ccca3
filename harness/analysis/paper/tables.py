"""The table that stands the paper's numbers and ours side by side, section by section."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from harness.analysis.exhibits.denoising import DenoisingExhibit
from harness.analysis.exhibits.downstream import DownstreamExhibit
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.next_frame import NextFrameExhibit
from harness.analysis.exhibits.probe import ProbeExhibit
from harness.analysis.exhibits.scaling import ScalingExhibit
from harness.analysis.exhibits.thinking import ThinkingExhibit
from harness.analysis.exhibits.thinking_ablation import ThinkingAblationExhibit
from harness.analysis.exhibits.thinking_scale import ThinkingScaleExhibit
from harness.analysis.exhibits.thinking_shift import ThinkingShiftExhibit
from harness.analysis.exhibits.uncertainty import UncertaintyExhibit
from harness.analysis.paper.beside import Beside, Scale, differences, scale_of, shown
from harness.analysis.paper.gains import ablation_rows, thinking_rows
from harness.analysis.paper.images import denoising_rows
from harness.analysis.paper.numbers import PaperNumber, PaperSetting
from harness.analysis.paper.rates import next_frame_rows, scaling_rows
from harness.analysis.paper.scores import downstream_rows, probe_rows, uncertainty_rows
from harness.analysis.paper.trends import scale_rows, shift_rows
from harness.analysis.tables.table import Cell, Table
from harness.quantities import si

#: What finds the counterparts in each kind of exhibit.
_ROWS: dict[type[object], Callable[[Any, Any], list[Beside]]] = {
    ScalingExhibit: scaling_rows,
    ThinkingExhibit: thinking_rows,
    ThinkingShiftExhibit: shift_rows,
    ThinkingScaleExhibit: scale_rows,
    ThinkingAblationExhibit: ablation_rows,
    UncertaintyExhibit: uncertainty_rows,
    DownstreamExhibit: downstream_rows,
    NextFrameExhibit: next_frame_rows,
    ProbeExhibit: probe_rows,
    DenoisingExhibit: denoising_rows,
}
_HEADER = (
    *("quantity", "found in", "model here", "paper", "here", "95 % interval"),
    *("n", "seeds", "same setting?"),
)
#: Where along its axis a number of the paper lies, in words.
_PLACES = {
    "NFE": " at NFE {x:g}",
    "noise level": " at noise level {x:g}",
    "perplexity ratio": " at {x:g} × the perplexity of training",
    "share of training": " after a share of {x:g} of training",
}
#: More numbers than this are not listed in a note.
_LISTED = 4


def beside(gathered: Gathered) -> list[Beside]:
    """The numbers of the section's exhibits in the paper, each with its counterparts here."""
    find = _ROWS.get(type(gathered.exhibit))
    return find(gathered.exhibit, gathered.paper) if find and gathered.paper else []


def paper_tables(gathered: Gathered) -> list[Table]:
    """The companion table; none where the section names no exhibit that has numbers of its kind.

    It has no rows before anything is measured, since it would then replace one that has some.
    """
    rows = beside(gathered)
    if not rows:
        return []
    scale = scale_of(gathered.runs)
    settings = {setting.exhibit: setting for setting in gathered.settings}
    kept = rows if any(row.measured for row in rows) else []
    return [
        Table(
            name=f"{gathered.stem}-paper",
            title=f"{gathered.section.title}: the paper's numbers and ours",
            header=_HEADER,
            rows=[_cells(row, scale, settings.get(row.number.exhibit)) for row in kept],
            data=[_data(row, scale, settings.get(row.number.exhibit)) for row in kept],
            notes=_notes(rows, scale, gathered.settings),
            text_columns=3,
        )
    ]


def paper_words(gathered: Gathered) -> str:
    """The paper's numbers in a sentence, for the notes of a figure; empty where it has none."""
    rows = beside(gathered)
    several = len({row.number.model for row in rows if row.number.value is not None}) > 1
    said = list(dict.fromkeys(_words(row, several=several) for row in rows))
    if not said:
        return ""
    if len(said) > _LISTED:
        exhibits = ", ".join(dict.fromkeys(row.number.exhibit for row in rows))
        return f"The paper's numbers ({exhibits}) stand beside ours in {gathered.stem}-paper."
    return f"The paper, one seed and no interval: {'; '.join(said)}."


def _words(row: Beside, *, several: bool) -> str:
    """The model is named where the numbers are of several."""
    number = row.number
    if number.value is None:
        return f"{number.exhibit}: {shown(number)}"
    what = f"{number.quantity} of {number.model}" if several else number.quantity
    if number.setting:
        what += f", {number.setting}"
    where = "" if number.x is None else _PLACES.get(number.x_unit, "").format(x=number.x)
    return f"{number.exhibit}, {what}{where}: {shown(number)}"


# --- cells -----------------------------------------------------------------------------------


def _cells(row: Beside, scale: Scale, setting: PaperSetting | None) -> list[Cell]:
    number = row.number
    return [
        Cell(row.quantity),
        Cell(_place(row)),
        Cell(row.model),
        Cell(shown(number)),
        Cell(_ours(row)),
        Cell("" if row.interval is None else "[{}, {}]".format(*_bounds(row))),
        Cell("" if row.n is None else f"{row.n:,} {row.counted}"),
        Cell("" if row.seeds is None else str(row.seeds)),
        Cell(_remark(row, scale, setting)),
    ]


def _place(row: Beside) -> str:
    """`Fig 7, worked out`; the exhibit alone where it says all, or no more is known."""
    number = row.number
    source = "worked out" if row.derived else number.source.partition("notes")[0]
    source = "" if source == "table" and number.exhibit.startswith("Table") else source
    page = f"p. {number.page}" if number.page else ""
    return ", ".join(filter(None, (number.exhibit, source, page)))


def _remark(row: Beside, scale: Scale, setting: PaperSetting | None) -> str:
    if not row.measured:
        return f"none here: {row.note}"
    said = differences(scale, setting)
    return f"{said}; {row.note}" if row.note else said


def _ours(row: Beside) -> str:
    if row.value is None:
        return row.said
    unit = row.number.unit
    return _written(row, row.value) + (f" {unit}" if unit else "")


def _bounds(row: Beside) -> tuple[str, ...]:
    return tuple(_written(row, bound) for bound in row.interval or ())


def _written(row: Beside, value: float) -> str:
    unit, quantity = row.number.unit, row.number.quantity
    if unit == "tokens":
        return si(value).strip()
    signed = "+" if (unit == "%" and not quantity.startswith("top")) or "equal" in quantity else ""
    return f"{value:{signed}.2f}".replace("-", "−")


def _data(row: Beside, scale: Scale, setting: PaperSetting | None) -> dict[str, object]:
    number = row.number
    low, high = row.interval or (None, None)
    return {
        "exhibit": number.exhibit,
        "source": "worked out" if row.derived else number.source,
        "page": number.page,
        "quantity": row.quantity,
        "unit": number.unit,
        "paper_model": number.model,
        "paper": number.value,
        "paper_high": number.high,
        "paper_note": number.note,
        "model": row.model,
        "value": row.value,
        "low": low,
        "high": high,
        "said": row.said,
        "n": row.n,
        "counted": row.counted if row.n is not None else "",
        "seeds": row.seeds,
        "same_setting": differences(scale, setting) if row.measured else "",
        "note": row.note,
    }


def _stated(number: PaperNumber) -> str:
    """What a note says besides what the table shows of the number."""
    return number.note if number.value is not None else number.note.partition("; ")[2]


def _notes(rows: Sequence[Beside], scale: Scale, settings: Sequence[PaperSetting]) -> list[str]:
    notes = [f"Here: {scale.words}."]
    for of in settings:
        if any(row.number.exhibit == of.exhibit for row in rows):
            shows = f"{of.shows}; {of.setting}" if of.setting else of.shows
            data = f" Trained on: {of.data}." if of.data else ""
            notes.append(f"The paper's {of.exhibit}: {shows}.{data}")
    notes.append(
        "The paper has one training seed and gives no interval. ≈: approximate, as what is read "
        "off a plot. Worked out: from numbers that it gives."
    )
    remarks = dict.fromkeys(
        f"{row.number.exhibit}: {remark}." for row in rows if (remark := _stated(row.number))
    )
    notes += remarks
    if not any(row.measured for row in rows):
        said = dict.fromkeys(f"{row.quantity} {shown(row.number)}" for row in rows)
        notes.append(f"Nothing is measured here yet. The paper: {'; '.join(said)}.")
    return notes
