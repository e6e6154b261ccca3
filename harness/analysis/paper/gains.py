"""The paper's gains from thinking beside ours: per set, and without each regularizer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from harness.analysis.exhibits.thinking import ThinkingExhibit, ThinkingRow
from harness.analysis.exhibits.thinking_ablation import (
    AblationRow,
    ThinkingAblationExhibit,
    Way,
)
from harness.analysis.paper.beside import (
    NOT_MEASURED,
    Beside,
    Interval,
    absent_row,
    or_absent,
    shown,
)
from harness.analysis.paper.numbers import PaperNumber
from harness.analysis.tables.trends import model_words, setting_words

GAIN = "perplexity gain"
THINKS, FLAT = "ebt", "transformer++"
#: Samples that the paper's figure has the best of.
BEST_OF = 10
#: How many times the trained steps "longer" is, as the paper's NFE of 6 is to 3.
LONGER = 2
_WAYS: dict[str, Way] = {"longer": "longer", "longer and verified": "verify"}
_FULL = "full"
#: What an adapter's label calls the regularizer that it lacks, after one of `_WITHOUT`.
_LACKS = {
    "no random alpha": "alpha",
    "no random steps": "steps",
    "no Langevin noise": "langevin",
    "no replay": "replay",
}
_WITHOUT = {"no", "without"}


def papers_gains(numbers: Sequence[PaperNumber]) -> list[tuple[PaperNumber, bool]]:
    """Gains over EBT's own trained thinking, and whether each is worked out from perplexities."""
    by_exhibit: dict[str, list[PaperNumber]] = {}
    for number in numbers:
        if number.model == THINKS and number.setting:
            by_exhibit.setdefault(number.exhibit, []).append(number)
    return [gain for own in by_exhibit.values() for gain in _of_exhibit(own)]


def _of_exhibit(own: Sequence[PaperNumber]) -> list[tuple[PaperNumber, bool]]:
    """Perplexities of two exhibits of the paper are of other sets, and not compared."""
    trained = next((n for n in own if n.quantity == "perplexity" and n.setting == "trained"), None)
    stated = {n.setting: n for n in own if n.quantity == GAIN}
    found = []
    for number in (n for n in own if n.quantity == "perplexity"):
        if number.setting in stated:
            found.append((stated[number.setting], False))
        elif number is not trained and trained is not None:
            gain = _gain(number, trained)
            found += [] if gain is None else [(gain, True)]
    return found


def _gain(number: PaperNumber, trained: PaperNumber) -> PaperNumber | None:
    if number.value is None or not trained.value:
        return None
    value = 100 * (1 - number.value / trained.value)
    note = f"from {shown(trained)} and {shown(number)}; {number.note}".removesuffix("; ")
    written = f"{value:.1f}"
    return replace(number, note=note, quantity=GAIN, value=value, unit="%", written=written)


# --- thinking --------------------------------------------------------------------------------


def thinking_rows(exhibit: ThinkingExhibit, numbers: Sequence[PaperNumber]) -> list[Beside]:
    """Gains over the trained thinking on every set out of distribution, and the flat line."""
    rows: list[Beside] = []
    for number, derived in papers_gains(numbers):
        quantity = f"gain from {number.setting}".replace("from longer", "from thinking longer")
        why = f"no setting of {'more steps' if number.setting == 'longer' else 'several samples'}"
        found = [
            _gain_row(row, number, quantity, derived=derived)
            for own in _models(exhibit)
            if (row := _nearest(own, number.setting)) is not None
        ]
        rows += or_absent(number, quantity, found, why if exhibit.rows else NOT_MEASURED)
    for number in numbers:
        if (number.model, number.quantity, number.setting) == (FLAT, "perplexity", "trained"):
            rows.append(_flat(exhibit, number))
    return rows


def _models(exhibit: ThinkingExhibit) -> list[list[ThinkingRow]]:
    """The rows of each thinking model on each set out of distribution."""
    home = {s.data for s in exhibit.shifts if s.perplexity_ratio == 1}
    groups: dict[tuple[str, str, str], list[ThinkingRow]] = {}
    for row in exhibit.rows:
        if row.family == THINKS and not row.variant:
            groups.setdefault((row.adapter, row.label, row.data), []).append(row)
    away = {key: own for key, own in groups.items() if key[2] not in home}
    return list((away or groups).values())


