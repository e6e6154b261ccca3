"""A suite's evaluation settings expanded into EvalSpecs for one run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness.data.names import FILE_SPLITS
from harness.errors import HarnessError
from harness.planning.axes import ADAPTER, Value, label_of
from harness.planning.document import Experiment
from harness.planning.eval_settings import (
    KINDS,
    DataSetting,
    DenoisingSetting,
    DisjointSetting,
    EnergySetting,
    EvaluationSetting,
    LikelihoodSetting,
    LmTaskSetting,
    NextFrameSetting,
    ProbeSetting,
    TextSetting,
    ThinkingSetting,
)
from harness.planning.eval_spec import (
    DenoisingEval,
    EnergyEval,
    EvalBase,
    LikelihoodEval,
    NextFrameEval,
    ProbeEval,
    ThinkingEval,
)
from harness.planning.lm_tasks import task_specs
from harness.planning.located import Located
from harness.planning.presence import is_data_needed
from harness.planning.probes import check_labelled, check_probe
from harness.planning.shapes import (
    MODALITY,
    AnyTask,
    check_clips,
    check_file,
    find_data,
    shape_of,
)
from harness.planning.spec import NextFrameTask, TrainSpec
from harness.planning.splits import default_split
from harness.planning.templates import check_templates, check_tokens
from harness.planning.thinking import at_level, check_levels, thinking_of
from harness.planning.validate import as_written, validate
from harness.protocol import Descent, ImageShape


@dataclass(frozen=True)
class PlannedEval:
    """An evaluation under the name that the suite gives it."""

    name: str
    spec: EvalBase

    @cached_property
    def eval_id(self) -> str:
        return self.spec.eval_id

    @property
    def label(self) -> str:
        """`denoising on builtin/digits at level 0.1`."""
        level = getattr(self.spec, "level", None)
        at = "" if level is None else f" at level {level:g}"
        return f"{self.name} on {self.spec.data}{at}"


def expand_evaluations(
    experiment: Experiment,
    located: Located,
    label: str,
    labels: Mapping[str, str],
    spec: TrainSpec,
) -> tuple[PlannedEval, ...]:
    """Every evaluation of one run, whatever its seed; HarnessError at the first mistake."""
    planned: list[PlannedEval] = []
    for name in experiment.evaluations:
        own = located.at("evaluations", name)
        setting = _fitting(own, spec)
        chosen = {ADAPTER: label, **labels}
        if all(chosen.get(k, "") in map(label_of, v) for k, v in setting.only.items()):
            planned += [PlannedEval(name, s) for s in _specs(setting, own, spec)]
    return tuple(planned)


def specs_of(own: Located, spec: TrainSpec) -> list[EvalBase]:
    """One evaluation setting's specs for one run; HarnessError at the first mistake."""
    return list(_specs(_fitting(own, spec), own, spec))


def thinking_for(own: Located, spec: TrainSpec) -> Any:
    """The thinking of a setting that has one, checked for the run; else a HarnessError."""
    return thinking_of(validate(LmTaskSetting, own), own, spec)[0]


def _fitting(own: Located, spec: TrainSpec) -> EvaluationSetting:
    """The setting, of a kind that fits the run's task."""
    setting = _setting(own)
    if spec.task.kind not in KINDS[setting.kind].tasks:
        raise HarnessError(
            f"an evaluation of kind {setting.kind} does not fit a {spec.task.kind} task",
            where=own.where(("kind",)),
            given=setting.kind,
            allowed=[name for name, kind in KINDS.items() if spec.task.kind in kind.tasks],
        )
    return setting


def check_only(experiment: Experiment, axes: Mapping[str, list[Value]], located: Located) -> None:
    """Every `only` names an axis and labels that exist; else a HarnessError."""
    known = {ADAPTER: list(experiment.adapters)}
    known |= {name: [label for label, _ in values] for name, values in axes.items()}
    for name in experiment.evaluations:
        own = located.at("evaluations", name)
        for axis, labels in _setting(own).only.items():
            if axis not in known:
                raise HarnessError(
                    "no such axis",
                    where=own.where(("only", axis)),
                    given=axis,
                    allowed=list(known),
                )
            for index, label in enumerate(map(label_of, labels)):
                if label not in known[axis]:
                    raise HarnessError(
                        f"no {axis} of the experiment has this label",
                        where=own.where(("only", axis, index)),
                        given=label,
                        allowed=known[axis],
                    )


def _setting(own: Located) -> EvaluationSetting:
    kind = own.tree.get("kind")
    if kind is None:
        raise HarnessError(
            "the key 'kind' is missing", where=own.where(("kind",)), allowed=list(KINDS)
        )
    if not isinstance(kind, str) or kind not in KINDS:
        raise HarnessError(
            "unknown kind of evaluation",
            where=own.where(("kind",)),
            given=as_written(kind),
            allowed=list(KINDS),
        )
    setting = validate(KINDS[kind].setting, own)
    _distinct(setting.noise_seeds, own, "noise_seeds")
    if isinstance(setting, DataSetting) and isinstance(setting.data, list):
        _distinct(setting.data, own, "data")
    if isinstance(setting, LmTaskSetting):
        _distinct(setting.tasks, own, "tasks")
    if isinstance(setting, DenoisingSetting):
        _distinct(setting.levels, own, "levels")
    if isinstance(setting, ProbeSetting):
        _distinct(setting.l2, own, "l2")
    if isinstance(setting, EnergySetting) and setting.texts:
        _distinct(setting.texts, own, "texts")
    return setting


