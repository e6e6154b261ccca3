"""YAML read with the place of every key, and merged in layers that keep those places."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from harness.errors import HarnessError

Key = tuple[str | int, ...]

_FLOAT = re.compile(r"^[-+]?(\d[\d_]*)?\.?\d+([eE][-+]?\d+)?$|^[-+]?\d[\d_]*\.([eE][-+]?\d+)?$")
_REPLACED_RESOLVERS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("bool", "float", "int", "timestamp")
)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers and booleans: `3e-3` is a float; `on`, `yes` and dates are strings."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED_RESOLVERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), list("tf"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?\d[\d_]*$"), list("-+0123456789")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
# PyYAML's own constructor reads `010` as octal, as YAML 1.1 did.
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))


class Place(NamedTuple):
    """Where something was written: a file and line, or a command-line option; and its path."""

    at: str
    path: Key = ()


@dataclass(frozen=True)
class Located:
    """A plain tree of dicts, lists and scalars, and where each path in it was written."""

    tree: Any
    places: Mapping[Key, Place]

    def place(self, key: Key = ()) -> Place:
        """Where `key` was written, or would stand in its nearest written ancestor."""
        for length in range(len(key), -1, -1):
            if key[:length] in self.places:
                written = self.places[key[:length]]
                return Place(written.at, (*written.path, *key[length:]))
        return Place("", key)

    def where(self, key: Key = ()) -> str:
        """`suite.yaml:12 experiments.text.base.task.context`, for messages."""
        place = self.place(key)
        return f"{place.at} {dotted(place.path)}".strip()

    def find(self, value: str) -> Key | None:
        """The path of the first text that is `value`."""
        return next((key for key in self.places if self._get(key) == value), None)

    def _get(self, key: Key) -> Any:
        tree = self.tree
        for part in key:
            tree = tree[part]
        return tree

    def at(self, *key: str | int) -> Located:
        """The subtree at `key`, its places re-rooted."""
        tree = self._get(key)
        depth = len(key)
        places = {k[depth:]: v for k, v in self.places.items() if k[:depth] == key}
        places.setdefault((), self.place(key))
        return Located(tree, places)


def dotted(key: Key) -> str:
    """A path as people write it: `task.context`, `report[0].x`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


# --- reading ---------------------------------------------------------------------------------


