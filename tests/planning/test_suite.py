"""A suite expands into runs and evaluations: layers in order, grids, seeds, `only`, `--set`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import HarnessError
from harness.planning.document import json_schema
from harness.planning.planned import PlannedRun, Suite
from harness.planning.suite import load_suite
from harness.protocol import AdapterRecord
from harness.registry import adapter

TASK = {"kind": "next_token", "data": "builtin/docs", "context": 16}
SIZE = {"depth": 1, "width": 8, "heads": 1}
PLAIN = {"adapter": "transformer_pp_text", "config": SIZE}
ENERGY = {"adapter": "ebt_text", "config": SIZE}
QUICKSTART = Path(__file__).parents[2] / "suites" / "quickstart.yaml"


def _load(path: Path, experiment: dict[str, Any], *overrides: str, **suite: Any) -> Suite:
    """A suite of one experiment over settings that make a run."""
    base = {"task": TASK, "batch_size": 8, "budget": {"steps": 10}, "optimizer": {"lr": 1e-3}}
    document = {
        "suite": "probe",
        "base": base | suite.pop("base", {}),
        "experiments": {"e": {"adapters": {"plain": PLAIN}} | experiment},
        **suite,
    }
    file = path / "suite.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return load_suite(file, overrides=overrides)


def _axes(runs: tuple[PlannedRun, ...]) -> list[dict[str, str]]:
    return [dict(run.labels) for run in runs]


def test_layers_come_in_order(tmp_path: Path) -> None:
    """base <- experiment's base <- adapter <- axis <- axis for one adapter <- --set."""
    names = ("beta1", "beta2", "eps", "weight_decay", "floor_ratio", "lr")

    def layer(value: float, *first: str) -> dict[str, Any]:
        return {"optimizer": {n: value for n in names if n not in first}}

    suite = _load(
        tmp_path,
        {
            "base": layer(0.2, *names[:1]),
            "adapters": {"plain": PLAIN | layer(0.3, *names[:2]), "energy": ENERGY},
            "axes": {
                "x": [
                    {
                        "label": "one",
                        **layer(0.4, *names[:3]),
                        "adapters": {"plain": layer(0.5, *names[:4])},
                    }
                ]
            },
        },
        "optimizer.lr=0.6",
        base=layer(0.1),
    )
    plain, energy = (run.spec.optimizer for run in suite.runs)
    assert [getattr(plain, n) for n in names] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert [getattr(energy, n) for n in names] == [0.1, 0.2, 0.2, 0.4, 0.4, 0.6]


def test_later_axes_lie_over_earlier_ones(tmp_path: Path) -> None:
    axes = {"a": [{"label": "a", "batch_size": 2, "threads": 2}], "b": [{"batch_size": 4}]}
    (run,) = _load(tmp_path, {"axes": axes}).runs
    assert (run.spec.batch_size, run.spec.threads, run.labels) == (4, 2, {"a": "a", "b": "4"})


@pytest.mark.parametrize(
    ("combine", "points"),
    [
        ("grid", [{"batch_size": b, "lr": r} for b in "24" for r in ("0.1", "0.2")]),
        ("one_at_a_time", [{"batch_size": "2"}, {"batch_size": "4"}, {"lr": "0.1"}, {"lr": "0.2"}]),
    ],
)
def test_axes_combine(tmp_path: Path, combine: str, points: list[dict[str, str]]) -> None:
    axes = {
        "batch_size": {"path": "batch_size", "values": [2, 4]},
        "lr": {"path": "optimizer.lr", "values": [0.1, 0.2]},
    }
    suite = _load(tmp_path, {"axes": axes, "combine": combine})
    assert _axes(suite.runs) == points
    for run in suite.runs:
        assert run.spec.batch_size == int(run.labels.get("batch_size", 8))
        assert run.spec.optimizer.lr == float(run.labels.get("lr", 1e-3))


@pytest.mark.parametrize("combine", ["grid", "one_at_a_time"])
def test_without_axes_there_is_the_base(tmp_path: Path, combine: str) -> None:
    assert _axes(_load(tmp_path, {"combine": combine}).runs) == [{}]


