"""One number of the paper and its counterpart here, and how the two settings differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.analysis.paper.numbers import PaperNumber, PaperSetting
from harness.analysis.set_names import short_names
from harness.data.names import is_source
from harness.planning.planned import PlannedRun
from harness.planning.spec import NextTokenTask
from harness.quantities import si

Interval = tuple[float, float]
Span = tuple[float, float]

#: What stands between the parts of a data set's name: `hub:owner/name:config#field`.
_BETWEEN_PARTS = re.compile(r"[/:#@]")
#: Sizes and tokens this close are the same.
_ALIKE = 0.1


@dataclass(frozen=True)
class Beside:
    """The paper's number and ours, in the paper's unit.

    `said` is ours in words where it is no number; `model` is empty and `note` says why where we
    have none. `n` counts `counted`: tokens, images, sets. `derived` says that the paper's number is
    worked out from those it gives.
    """

    number: PaperNumber
    quantity: str
    model: str = ""
    value: float | None = None
    interval: Interval | None = None
    said: str = ""
    n: int | None = None
    counted: str = "tokens"
    seeds: int | None = None
    note: str = ""
    derived: bool = False

    @property
    def measured(self) -> bool:
        """There is something of ours."""
        return self.value is not None or bool(self.said)


def absent_row(number: PaperNumber, quantity: str, reason: str) -> Beside:
    """A number of the paper without a counterpart here."""
    return Beside(number, quantity, note=reason)


def or_absent(
    number: PaperNumber, quantity: str, found: Sequence[Beside], why: str
) -> list[Beside]:
    """The counterparts, or one row that says why there is none."""
    return list(found) or [absent_row(number, quantity, why)]


def once(numbers: Sequence[PaperNumber], key: Callable[[PaperNumber], str]) -> list[PaperNumber]:
    """The first of those with one key."""
    found: dict[str, PaperNumber] = {}
    for number in numbers:
        found.setdefault(key(number), number)
    return list(found.values())


NOT_MEASURED = "not measured yet"


def shown(number: PaperNumber) -> str:
    """`+35.98 %`, `≈ 44.8`, `≈ 4 to 8 %`; a statement in its own words."""
    if number.value is None:
        return number.note.partition(";")[0]
    signed = number.unit == "%" and number.quantity not in ("top-1", "top-5")
    text = _written(number, signed=signed)
    if number.high is not None:
        text += f" to {number.high:g}"
    unit = f" {number.unit}" if number.unit else ""
    return ("≈ " if number.approximate else "") + text + unit


def _written(number: PaperNumber, *, signed: bool) -> str:
    assert number.value is not None
    if number.unit in ("tokens", "parameters"):
        return si(number.value).strip()
    text = number.written or f"{number.value:g}"
    sign = "+" if signed and number.value > 0 and number.high is None else ""
    return sign + text.replace("-", "−")


# --- settings --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """Non-embedding parameters, (depth, width) and training tokens of runs, and what they read.

    `tokens` are None where there is no text or seconds decide.
    """

    parameters: Span | None
    models: frozenset[tuple[int, int]]
    tokens: Span | None
    data: tuple[str, ...]
    tokenizers: tuple[str, ...]

    @property
    def words(self) -> str:
        """`14.3 k to 57.3 k non-embedding parameters, 461 k training tokens, on builtin/docs`."""
        parts = [
            f"{_range(self.parameters)} non-embedding parameters" if self.parameters else "",
            f"{_range(self.tokens)} training tokens" if self.tokens else "",
            f"trained on {', '.join(short_names(self.data).values())}",
        ]
        return ", ".join(filter(None, parts))


def scale_of(runs: Iterable[PlannedRun]) -> Scale:
    """What runs train, by the adapters' formulas."""
    one_each = {(run.setting, run.spec.budget.seconds): run for run in runs}.values()
    costs = [run.cost for run in one_each]
    shapes = [(run.spec.config.get("depth"), run.spec.config.get("width")) for run in one_each]
    tasks = [run.spec.task for run in one_each]
    return Scale(
        parameters=_ends([cost.non_embedding for cost in costs]),
        models=frozenset((int(depth), int(width)) for depth, width in shapes if depth and width),
        tokens=_ends([cost.tokens for cost in costs if cost.tokens is not None]),
        data=tuple(dict.fromkeys(task.data for task in tasks)),
        tokenizers=tuple(dict.fromkeys(t.tokenizer for t in tasks if isinstance(t, NextTokenTask))),
    )


def differences(scale: Scale, setting: PaperSetting | None) -> str:
    """`yes`, `no: size, data differ`, or `not known`, with what is not known of the paper."""
    if setting is None:
        return "the paper's setting is not known"
    compared = {
        "size": scale.models == set(setting.models) if setting.models else None,
        "training tokens": _same(scale.tokens, setting.tokens) if scale.tokenizers else True,
        "tokenizer": set(scale.tokenizers) == {setting.tokenizer} if setting.tokenizer else True,
        "data": _same_data(setting.data, scale.data),
    }
    other = [what for what, same in compared.items() if same is False]
    unknown = [what for what, same in compared.items() if same is None]
    said = f" ({', '.join(unknown)}: not said)" if unknown else ""
    if other:
        several = len(other) > 1 or other == ["training tokens"]
        return f"no: {', '.join(other)} differ" + ("" if several else "s") + said
    return f"not known{said}" if unknown else "yes"


def _same(ours: Span | None, papers: Span | None) -> bool | None:
    if ours is None or papers is None:
        return None
    return all(abs(a - b) <= _ALIKE * b for a, b in zip(ours, papers, strict=True))


def _same_data(papers: str, ours: Sequence[str]) -> bool | None:
    """What is embedded here was made for this project, and is nothing that the paper has."""
    if papers:
        return _like(papers, ours)
    return None if all(map(is_source, ours)) else False


def _like(papers: str, ours: Iterable[str]) -> bool:
    """The paper's set is one part of each of our names, whatever its spelling."""
    return all(
        _letters(papers) in map(_letters, _BETWEEN_PARTS.split(name.partition("?")[0]))
        for name in ours
    )


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def _ends(values: Sequence[int]) -> Span | None:
    return (min(values), max(values)) if values else None


def _range(span: Span) -> str:
    low, high = (si(end).strip() for end in span)
    return low if low == high else f"{low} to {high}"