def read_yaml(path: Path) -> Located:
    """Read one YAML document; every mistake ends in a HarnessError with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise HarnessError("the file is not UTF-8 text", where=str(path)) from error
    except OSError as error:
        raise HarnessError(
            f"cannot read the file: {error.strerror or error}",
            where=str(path),
            hint="`harness ls suites` lists the suite files here",
        ) from error
    places: dict[Key, Place] = {}
    return Located(_parse(text, str(path), places), places)


def parse_value(text: str, option: str) -> Located:
    """The value of a command-line override, read as YAML."""
    places: dict[Key, Place] = {(): Place(option)}
    return Located(_parse(text, option, places, empty=True), places)


def _parse(text: str, source: str, places: dict[Key, Place], *, empty: bool = False) -> Any:
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                return _convert(loader, node, (), source, places)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _not_yaml(error, source) from error
    except RecursionError as error:
        raise HarnessError("not valid YAML: an alias refers to itself", where=source) from error
    if not empty:
        raise HarnessError("the file is empty", where=source)
    return None


def _convert(loader: _Loader, node: Any, key: Key, source: str, places: dict[Key, Place]) -> Any:
    places[key] = Place(_line(source, node), key)
    if isinstance(node, yaml.MappingNode):
        tree: dict[str, Any] = {}
        for key_node, value_node in node.value:
            name = _name(key_node, source)
            line = _line(source, key_node)
            if name in tree:
                raise HarnessError(f"the key {name!r} is given twice", where=line)
            tree[name] = _convert(loader, value_node, (*key, name), source, places)
            places[(*key, name)] = Place(line, (*key, name))
        return tree
    if isinstance(node, yaml.SequenceNode):
        return [
            _convert(loader, child, (*key, index), source, places)
            for index, child in enumerate(node.value)
        ]
    try:
        return loader.construct_object(node)
    except ValueError as error:
        raise HarnessError(
            f"not valid YAML: {error}", where=_line(source, node), given=str(node.value)[:60]
        ) from error


def _name(node: Any, source: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise HarnessError("a key must be plain text", where=_line(source, node))
    if node.tag == "tag:yaml.org,2002:merge":
        raise HarnessError(
            "the merge key '<<' is not read",
            where=_line(source, node),
            hint="put what is shared under `base`",
        )
    return str(node.value)


def _line(source: str, node: Any) -> str:
    return f"{source}:{node.start_mark.line + 1}" if not source.startswith("--") else source


def _not_yaml(error: yaml.YAMLError, source: str) -> HarnessError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    hint = "indent with spaces" if "'\\t'" in problem else None
    where = source if mark is None or source[:2] == "--" else f"{source}:{mark.line + 1}"
    return HarnessError(f"not valid YAML: {problem}", where=where, hint=hint)


# --- layers ----------------------------------------------------------------------------------


def undotted(layer: Located) -> Located:
    """Expand keys written with dots (`optimizer.lr: 1`) into nested mappings."""
    if not isinstance(layer.tree, dict):
        return layer
    tree: dict[str, Any] = {}
    places: dict[Key, Place] = {(): layer.place()}
    for name, value in layer.tree.items():
        parts = tuple(name.split("."))
        nested = value
        for part in reversed(parts[1:]):
            nested = {part: nested}
        _put(tree, {parts[0]: nested}, layer.where((name,)))
        for length in range(1, len(parts) + 1):
            places.setdefault(parts[:length], layer.place((name,)))
        places |= {(*parts, *k[1:]): v for k, v in layer.places.items() if k[:1] == (name,)}
    return Located(tree, places)


def _put(tree: dict[str, Any], addition: Mapping[str, Any], where: str) -> None:
    for name, value in addition.items():
        if name not in tree:
            tree[name] = value
        elif isinstance(tree[name], dict) and isinstance(value, dict):
            tree[name] = dict(tree[name])
            _put(tree[name], value, where)
        else:
            raise HarnessError(f"the key {name!r} is given twice", where=where)


#: Settings whose keys exclude each other: a later layer replaces the earlier one whole.
REPLACED = frozenset({("budget",)})
#: Ways to state the same thing: giving one drops the others from the layers below.
_SIZE_KEYS = frozenset({"depth", "width", "heads"})


def read_override(text: str, *, example: str) -> tuple[tuple[str, ...], Located]:
    """The path and the layer of one `--set`; HarnessError with an example where it is none."""
    path, equals, value = (part.strip() for part in text.partition("="))
    parts = tuple(path.split("."))
    if not equals or not all(parts):
        raise HarnessError(
            "an override is written path=value",
            where="--set",
            given=text,
            hint=f"for example --set {example}",
        )
    parsed = parse_value(value, "--set")
    places: dict[Key, Place] = {(): Place("--set")}
    places |= {(path, *k): Place("--set", (*parts, *k)) for k in parsed.places}
    return parts, undotted(Located({path: parsed.tree}, places))


def merge(below: Located, above: Located) -> Located:
    """Lay `above` over `below`: mappings merge, everything else is replaced."""
    tree, places = _merge(below.tree, above.tree, below.places, above.places, ())
    return Located(tree, places)


def _merge(
    below: Any, above: Any, lower: Mapping[Key, Place], upper: Mapping[Key, Place], key: Key
) -> tuple[Any, dict[Key, Place]]:
    setting = _setting(key)
    if not (isinstance(below, dict) and isinstance(above, dict)) or setting in REPLACED:
        kept = {k: v for k, v in lower.items() if k[: len(key)] != key}
        return above, kept | dict(upper)
    tree, places = dict(below), dict(lower)
    if setting == ("config",):
        for dropped in _superseded(above):
            tree.pop(dropped, None)
            at = (*key, dropped)
            places = {k: v for k, v in places.items() if k[: len(at)] != at}
    for name, value in above.items():
        child = (*key, name)
        written = {k: v for k, v in upper.items() if k[: len(child)] == child}
        if name in tree:
            tree[name], places = _merge(tree[name], value, places, written, child)
        else:
            tree[name] = value
            places |= written
    return tree, places


def _setting(key: Key) -> Key:
    """The path of a run's setting, also where a whole suite file is merged."""
    match key:
        case ("base", *rest) | ("experiments", _, "base", *rest):
            return tuple(rest)
        case ("experiments", _, "adapters", _, *rest):
            return tuple(rest)
    return key


def _superseded(config: Mapping[str, Any]) -> frozenset[str]:
    if "size" in config:
        return _SIZE_KEYS
    return frozenset({"size"}) if _SIZE_KEYS & config.keys() else frozenset()
