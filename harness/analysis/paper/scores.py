"""The paper's downstream perplexities and its linear probe beside ours, and what energy tells."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.exhibits.downstream import DownstreamExhibit, DownstreamRow, Score
from harness.analysis.exhibits.probe import TOPS, ProbeExhibit, ProbeScore, ProbeSet
from harness.analysis.exhibits.uncertainty import UncertaintyExhibit, UncertaintyRow
from harness.analysis.paper.beside import NOT_MEASURED, Beside, once, or_absent
from harness.analysis.paper.gains import percents
from harness.analysis.paper.numbers import PaperNumber

_PRETRAINING = "pretraining"
_IN_ROW = {"rolling": "rolling windows", "as_trained": "rows as in training"}
_RANDOM = "random"


def downstream_rows(exhibit: DownstreamExhibit, numbers: Sequence[PaperNumber]) -> list[Beside]:
    """Perplexities over all tokens of the sets that bear the names of the paper's."""
    rows: list[Beside] = []
    for number in (n for n in numbers if n.quantity == "perplexity" and not n.setting):
        quantity = f"perplexity of {number.data}"
        found = [
            _perplexity(row, score, number, quantity)
            for row in exhibit.rows
            if row.measure.is_perplexity and row.measure.tokens == "all" and _is_set(row, number)
            for score in row.scores
            if score.family == number.model
        ]
        why = f"no set named like {number.data}" if exhibit.rows else NOT_MEASURED
        rows += or_absent(number, f"{quantity}, {number.model}", found, why)
    return rows


def _is_set(row: DownstreamRow, number: PaperNumber) -> bool:
    if number.data == _PRETRAINING or row.pretraining:
        return row.pretraining and number.data == _PRETRAINING
    return number.data in row.data.lower()


def _perplexity(row: DownstreamRow, score: Score, number: PaperNumber, quantity: str) -> Beside:
    windows = _IN_ROW.get(row.windows, "")
    said = "" if score.value is not None else "not finite"
    note = f"{row.data} ({row.split})" + (f", {windows}" if windows else "")
    return Beside(
        number,
        quantity,
        score.model,
        score.value,
        score.interval,
        said=said,
        n=score.n,
        seeds=score.seeds,
        note=note,
    )


def probe_rows(exhibit: ProbeExhibit, numbers: Sequence[PaperNumber]) -> list[Beside]:
    """Accuracies in percent, on the paper's set where that is among ours."""
    rows: list[Beside] = []
    for number in (n for n in numbers if n.quantity in ("top-1", "top-5")):
        same = [one for one in exhibit.sets if number.data in one.data.lower()]
        found = [
            beside
            for one in same or exhibit.sets
            for score in one.scores
            if score.family == number.model
            and (beside := _accuracy(one, score, number)) is not None
        ]
        why = "no such model, or too few classes" if exhibit.sets else NOT_MEASURED
        rows += or_absent(number, f"{number.quantity}, {number.model}", found, why)
    return rows


def _accuracy(one: ProbeSet, score: ProbeScore, number: PaperNumber) -> Beside | None:
    measure = next(m for m in TOPS if m.name == number.quantity)
    accuracy, chance = score.top(measure), one.chance(measure)
    if accuracy is None or chance is None:
        return None
    return Beside(
        number,
        f"{number.quantity}, {one.data}",
        score.model,
        100 * accuracy.value,
        percents(accuracy.interval),
        n=one.images,
        counted="images",
        seeds=score.seeds,
        note=f"{one.classes} classes: guessing gives {100 * chance:.3g} %",
    )


def uncertainty_rows(exhibit: UncertaintyExhibit, numbers: Sequence[PaperNumber]) -> list[Beside]:
    """What the paper shows by example, as rank correlation and area under the ROC curve.

    It says one thing of several figures: once is enough.
    """
    rows: list[Beside] = []
    for number in once(numbers, lambda n: n.quantity):
        if number.quantity == "hard tokens end high":
            found = [_hard(row, number) for row in exhibit.rows]
        elif number.quantity == "random text ends higher":
            found = [_random(row, number) for row in exhibit.rows]
        else:
            continue
        rows += or_absent(number, number.quantity, found, NOT_MEASURED)
    return rows


def _hard(row: UncertaintyRow, number: PaperNumber) -> Beside:
    note = f"rank correlation of final energy and loss on {row.data}; 0 is no relation"
    return _estimate(row, number, row.correlation.value, row.correlation.interval, row.kept, note)


def _random(row: UncertaintyRow, number: PaperNumber) -> Beside:
    found = next((c.auroc for c in row.contents if c.content == _RANDOM), None)
    value, interval = (None, None) if found is None else (found.value, found.interval)
    note = f"chance that a random input's final energy is higher, on {row.data}; 0.5 is none"
    return _estimate(row, number, value, interval, row.n, note)


def _estimate(
    row: UncertaintyRow,
    number: PaperNumber,
    value: float | None,
    interval: tuple[float, float] | None,
    n: int,
    note: str,
) -> Beside:
    said = "" if value is not None else "not finite"
    unit = "tokens" if row.unit == "nats/token" else "frames"
    return Beside(
        number,
        number.quantity.replace("tokens", unit),
        row.model,
        value,
        interval,
        said=said,
        n=n,
        counted=unit,
        seeds=row.seeds,
        note=note,
    )