def test_seeds_are_runs(tmp_path: Path) -> None:
    suite = _load(tmp_path, {"seeds": [3, 5]})
    assert [run.spec.seed for run in suite.runs] == [3, 5]
    assert len({run.run_id for run in suite.runs}) == 2
    assert [run.name for run in suite.runs] == ["e/plain seed 3", "e/plain seed 5"]


@pytest.mark.parametrize(
    ("entry", "label"),
    [
        ({"batch_size": 4}, "4"),
        ({"budget.tokens": 1e6}, "1000000"),
        ({"optimizer.lr": 3e-4}, "0.0003"),
        ({"batch_size": 4, "threads": 2}, "4 2"),
        ({"label": "big", "config": {"depth": 2}}, "big"),
        ({"label": 5, "batch_size": 4}, "5"),
        ({"config.step_size_learned": False}, "false"),
    ],
)
def test_labels(tmp_path: Path, entry: dict[str, Any], label: str) -> None:
    (run,) = _load(tmp_path, {"adapters": {"e": ENERGY}, "axes": {"x": [entry]}}).runs
    assert run.labels == {"x": label}


def test_a_size_and_its_numbers_are_one_run(tmp_path: Path) -> None:
    axes = {
        "x": [
            {"label": "named", "config": {"size": "4xs"}},
            {"label": "numbers", "config": {"heads": 2, "width": 128.0, "depth": 2}},
            {"label": "both", "config": {"size": "4xs", "width": 128}},
        ]
    }
    suite = _load(tmp_path, {"axes": axes, "adapters": {"p": {"adapter": "transformer_pp_text"}}})
    assert len({run.run_id for run in suite.runs}) == 1
    assert "size" not in suite.runs[0].spec.config


def test_defaults_are_resolved_into_the_spec(tmp_path: Path) -> None:
    """A default that changes later does not silently change what a recorded run was."""
    (run,) = _load(tmp_path, {}).runs
    assert run.spec.config == {
        "depth": 1,
        "width": 8,
        "heads": 1,
        "ffn_width": 8,
        "rope_theta": 10000.0,
        "norm_eps": 1e-5,
    }
    explicit = {"adapter": "transformer_pp_text", "config": run.spec.config}
    assert _load(tmp_path, {"adapters": {"x": explicit}}).runs[0].run_id == run.run_id


def test_key_order_does_not_matter(tmp_path: Path) -> None:
    (first,) = _load(tmp_path, {}).runs
    reversed_adapter = dict(reversed(PLAIN.items()))
    reversed_adapter["config"] = dict(reversed(SIZE.items()))
    (second,) = _load(tmp_path, {"adapters": {"plain": reversed_adapter}}).runs
    assert first.run_id == second.run_id


@pytest.mark.parametrize(
    ("override", "attribute", "value"),
    [
        ("batch_size=4", "batch_size", 4),
        ("base.batch_size=4", "batch_size", 4),
        ("experiments.e.base.batch_size=4", "batch_size", 4),
        ("experiments.e.adapters.plain.batch_size=4", "batch_size", 4),
        ("base={batch_size: 4}", "batch_size", 4),
        ("experiments.e.seeds=[7]", "seed", 7),
        (" precision = bf16 ", "precision", "bf16"),
    ],
)
def test_set(tmp_path: Path, override: str, attribute: str, value: object) -> None:
    (run,) = _load(tmp_path, {}, override).runs
    assert getattr(run.spec, attribute) == value


def test_set_replaces_the_unit_of_a_budget(tmp_path: Path) -> None:
    axes = {"x": [{"label": "long", "budget": {"steps": 99}}]}
    (run,) = _load(tmp_path, {"axes": axes}, "budget.tokens=1e3").runs
    assert run.spec.budget.model_dump(exclude_none=True) == {"tokens": 1000.0}


def test_the_last_set_wins(tmp_path: Path) -> None:
    assert _load(tmp_path, {}, "threads=2", "threads=3").runs[0].spec.threads == 3


# --- evaluations -----------------------------------------------------------------------------


