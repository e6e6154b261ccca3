"""The JSON schema that editors use agrees with what the harness reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.planning.document import json_schema
from harness.planning.located import read_yaml

jsonschema = pytest.importorskip("jsonschema")

SUITES = Path(__file__).parents[2] / "suites"
MINIMAL = {
    "suite": "probe",
    "experiments": {
        "e": {
            "base": {"optimizer.lr": 1e-3, "task": {"context": 5}, "budget": {"steps": 5}},
            "adapters": {"a": {"adapter": "x", "config": {"anything": 1}}},
            "axes": {
                "x": [{"label": "a", "batch_size": 4, "adapters": {"a": {"threads": 2}}}],
                "y": {"path": "optimizer.lr", "values": [1]},
            },
            "evaluations": {"loss": {"kind": "likelihood", "data": "builtin/docs"}},
        }
    },
}


def _errors(document: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(json_schema())
    return [error.message for error in validator.iter_errors(document)]


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert _errors(MINIMAL) == []


@pytest.mark.parametrize("path", sorted(SUITES.rglob("*.yaml")), ids=lambda p: p.name)
def test_shipped_suites_are_valid(path: Path) -> None:
    assert _errors(read_yaml(path).tree) == []


@pytest.mark.parametrize(
    "key",
    [
        ("suit",),
        ("experiments", "e", "seds"),
        ("experiments", "e", "base", "bach_size"),
        ("experiments", "e", "base", "optimzer.lr"),
        ("experiments", "e", "base", "task", "contxt"),
        ("experiments", "e", "base", "budget", "step"),
        ("experiments", "e", "adapters", "a", "adaptr"),
        ("experiments", "e", "axes", "x", 0, "bach_size"),
        ("experiments", "e", "axes", "x", 0, "adapters", "a", "thread"),
        ("experiments", "e", "axes", "y", "pth"),
        ("experiments", "e", "evaluations", "loss", "limt"),
    ],
)
def test_a_misspelt_key_is_invalid(key: tuple[str | int, ...]) -> None:
    def add(node: Any, path: tuple[str | int, ...]) -> Any:
        if len(path) == 1:
            return node | {path[0]: 1}
        if isinstance(node, list):
            return [add(child, path[1:]) if i == path[0] else child for i, child in enumerate(node)]
        return node | {path[0]: add(node[path[0]], path[1:])}

    assert _errors(add(MINIMAL, key))
