"""A task of lm-eval as an evaluation: metrics as measurements, documents kept to be paired."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from harness.data.task_files import TaskFile, find_task, task_digest
from harness.errors import HarnessError
from harness.evals.context import EvalContext
from harness.evals.lm_documents import Documents, finite, plain
from harness.planning.eval_spec import LmTaskEval
from harness.records import Measurement, write_json

RESULTS = "results.json"
_FRACTION, _PERCENT = "fraction", "%"
_UNITS = {
    **dict.fromkeys(
        ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "f1", "em"), _FRACTION
    ),
    "perplexity": "per continuation",
    "word_perplexity": "per word",
    "byte_perplexity": "per byte",
    "bits_per_byte": "bits/byte",
}
#: Tasks that count in per cent what others do in fractions: by the start of their names, the parts
#: of their metrics' names (lm-eval's squadv2 and scrolls).
_IN_PERCENT = {"squadv2": ("exact", "f1"), "scrolls_": ("em", "f1", "rouge")}
#: What of lm-eval's results is kept: what its own result files hold, without this machine.
_KEPT = (
    "results", "groups", "group_subtasks", "configs", "versions", "n-shot", "n-samples",
    "higher_is_better", "config",
)  # fmt: skip


def evaluate_lm_task(spec: LmTaskEval, context: EvalContext, folder: Path) -> list[Measurement]:
    """Every numeric metric of every task that `spec.data` names, once per noise seed.

    `stderr` is lm-eval's: over documents, not over training seeds; `cut` is the share of requests
    whose context was cut on the left to fit the model's, `chance` what guessing gives. `folder`
    keeps lm-eval's `results.json`, and per document what `lm_documents` says.
    HarnessError where the task or its data are not there, or not those that were planned.
    """
    from harness.evals.language_model import AdapterLM  # these two load lm-eval
    from harness.evals.lm_eval_run import load_tasks, run_tasks

    found = find_task(spec.data, spec.include)
    _check_as_planned(spec, found)
    models = [
        AdapterLM(context, spec.thinking, batch_size=spec.batch_size, noise_seed=seed)
        for seed in spec.noise_seeds
    ]
    measurements: list[Measurement] = []
    documents = Documents(spec)
    by_seed: dict[int, dict[str, Any]] = {}
    for seed, model in zip(spec.noise_seeds, models, strict=True):
        tasks = load_tasks(found)
        _check_as_planned(spec, found)
        results = run_tasks(tasks, model, spec)
        documents.add(seed, results["samples"])
        by_seed[seed] = results
        for name, task in tasks.items():
            split = "test" if task.has_test_docs() else "validation"
            facts = _facts(results, name) | {"split": split, "cut": model.share_cut(name)}
            cost = model.cost(name, results["n-samples"][name]["effective"])
            for metric, value in _metrics(results["results"][name]).items():
                chance = documents.chance(name) if _is_choice(task, metric) else None
                about = facts | {"chance": chance}
                measurements.append(
                    _measurement(metric, value, about, cost, (spec, context, seed, documents))
                )
    _write(folder, by_seed, documents)
    return measurements


def _check_as_planned(spec: LmTaskEval, found: TaskFile) -> None:
    if spec.digest not in (None, now := task_digest(found)):
        raise HarnessError(
            f"the files of task {spec.data} changed since this evaluation was planned: their "
            f"digest was {str(spec.digest)[:12]} and is {now[:12]} now",
            where=str(found.path),
            hint="run the suite again, or `harness eval`: what changed is another evaluation",
        )


def _is_choice(task: Any, metric: str) -> bool:
    """The metric is of choosing one of what is offered, of which one is right."""
    chosen = getattr(task, "OUTPUT_TYPE", None) == "multiple_choice" and not task.multiple_target
    return chosen and metric in ("acc", "acc_norm", "acc_bytes")


def _metrics(results: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Metric, with its filter where it has one, -> (value, standard error)."""
    found = {}
    for key, value in results.items():
        metric, comma, filtered = key.partition(",")
        if comma and not metric.endswith("_stderr") and isinstance(value, Real):
            name = metric if filtered == "none" else key
            found[name] = (value, results.get(f"{metric}_stderr,{filtered}"))
    return found


def _facts(results: Mapping[str, Any], task: str) -> dict[str, Any]:
    """What lm-eval says of a task beside its numbers."""
    return {
        "data": task,
        "task_version": results["versions"].get(task),
        "num_fewshot": results["n-shot"].get(task),
        "higher_is_better": results["higher_is_better"].get(task, {}),
    }


def _measurement(
    metric: str,
    value: tuple[Any, Any],
    facts: Mapping[str, Any],
    cost: Mapping[str, Any],
    of: tuple[LmTaskEval, EvalContext, int, Documents],
) -> Measurement:
    spec, context, seed, documents = of
    trained = context.record.trained_thinking(context.config)
    bare = metric.partition(",")[0]
    return context.measurement(
        metric,
        finite(value[0]),
        n=documents.count(facts["data"], metric),
        unit=unit_of(facts["data"], bare, value[0]),
        higher_is_better=facts["higher_is_better"].get(bare),
        noise_seed=seed,
        tags={
            **{k: v for k, v in facts.items() if k != "higher_is_better"},
            "stderr": finite(value[1]),
            "trained": spec.thinking == trained,
            **spec.thinking.model_dump(mode="json"),
        },
        cost=cost,
    )


def unit_of(task: str, metric: str, value: Any) -> str:
    """Of a metric by its name without filter; what exceeds 1 is no fraction."""
    for start, parts in _IN_PERCENT.items():
        if task.startswith(start) and any(part in metric for part in parts):
            return _PERCENT
    unit = _UNITS.get(metric, "score")
    return "score" if unit == _FRACTION and value > 1 else unit


def _write(folder: Path, by_seed: Mapping[int, Mapping[str, Any]], documents: Documents) -> None:
    """lm-eval's results of the first noise seed, with those of the others under `noise_seeds`."""
    first = next(iter(by_seed.values()))
    kept = {key: first[key] for key in _KEPT if key in first}
    kept["task_hashes"] = documents.hashes()
    kept["noise_seeds"] = {str(seed): found["results"] for seed, found in by_seed.items()}
    write_json(folder / RESULTS, plain(kept))
    documents.write(folder)
