"""`harness eval`: tasks of lm-eval on a trained run, its results as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.errors import HarnessError
from harness.launch.downstream import Done, evaluate_by_hand
from harness.planning.evaluations import specs_of
from harness.planning.lm_tasks import thinking_given
from harness.planning.located import Key, Located, Place
from harness.planning.spec import TrainSpec, thinking_label, thinking_of
from harness.provenance import user_command
from harness.records import RunFolder, find_run, read_json
from harness.show.console import terminal


@dataclass(frozen=True)
class Asked:
    """What `harness eval` was told, as written; None where it was told nothing."""

    tasks: str
    include: str | None
    num_fewshot: int | None
    limit: int | None
    batch_size: int
    noise_seeds: Sequence[int]
    thinking: str | None
    steps: int | None
    samples: int | None


_OPTIONS = {
    "tasks": "--tasks",
    "include": "--include",
    "num_fewshot": "--num-fewshot",
    "limit": "--limit",
    "batch_size": "--batch-size",
    "noise_seeds": "--noise-seed",
}


def evaluate_run(given: str, asked: Asked, results: Path, *, device: str, as_json: bool) -> int:
    """Do and print what is asked of a run; returns 1 where an evaluation failed, 130 on Ctrl-C.

    HarnessError for a run, a task or a thinking that cannot be.
    """
    folder = find_run(results, given)
    spec = _spec(folder)
    specs = specs_of(_located(asked, spec), spec)
    console = terminal(stderr=True)
    try:
        ends = evaluate_by_hand(
            folder,
            specs,
            results,
            device=device,
            command=user_command(),
            note=lambda text: console.print(text, style="dim", markup=False, soft_wrap=True),
        )
    except KeyboardInterrupt:
        console.print("[yellow]interrupted[/]; the same command goes on from here.")
        return 130
    if as_json:
        print(json.dumps(_document(folder, ends), indent=1, allow_nan=False))
    else:
        _print(terminal(), folder, ends)
    return int(any(end.how == "failed" for end in ends))


# --- what is asked ---------------------------------------------------------------------------


def _spec(folder: RunFolder) -> TrainSpec:
    if not folder.training.exists():
        raise HarnessError(
            "the run is not trained to its end",
            given=folder.run_id,
            hint="`harness ls runs` shows how far it is; run its suite again to go on",
        )
    spec = TrainSpec.model_validate(read_json(folder.spec))
    if spec.task.kind != "next_token":
        raise HarnessError(
            f"lm-eval's tasks are for language models, and this run's task is {spec.task.kind}",
            given=folder.run_id,
        )
    return spec


def _located(asked: Asked, spec: TrainSpec) -> Located:
    """The command line as an evaluation's setting, each value with its option."""
    tasks = [name.strip() for name in asked.tasks.split(",") if name.strip()]
    tree: dict[str, Any] = {
        "kind": "lm_task",
        "tasks": tasks,
        "include": asked.include,
        "num_fewshot": asked.num_fewshot,
        "limit": asked.limit,
        "batch_size": asked.batch_size,
        "noise_seeds": list(asked.noise_seeds),
    }
    places: dict[Key, Place] = {(key,): Place(option) for key, option in _OPTIONS.items()}
    places |= {("tasks", index): Place("--tasks") for index in range(len(tasks))}
    places |= {
        ("noise_seeds", index): Place("--noise-seed") for index in range(len(asked.noise_seeds))
    }
    steps = {"steps": asked.steps, "samples": asked.samples}
    fields = {key: value for key, value in steps.items() if value is not None}
    if asked.thinking is not None and fields:
        raise HarnessError(
            "say it in one way", where="--thinking", hint="put steps and samples into --thinking"
        )
    if asked.thinking is None:
        tree["thinking"] = thinking_given(spec, fields)
        places |= {("thinking",): Place(" and ".join(f"--{key}" for key in fields))}
        places |= {("thinking", key): Place(f"--{key}") for key in fields}
    else:
        tree["thinking"] = _parsed(asked.thinking)
        places |= {("thinking",): Place("--thinking")}
    return Located(tree, {(): Place("")} | places)


def _parsed(text: str) -> Any:
    """`trained`, or a thinking as YAML or JSON."""
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise HarnessError("cannot be read", where="--thinking", given=text) from error
    if not isinstance(found, dict) and found != "trained":
        raise HarnessError(
            "must be a thinking",
            where="--thinking",
            given=text,
            hint="such as '{kind: descent, steps: 3, samples: 5}', or trained",
        )
    return found


# --- printing --------------------------------------------------------------------------------


def _document(folder: RunFolder, ends: Sequence[Done]) -> dict[str, Any]:
    return {
        "run": folder.run_id,
        "evaluations": [
            {
                "eval_id": end.folder.path.name,
                "task": end.spec.data,
                "ended": end.how,
                "reason": end.reason,
                "folder": str(end.folder.path),
                "measurements": [] if end.how == "failed" else end.folder.read(),
            }
            for end in ends
        ],
    }


def _print(console: Console, folder: RunFolder, ends: Sequence[Done]) -> None:
    good = [end for end in ends if end.how != "failed"]
    if good:
        console.print(_table([row for end in good for row in end.folder.read()]))
        console.print(
            "± is lm-eval's standard error, over documents: it says nothing of training seeds.",
            style="dim",
            soft_wrap=True,
        )
        for task, share in _cut(row for end in good for row in end.folder.read()).items():
            console.print(
                f"[yellow]{escape(task)}: {share:.0%} of the contexts are longer than the model's "
                "and were cut on the left.[/]",
                soft_wrap=True,
            )
    for end in ends:
        if end.how == "failed":
            console.print(f"[red]failed[/] {escape(f'{end.spec.data}: {end.reason}')}")
    found = [end.spec.data for end in ends if end.how == "found"]
    if found:
        console.print(escape(f"Found done: {', '.join(found)}."), soft_wrap=True)
    for end in good:
        console.print(escape(f"{end.spec.data}: {end.folder.path}"), soft_wrap=True)


def _cut(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Task -> the share of its contexts that were cut, where any were."""
    return {row["tags"]["data"]: row["tags"]["cut"] for row in rows if row["tags"]["cut"]}


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("task", "v", "shots", "metric", "value", "chance", "n", "thinking", "NFE"):
        number = column in ("value", "n", "NFE")
        table.add_column(
            column, justify="right" if number else "left", no_wrap=number, overflow="fold"
        )
    seeds = len({row["noise_seed"] for row in rows}) > 1
    if seeds:
        table.add_column("noise seed", justify="right")
    for row in rows:
        tags = row["tags"]
        thinking = thinking_of(tags)
        arrow = {True: " ↑", False: " ↓", None: ""}[row["higher_is_better"]]
        cells = [
            tags["data"],
            "" if tags["task_version"] is None else str(tags["task_version"]),
            str(tags["num_fewshot"]),
            row["name"] + arrow,
            _number(row["value"], tags["stderr"]),
            "" if tags["chance"] is None else f"{tags['chance']:.3g}",
            f"{row['n']:,}",
            "" if thinking is None else thinking_label(thinking),
            f"{row['cost']['nfe']:g}",
        ]
        table.add_row(*map(escape, cells), *([str(row["noise_seed"])] if seeds else []))
    return table


def _number(value: float | None, error: float | None) -> str:
    if value is None:
        return "not finite"
    return f"{value:.4g}" if error is None else f"{value:.4g} ± {error:.2g}"
