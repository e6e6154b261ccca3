"""pydantic's findings as one message: file and line, dotted path, what is allowed, nearest name."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from harness.errors import HarnessError, nearest
from harness.planning.located import Key, Located

Model = TypeVar("Model", bound=BaseModel)
Parsed = TypeVar("Parsed")


def validate(model: type[Model], given: Located) -> Model:
    """Build `model` from a located tree; the first mistake is raised as a HarnessError."""
    return checked(model.model_validate, model, given)


def checked(parse: Callable[[Any], Parsed], annotation: Any, given: Located) -> Parsed:
    """`parse` the tree as `annotation`; the first mistake is raised as a HarnessError."""
    try:
        parsed = parse(given.tree)
    except ValidationError as error:
        raise _explain(annotation, given, error) from error
    if isinstance(parsed, BaseModel) and _holds_bool(given.tree):
        _refuse_bool(given, given.tree, parsed.model_dump(), ())
    return parsed


def where_mentioned(text: str, model: Any, given: Located, key: Key = ()) -> str:
    """The places of the settings of `model` (at `key`) that a message names, else of `key`."""
    fields = getattr(_bare(model), "model_fields", {})
    named = {name: re.search(rf"\b{name}\b", text) for name in fields}
    starts = {name: found.start() for name, found in named.items() if found is not None}
    written = [
        name for name in sorted(starts, key=starts.__getitem__) if (*key, name) in given.places
    ]
    return ", ".join(given.where((*key, name)) for name in written) or given.where(key)


# --- from pydantic's findings to one ---------------------------------------------------------


@dataclass(frozen=True)
class _Finding:
    """A mistake at `key`; `model` is what holds it, `unions` the keys with several types."""

    error: dict[str, Any]
    key: Key
    model: type[BaseModel] | None
    subject: Any
    unions: frozenset[Key]

    @property
    def type(self) -> str:
        return str(self.error["type"])


def _explain(annotation: Any, given: Located, error: ValidationError) -> HarnessError:
    findings = _relevant([_located(annotation, dict(e)) for e in error.errors()])
    # An unknown key explains much else (a misspelling), so it is told first.
    first = next((f for f in findings if f.type == "extra_forbidden"), findings[0])
    alternatives = [f for f in findings if f.key == first.key and f.key in f.unions]
    if len(alternatives) > 1:
        kinds = dict.fromkeys(_alternative(f) for f in alternatives)
        problem, allowed = "must be " + " or ".join(kinds), None
    else:
        problem, allowed = _describe(first)
    if first.type == "value_error":
        where = where_mentioned(problem, first.subject, given, first.key)
    else:
        where = given.where(first.key)
    more = len({f.key for f in findings}) - 1
    return HarnessError(
        problem,
        where=where,
        allowed=allowed,
        given=_given(first),
        hint=f"({more} more mistake{'s' if more > 1 else ''} here)" if more else None,
    )


def _relevant(findings: list[_Finding]) -> list[_Finding]:
    """Without what other findings explain: types of a union not meant, keys missing by a typo."""
    deeper = {u for f in findings for u in f.unions if len(f.key) > len(u)}
    kept = [f for f in findings if not (f.key in f.unions and f.key in deeper)]
    misspelt = {
        (*f.key[:-1], nearest(str(f.key[-1]), f.model.model_fields))
        for f in kept
        if f.type == "extra_forbidden" and f.model is not None
    }
    return [f for f in kept if not (f.type == "missing" and f.key in misspelt)]


def _located(annotation: Any, error: dict[str, Any]) -> _Finding:
    """Follow pydantic's `loc`, which names union members and tags between the keys."""
    key: list[str | int] = []
    model: type[BaseModel] | None = None
    unions: set[Key] = set()
    for part in error["loc"]:
        annotation = _bare(annotation)
        origin = typing.get_origin(annotation)
        if origin in (typing.Union, types.UnionType):
            member = _member(annotation, str(part))
            if member is None or not _is_tag(member, str(part)):
                unions.add(tuple(key))
            annotation = member
            continue
        key.append(part)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
            field = model.model_fields.get(str(part))
            annotation = None if field is None else field.annotation
        elif origin is not None:
            arguments = typing.get_args(annotation)
            annotation = arguments[-1 if issubclass(origin, dict) else 0]
        else:
            annotation = None
    if error["type"].startswith("union_tag"):
        key.append("kind")
    return _Finding(error, tuple(key), model, annotation, frozenset(unions))


