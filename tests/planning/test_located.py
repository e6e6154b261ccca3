"""YAML scalars mean what people write; layers merge and keep their places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.planning.located import Located, Place, merge, parse_value, read_yaml, undotted


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),
        ("3e-3", 0.003),
        ("1E6", 1e6),
        ("1.5e3", 1500.0),
        ("-2e1", -20.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1_000.5", 1000.5),
        ("5", 5),
        ("-5", -5),
        ("1_000", 1000),
        ("010", 10),
        ("08", 8),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("True", "True"),
        ("y", "y"),
        ("2024-01-31", "2024-01-31"),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        (".nan", ".nan"),
        ("1e", "1e"),
        ("transformer++", "transformer++"),
        ("'5'", "5"),
        ("{a: [1, 2.0]}", {"a": [1, 2.0]}),
    ],
)
def test_scalars(written: str, value: Any) -> None:
    found = parse_value(written, "--set").tree
    assert found == value
    assert type(found) is type(value)


def test_every_key_knows_its_line(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("a: 1\n# comment\nb:\n  - x: 1\n    y: 2\n  - {z: 3}\nc: {d: 4,\n  e: 5}\n")
    document = read_yaml(path)
    lines = {
        ("a",): 1,
        ("b",): 3,
        ("b", 0): 4,
        ("b", 0, "y"): 5,
        ("b", 1, "z"): 6,
        ("c", "d"): 7,
        ("c", "e"): 8,
    }
    assert {key: document.place(key).at for key in lines} == {
        key: f"{path}:{line}" for key, line in lines.items()
    }
    assert document.where(("b", 0, "y")) == f"{path}:5 b[0].y"
    assert document.where(("b", 1, "absent")) == f"{path}:6 b[1].absent"
    assert document.at("b", 0).where(("y",)) == f"{path}:5 b[0].y"


def _layer(name: str, tree: Any) -> Located:
    places: dict[tuple[str | int, ...], Place] = {}

    def visit(node: Any, key: tuple[str | int, ...]) -> None:
        places[key] = Place(name, key)
        for child, value in node.items() if isinstance(node, dict) else ():
            visit(value, (*key, child))

    visit(tree, ())
    return Located(tree, places)


@pytest.mark.parametrize(
    ("below", "above", "merged"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"x": 1, "y": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"x": 1}}, {"a": 5}, {"a": 5}),
        ({"a": 5}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        # Units of a budget exclude each other, wherever the settings stand.
        ({"budget": {"steps": 1}}, {"budget": {"tokens": 2}}, {"budget": {"tokens": 2}}),
        (
            {"base": {"budget": {"steps": 1}}},
            {"base": {"budget": {"flops": 2}}},
            {"base": {"budget": {"flops": 2}}},
        ),
        # An experiment may be called budget.
        (
            {"experiments": {"budget": {"a": 1}}},
            {"experiments": {"budget": {"b": 2}}},
            {"experiments": {"budget": {"a": 1, "b": 2}}},
        ),
        # A size replaces numbers below it, and numbers a size.
        (
            {"config": {"depth": 2, "width": 8, "heads": 1, "steps": 3}},
            {"config": {"size": "xs"}},
            {"config": {"size": "xs", "steps": 3}},
        ),
        (
            {"config": {"size": "xs", "steps": 3}},
            {"config": {"depth": 2}},
            {"config": {"depth": 2, "steps": 3}},
        ),
        (
            {"experiments": {"e": {"adapters": {"a": {"config": {"depth": 2}}}}}},
            {"experiments": {"e": {"adapters": {"a": {"config": {"size": "xs"}}}}}},
            {"experiments": {"e": {"adapters": {"a": {"config": {"size": "xs"}}}}}},
        ),
        (
            {"task": {"size": 1, "depth": 2}},
            {"task": {"size": 3}},
            {"task": {"size": 3, "depth": 2}},
        ),
    ],
)
def test_merge(below: Any, above: Any, merged: Any) -> None:
    lower, upper = _layer("below", below), _layer("above", above)
    found = merge(lower, upper)
    assert found.tree == merged
    written = _layer("", merged).places
    assert {k for k in found.places if k} == {k for k in written if k}
    # Whatever the upper layer says, it is said there.
    assert all(found.place(k).at == "above" for k in upper.places if k and not _dict(above, k))
    assert lower.tree == below, "layers are not written into"


def _dict(tree: Any, key: tuple[str | int, ...]) -> bool:
    for part in key:
        tree = tree[part]
    return isinstance(tree, dict)


def test_dotted_keys_join_their_mapping() -> None:
    own = {"lr": 1}
    layer = undotted(_layer("s", {"optimizer.eps": 2, "optimizer": own, "task.data": "x"}))
    assert layer.tree == {"optimizer": {"lr": 1, "eps": 2}, "task": {"data": "x"}}
    assert own == {"lr": 1}
    assert layer.where(("optimizer", "eps")) == "s optimizer.eps"


@pytest.mark.parametrize(
    "tree",
    [
        {"a.b": 1, "a": {"b": 2}},
        {"a": {"b": 2}, "a.b": 1},
        {"a": 5, "a.b": 1},
        {"a.b": 1, "a.b.c": 2},
    ],
)
def test_dotted_keys_do_not_override_each_other(tree: Any) -> None:
    with pytest.raises(HarnessError, match="given twice"):
        undotted(_layer("s", tree))
