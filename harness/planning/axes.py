"""An experiment's axes: their values as labelled layers of settings, and how they combine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Literal

from harness.errors import HarnessError
from harness.planning.document import AxisPath, Settings
from harness.planning.located import Key, Located, Place, merge, undotted
from harness.planning.validate import as_written

#: A value's label and the settings it lays over those below.
Value = tuple[str, Located]
#: The name by which `only` restricts an evaluation to adapters; no axis may have it.
ADAPTER = "adapter"


def axis_values(name: str, axis: AxisPath | list[Settings], located: Located) -> list[Value]:
    """The values of one axis of an experiment, in order; HarnessError where labels clash."""
    own = located.at("axes", name)
    if name == ADAPTER:
        raise HarnessError(f"an axis cannot be named {ADAPTER!r}", where=own.where())
    values = _path_values(axis, own) if isinstance(axis, AxisPath) else _entries(axis, own)
    if not values:
        raise HarnessError("the axis has no values", where=own.where())
    labels = [label for label, _ in values]
    clash = next((label for label in labels if labels.count(label) > 1), None)
    if clash is not None:
        raise HarnessError(
            "two values of an axis have the same label",
            where=own.where(),
            given=clash,
            hint="give each its own `label`" if isinstance(axis, list) else None,
        )
    return values


def label_of(value: Any) -> str:
    """How a value is called in tables and in `only`: as written, whole numbers without a point."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return as_written(value)


def _path_values(axis: AxisPath, own: Located) -> list[Value]:
    values = []
    for index, value in enumerate(axis.values):
        written = own.at("values", index)
        places: dict[Key, Place] = {(): own.place(), (axis.path,): written.place()}
        places |= {(axis.path, *k): v for k, v in written.places.items()}
        values.append((label_of(value), undotted(Located({axis.path: value}, places))))
    return values


def _entries(axis: list[Settings], own: Located) -> list[Value]:
    values = []
    for index, entry in enumerate(axis):
        layer = own.at(index)
        settings = {k: v for k, v in entry.items() if k != "label"}
        parts = [entry["label"]] if "label" in entry else list(settings.values())
        if not parts or any(isinstance(p, dict | list) or p is None for p in parts):
            raise HarnessError(
                "the value needs a label, a word or a number",
                where=layer.where(("label",)),
                hint="for example {label: small, config: {depth: 2}}",
            )
        label = " ".join(map(label_of, parts))
        values.append((label, Located(settings, layer.places)))
    return values


def points(
    axes: Mapping[str, list[Value]], combine: Literal["grid", "one_at_a_time"]
) -> Iterator[tuple[dict[str, str], list[Located]]]:
    """Each combination of axis values, as labels and the settings they lay over the base."""
    if combine == "grid" or not axes:
        for chosen in product(*axes.values()):
            yield (
                {name: label for name, (label, _) in zip(axes, chosen, strict=True)},
                [layer for _, layer in chosen],
            )
        return
    for name, values in axes.items():
        for label, layer in values:
            yield {name: label}, [layer]


def for_adapter(layer: Located, label: str, adapters: Mapping[str, Any]) -> Located:
    """An axis value's settings for one adapter: the common ones, then its own."""
    own = layer.tree.get("adapters", {})
    if not isinstance(own, dict):
        raise HarnessError(
            "must be a mapping of adapter labels to settings",
            where=layer.where(("adapters",)),
            given=as_written(own),
            allowed=list(adapters),
        )
    for given, settings in own.items():
        where = layer.where(("adapters", given))
        if given not in adapters:
            raise HarnessError(
                "no adapter of the experiment has this label",
                where=where,
                given=given,
                allowed=list(adapters),
            )
        if not isinstance(settings, dict):
            raise HarnessError(
                "must be a mapping of settings", where=where, given=as_written(settings)
            )
    common = {k: v for k, v in layer.tree.items() if k != "adapters"}
    settings = undotted(Located(common, layer.places))
    return merge(settings, undotted(layer.at("adapters", label))) if label in own else settings
