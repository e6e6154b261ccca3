"""The tasks of lm-eval that an evaluation names, each found and made a spec of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.data.task_files import find_task, task_digest
from harness.errors import HarnessError
from harness.planning.eval_settings import LmTaskSetting
from harness.planning.eval_spec import LmTaskEval
from harness.planning.located import Located
from harness.planning.spec import TrainSpec
from harness.protocol import Descent
from harness.registry import adapter as find_adapter


def task_specs(
    setting: LmTaskSetting, own: Located, thinking: Any, common: Mapping[str, Any]
) -> Iterator[LmTaskEval]:
    """One evaluation per task; HarnessError where a task or its local data are not there.

    The user's own carry their digest, so that a changed file is another evaluation.
    """
    for index, name in enumerate(setting.tasks):
        try:
            found = find_task(name, setting.include)
            found.local_paths()
            theirs = found.origin == "include"
            digest = task_digest(found) if theirs else None
        except HarnessError as error:
            known = setting.include is None or error.given != setting.include
            key = ("tasks", index) if known else ("include",)
            raise error.located(own.where(key)) from error
        yield LmTaskEval(
            **common,
            data=name,
            split="test",
            thinking=thinking,
            num_fewshot=setting.num_fewshot,
            include=setting.include if theirs else None,
            digest=digest,
        )


def thinking_given(spec: TrainSpec, fields: Mapping[str, Any]) -> Any:
    """What a setting's `thinking` says where some fields of the trained descent are changed.

    HarnessError where the adapter does not descend.
    """
    if not fields:
        return "trained"
    record = find_adapter(spec.adapter)
    if "descent" not in record.thinking:
        raise HarnessError(
            f"adapter {record.name!r} cannot think in optimization steps and samples",
            given=", ".join(f"{name}={value}" for name, value in fields.items()),
            hint="leave them out for this run: it predicts in one way",
        )
    trained = record.trained_thinking(record.config.model_validate(spec.config))
    known = trained.model_dump(mode="json") if isinstance(trained, Descent) else {}
    return known | {"kind": "descent", **fields}
