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
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = found.setdefault(point.name, point)
        # The same package may be seen twice (an editable install); two packages may not agree.
        if other.value != point.value:
            raise HarnessError(
                f"two packages register {point.name!r}: {other.value!r} and {point.value!r}",
                hint="uninstall one of them",
            )
    return found


def adapter_names() -> list[str]:
    """Every registered adapter's name, sorted."""
    return sorted(_entry_points())


@cache
def adapter(name: str) -> AdapterRecord:
    """The torch-free record of adapter `name`; HarnessError where there is none that loads."""
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
    except Exception as error:  # another package's code runs here
        raise HarnessError(
            f"adapter {name!r} is registered as {point.value!r}, which does not load: "
            f"{type(error).__name__}: {error}",
            hint="reinstall the package that provides it, or mend its entry point",
        ) from error
    if not isinstance(record, AdapterRecord):
        raise HarnessError(
            f"adapter {name!r}: {point.value!r} is a {type(record).__name__}, "
            "not a harness.protocol.AdapterRecord"
        )
    if record.name != name:
        raise HarnessError(
            f"adapter {name!r}: {point.value!r} calls itself {record.name!r}",
            hint="give the entry point the record's name",
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