def _evals(tmp_path: Path, evaluation: dict[str, Any], **experiment: Any) -> list[list[Any]]:
    """The EvalSpecs of each run under one evaluation."""
    suite = _load(tmp_path, {"evaluations": {"x": evaluation}} | experiment)
    return [[e.spec for e in run.evaluations] for run in suite.runs]


BOTH = {"plain": PLAIN, "energy": ENERGY}
LOSS = {"kind": "likelihood", "data": "builtin/docs"}


def test_each_data_set_is_an_evaluation_on_its_default_split(tmp_path: Path) -> None:
    ((docs, dyck),) = _evals(tmp_path, LOSS | {"data": ["builtin/docs", "builtin/dyck"]})
    assert (docs.data, docs.split) == ("builtin/docs", "validation")
    assert (dyck.data, dyck.split) == ("builtin/dyck", "test")
    ((train,),) = _evals(tmp_path, LOSS | {"split": "train"})
    assert train.split == "train"


def test_trained_thinking_is_the_adapters_own(tmp_path: Path) -> None:
    energy = ENERGY | {"config": SIZE | {"steps": 3}}
    for given in ({}, {"thinking": "trained"}):
        (plain,), (own,) = _evals(
            tmp_path, LOSS | given, adapters={"plain": PLAIN, "energy": energy}
        )
        assert plain.thinking.kind == "single"
        assert (own.thinking.kind, own.thinking.steps) == ("descent", 3)


def test_lists_in_thinking_span_a_grid_of_what_the_adapter_can_do(tmp_path: Path) -> None:
    grid = [
        {"kind": "single"},
        {"kind": "descent", "steps": [1, 2], "samples": [1, 4]},
        {"kind": "descent", "steps": 2},
    ]
    (plain,), (energy,) = _evals(
        tmp_path, {"kind": "thinking", "data": "builtin/docs", "thinking": grid}, adapters=BOTH
    )
    assert [t.kind for t in plain.thinking] == ["single"]
    found = [(t.steps, t.samples) for t in energy.thinking]
    assert found == [(1, 1), (1, 4), (2, 1), (2, 4)], "in order, and once each"


def test_each_level_is_an_evaluation(tmp_path: Path) -> None:
    image = {
        "base": {"task": {"kind": "denoising"}},
        "adapters": {"ebt": {"adapter": "ebt_image", "config": SIZE | {"patch_size": 4}}},
        "evaluations": {
            "x": {
                "kind": "denoising",
                "data": "builtin/digits",
                "levels": [0.1, 0.2],
                "thinking": [{"kind": "descent", "steps": [1, 3]}],
            }
        },
    }
    document = {
        "suite": "probe",
        "experiments": {
            "e": image
            | {
                "base": {
                    "task": {"kind": "denoising"},
                    "batch_size": 8,
                    "budget": {"steps": 1},
                    "optimizer": {"lr": 1e-3},
                }
            }
        },
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(document))
    (run,) = load_suite(tmp_path / "s.yaml").runs
    specs: list[Any] = [e.spec for e in run.evaluations]
    assert [s.level for s in specs] == [0.1, 0.2]
    assert all([t.steps for t in s.thinking] == [1, 3] for s in specs)
    assert len({s.eval_id for s in specs}) == 2


@pytest.mark.parametrize(
    ("only", "runs"),
    [
        ({}, ["plain 2", "plain 4", "energy 2", "energy 4"]),
        ({"adapter": ["energy"]}, ["energy 2", "energy 4"]),
        ({"batch": [4]}, ["plain 4", "energy 4"]),
        ({"batch": ["4"], "adapter": ["plain"]}, ["plain 4"]),
        ({"batch": [4.0, 2]}, ["plain 2", "plain 4", "energy 2", "energy 4"]),
    ],
)
def test_only(tmp_path: Path, only: dict[str, Any], runs: list[str]) -> None:
    axes = {"batch": {"path": "batch_size", "values": [2, 4]}}
    suite = _load(
        tmp_path, {"evaluations": {"x": LOSS | {"only": only}}, "adapters": BOTH, "axes": axes}
    )
    chosen = [f"{r.adapter_label} {r.labels['batch']}" for r in suite.runs if r.evaluations]
    assert chosen == runs


