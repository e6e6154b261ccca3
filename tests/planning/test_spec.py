"""A spec's id is its content: nothing else changes it, and everything in it does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from harness.planning.eval_spec import (
    DenoisingEval,
    EnergyEval,
    EvalSpec,
    LikelihoodEval,
    LmTaskEval,
    NextFrameEval,
    ProbeEval,
    ThinkingEval,
)
from harness.planning.spec import DenoisingTask, NextTokenTask, TrainSpec, content_hash

TRAIN: dict[str, Any] = {
    "adapter": "ebt_text",
    "adapter_version": "1",
    "config": {"depth": 1, "width": 8, "heads": 1, "step_size": 0.3},
    "task": {"kind": "next_token", "data": "builtin/docs", "context": 16},
    "batch_size": 8,
    "budget": {"steps": 10},
    "optimizer": {"lr": 0.001},
    "seed": 0,
}
EVALS: dict[str, dict[str, Any]] = {
    "likelihood": {
        "kind": "likelihood",
        "data": "builtin/docs",
        "split": "validation",
        "thinking": {"kind": "single"},
    },
    "thinking": {
        "kind": "thinking",
        "data": "builtin/docs",
        "split": "validation",
        "thinking": [{"kind": "descent", "steps": 2}],
    },
    "energy": {
        "kind": "energy",
        "data": "builtin/docs",
        "split": "validation",
        "thinking": {"kind": "descent", "steps": 12},
        "texts": ["a text"],
    },
    "lm_task": {
        "kind": "lm_task",
        "data": "dyck",
        "split": "test",
        "thinking": {"kind": "single"},
    },
    "denoising": {
        "kind": "denoising",
        "data": "builtin/digits",
        "split": "validation",
        "level": 0.1,
        "thinking": [{"kind": "diffusion", "steps": 2}],
    },
    "probe": {
        "kind": "probe",
        "data": "builtin/digits",
        "split": "validation",
        "l2": [0.1],
    },
    "next_frame": {
        "kind": "next_frame",
        "data": "builtin/moving-digits",
        "split": "validation",
        "thinking": {"kind": "single"},
    },
}
_EVAL: TypeAdapter[Any] = TypeAdapter(EvalSpec)
#: Recorded runs are found by these; a change of any makes every record an orphan.
GOLDEN_RUN = "ebt_text-212f40ea45a3"
GOLDEN_EVAL = "93de1cb60a25"
GOLDEN_PIXELS = {
    "denoising": "885b47a2cb40",
    "probe": "65640f092a2c",
    "next_frame": "3f96612e8622",
}


def _train(**changes: Any) -> TrainSpec:
    return TrainSpec.model_validate(TRAIN | changes)


def test_ids_are_the_same_in_every_process_and_release() -> None:
    assert _train().run_id == GOLDEN_RUN
    likelihood = _EVAL.validate_python(EVALS["likelihood"])
    assert likelihood.eval_id == GOLDEN_EVAL
    dropping = likelihood.model_copy(update={"overlap": "drop"})
    assert dropping.eval_id != GOLDEN_EVAL
    assert _EVAL.validate_json(dropping.model_dump_json()) == dropping
    for kind, eval_id in GOLDEN_PIXELS.items():
        spec = _EVAL.validate_python(EVALS[kind])
        assert spec.eval_id == eval_id
        assert spec.model_copy(update={"overlap": "drop"}).eval_id != eval_id
    code = (
        "import sys, json; from harness.planning.spec import TrainSpec;"
        "print(TrainSpec.model_validate(json.loads(sys.argv[1])).run_id)"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code, json.dumps(TRAIN)],
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed},
            check=True,
        )
        assert done.stdout.strip() == GOLDEN_RUN


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": {"lr": 1e-3, "weight_decay": 0.01}},
        {"optimizer": {"weight_decay": 0.01, "lr": "0.001"}},
        {"config": {"step_size": 0.3, "heads": 1, "width": 8, "depth": 1}},
        {"budget": {"steps": 10.0}},
        {"budget": {"steps": 10, "tokens": None}},
        {"task": {"context": 16.0, "kind": "next_token", "tokenizer": "bytes"}},
        {"precision": "float32", "threads": 1, "accumulate": 1, "device_class": None},
        {"compile": False},
    ],
)
def test_spelling_does_not_change_the_id(change: dict[str, Any]) -> None:
    assert _train(**change).run_id == _train().run_id
    assert _train(**dict(reversed((TRAIN | change).items()))).run_id == _train().run_id


@pytest.mark.parametrize("whole", [1_000_000, 1e6, "1e6"])
def test_whole_numbers_and_floats_are_one_budget(whole: float) -> None:
    assert _train(budget={"tokens": whole}).run_id == _train(budget={"tokens": 1e6}).run_id


# --- every field counts ----------------------------------------------------------------------


def _specs() -> st.SearchStrategy[BaseModel]:
    numbers = st.floats(1e-6, 0.9)
    trains = st.fixed_dictionaries(
        {
            "batch_size": st.integers(1, 32).map(lambda n: 2 * n),
            "seed": st.integers(0, 2**63 - 1),
            "threads": st.integers(1, 8),
            "precision": st.sampled_from(["float32", "bf16"]),
            "compile": st.booleans(),
            "optimizer": st.fixed_dictionaries(
                {"lr": numbers, "beta1": numbers, "clip_norm": st.none() | numbers}
            ),
            "task": st.fixed_dictionaries(
                {"kind": st.just("next_token"), "context": st.integers(1, 99)}
            )
            | st.fixed_dictionaries({"kind": st.just("denoising"), "train_level": numbers}),
            "budget": st.fixed_dictionaries({"steps": st.integers(1, 9**9)})
            | st.fixed_dictionaries({"flops": st.floats(1, 1e20)}),
        }
    ).map(lambda changes: _train(**changes))
    evals = st.sampled_from(list(EVALS.values())).flatmap(
        lambda spec: st.fixed_dictionaries(
            {
                "limit": st.none() | st.integers(1, 99),
                "noise_seeds": st.lists(st.integers(0, 99), min_size=1, max_size=3),
                "split": st.sampled_from(["train", "validation", "test"]),
            }
        ).map(lambda changes: _EVAL.validate_python(spec | changes))
    )
    return trains | evals


def _leaves(value: Any, key: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value)
    for name, child in children:
        if isinstance(child, dict | list) and child:
            yield from _leaves(child, (*key, name))
        else:
            yield (*key, name)


#: Some word that each setting of few words takes.
WORDS = (
    *("test", "train", "first_window", "base_lr", "matched", "every", "bf16", "float32"),
    *("first", "lower", "largest_drop", "rolling", "minibatch"),
)


def _changed(value: Any, key: tuple[Any, ...]) -> list[Any]:
    """Values that the field might take instead."""
    for part in key:
        value = value[part]
    if isinstance(value, str):
        return [w for w in (value + "x", *WORDS) if w != value]
    if value is None:
        return [1, 0.5, "h100"]
    if isinstance(value, bool):
        return [not value]
    return [None, value + 1, value * 2, value / 2]


def _with(value: Any, key: tuple[Any, ...], new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    target = copy
    for part in key[:-1]:
        target = target[part]
    target[key[-1]] = new
    return copy


#: Fields that have one value only, so that no other can be given.
FIXED = {"checkpoint", "kind"}
#: A budget has one unit, and a device class goes with seconds alone.
EXCLUSIVE = {"steps", "tokens", "flops", "seconds", "device_class"}


@settings(max_examples=40, deadline=None)
@given(spec=_specs())
def test_every_field_changes_the_id(spec: BaseModel) -> None:
    content = spec.model_dump(mode="json")
    for key in _leaves(content):
        ids, valid = set(), 0
        for new in _changed(content, key):
            try:
                other = type(spec).model_validate(_with(content, key, new))
            except ValidationError:
                continue
            valid += 1
            if other != spec:
                ids.add(content_hash(other))
        assert content_hash(spec) not in ids, key
        assert ids or key[-1] in FIXED or key[-1] in EXCLUSIVE, key


@settings(max_examples=60, deadline=None)
@given(spec=_specs())
def test_round_trip_through_json(spec: BaseModel) -> None:
    written = json.dumps(spec.model_dump(mode="json"))
    again = type(spec).model_validate(json.loads(written))
    assert again == spec
    assert content_hash(again) == content_hash(spec)
    reordered = dict(reversed(json.loads(written).items()))
    assert content_hash(type(spec).model_validate(reordered)) == content_hash(spec)


@pytest.mark.parametrize("name", EVALS)
def test_evaluations_read_back_as_their_kind(name: str) -> None:
    spec = _EVAL.validate_python(EVALS[name])
    kinds = {
        "likelihood": LikelihoodEval,
        "thinking": ThinkingEval,
        "energy": EnergyEval,
        "lm_task": LmTaskEval,
        "denoising": DenoisingEval,
        "probe": ProbeEval,
        "next_frame": NextFrameEval,
    }
    again = _EVAL.validate_json(spec.model_dump_json())
    assert type(again) is kinds[name]
    assert again.eval_id == spec.eval_id


def test_specs_are_frozen_and_closed() -> None:
    spec = _train()
    with pytest.raises(ValidationError):
        spec.seed = 3
    with pytest.raises(ValidationError):
        _train(workers=3)


# --- budgets ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        ({"steps": 7}, 7),
        ({"tokens": 1}, 1),
        ({"tokens": 8 * 16 * 5}, 5),
        ({"tokens": 8 * 16 * 5 + 1}, 6),
        ({"flops": 8 * 100.0 * 3}, 3),
        ({"flops": 8 * 100.0 * 3 + 1}, 4),
    ],
)
def test_total_steps(budget: dict[str, Any], steps: int) -> None:
    assert _train(budget=budget).total_steps(100.0) == steps


def test_a_budget_in_seconds_has_no_steps() -> None:
    spec = _train(budget={"seconds": 5}, device_class="cpu-2")
    assert spec.total_steps(100.0) is None


def test_only_text_has_tokens() -> None:
    assert _train().tokens_per_step == 8 * 16
    assert _train(task={"kind": "denoising"}).tokens_per_step is None
    assert isinstance(_train(task={"kind": "denoising"}).task, DenoisingTask)
    assert isinstance(_train().task, NextTokenTask)
