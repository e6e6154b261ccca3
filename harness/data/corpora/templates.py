"""Texts made of a record's fields: `Question: {question}\\nAnswer: ` with `{answers.text[0]}`.

`{inputs% Answer:}` is the field without that ending, where it has it, as in a shell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import HarnessError

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")
_FIELD = re.compile(r"(?P<path>[\w-]+(?:\.[\w-]+|\[[\w-]+\])*)(?:%(?P<ending>.+))?", re.DOTALL)
_PART = re.compile(r"\.?([\w-]+)|\[([\w-]+)\]")
_HINT = (
    "fields are written {name}, {name.inner} or {name[0]}, without an ending {name%ending}, "
    "a brace itself {{ or }}"
)


@dataclass(frozen=True)
class _Place:
    """What stands in square brackets: a place in a list, or the field that holds one."""

    text: str


_Path = tuple[str | _Place, ...]


@dataclass(frozen=True)
class _Field:
    """A place in a record, and what its text loses where it ends so."""

    path: _Path
    ending: str

    @classmethod
    def parse(cls, text: str) -> _Field | None:
        found = _FIELD.fullmatch(text)
        if found is None:
            return None
        parts = (m.groups() for m in _PART.finditer(found["path"]))
        path = tuple(n if n is not None else _Place(b or "") for n, b in parts)
        return cls(path, found["ending"] or "")

    def text(self, record: Mapping[str, Any]) -> str | None:
        value = _at(record, self.path)
        if value is None:
            return None
        if not isinstance(value, str | int | float):
            kind = "a mapping" if isinstance(value, Mapping) else "a list"
            raise HarnessError(f"the field holds {kind}, not a text", given=_written(self.path))
        return str(value).removesuffix(self.ending)


@dataclass(frozen=True)
class Template:
    """Literal text and fields of a record, in order. Nothing of a record is ever called."""

    text: str
    pieces: tuple[str | _Field, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """HarnessError for braces that do not match and for what is no path."""
        pieces: list[str | _Field] = []
        for found in _PIECE.finditer(text):
            piece, inner = found.group(0), found.group(1)
            if piece in ("{", "}"):
                raise HarnessError("a brace without its other half", given=text, hint=_HINT)
            if inner is None:
                pieces.append({"{{": "{", "}}": "}"}.get(piece, piece))
                continue
            field = _Field.parse(inner)
            if field is None:
                raise HarnessError("not the name of a field", given=piece, hint=_HINT)
            pieces.append(field)
        return cls(text, tuple(pieces))

    def render(self, record: Mapping[str, Any]) -> str | None:
        """The text of `record`; None where a field is null or a place lies beyond its list.

        HarnessError where there is no such field, or it holds no text or number.
        """
        shown = []
        for piece in self.pieces:
            text = piece if isinstance(piece, str) else piece.text(record)
            if text is None:
                return None
            shown.append(text)
        return "".join(shown)


def _at(record: Mapping[str, Any], path: _Path) -> Any:
    value: Any = record
    for part in path:
        if isinstance(part, _Place):
            value = _item(value, part, record, path)
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
        else:
            names = sorted(map(str, value)) if isinstance(value, Mapping) else []
            raise HarnessError(
                f"no such field{'' if value is record else f' in {_written(path)}'}",
                given=part,
                allowed=names,
            )
        if value is None:
            return None
    return value


def _item(value: Any, place: _Place, record: Mapping[str, Any], path: _Path) -> Any:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise HarnessError("only a list has places", given=_written(path))
    number = int(place.text) if place.text.isdecimal() else _at(record, (place.text,))
    if number is None:
        return None
    if not isinstance(number, int) or number < 0:
        raise HarnessError(f"{place.text} holds no place in a list", given=_written(path))
    return value[number] if number < len(value) else None


def _written(path: _Path) -> str:
    first, *rest = (f"[{p.text}]" if isinstance(p, _Place) else f".{p}" for p in path)
    return first.removeprefix(".") + "".join(rest)
