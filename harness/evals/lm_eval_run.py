"""lm-eval itself: its tasks loaded, with or without a network, and run without noise in the log."""

from __future__ import annotations

import logging
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import tqdm
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
from lm_eval.tasks import TaskManager

from harness.data.hub import caches_alone, unreachable
from harness.data.task_files import OURS, TaskFile, leaves, task_digest
from harness.errors import HarnessError, reason_of
from harness.evals.language_model import AdapterLM
from harness.planning.eval_spec import LmTaskEval

#: Draws of lm-eval's bootstrap, where a metric's standard error has no formula.
BOOTSTRAP = 1000
_OFFLINE_HINT = (
    "give the task local data: a task YAML of your own in a folder named by `include` (--include); "
    "or load it once where there is a network, with the same HF_HOME"
)


def load_tasks(found: TaskFile) -> dict[str, Any]:
    """Name -> lm-eval's task, of every task that `found` names, with its data loaded.

    Data on the Hub are taken from its cache where there is no network. HarnessError where a task
    cannot be loaded.
    """
    random.seed(DEFAULT_RANDOM_SEED)  # a few tasks shuffle by these, as lm-eval seeds them
    np.random.seed(DEFAULT_OTHER_SEED)
    own = leaves(found)
    needs_hub = own is None or any(each.needs_hub for each in own)
    offline = needs_hub and not hub_answers()
    try:
        with _quiet(), caches_alone(offline):
            if own is None:
                return dict(_everything(found.folder).load(found.name)["tasks"])
            folder = found.path.parent if found.kind == "task" else found.folder
            members = [{"task": each.name, **_local(each)} for each in own]
            return dict(_manager(folder).load({"group": "asked", "task": members})["tasks"])
    except HarnessError:
        raise
    except Exception as error:
        problem = "its data are not here, and the Hub does not answer" if offline else "it fails"
        raise HarnessError(
            f"task {found.name} cannot be loaded: {problem}: {reason_of(error)}",
            where=None if found.origin == "lm_eval" else str(found.path),
            hint=_OFFLINE_HINT if needs_hub else None,
        ) from error


def _local(task: TaskFile) -> dict[str, Any]:
    """The settings of a task that name files here, and where `datasets` keeps what it made of them.

    By their digest: left to itself, it takes a file of the same place and time for the same.
    """
    settings = task.local_paths()
    if not settings or task.needs_hub:
        return settings
    from datasets import config

    given = settings.get("dataset_kwargs") or task.config.get("dataset_kwargs") or {}
    kept = Path(given.get("cache_dir", config.HF_DATASETS_CACHE)) / "harness" / task_digest(task)
    return settings | {"dataset_kwargs": {**given, "cache_dir": str(kept)}}


def run_tasks(tasks: dict[str, Any], model: AdapterLM, spec: LmTaskEval) -> dict[str, Any]:
    """lm-eval's results on loaded tasks, samples included."""
    for task in tasks.values():
        _set_fewshot(task, spec.num_fewshot)
    with _quiet():
        try:
            found = lm_eval.evaluate(
                lm=model, task_dict={"tasks": tasks}, limit=spec.limit, bootstrap_iters=BOOTSTRAP
            )
        except ValueError as error:
            if isinstance(error, HarnessError):
                raise
            raise HarnessError(f"lm-eval refuses task {spec.data}: {error}") from error
    assert found is not None
    return dict(found) | {"config": model.get_model_info() | {"limit": spec.limit}}


def _set_fewshot(task: Any, wanted: int | None) -> None:
    """As lm-eval's `simple_evaluate` does, which also asks git and pip about this machine.

    A task that says 0 keeps it; one that says nothing has 0.
    """
    own = task.get_config("num_fewshot")
    if wanted is not None and own != 0:
        task.set_config(key="num_fewshot", value=wanted)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)


def _manager(folder: Any) -> TaskManager:
    """The tasks of one folder: the index of all that lm-eval brings takes ten seconds."""
    return TaskManager(include_path=str(folder), include_defaults=False)


def _everything(folder: Any) -> TaskManager:
    """All tasks, for groups and tags, whose members may lie anywhere."""
    return TaskManager(include_path=[str(OURS), str(folder)])


# --- the Hub ---------------------------------------------------------------------------------


@cache
def hub_answers() -> bool:
    """Whether the Hub can be asked: not told to stay offline, and it answers within seconds.

    Asked once a process.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or os.environ.get("HF_DATASETS_OFFLINE", "0") not in ("", "0"):
        return False
    return unreachable() is None


# --- the log ---------------------------------------------------------------------------------


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars of lm-eval's, those of downloads on a terminal; its prints to standard error.

    Its bootstrap stays in this process, which may hold a GPU.
    """
    from datasets.utils import disable_progress_bars, enable_progress_bars
    from lm_eval.api import task

    bars, logger = (task.tqdm, tqdm.tqdm), logging.getLogger("lm_eval.api.task")
    alone = os.environ.get("DISABLE_MULTIPROC")
    os.environ["DISABLE_MULTIPROC"] = "1"
    logger.addFilter(_is_no_advice)
    task.tqdm = tqdm.tqdm = _no_bar
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        task.tqdm, tqdm.tqdm = bars
        enable_progress_bars()
        logger.removeFilter(_is_no_advice)
        if alone is None:
            del os.environ["DISABLE_MULTIPROC"]
        else:
            os.environ["DISABLE_MULTIPROC"] = alone


def _is_no_advice(record: logging.LogRecord) -> bool:
    return "Custom kwargs can be passed" not in str(record.msg)


def _no_bar(items: Any, *_: Any, **__: Any) -> Any:
    return items
