"""A suite's evaluation settings expanded into EvalSpecs for one run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from pydantic import Field

from harness.data.builtin import find_dataset
from harness.errors import HarnessError
from harness.planning.document import Experiment
from harness.planning.located import Key, Located
from harness.planning.shapes import MODALITY, check_data
from harness.planning.spec import (
    DenoisingEval,
    EvalBase,
    LikelihoodEval,
    ThinkingEval,
    TrainSpec,
)
from harness.planning.validate import validate
from harness.protocol import AdapterRecord, Frozen, Thinking
from harness.registry import adapter as find_adapter

#: metric_version of each kind of evaluation; raise it when what a number means changes.
METRIC_VERSIONS = {"likelihood": 1, "thinking": 1, "denoising": 1}


@dataclass(frozen=True)
class PlannedEval:
    """An evaluation under the name that the suite gives it."""

    name: str
    spec: EvalBase


class _Setting(Frozen):
    """What an evaluation may say, whatever its kind."""

    data: str | list[str]
    split: Literal["train", "validation", "test"] | None = None
    limit: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=32, ge=1)
    noise_seeds: list[int] = Field(default=[0], min_length=1)
    only: dict[str, list[Any]] = Field(
        default_factory=dict, description="axis name, or `adapter` -> labels to evaluate"
    )


class LikelihoodSetting(_Setting):
    """Loss over a whole set, at the thinking the model was trained with unless given."""

    kind: Literal["likelihood"]
    thinking: Literal["trained"] | dict[str, Any] = "trained"


class ThinkingSetting(_Setting):
    """Loss over a grid of thinking; lists inside an entry span the grid."""

    kind: Literal["thinking"]
    thinking: list[dict[str, Any]] = Field(min_length=1)
    timing_repeats: int = Field(default=3, ge=1)


class DenoisingSetting(_Setting):
    """Denoising at each level with each thinking; lists inside an entry span a grid."""

    kind: Literal["denoising"]
    levels: list[float] = Field(min_length=1)
    thinking: list[dict[str, Any]] = Field(min_length=1)
    timing_repeats: int = Field(default=3, ge=1)
    examples: int = Field(default=8, ge=0)


SETTINGS: dict[str, type[_Setting]] = {
    "likelihood": LikelihoodSetting,
    "thinking": ThinkingSetting,
    "denoising": DenoisingSetting,
}
TASKS = {"likelihood": "next_token", "thinking": "next_token", "denoising": "denoising"}


def expand_evaluations(
    experiment: Experiment,
    located: Located,
    label: str,
    labels: Mapping[str, str],
    spec: TrainSpec,
) -> tuple[PlannedEval, ...]:
    """Every evaluation of one run, checked; HarnessError at the first mistake."""
    planned: list[PlannedEval] = []
    for name in experiment.evaluations:
        own = located.at("evaluations", name)
        setting = _setting(own, name, experiment)
        place = f"{own.place(())} evaluations.{name}"
        if TASKS[_kind(setting)] != spec.task.kind:
            raise HarnessError(
                f"a {_kind(setting)} evaluation does not fit a {spec.task.kind} task", where=place,
                given=_kind(setting), allowed=[k for k, t in TASKS.items() if t == spec.task.kind],
            )
        chosen = {"adapter": label, **labels}
        if all(str(chosen.get(k)) in map(str, v) for k, v in setting.only.items()):
            planned += [PlannedEval(name, s) for s in _specs(setting, own, place, spec)]
    return tuple(planned)


def _kind(setting: _Setting) -> str:
    return str(getattr(setting, "kind"))  # noqa: B009  (declared by every subclass)


def _setting(own: Located, name: str, experiment: Experiment) -> _Setting:
    kind = own.tree.get("kind")
    if kind not in SETTINGS:
        raise HarnessError(
            "unknown kind of evaluation" if kind else "the key 'kind' is missing",
            where=f"{own.place(('kind',))} evaluations.{name}.kind",
            given=None if kind is None else str(kind), allowed=list(SETTINGS),
        )
    setting = validate(SETTINGS[kind], own, prefix=("evaluations", name))
    for key in setting.only:
        allowed = ["adapter", *experiment.axes]
        if key not in allowed:
            raise HarnessError(
                "no such axis", where=f"{own.place(('only', key))} evaluations.{name}.only",
                given=key, allowed=allowed,
            )
        if key == "adapter":
            for given in setting.only[key]:
                if given not in experiment.adapters:
                    raise HarnessError(
                        "no adapter of the experiment has this label",
                        where=f"{own.place(('only', key))} evaluations.{name}.only.adapter",
                        given=str(given), allowed=list(experiment.adapters),
                    )
    return setting


def _specs(setting: _Setting, own: Located, place: str, spec: TrainSpec) -> Iterator[EvalBase]:
    record = find_adapter(spec.adapter)
    modality = MODALITY[spec.task.kind]
    thinking = _thinking(setting, own, place, record, spec)
    names = [setting.data] if isinstance(setting.data, str) else setting.data
    for data in names:
        where = f"{own.place(('data',))} {place.partition(' ')[2]}.data"
        check_data(data, modality, setting.split, where)
        split = setting.split or _default_split(find_dataset(data).splits)
        common: dict[str, Any] = {
            "data": data,
            "split": split,
            "limit": setting.limit,
            "batch_size": setting.batch_size,
            "noise_seeds": tuple(setting.noise_seeds),
            "metric_version": METRIC_VERSIONS[_kind(setting)],
        }
        if isinstance(setting, LikelihoodSetting):
            yield LikelihoodEval(**common, thinking=thinking[0])
        elif isinstance(setting, ThinkingSetting):
            yield ThinkingEval(
                **common, thinking=tuple(thinking), timing_repeats=setting.timing_repeats
            )
        elif isinstance(setting, DenoisingSetting):
            for level in setting.levels:
                at_level = validate(
                    DenoisingEval,
                    Located(
                        common
                        | {
                            "level": level,
                            "thinking": tuple(thinking),
                            "timing_repeats": setting.timing_repeats,
                            "examples": setting.examples,
                        },
                        {("level",): own.place(("levels",)), (): own.place(())},
                    ),
                    prefix=tuple(place.partition(" ")[2].split(".")),
                )
                yield at_level


def _default_split(splits: tuple[str, ...]) -> str:
    return next(s for s in ("validation", "test", "train") if s in splits)


def _thinking(
    setting: _Setting, own: Located, place: str, record: AdapterRecord, spec: TrainSpec
) -> list[Any]:
    given = getattr(setting, "thinking", "trained")
    if given == "trained":
        return [record.trained_thinking(record.config.model_validate(spec.config))]
    entries = given if isinstance(given, list) else [given]
    expanded: list[Any] = []
    for index, entry in enumerate(entries):
        key: Key = ("thinking", index) if isinstance(given, list) else ("thinking",)
        for combination in _grid(entry):
            wrapped = validate(
                _Wrapped, Located({"thinking": combination}, _under(own, key)),
                prefix=tuple(place.partition(" ")[2].split(".")),
            )
            expanded.append(wrapped.thinking)
    kinds = list(dict.fromkeys(t.kind for t in expanded))
    expanded = [t for t in dict.fromkeys(expanded) if t.kind in record.thinking]
    if not expanded:
        raise HarnessError(
            f"adapter {record.name!r} cannot think that way", where=f"{place}.thinking",
            given=", ".join(kinds), allowed=list(record.thinking),
            hint="add an entry it can do, or restrict the evaluation with `only: {adapter: [...]}`",
        )
    return expanded


class _Wrapped(Frozen):
    thinking: Thinking


def _under(own: Located, key: Key) -> dict[Key, str]:
    places: dict[Key, str] = {(): own.place(key)}
    for path, place in own.places.items():
        if path[: len(key)] == key:
            places[("thinking", *path[len(key) :])] = place
    return places


def _grid(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    lists = {k: v if isinstance(v, list) else [v] for k, v in entry.items()}
    for values in product(*lists.values()):
        yield dict(zip(lists, values, strict=True))
