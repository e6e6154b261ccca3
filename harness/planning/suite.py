"""A suite file expanded into runs: base <- experiment base <- adapter <- axis <- --set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.planning.document import (
    SETTING_KEYS,
    AxisPath,
    Experiment,
    Section,
    SuiteDocument,
)
from harness.planning.evaluations import PlannedEval, expand_evaluations
from harness.planning.located import Located, merge, parse_scalar, read_yaml, undotted
from harness.planning.shapes import check_task, shape_of
from harness.planning.spec import TrainSpec
from harness.planning.validate import validate
from harness.protocol import AdapterRecord, Shape
from harness.registry import adapter as find_adapter


@dataclass(frozen=True)
class PlannedRun:
    """A run as one experiment of a suite uses it; `labels` are its axis values."""

    experiment: str
    adapter_label: str
    labels: Mapping[str, str]
    spec: TrainSpec
    evaluations: tuple[PlannedEval, ...]

    @property
    def run_id(self) -> str:
        return self.spec.run_id

    @property
    def name(self) -> str:
        """`text/ebt size=large seed 0`: how people tell runs apart."""
        axes = "".join(f" {axis}={label}" for axis, label in self.labels.items())
        return f"{self.experiment}/{self.adapter_label}{axes} seed {self.spec.seed}"

    @property
    def record(self) -> AdapterRecord:
        return find_adapter(self.spec.adapter)

    @property
    def config(self) -> Any:
        return self.record.config.model_validate(self.spec.config)

    @property
    def shape(self) -> Shape:
        return shape_of(self.spec.task)


@dataclass(frozen=True)
class Suite:
    """Every run of a suite file, in file order, and what to report."""

    name: str
    version: int
    description: str
    path: Path
    runs: tuple[PlannedRun, ...]
    report: tuple[Section, ...]

    def of(self, experiment: str) -> list[PlannedRun]:
        return [run for run in self.runs if run.experiment == experiment]


def load_suite(path: Path, *, overrides: Sequence[str] = ()) -> Suite:
    """Read, check and expand a suite file; any mistake ends in one HarnessError."""
    document, run_level = _override(read_yaml(path), overrides)
    suite = validate(SuiteDocument, document)
    runs: list[PlannedRun] = []
    for name, experiment in suite.experiments.items():
        located = document.at("experiments", name)
        base = _layer(document, "base")
        runs += _expand(name, experiment, located, base, run_level)
    _check_report(suite, document)
    return Suite(
        suite.suite, suite.version, suite.description, path, tuple(runs), tuple(suite.report)
    )


def _override(document: Located, overrides: Sequence[str]) -> tuple[Located, Located]:
    """Apply `--set`: paths that start with a suite key change the file, others change every run."""
    run_level = Located({}, {(): "--set"})
    for text in overrides:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise HarnessError(
                "an override is written path=value", where="--set", given=text,
                hint="for example --set budget.steps=100",
            )
        layer = undotted(Located({path: parse_scalar(value)}, {(): f"--set {path}"}))
        first = path.split(".")[0]
        if first in SuiteDocument.model_fields and (first != "base" or "." in path):
            document = merge(document, layer)
        elif first in SETTING_KEYS:
            run_level = merge(run_level, layer)
        else:
            raise HarnessError(
                "unknown setting", where=f"--set {text}", given=first,
                allowed=[*SETTING_KEYS, *SuiteDocument.model_fields],
            )
    return document, run_level


def _layer(document: Located, *key: str) -> Located:
    """The settings mapping at `key`, dotted keys expanded; empty where the file has none."""
    tree: Any = document.tree
    for part in key:
        if not isinstance(tree, dict) or part not in tree:
            return Located({}, {(): document.place(key)})
        tree = tree[part]
    return undotted(document.at(*key))


def _expand(
    name: str, experiment: Experiment, located: Located, base: Located, run_level: Located
) -> Iterator[PlannedRun]:
    base = merge(base, _layer(located, "base"))
    _check_seeds(experiment, located)
    points = list(_points(experiment, located))
    for label in experiment.adapters:
        own = merge(base, _layer(located, "adapters", label))
        for labels, layers in points:
            settings = own
            for layer in layers:
                settings = merge(settings, _for_adapter(layer, label, experiment.adapters))
            settings = merge(settings, run_level)
            specs = _resolve(settings, f"experiments.{name}.adapters.{label}", experiment.seeds)
            for spec in specs:
                evaluations = expand_evaluations(experiment, located, label, labels, spec)
                yield PlannedRun(name, label, labels, spec, evaluations)


def _check_seeds(experiment: Experiment, located: Located) -> None:
    for index, seed in enumerate(experiment.seeds):
        if seed < 0 or seed in experiment.seeds[:index]:
            raise HarnessError(
                "seeds are distinct whole numbers from 0 up",
                where=f"{located.place(('seeds', index))} seeds[{index}]", given=str(seed),
            )


def _points(
    experiment: Experiment, located: Located
) -> Iterator[tuple[dict[str, str], list[Located]]]:
    """Each combination of axis values, as labels and the settings they lay over the base."""
    axes = {name: _values(name, axis, located) for name, axis in experiment.axes.items()}
    if experiment.combine == "grid":
        for chosen in product(*axes.values()):
            yield (
                {name: label for name, (label, _) in zip(axes, chosen, strict=True)},
                [layer for _, layer in chosen],
            )
        return
    for name, values in axes.items():
        for label, layer in values:
            yield {name: label}, [layer]


def _values(
    name: str, axis: AxisPath | list[dict[str, Any]], located: Located
) -> list[tuple[str, Located]]:
    if isinstance(axis, AxisPath):
        place = located.place(("axes", name, "values"))
        return [
            (f"{value}", undotted(Located({axis.path: value}, {(): place})))
            for value in axis.values
        ]
    values = []
    for index, entry in enumerate(axis):
        layer = located.at("axes", name, index)
        settings = {k: v for k, v in entry.items() if k != "label"}
        label = entry.get("label", " ".join(str(v) for v in settings.values()))
        values.append((str(label), Located(settings, layer.places)))
    if len({label for label, _ in values}) < len(values):
        raise HarnessError(
            "two values of an axis have the same label",
            where=f"{located.place(('axes', name))} axes.{name}",
            hint="give each its own `label`",
        )
    return values


def _for_adapter(layer: Located, label: str, adapters: Mapping[str, Any]) -> Located:
    """An axis value's settings for one adapter: the common ones, then its own."""
    own = layer.tree.get("adapters", {}) if isinstance(layer.tree, dict) else {}
    for given in own:
        if given not in adapters:
            raise HarnessError(
                "no adapter of the experiment has this label",
                where=f"{layer.place(('adapters', given))} adapters.{given}",
                given=given, allowed=list(adapters),
            )
    common = {k: v for k, v in layer.tree.items() if k != "adapters"}
    settings = undotted(Located(common, layer.places))
    if label in own:
        settings = merge(settings, undotted(layer.at("adapters", label)))
    return settings


