"""What each field of a record may hold, and the one error that names what holds something else."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from harness.errors import HarnessError

_OTHER_VERSION = "it was written by another version; remove the folder to redo it"
_MOST_SHOWN = 80


@dataclass(frozen=True)
class Kind:
    """The JSON types of a field's values, and the bounds of those that are numbers.

    `within` says the same of an object's own fields: of some by name, or of all.
    """

    words: str
    types: frozenset[type]
    low: float = -sys.float_info.max
    high: float = sys.float_info.max
    within: Mapping[str, Kind] | Kind | None = None

    @property
    def or_null(self) -> Kind:
        return replace(self, words=f"{self.words} or null", types=self.types | {type(None)})

    def fault(self, values: Sequence[Any]) -> int | None:
        """The place of the first value that is not of this kind; None where all are."""
        found = set(map(type, values))
        if found <= self.types:
            if not found & _NUMBERS:
                return None
            numbers = [value for value in values if value is not None]
            if self.low <= min(numbers) and max(numbers) <= self.high:
                return None
        return next((i for i, value in enumerate(values) if not self._holds(value)), None)

    def _holds(self, value: Any) -> bool:
        within = type(value) not in _NUMBERS or self.low <= value <= self.high
        return type(value) in self.types and within


_NUMBERS = {int, float}
_INT64 = 2**63 - 1

TEXT = Kind("a text", frozenset({str}))
TRUTH = Kind("true or false", frozenset({bool}))
NUMBER = Kind("a finite number", frozenset({int, float}))
AMOUNT = Kind("a finite number from 0", frozenset({int, float}), low=0)
WHOLE = Kind("a whole number", frozenset({int}), low=-_INT64, high=_INT64)
COUNT = Kind("a whole number from 0", frozenset({int}), low=0, high=_INT64)
OBJECT = Kind("an object", frozenset({dict}))
_AMOUNT_OR_NULL = AMOUNT.or_null
#: The one measurement of which it is known that it is never below 0.
_LOSS = "loss"
_POSITIVE = replace(AMOUNT, words="a finite number above 0", low=5e-324)
#: Unix seconds; what is later has no date.
_TIME = replace(AMOUNT, words="a time in Unix seconds", high=253402300799)

Kinds = Mapping[str, Kind]

#: Fields of a measurement that every one has.
MEASURED: Kinds = {
    "name": TEXT,
    "value": NUMBER.or_null,
    "n": COUNT,
    "unit": TEXT,
    "step": COUNT,
    "tokens_seen": COUNT.or_null,
    "train_seed": COUNT,
    "noise_seed": WHOLE.or_null,
    "device": TEXT,
}
#: Those that it may lack.
ALSO_MEASURED: Kinds = {"higher_is_better": TRUTH.or_null, "tags": OBJECT, "cost": OBJECT}
TRAINED: Kinds = {
    "steps": COUNT,
    "rows": COUNT,
    "tokens": COUNT.or_null,
    "seconds": AMOUNT,
    "flops": _POSITIVE,
    "flops_vocabulary": AMOUNT.or_null,
    "device": TEXT,
    "processes": COUNT,
    "peak_memory_bytes": COUNT.or_null,
    "weights_sha256": TEXT.or_null,
}
_GIT: Kinds = {"commit": TEXT.or_null, "changed": TRUTH.or_null}
ORIGIN: Kinds = {
    "source_digest": TEXT,
    "git": replace(OBJECT, within=_GIT).or_null,
    "python": TEXT,
    "packages": OBJECT,
    "device": TEXT,
    "data": replace(OBJECT, within=TEXT),
    "command": Kind("a list", frozenset({list})),
    "processes": COUNT,
}
DONE: Kinds = {
    "finished": _TIME,
    "seconds": AMOUNT,
    "provenance": replace(OBJECT, within=ORIGIN),
}
STATUS: Kinds = {
    "reason": TEXT.or_null,
    "step": COUNT.or_null,
    "total_steps": COUNT.or_null,
    "since": _TIME.or_null,
}


def check_document(document: Mapping[str, Any], kinds: Kinds, place: str, under: str = "") -> None:
    """HarnessError for the first field that holds something else; it may lack any."""
    for name, kind in kinds.items():
        if name not in document:
            continue
        value = document[name]
        if kind.fault([value]) is not None:
            raise refused(f"{under}{name}", kind, value, place)
        if kind.within is not None and value is not None:
            within = kind.within
            inner = dict.fromkeys(value, within) if isinstance(within, Kind) else within
            check_document(value, inner, place, f"{under}{name}.")


def check_lines(lines: Sequence[Mapping[str, Any]], place: str) -> None:
    """HarnessError for the first measurement with a field that is missing or of another kind, and
    where two are of one name, setting and noise seed.
    """
    for name, kind in MEASURED.items():
        try:
            values = [line[name] for line in lines]
        except KeyError as error:
            raise HarnessError(
                f"the record has no {name!r}", where=place, hint=_OTHER_VERSION
            ) from error
        _check_values(name, kind, values, place)
    losses = [line["value"] if line["name"] == _LOSS else None for line in lines]
    _check_values("value", _AMOUNT_OR_NULL, losses, place)
    for name, kind in ALSO_MEASURED.items():
        empty: Any = {} if kind is OBJECT else None
        _check_values(name, kind, [line.get(name, empty) for line in lines], place)
    costs = [line.get("cost", {}) for line in lines]
    for name in dict.fromkeys(chain.from_iterable(costs)):
        _check_values(f"cost.{name}", _AMOUNT_OR_NULL, [cost.get(name) for cost in costs], place)
    _check_distinct(lines, place)


def _check_values(name: str, kind: Kind, values: Sequence[Any], place: str) -> None:
    """The values of one field, line by line."""
    if (at := kind.fault(values)) is not None:
        raise refused(name, kind, values[at], f"{place}:{at + 1}")


def _check_distinct(lines: Sequence[Mapping[str, Any]], place: str) -> None:
    seen: dict[Any, int] = {}
    for number, line in enumerate(lines, start=1):
        tags = line.get("tags", {})
        try:
            setting: Any = frozenset(tags.items())
        except TypeError:  # a list among them
            setting = json.dumps(tags, sort_keys=True)
        first = seen.setdefault((line["name"], line["noise_seed"], setting), number)
        if first != number:
            raise HarnessError(
                f"the same measurement as in line {first}: name, tags and noise seed are equal",
                where=f"{place}:{number}",
                given=str(line["name"]),
                hint=remedy(place),
            )


def check_spec(found: Mapping[str, Any], spec: Mapping[str, Any], place: Path) -> None:
    """HarnessError where a file holds another spec than its folder is named after."""
    if found == spec:
        return
    name, given, expected = _difference(found, spec)
    raise HarnessError(
        f"the record is of another {name!r} than its folder is named after, which is {expected}",
        where=str(place),
        given=given,
        hint=remedy(place),
    )


def _difference(found: Mapping[str, Any], spec: Mapping[str, Any]) -> tuple[str, str, str]:
    """The dotted name of the first field that differs, and what the two hold of it."""
    name = next(n for n in (*spec, *found) if found.get(n, ...) != spec.get(n, ...))
    given, expected = found.get(name, "nothing"), spec.get(name, "nothing")
    if isinstance(given, Mapping) and isinstance(expected, Mapping):
        inner, *values = _difference(given, expected)
        return f"{name}.{inner}", values[0], values[1]
    return name, json.dumps(given), json.dumps(expected)


def check_seed(lines: Iterable[Mapping[str, Any]], seed: int, place: str) -> None:
    """HarnessError where a measurement is of a run with another seed."""
    for number, line in enumerate(lines, start=1):
        if line["train_seed"] != seed:
            raise HarnessError(
                f"'train_seed' is of another run than its folder is named after, which has {seed}",
                where=f"{place}:{number}",
                given=str(line["train_seed"]),
                hint=remedy(place),
            )


def remedy(place: str | Path) -> str | None:
    """What to do about a damaged file of a record; None for other files."""
    parts = Path(place).parts
    kind = next((part for part in reversed(parts) if part in ("published", "runs")), None)
    if kind is None:
        return None
    if kind == "published":
        return "restore the run's folder as it was published, or remove it and publish it again"
    if "evals" in parts:
        return "remove the evaluation's folder to redo it"
    return "remove the run folder to redo the run"


def refused(name: str, kind: Kind, value: Any, place: str) -> HarnessError:
    """The error for a field that holds what it may not."""
    shown = json.dumps(value)
    if len(shown) > _MOST_SHOWN:
        shown = shown[:_MOST_SHOWN] + "…"
    problem = f"{name!r} must be {kind.words}"
    return HarnessError(problem, where=place, given=shown, hint=remedy(place))
