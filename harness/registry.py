"""Names to adapter records, resolved on first use from the entry-point group `harness.adapters`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from harness.errors import HarnessError
from harness.protocol import AdapterRecord

GROUP = "harness.adapters"


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def adapter_names() -> list[str]:
    """Every registered adapter's name, sorted."""
    return sorted(_entry_points())


@cache
def adapter(name: str) -> AdapterRecord:
    """The torch-free record of adapter `name`; HarnessError where it is unknown or will not load."""
    point = _entry_points().get(name)
    if point is None:
        raise HarnessError(
            "unknown adapter",
            given=name,
            allowed=adapter_names(),
            hint="`harness ls adapters` describes them; a new one registers under the entry-point "
            f"group {GROUP!r}",
        )
    try:
        record = point.load()
    except (ImportError, AttributeError) as error:
        raise HarnessError(
            f"adapter {name!r} is registered as {point.value!r}, which does not load: {error}",
            hint="reinstall the package that provides it, or mend its entry point",
        ) from error
    if not isinstance(record, AdapterRecord):
        raise HarnessError(
            f"adapter {name!r}: {point.value!r} is a {type(record).__name__}, "
            "not a harness.protocol.AdapterRecord"
        )
    return record


def load_factory(record: AdapterRecord) -> Any:
    """Import the class that builds the adapter (this is where torch arrives)."""
    module, _, attribute = record.factory.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise HarnessError(
            f"adapter {record.name!r}: factory {record.factory!r} does not load: {error}"
        ) from error
