"""The thinking that an evaluation setting asks for, expanded and checked for one run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from pydantic import TypeAdapter

from harness.errors import HarnessError
from harness.planning.eval_settings import DenoisingSetting, EvaluationSetting
from harness.planning.located import Key, Located, Place
from harness.planning.shapes import AnyTask, shape_of, timesteps
from harness.planning.spec import DenoisingTask, TrainSpec
from harness.planning.validate import as_written, checked
from harness.protocol import AdapterRecord, Diffusion, ImageShape, Thinking
from harness.registry import adapter as find_adapter

THINKING: TypeAdapter[Any] = TypeAdapter(Thinking)


def thinking_of(setting: EvaluationSetting, own: Located, spec: TrainSpec) -> list[Any]:
    """Every thinking of the setting that the run's adapter can do, checked."""
    record = find_adapter(spec.adapter)
    config = record.config.model_validate(spec.config)
    given = getattr(setting, "thinking", "trained")
    if given == "trained":
        return [record.trained_thinking(config)]
    several = isinstance(given, list)
    kinds: list[str] = []
    kept: dict[Any, None] = {}
    for index, entry in enumerate(given if several else [given]):
        written = own.at("thinking", index) if several else own.at("thinking")
        for combination in combinations(entry, written, several=several):
            thinking = checked(THINKING.validate_python, Thinking, combination)
            kinds.append(thinking.kind)
            if thinking.kind in record.thinking:
                _check(thinking, setting, record, config, spec, written)
                kept[thinking] = None
    if not kept:
        raise HarnessError(
            f"adapter {record.name!r} cannot think that way",
            where=own.where(("thinking",)),
            given=", ".join(dict.fromkeys(kinds)),
            allowed=list(record.thinking),
            hint="add an entry it can do, or restrict the evaluation with `only: {adapter: [...]}`",
        )
    return list(kept)


def at_level(thinking: Sequence[Any], level: float, task: AnyTask) -> tuple[Any, ...]:
    """The settings that a noise level has room for: a matched start has its timesteps alone."""
    assert isinstance(task, DenoisingTask)
    room = timesteps(level, task.num_timesteps)
    return tuple(t for t in thinking if not _is_matched(t) or t.steps <= room)


def check_levels(
    thinking: Sequence[Any], setting: DenoisingSetting, own: Located, task: AnyTask
) -> None:
    """Something is left to do at each level; else a HarnessError."""
    for index, level in enumerate(setting.levels):
        if not at_level(thinking, level, task):
            raise HarnessError(
                "no thinking of this evaluation has as few steps as the level has timesteps",
                where=own.where(("levels", index)),
                given=f"{level:g}",
                hint="a matched start takes at most the level's own timesteps: give fewer steps",
            )


def _is_matched(thinking: Any) -> bool:
    return isinstance(thinking, Diffusion) and thinking.start == "matched"


def _check(
    thinking: Any,
    setting: EvaluationSetting,
    record: AdapterRecord,
    config: Any,
    spec: TrainSpec,
    written: Located,
) -> None:
    """The adapter's formula takes it: what it refuses would fail after training otherwise."""
    if getattr(thinking, "recursions", 1) > 1 and spec.task.kind != "denoising":
        raise HarnessError(
            f"recursions are for denoising: a {spec.task.kind} model has nothing to denoise again",
            where=written.where(("recursions",)),
            given=str(thinking.recursions),
            allowed=["1"],
        )
    shape = shape_of(spec.task)
    if isinstance(setting, DenoisingSetting) and _is_matched(thinking):
        assert isinstance(shape, ImageShape)
        shape, thinking = _matched(thinking, setting, shape, written)
    try:
        record.prediction_flops(config, shape, thinking)
    except (ValueError, ArithmeticError) as error:
        raise HarnessError(str(error), where=written.where()) from error


def _matched(
    thinking: Any, setting: DenoisingSetting, shape: ImageShape, written: Located
) -> tuple[ImageShape, Any]:
    """What a matched start amounts to: the start of a model that was trained at that level.

    HarnessError where the highest level is too low for it: at lower ones it is left out.
    """
    highest = max(setting.levels)
    room = timesteps(highest, shape.num_timesteps)
    if thinking.steps > room:
        raise HarnessError(
            f"only {room} timesteps lie between the highest level {highest:g} and the image",
            where=written.where(("steps",)),
            given=str(thinking.steps),
            allowed=[f"1 to {room}"],
        )
    return replace(shape, train_timesteps=room), thinking.model_copy(update={"start": "trained"})


def combinations(entry: Mapping[str, Any], written: Located, *, several: bool) -> Iterator[Located]:
    """Each combination of the lists in an entry, with the places of its values."""
    for key, value in entry.items():
        if isinstance(value, list) and (not value or not several):
            raise HarnessError(
                "must not be empty" if several else "takes one value: this evaluation has no grid",
                where=written.where((key,)),
                given=as_written(value),
            )
    lists = {k: list(enumerate(v)) if isinstance(v, list) else [(-1, v)] for k, v in entry.items()}
    for chosen in product(*lists.values()):
        places: dict[Key, Place] = {(): written.place()}
        for key, (index, _) in zip(lists, chosen, strict=True):
            places[(key,)] = written.place((key,) if index < 0 else (key, index))
        yield Located({k: v for k, (_, v) in zip(lists, chosen, strict=True)}, places)
