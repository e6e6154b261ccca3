"""A suite file expanded into runs: base <- experiment base <- adapter <- axis <- --set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.planning.axes import axis_values, for_adapter, points
from harness.planning.budget import check_report
from harness.planning.compared import check_compared
from harness.planning.document import SETTING_KEYS, Experiment, SuiteDocument
from harness.planning.eval_settings import KINDS
from harness.planning.evaluations import check_only, expand_evaluations
from harness.planning.followed import check_followed
from harness.planning.located import (
    Key,
    Located,
    Place,
    dotted,
    merge,
    read_override,
    read_yaml,
    undotted,
)
from harness.planning.planned import PlannedRun, Suite
from harness.planning.presence import check_trained_on, data_needed
from harness.planning.sections import (
    DRAWN,
    NextFrameSection,
    ProbeSection,
    ScalingSection,
    Section,
    ThinkingAblationSection,
    evaluations_of,
)
from harness.planning.shapes import shape_of
from harness.planning.spec import TrainSpec
from harness.planning.tuned import check_tuned
from harness.planning.validate import as_written, validate, where_mentioned
from harness.protocol import AdapterRecord
from harness.registry import adapter as find_adapter
from harness.registry import adapter_names

_SEEDS_HINT = "seeds belong to an experiment: experiments.NAME.seeds"


def load_suite(path: Path, *, overrides: Sequence[str] = (), needs_data: bool = True) -> Suite:
    """Read, check and expand a suite file; any mistake ends in one HarnessError.

    What shows measurements `needs_data` not: the user's own files may be elsewhere.
    """
    with data_needed(needs_data):
        return _load(path, overrides)


def _load(path: Path, overrides: Sequence[str]) -> Suite:
    document = read_yaml(path)
    if isinstance(document.tree, dict) and {"time", "partition"} & document.tree.keys():
        raise HarnessError(
            "this is a Slurm profile, not a suite",
            where=str(path),
            hint="harness submit SUITE --profile PROFILE",
        )
    validate(SuiteDocument, document)
    document, run_level = _override(document, overrides)
    suite = validate(SuiteDocument, document)
    _check_report(suite, document)
    runs: list[PlannedRun] = []
    for name, experiment in suite.experiments.items():
        located = document.at("experiments", name)
        runs += _expand(name, experiment, located, _layer(document, "base"), run_level)
    loaded = Suite(
        suite.suite,
        suite.version,
        suite.description,
        path,
        tuple(runs),
        tuple(suite.report),
        tuple(overrides),
        exploratory=suite.exploratory or "",
    )
    check_report(loaded)
    check_compared(loaded, document)
    check_followed(loaded, document)
    check_tuned(loaded, document)
    return loaded


# --- --set -----------------------------------------------------------------------------------


def _override(document: Located, overrides: Sequence[str]) -> tuple[Located, Located]:
    """Apply `--set`: paths that start with a suite key change the file, others change every run."""
    run_level = Located({}, {(): Place("--set")})
    for text in overrides:
        parts, layer = read_override(text, example="budget.steps=100")
        if parts[0] in SuiteDocument.model_fields:
            _check_path(document, parts)
            document = merge(document, layer)
        elif parts[0] in SETTING_KEYS:
            run_level = merge(run_level, layer)
        else:
            raise HarnessError(
                "unknown setting",
                where="--set",
                given=parts[0],
                allowed=[*SETTING_KEYS, *SuiteDocument.model_fields],
                hint=_SEEDS_HINT if parts[0] in ("seed", "seeds") else None,
            )
    return document, run_level


def _check_path(document: Located, parts: tuple[str, ...]) -> None:
    """What `--set` goes into exists: an experiment, and in it an adapter, axis or evaluation."""
    named = (2, 4) if parts[0] == "experiments" else ()
    for length in named:
        above, name = parts[: length - 1], parts[length - 1 : length]
        tree = _get(document.tree, above)
        if len(parts) > length and isinstance(tree, dict) and name[0] not in tree:
            raise HarnessError(
                f"nothing of this name in {dotted(above)}",
                where=f"--set {dotted(parts)}",
                given=name[0],
                allowed=list(tree),
            )


def _get(tree: Any, key: tuple[str, ...]) -> Any:
    for part in key:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


# --- expansion -------------------------------------------------------------------------------


def _layer(document: Located, *key: str) -> Located:
    """The settings mapping at `key`, dotted keys expanded; empty where the file has none."""
    if _get(document.tree, key) is None:
        return Located({}, {(): document.place(key)})
    return undotted(document.at(*key))


def _expand(
    name: str, experiment: Experiment, located: Located, base: Located, run_level: Located
) -> Iterator[PlannedRun]:
    base = merge(base, _layer(located, "base"))
    _check_seeds(experiment.seeds, located)
    axes = {axis: axis_values(axis, values, located) for axis, values in experiment.axes.items()}
    check_only(experiment, axes, located)
    for label in experiment.adapters:
        own = merge(base, _layer(located, "adapters", label))
        # A key that is missing is missing here, not in the base that happens to come first.
        own = Located(own.tree, {**own.places, (): located.place(("adapters", label))})
        for labels, layers in points(axes, experiment.combine):
            settings = own
            for layer in layers:
                settings = merge(settings, for_adapter(layer, label, experiment.adapters))
            settings = merge(settings, run_level)
            specs = _resolve(settings, experiment.seeds)
            evaluations = expand_evaluations(experiment, located, label, labels, specs[0])
            for spec in specs:
                yield PlannedRun(name, label, labels, spec, evaluations)


def _check_seeds(seeds: Sequence[int], located: Located) -> None:
    for index, seed in enumerate(seeds):
        if not 0 <= seed < 2**63 or seed in seeds[:index]:
            raise HarnessError(
                "seeds are distinct whole numbers from 0 to 2^63 - 1",
                where=located.where(("seeds", index)),
                given=str(seed),
            )


def _resolve(settings: Located, seeds: Sequence[int]) -> list[TrainSpec]:
    """One TrainSpec per seed, from merged settings."""
    tree = settings.tree
    for name in tree:
        if name not in SETTING_KEYS:
            raise HarnessError(
                "unknown key",
                where=settings.where((name,)),
                given=name,
                allowed=SETTING_KEYS,
                hint=_SEEDS_HINT if name in ("seed", "seeds") else None,
            )
    if "adapter" not in tree:
        raise HarnessError(
            "the key 'adapter' is missing",
            where=settings.where(("adapter",)),
            hint=f"one of {', '.join(adapter_names())}",
        )
    try:
        record = find_adapter(as_written(tree["adapter"]))
    except HarnessError as error:
        raise error.located(settings.where(("adapter",))) from error
    config = validate(record.config, _config(settings))
    complete = {"config": {}, **tree, "adapter_version": record.version, "seed": seeds[0]}
    first = validate(TrainSpec, Located(complete, settings.places))
    check_trained_on(first.task, record, settings)
    if first.compile:
        _check_compiles(record, settings)
    try:
        record.parameters(config, shape_of(first.task))
        record.training_flops(config, shape_of(first.task))
    except (ValueError, ArithmeticError) as error:
        where = where_mentioned(str(error), record.config, settings, ("config",))
        raise HarnessError(str(error), where=where) from error
    resolved = config.model_dump(mode="json")
    return [first.model_copy(update={"config": resolved, "seed": seed}) for seed in seeds]


def _check_compiles(record: AdapterRecord, settings: Located) -> None:
    if record.compiles:
        return
    able = [name for name in adapter_names() if find_adapter(name).compiles]
    raise HarnessError(
        f"adapter {record.name!r} cannot be compiled",
        where=settings.where(("compile",)),
        given="true",
        hint=f"give `compile` to adapters that can: {', '.join(able) or 'none is installed'}",
    )


def _config(settings: Located) -> Located:
    if "config" in settings.tree:
        return settings.at("config")
    return Located({}, {(): settings.place(("config",))})


# --- the report ------------------------------------------------------------------------------


def _check_report(suite: SuiteDocument, document: Located) -> None:
    for index, section in enumerate(suite.report):
        located = document.at("report", index)
        _known("experiment", section.experiment, suite.experiments, located)
        experiment = suite.experiments[section.experiment]
        for key, name in evaluations_of(section):
            _check_drawn(section, key, name, experiment, located)
        if isinstance(section, ThinkingAblationSection):
            _known("full", section.full, experiment.adapters, located)
        if isinstance(section, NextFrameSection | ProbeSection) and section.baseline is not None:
            _known("baseline", section.baseline, experiment.adapters, located)
        if isinstance(section, ScalingSection):
            _known("baseline", section.baseline, experiment.adapters, located)
            _known("candidate", section.candidate, experiment.adapters, located)
            if section.candidate == section.baseline:
                raise HarnessError(
                    "the candidate is the baseline",
                    where=located.where(("candidate",)),
                    given=section.candidate,
                    allowed=[a for a in experiment.adapters if a != section.baseline],
                )


def _check_drawn(
    section: Section, key: Key, name: str, experiment: Experiment, located: Located
) -> None:
    """The evaluation at `key` of a section exists, and is of a kind that the section draws."""
    if name not in experiment.evaluations:
        raise HarnessError(
            "no such evaluation",
            where=located.where(key),
            given=name,
            allowed=list(experiment.evaluations),
        )
    kind, wanted = experiment.evaluations[name].get("kind"), DRAWN[section.kind]
    if isinstance(kind, str) and kind in KINDS and kind not in wanted:
        raise HarnessError(
            f"a section of kind {section.kind} draws evaluations of kind {' or '.join(wanted)}, "
            f"{name!r} is one of kind {kind}",
            where=located.where(key),
            given=name,
            allowed=[n for n, e in experiment.evaluations.items() if e.get("kind") in wanted],
        )


def _known(key: str, given: str, allowed: Mapping[str, Any], section: Located) -> None:
    if given not in allowed:
        raise HarnessError(
            f"no such {key}", where=section.where((key,)), given=given, allowed=list(allowed)
        )
