"""pydantic's findings as one message: file and line, dotted path, what is allowed, nearest name."""

from __future__ import annotations

import re
import typing
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from harness.errors import HarnessError
from harness.planning.located import Key, Located

Model = TypeVar("Model", bound=BaseModel)


def validate(
    model: type[Model], given: Located, *, prefix: Key = (), hint: str | None = None
) -> Model:
    """Build `model` from a located tree; the first mistake is raised as a HarnessError.

    `prefix` is prepended to the dotted path that the message names.
    """
    try:
        return model.model_validate(given.tree)
    except ValidationError as error:
        raise _explain(model, given, prefix, error, hint) from error


def _explain(
    model: type[BaseModel], given: Located, prefix: Key, error: ValidationError, hint: str | None
) -> HarnessError:
    findings = error.errors()
    # An unknown key explains a missing one (a misspelling), so it is told first.
    first = next((f for f in findings if f["type"] == "extra_forbidden"), findings[0])
    key, owner = _walk(model, given.tree, first["loc"])
    where = f"{given.place(key)} {dotted((*prefix, *key))}".rstrip()
    problem, allowed, value = _describe(dict(first), owner)
    if len(findings) > 1:
        more = len(findings) - 1
        hint = f"{hint or ''} ({more} more mistake{'s' if more > 1 else ''} here)".strip()
    return HarnessError(problem, where=where, allowed=allowed, given=value, hint=hint)


def dotted(key: Key) -> str:
    """A path as people write it: `task.context`, `report[0].x`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _describe(
    finding: dict[str, Any], owner: type[BaseModel] | None
) -> tuple[str, list[str] | None, str | None]:
    kind, context = finding["type"], finding.get("ctx") or {}
    if kind == "extra_forbidden":
        fields = sorted(owner.model_fields) if owner else None
        return "unknown key", fields, str(finding["loc"][-1])
    if kind == "missing":
        return f"the key {str(finding['loc'][-1])!r} is missing", None, None
    if kind == "literal_error":
        return "not one of the allowed values", _quoted(context["expected"]), str(finding["input"])
    if kind == "union_tag_invalid":
        return "unknown kind", _quoted(context["expected_tags"]), str(context["tag"])
    if kind == "union_tag_not_found":
        return "the key 'kind' is missing", None, None
    if kind == "value_error":
        return str(context["error"]), None, None
    return finding["msg"], None, _short(finding["input"])


def _quoted(expected: str) -> list[str]:
    return re.findall(r"'([^']*)'", expected)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _walk(model: Any, tree: Any, loc: tuple[str | int, ...]) -> tuple[Key, Any]:
    """Follow pydantic's `loc` (which contains union tags) through data and types."""
    key: list[str | int] = []
    owner = model
    for part in loc:
        if isinstance(tree, dict) and (part in tree or part is loc[-1]):
            field = getattr(owner, "model_fields", {}).get(part)
            if field is None and part not in tree:
                owner = _member(owner, str(part)) or owner
                continue
            key.append(part)
            if field is not None and part in tree:
                owner = field.annotation
            tree = tree.get(part)
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            key.append(part)
            tree = tree[part]
            arguments = typing.get_args(owner)
            owner = arguments[0] if arguments else None
        else:
            owner = _member(owner, str(part)) or owner
    if owner is not None and not isinstance(owner, type):
        owner = next((m for m in _models(owner)), None)
    return tuple(key), owner


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for argument in typing.get_args(annotation) for m in _models(argument)]


def _member(annotation: Any, tag: str) -> type[BaseModel] | None:
    """The union member whose `kind` is `tag`."""
    for candidate in _models(annotation):
        kind = candidate.model_fields.get("kind")
        if kind is not None and tag in typing.get_args(kind.annotation):
            return candidate
    return None
