"""The paper's PSNR and MSE of denoised images beside ours, and its passes against a hundredfold."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.exhibits.denoising import DenoisingExhibit, DenoisingRow
from harness.analysis.exhibits.equal_quality import Gap, hundredfold
from harness.analysis.paper.beside import NOT_MEASURED, Beside, or_absent, shown
from harness.analysis.paper.numbers import PaperNumber
from harness.protocol import Descent, Diffusion

#: How often the paper applies a model to its own result: out of distribution up to thrice.
_TIMES = (1, 2, 3)
#: Calls of DiT each time, from where it was trained to and from where the noise is.
_CALLS, _MATCHED_CALLS = 100, 200


def denoising_rows(exhibit: DenoisingExhibit, numbers: Sequence[PaperNumber]) -> list[Beside]:
    """Qualities at each of the paper's numbers of passes, and how equal they are."""
    rows: list[Beside] = []
    errors = {(n.model, n.x): n for n in numbers if n.quantity == "MSE"}
    for number in numbers:
        if number.quantity == "PSNR":
            rows += _qualities(exhibit, number, errors.get((number.model, number.x)))
        elif number.quantity == "about equal PSNR":
            rows += _gaps(exhibit, number)
    return rows


def _qualities(
    exhibit: DenoisingExhibit, number: PaperNumber, error: PaperNumber | None
) -> list[Beside]:
    quantity = f"PSNR at noise level {number.x:g}, {number.model}"
    own = [
        row
        for place in exhibit.places
        if place.level == number.x
        for row in exhibit.at(place)
        if row.family == number.model
    ]
    found = [_quality(row, number, error, quantity) for row in papers_settings(own)]
    why = f"no {number.model} at this level" if exhibit.rows else NOT_MEASURED
    return or_absent(number, quantity, found, why)


def papers_settings(rows: Sequence[DenoisingRow]) -> list[DenoisingRow]:
    """The settings that the paper has; of a model that has none of them, its one of most passes.

    Which of them its Table 4 is about it does not say.
    """
    chosen: list[DenoisingRow] = []
    for model in dict.fromkeys(row.adapter for row in rows):
        own = [row for row in rows if row.adapter == model and _usual(row)]
        same = [row for row in own if row.nfe in _papers_passes(row)]
        dearest = sorted(own, key=lambda row: row.nfe or 0.0)[-1:]
        chosen += same or dearest
    return chosen


def _usual(row: DenoisingRow) -> bool:
    """A descent of one sample that is otherwise as trained, or DDIM."""
    thinking = row.thinking
    if isinstance(thinking, Diffusion):
        return thinking.sampler == "ddim" and not _twice(row)
    if not isinstance(thinking, Descent):
        return False
    return thinking == Descent(steps=thinking.steps, recursions=thinking.recursions)


def _twice(row: DenoisingRow) -> bool:
    """At the noise of training the matched start is the trained one, and its row another's copy."""
    return bool(row.place.trained) and row.start == "matched"


def _papers_passes(row: DenoisingRow) -> list[int]:
    times = _TIMES[:1] if row.place.trained else _TIMES
    if isinstance(row.thinking, Descent):
        return list(times)
    each = _MATCHED_CALLS if row.start == "matched" else _CALLS
    return [each * time for time in times]


def _quality(
    row: DenoisingRow, number: PaperNumber, error: PaperNumber | None, quantity: str
) -> Beside:
    against = "" if error is None else f" against the paper's {shown(error)}"
    return Beside(
        number,
        quantity,
        f"{row.adapter}, {row.setting}",
        row.psnr.value,
        row.psnr.interval,
        n=row.images,
        counted="images",
        seeds=row.seeds,
        note=f"MSE {row.mse:.4g}{against}",
    )


def _gaps(exhibit: DenoisingExhibit, number: PaperNumber) -> list[Beside]:
    quantity = f"PSNR, {number.setting}"
    found = [
        _gap(gap, exhibit, number, quantity)
        for gap in hundredfold(exhibit)
        if gap.row.nfe == number.x and gap.row.family == number.model and not _twice(gap.other)
    ]
    why = "no such pair of settings" if exhibit.rows else NOT_MEASURED
    return or_absent(number, quantity, found, why)


def _gap(gap: Gap, exhibit: DenoisingExhibit, number: PaperNumber, quantity: str) -> Beside:
    names = f"{gap.row.adapter}, {gap.row.setting}, less {gap.other.adapter}, {gap.other.setting}"
    place = exhibit.place_name(gap.row.place)
    if gap.difference is None:
        return Beside(number, quantity, names, note=f"{place}: no image in common")
    return Beside(
        number,
        quantity,
        names,
        gap.difference,
        gap.interval,
        n=gap.images,
        counted="images",
        seeds=gap.seeds,
        note=f"at {place}: {gap.verdict}",
    )