def _nearest(rows: Sequence[ThinkingRow], setting: str) -> ThinkingRow | None:
    """The setting most like the paper's; chosen by what it is, never by what it gains."""
    trained = next((row for row in rows if row.trained), None)
    if trained is None or trained.steps is None:
        return None
    steps, samples = trained.steps, trained.samples or 1
    if setting == "longer":
        longer = [r for r in rows if r.samples == samples and (r.steps or 0) > steps]
        return min(longer, key=lambda r: abs((r.steps or 0) - LONGER * steps), default=None)
    several = [r for r in rows if r.steps == steps and (r.samples or 0) > samples]
    return min(several, key=lambda r: abs((r.samples or 0) - BEST_OF), default=None)


def _gain_row(row: ThinkingRow, number: PaperNumber, quantity: str, *, derived: bool) -> Beside:
    other = number.setting != "longer" and row.samples != BEST_OF
    said = (
        f"{setting_words(row)} at NFE {row.nfe:g}",
        f"best of {row.samples} here" if other else "",
        "each set for itself, not their mean",
    )
    return Beside(
        number,
        f"{quantity}, {row.data}",
        model_words(row),
        None if row.perplexity_gain is None else 100 * row.perplexity_gain,
        percents(row.perplexity_interval),
        said="" if row.perplexity_gain is not None else "beyond a float",
        n=row.n,
        seeds=row.seeds,
        note="; ".join(filter(None, said)),
        derived=derived,
    )


def _flat(exhibit: ThinkingExhibit, number: PaperNumber) -> Beside:
    quantity = f"gain of {FLAT}"
    stated = replace(
        number, value=None, high=None, written="", unit="", note="T++ is flat: it cannot think"
    )
    own = [row for row in exhibit.rows if row.family == FLAT]
    if not own:
        why = f"no {FLAT} was evaluated" if exhibit.rows else NOT_MEASURED
        return absent_row(stated, quantity, why)
    return Beside(
        stated,
        quantity,
        ", ".join(dict.fromkeys(map(model_words, own))),
        said="one pass, cannot think",
        n=sum(row.n for row in own),
        seeds=min(row.seeds for row in own),
    )


def percents(interval: Interval | None) -> Interval | None:
    return None if interval is None else (100 * interval[0], 100 * interval[1])


# --- ablation --------------------------------------------------------------------------------


def ablation_rows(exhibit: ThinkingAblationExhibit, numbers: Sequence[PaperNumber]) -> list[Beside]:
    """Gains of the model that lacks nothing, and of those that lack a regularizer each."""
    rows: list[Beside] = []
    for number in (n for n in numbers if n.quantity == GAIN and n.setting in _WAYS):
        if number.model != _FULL and number.model not in _LACKS:
            continue
        way = _WAYS[number.setting]
        quantity = f"gain of {number.model}, {number.setting}"
        found = [_ablation_row(row, way, number, quantity) for row in _like(exhibit, number)]
        why = "no such model" if exhibit.rows else NOT_MEASURED
        rows += or_absent(number, quantity, found, why)
    return rows


def _like(exhibit: ThinkingAblationExhibit, number: PaperNumber) -> list[AblationRow]:
    """The rows of that model, on the paper's set where that is among ours."""
    if number.model == _FULL:
        own = [row for row in exhibit.rows if row.full]
    else:
        lacks = _LACKS[number.model]
        own = [row for row in exhibit.rows if not row.full and lacking(row.adapter) == {lacks}]
    same = [row for row in own if number.data in row.data.lower()]
    return same or own


def lacking(label: str) -> set[str]:
    """The regularizers that an adapter lacks by its label: `without Langevin noise`."""
    words = set(re.findall(r"[a-z]+", label.lower()))
    return words & set(_LACKS.values()) if words & _WITHOUT else set()


def _ablation_row(row: AblationRow, way: Way, number: PaperNumber, quantity: str) -> Beside:
    own = row.ways[way]
    return Beside(
        number,
        f"{quantity}, {row.data}",
        model_words(own),
        None if own.perplexity_gain is None else 100 * own.perplexity_gain,
        percents(own.perplexity_interval),
        said="" if own.perplexity_gain is not None else "beyond a float",
        n=own.n,
        seeds=own.seeds,
        note=setting_words(own),
    )
