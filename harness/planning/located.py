"""YAML read with the place of every key, and merged in layers that keep those places."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import HarnessError

Key = tuple[str | int, ...]

_FLOAT = re.compile(r"^[-+]?(\d[\d_]*)?\.?\d+([eE][-+]?\d+)?$|^[-+]?\d[\d_]*\.([eE][-+]?\d+)?$")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers and booleans: `3e-3` is a float; `on`, `yes` and dates are strings."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float",
                       "tag:yaml.org,2002:int", "tag:yaml.org,2002:timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), list("tf"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?\d[\d_]*$"), list("-+0123456789")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


@dataclass(frozen=True)
class Located:
    """A plain tree of dicts, lists and scalars, and where each path in it was written."""

    tree: Any
    places: Mapping[Key, str]

    def place(self, key: Key) -> str:
        """Where `key`, or its nearest written ancestor, stands."""
        for length in range(len(key), -1, -1):
            if key[:length] in self.places:
                return self.places[key[:length]]
        return "(unknown place)"

    def at(self, *key: str | int) -> Located:
        """The subtree at `key`, its places re-rooted."""
        tree = self.tree
        for part in key:
            tree = tree[part]
        depth = len(key)
        places = {k[depth:]: v for k, v in self.places.items() if k[:depth] == key}
        places.setdefault((), self.place(key))
        return Located(tree, places)


def read_yaml(path: Path) -> Located:
    """Read one YAML document; every mistake ends in a HarnessError with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"cannot read the file: {error}", where=str(path)) from error
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise HarnessError("the file is empty", where=str(path))
        places: dict[Key, str] = {}
        tree = _convert(loader, node, (), path, places)
    except yaml.YAMLError as error:
        raise HarnessError(_problem(error), where=_place(path, error)) from error
    finally:
        loader.dispose()
    return Located(tree, places)


def _convert(loader: _Loader, node: Any, key: Key, path: Path, places: dict[Key, str]) -> Any:
    places[key] = f"{path}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.MappingNode):
        tree: dict[str, Any] = {}
        for key_node, value_node in node.value:
            name = str(loader.construct_object(key_node))
            place = f"{path}:{key_node.start_mark.line + 1}"
            if name in tree:
                raise HarnessError(f"the key {name!r} is given twice", where=place)
            tree[name] = _convert(loader, value_node, (*key, name), path, places)
            places[(*key, name)] = place
        return tree
    if isinstance(node, yaml.SequenceNode):
        return [
            _convert(loader, child, (*key, index), path, places)
            for index, child in enumerate(node.value)
        ]
    return loader.construct_object(node)


def _problem(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or str(error)
    return f"not valid YAML: {problem}"


def _place(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"{path}:{mark.line + 1}" if mark else str(path)


def parse_scalar(text: str) -> Any:
    """The value of a command-line override, read as YAML."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return None if node is None else _convert(loader, node, (), Path("--set"), {})
    finally:
        loader.dispose()


def undotted(layer: Located) -> Located:
    """Expand keys written with dots (`optimizer.lr: 1`) into nested mappings."""
    if not isinstance(layer.tree, dict):
        return layer
    merged = Located({}, {(): layer.place(())})
    for name, value in layer.tree.items():
        parts: Key = tuple(name.split("."))
        tree: Any = value
        for part in reversed(parts):
            tree = {part: tree}
        places = {parts[:i]: layer.place((name,)) for i in range(1, len(parts) + 1)}
        places |= {(*parts, *k[1:]): v for k, v in layer.places.items() if k[:1] == (name,)}
        merged = merge(merged, Located(tree, places))
    return merged


#: Mappings whose keys exclude each other: a later layer replaces the earlier one whole.
REPLACED = frozenset({"budget"})
#: Ways to state the same thing: giving one drops the others from the layers below.
_SIZE_KEYS = frozenset({"depth", "width", "heads"})


def merge(below: Located, above: Located) -> Located:
    """Lay `above` over `below`: mappings merge, everything else is replaced."""
    tree, places = _merge(below.tree, above.tree, below.places, above.places, ())
    return Located(tree, places)


def _merge(
    below: Any, above: Any, lower: Mapping[Key, str], upper: Mapping[Key, str], key: Key
) -> tuple[Any, dict[Key, str]]:
    if not (isinstance(below, dict) and isinstance(above, dict)) or (key and key[-1] in REPLACED):
        kept = {k: v for k, v in lower.items() if k[: len(key)] != key}
        return above, kept | dict(upper)
    tree, places = dict(below), dict(lower)
    if key == ("config",):
        for dropped in _superseded(above):
            tree.pop(dropped, None)
            places = {k: v for k, v in places.items() if k[:2] != ("config", dropped)}
    for name, value in above.items():
        child = (*key, name)
        written = {k: v for k, v in upper.items() if k[: len(child)] == child}
        if name in tree:
            tree[name], places = _merge(tree[name], value, places, written, child)
        else:
            tree[name] = value
            places |= written
    return tree, places


def _superseded(config: Mapping[str, Any]) -> frozenset[str]:
    if "size" in config:
        return _SIZE_KEYS
    return frozenset({"size"}) if _SIZE_KEYS & config.keys() else frozenset()