def _resolve(settings: Located, path: str, seeds: Sequence[int]) -> list[TrainSpec]:
    """One TrainSpec per seed, from merged settings."""
    tree = settings.tree
    if "adapter" not in tree:
        raise HarnessError("the key 'adapter' is missing", where=f"{settings.place(())} {path}")
    try:
        record = find_adapter(str(tree["adapter"]))
    except HarnessError as error:
        where = f"{settings.place(('adapter',))} {path}.adapter"
        raise HarnessError(
            error.problem, where=where, given=error.given, allowed=error.allowed, hint=error.hint
        ) from error
    config = validate(
        record.config, Located(tree.get("config", {}), _config_places(settings)), prefix=("config",)
    )
    complete = {
        "config": {},
        **tree,
        "adapter_version": record.version,
        "seed": seeds[0],
    }
    first = validate(TrainSpec, Located(complete, settings.places))
    check_task(first.task, record, settings)
    try:
        record.parameters(config, shape_of(first.task))
    except ValueError as error:
        raise HarnessError(str(error), where=f"{settings.place(('config',))} config") from error
    resolved = config.model_dump(mode="json")
    return [first.model_copy(update={"config": resolved, "seed": seed}) for seed in seeds]


def _config_places(settings: Located) -> dict[tuple[str | int, ...], str]:
    places = {k[1:]: v for k, v in settings.places.items() if k[:1] == ("config",)}
    places.setdefault((), settings.place(("config",)))
    return places


def _check_report(suite: SuiteDocument, document: Located) -> None:
    for index, section in enumerate(suite.report):
        def refuse(key: str, given: str, allowed: Sequence[str], number: int = index) -> None:
            if given not in allowed:
                raise HarnessError(
                    f"no such {key}",
                    where=f"{document.place(('report', number, key))} report[{number}].{key}",
                    given=given, allowed=list(allowed),
                )

        refuse("experiment", section.experiment, list(suite.experiments))
        experiment = suite.experiments[section.experiment]
        refuse("evaluation", section.evaluation, list(experiment.evaluations))
        for key in ("baseline", "candidate"):
            if hasattr(section, key):
                refuse(key, getattr(section, key), list(experiment.adapters))