def _bare(annotation: Any) -> Any:
    """Without `Annotated` and without None; a union of several types stays one."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
            continue
        if origin in (typing.Union, types.UnionType):
            members = [a for a in typing.get_args(annotation) if a is not type(None)]
            if len(members) == 1:
                annotation = members[0]
                continue
        return annotation


def _member(union: Any, label: str) -> Any:
    """The member that pydantic's loc calls `label`: a tag, a class name, or `list[...]`."""
    for candidate in map(_bare, typing.get_args(union)):
        name = getattr(typing.get_origin(candidate) or candidate, "__name__", "")
        if _is_tag(candidate, label) or label == name or label.startswith(f"{name.lower()}["):
            return candidate
    return None


def _is_tag(candidate: Any, label: str) -> bool:
    kind = getattr(candidate, "model_fields", {}).get("kind")
    return kind is not None and label in typing.get_args(kind.annotation)


# --- in words --------------------------------------------------------------------------------

_WORDS = {
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must not be empty",
    "string_pattern_mismatch": "must match {pattern}",
    "union_tag_not_found": "the key 'kind' is missing",
}


def _describe(finding: _Finding) -> tuple[str, list[str] | None]:
    """What is wrong, and the values that would be right."""
    context = finding.error.get("ctx") or {}
    name = str(finding.key[-1]) if finding.key else ""
    match finding.type:
        case "extra_forbidden":
            fields = getattr(finding.model, "model_fields", None)
            return "unknown key", None if fields is None else list(fields)
        case "missing":
            return f"the key {name!r} is missing", None
        case "literal_error":
            return "must be one of the allowed values", _quoted(context["expected"])
        case "union_tag_invalid":
            return "unknown kind", _quoted(context["expected_tags"])
        case "value_error":
            return str(context["error"]), None
    if finding.type in _WORDS:
        return _WORDS[finding.type].format(**context), None
    return str(finding.error["msg"]), None


def _alternative(finding: _Finding) -> str:
    problem, allowed = _describe(finding)
    return ", ".join(map(repr, allowed)) if allowed else problem.removeprefix("must be ")


def _given(finding: _Finding) -> str | None:
    match finding.type:
        case "extra_forbidden":
            return str(finding.key[-1])
        case "missing" | "value_error" | "union_tag_not_found":
            return None
        case "union_tag_invalid":
            return str(finding.error["ctx"]["tag"])
    return as_written(finding.error["input"])


def as_written(value: Any) -> str:
    """A value about as YAML writes it, shortened."""
    text = {None: "null", True: "true", False: "false"}[value] if _is_word(value) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _quoted(expected: str) -> list[str]:
    return re.findall(r"'([^']*)'", expected)


# --- true and false are no numbers -----------------------------------------------------------


def _children(tree: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(tree, dict):
        yield from tree.items()
    elif isinstance(tree, list | tuple):
        yield from enumerate(tree)


def _holds_bool(tree: Any) -> bool:
    return isinstance(tree, bool) or any(_holds_bool(child) for _, child in _children(tree))


def _refuse_bool(given: Located, tree: Any, parsed: Any, key: Key) -> None:
    """pydantic reads true as 1; a suite that says so is mistaken."""
    if isinstance(tree, bool) and isinstance(parsed, int | float) and not isinstance(parsed, bool):
        raise HarnessError("must be a number", where=given.where(key), given=as_written(tree))
    found = dict(_children(parsed))
    for name, child in _children(tree):
        if name in found:
            _refuse_bool(given, child, found[name], (*key, name))