def test_an_evaluation_is_shared_whatever_its_name(tmp_path: Path) -> None:
    suite = _load(tmp_path, {"evaluations": {"a": LOSS, "b": LOSS, "c": LOSS | {"limit": 5}}})
    a, b, c = suite.runs[0].evaluations
    assert (a.name, b.name) == ("a", "b")
    assert a.spec.eval_id == b.spec.eval_id != c.spec.eval_id


def test_a_users_file_is_looked_for_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.txt").write_text("words to train on")
    text = """
suite: own
experiments:
  text:
    base:
      task: {kind: next_token, context: 4, data: "file:train.txt"}
      batch_size: 1
      budget: {steps: 1}
      optimizer: {lr: 1e-3}
    adapters: {t: {adapter: transformer_pp_text, config: {size: 4xs}}}
    evaluations:
      validation: {kind: likelihood, data: "file:DATA"}
"""
    path = tmp_path / "suite.yaml"
    path.write_text(text.replace("DATA", "train.txt"))
    assert load_suite(path).runs
    for given, problem in (("missing.txt", "no such file"), ("suite.yaml", "no text is read")):
        path.write_text(text.replace("DATA", given))
        with pytest.raises(HarnessError, match=problem) as caught:
            load_suite(path)
        assert "suite.yaml:12 experiments.text.evaluations.validation.data" in str(caught.value)


# --- compilation -----------------------------------------------------------------------------


def _compiling(monkeypatch: pytest.MonkeyPatch, *able: str) -> None:
    def find(name: str) -> AdapterRecord:
        return replace(adapter(name), compiles=name in able)

    monkeypatch.setattr("harness.planning.suite.find_adapter", find)


def test_compile_is_refused_where_the_adapter_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _compiling(monkeypatch, "ebt_text")
    adapters = {"energy": ENERGY, "plain": PLAIN}
    with pytest.raises(HarnessError) as caught:
        _load(tmp_path, {"adapters": adapters}, base={"compile": True})
    message = str(caught.value)
    line = 1 + (tmp_path / "suite.yaml").read_text().splitlines().index("  compile: true")
    assert message.startswith(f"{tmp_path / 'suite.yaml'}:{line} base.compile: adapter")
    assert "'transformer_pp_text' cannot be compiled" in message
    assert message.endswith("give `compile` to adapters that can: ebt_text")

    _compiling(monkeypatch)
    with pytest.raises(HarnessError, match="that can: none is installed"):
        _load(tmp_path, {}, "compile=true")


def test_compile_is_a_setting_of_the_run_and_of_the_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _compiling(monkeypatch, "ebt_text")
    adapters = {"energy": ENERGY | {"compile": True}, "same": ENERGY, "plain": PLAIN}
    compiled, same, plain = _load(tmp_path, {"adapters": adapters}).runs
    assert (compiled.spec.compile, same.spec.compile, plain.spec.compile) == (True, False, False)
    assert compiled.run_id != same.run_id
    assert json_schema()["$defs"]["Settings"]["properties"]["compile"]["type"] == "boolean"
    with pytest.raises(HarnessError, match=r"compile: must be true or false"):
        _load(tmp_path, {"adapters": {"energy": ENERGY | {"compile": "perhaps"}}})


def test_why_a_suite_decides_nothing_is_its_own_and_enters_no_id(tmp_path: Path) -> None:
    quickstart = load_suite(QUICKSTART)
    assert quickstart.exploratory == "its settings were found by looking at these validation sets"
    text = QUICKSTART.read_text()
    path = tmp_path / "suite.yaml"
    path.write_text(text.replace(f"exploratory: {quickstart.exploratory}\n", ""))
    plain = load_suite(path)
    assert plain.exploratory == ""
    assert [run.run_id for run in plain.runs] == [run.run_id for run in quickstart.runs]
    assert load_suite(path, overrides=["exploratory=tried before"]).exploratory == "tried before"
    path.write_text(text.replace(quickstart.exploratory, '""'))
    with pytest.raises(HarnessError, match="exploratory"):
        load_suite(path)