def _distinct(values: list[Any], own: Located, key: str) -> None:
    if not values:
        raise HarnessError("must not be empty", where=own.where((key,)), given="[]")
    for index, value in enumerate(values):
        if value in values[:index]:
            raise HarnessError(
                "is given twice", where=own.where((key, index)), given=as_written(value)
            )


def _specs(setting: EvaluationSetting, own: Located, spec: TrainSpec) -> Iterator[EvalBase]:
    thinking = thinking_of(setting, own, spec)
    if isinstance(setting, EnergySetting):
        _check_energy(setting, thinking[0], own, spec)
    if isinstance(setting, ThinkingSetting):
        check_tokens(setting, own)
    if isinstance(setting, DenoisingSetting):
        check_levels(thinking, setting, own, spec.task)
    if isinstance(setting, ProbeSetting):
        check_probe(setting, own, spec)
    common: dict[str, Any] = {
        "limit": setting.limit,
        "batch_size": setting.batch_size,
        "noise_seeds": tuple(setting.noise_seeds),
        "metric_version": KINDS[setting.kind].metric_version,
    }
    if isinstance(setting, LmTaskSetting):
        yield from task_specs(setting, own, thinking[0], common)
        return
    assert isinstance(setting, DataSetting)
    several = isinstance(setting.data, list)
    for index, data in enumerate([setting.data] if isinstance(setting.data, str) else setting.data):
        where = own.where(("data", index) if several else ("data",))
        if isinstance(setting, TextSetting) and setting.asks:
            split: str = setting.split or default_split(data, FILE_SPLITS)
            if is_data_needed():
                check_templates(setting, data, split, own, where)
        else:
            split = _split(setting, data, where, spec)
            if is_data_needed():
                check_file(data, split, MODALITY[spec.task.kind], where)
        if isinstance(setting, ProbeSetting) and is_data_needed():
            check_labelled(data, split, spec, where)
        if isinstance(spec.task, NextFrameTask):
            check_clips(data, split, spec.task, where)
        on = common | {"data": data, "split": split}
        yield from _on_data(setting, thinking, on, spec.task)


def _check_energy(setting: EnergySetting, thinking: Any, own: Located, spec: TrainSpec) -> None:
    """Energies are those of a descent, and texts are for models of text; else a HarnessError."""
    if not isinstance(thinking, Descent):
        raise HarnessError(
            "an energy evaluation follows a descent, and this thinking has none",
            where=own.where(("thinking", "kind")),
            given=thinking.kind,
            allowed=["descent"],
            hint="restrict the evaluation to models with an energy: `only: {adapter: [...]}`",
        )
    if setting.texts and spec.task.kind != "next_token":
        raise HarnessError(
            f"a {spec.task.kind} task reads no texts",
            where=own.where(("texts",)),
            hint="leave `texts` out: the first clips are kept whole instead",
        )


def _on_data(
    setting: DataSetting, thinking: list[Any], common: dict[str, Any], task: AnyTask
) -> Iterator[EvalBase]:
    """The evaluations of one data set."""
    if isinstance(setting, TextSetting):
        windows = setting.windows or ("rolling" if setting.asks else "as_trained")
        common |= {"prompt": setting.prompt, "answer": setting.answer, "windows": windows}
    if isinstance(setting, DisjointSetting):
        common["overlap"] = setting.overlap
    match setting:
        case LikelihoodSetting():
            yield LikelihoodEval(**common, thinking=thinking[0])
        case NextFrameSetting(timing_repeats=repeats, examples=examples):
            yield NextFrameEval(
                **common, thinking=thinking[0], timing_repeats=repeats, examples=examples
            )
        case ProbeSetting():
            yield ProbeEval(
                **common,
                train_limit=setting.train_limit,
                holdout=setting.holdout,
                l2=tuple(setting.l2),
                solver=setting.solver,
                epochs=setting.epochs,
                timing_repeats=setting.timing_repeats,
            )
        case ThinkingSetting(timing_repeats=repeats, tokens=tokens):
            yield ThinkingEval(
                **common, thinking=tuple(thinking), timing_repeats=repeats, tokens=tokens
            )
        case EnergySetting(texts=texts):
            yield EnergyEval(**common, thinking=thinking[0], texts=tuple(texts))
        case DenoisingSetting(timing_repeats=repeats):
            for level in setting.levels:
                yield DenoisingEval(
                    **common,
                    level=level,
                    thinking=at_level(thinking, level, task),
                    timing_repeats=repeats,
                    examples=setting.examples,
                )


def _split(setting: DataSetting, data: str, where: str, spec: TrainSpec) -> str:
    """The split to evaluate, once the data set is found to fit the task; else a HarnessError."""
    found = find_data(data, MODALITY[spec.task.kind], where)
    shape = shape_of(spec.task)
    if isinstance(shape, ImageShape):
        trained = (shape.channels, shape.height, shape.width)
        if found.image_shape != trained:
            raise HarnessError(
                f"data set {data!r} holds images of {_by(found.image_shape)}, "
                f"the model is trained on {_by(trained)}",
                where=where,
            )
    if setting.split is None:
        return default_split(data, found.splits)
    if setting.split not in found.splits:
        raise HarnessError(
            f"data set {data!r} has no such split",
            where=where,
            given=setting.split,
            allowed=list(found.splits),
        )
    return setting.split


def _by(shape: Iterable[int] | None) -> str:
    return " x ".join(map(str, shape or ()))
