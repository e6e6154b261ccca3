"""Names resolve to records; whatever is wrong with a registration is told in one message."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pytest

from harness import registry
from harness.errors import HarnessError
from harness.protocol import AdapterRecord


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Replace the registered adapters; forget them again afterwards."""

    def install(*points: tuple[str, str]) -> None:
        listed = [EntryPoint(name, value, registry.GROUP) for name, value in points]
        monkeypatch.setattr(registry, "entry_points", lambda group: listed)
        _forget()

    yield install
    _forget()


def _forget() -> None:
    registry._entry_points.cache_clear()
    registry.adapter.cache_clear()


@pytest.mark.parametrize("name", registry.adapter_names())
def test_registered_adapters_load_and_name_themselves(name: str) -> None:
    record = registry.adapter(name)
    assert record.name == name
    assert record.config.__doc__
    assert all(f.description for f in record.config.model_fields.values())


def test_unknown_adapter_suggests_the_nearest() -> None:
    with pytest.raises(HarnessError, match="did you mean 'ebt_text'"):
        registry.adapter("ebt_txt")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("no_such_module_here:X", "does not load: ModuleNotFoundError"),
        ("baselines.catalogue:NOTHING", "does not load: AttributeError"),
        ("broken_plugin:RECORD", "does not load: RuntimeError: at import"),
        ("plugin:NUMBER", "is a int, not a harness.protocol.AdapterRecord"),
        ("plugin:OTHER", "calls itself 'other'"),
    ],
)
def test_a_broken_plugin_is_a_message(
    register: Any, monkeypatch: pytest.MonkeyPatch, value: str, problem: str
) -> None:
    plugin: Any = ModuleType("plugin")
    plugin.NUMBER = 5
    plugin.OTHER = replace(registry.adapter("ebt_text"), name="other")
    monkeypatch.setitem(sys.modules, "plugin", plugin)
    monkeypatch.setattr(sys, "meta_path", [_Raises(), *sys.meta_path])
    register(("mine", value))
    with pytest.raises(HarnessError, match=problem):
        registry.adapter("mine")


class _Raises:
    """A package whose import fails in its own way."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "broken_plugin":
            raise RuntimeError("at import")


def test_two_packages_may_not_share_a_name(register: Any) -> None:
    register(("ebt_text", "baselines.catalogue:EBT_TEXT"), ("ebt_text", "other.package:EBT"))
    with pytest.raises(HarnessError, match="two packages register 'ebt_text'"):
        registry.adapter("ebt_text")


def test_one_package_seen_twice_is_one(register: Any) -> None:
    register(*[("ebt_text", "baselines.catalogue:EBT_TEXT")] * 2)
    assert registry.adapter_names() == ["ebt_text"]
    assert isinstance(registry.adapter("ebt_text"), AdapterRecord)


@pytest.mark.parametrize("factory", ["no_such_module_here:X", "baselines.catalogue:NOTHING", "x"])
def test_a_factory_that_does_not_load_is_a_message(factory: str) -> None:
    record = replace(registry.adapter("ebt_text"), factory=factory)
    with pytest.raises(HarnessError, match="does not load"):
        registry.load_factory(record)
