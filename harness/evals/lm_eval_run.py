"""lm-eval itself: its tasks loaded, with or without a network, and run without noise in the log."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import lm_eval
import tqdm
from lm_eval.tasks import TaskManager

from harness.data.task_files import OURS, TaskFile
from harness.errors import HarnessError, reason_of
from harness.evals.language_model import AdapterLM
from harness.planning.eval_spec import LmTaskEval

_HUB_SECONDS = 5.0
_OFFLINE_HINT = (
    "give the task local data: a task YAML of your own in a folder named by `include` (--include); "
    "or load it once where there is a network, with the same HF_HOME"
)


def load_tasks(found: TaskFile) -> dict[str, Any]:
    """Name -> lm-eval's task, of every task that `found` names, with its data loaded.

    Data on the Hub are taken from its cache where there is no network. HarnessError where a task
    cannot be loaded.
    """
    changed = found.local_paths() if found.kind == "task" else {}
    offline = found.needs_hub and not hub_answers()
    try:
        with _quiet(), _offline(offline):
            if found.kind == "task":
                manager = _manager(found.path.parent)
                task = {"task": found.name, **changed}
                return dict(manager.load({"group": "asked", "task": [task]})["tasks"])
            everything = _everything(found.folder if found.origin == "include" else None)
            return dict(everything.load(found.name)["tasks"])
    except HarnessError:
        raise
    except Exception as error:
        problem = "its data are not here, and the Hub does not answer" if offline else "it fails"
        raise HarnessError(
            f"task {found.name} cannot be loaded: {problem}: {reason_of(error)}",
            where=None if found.origin == "lm_eval" else str(found.path),
            hint=_OFFLINE_HINT if found.needs_hub else None,
        ) from error


def run_tasks(tasks: dict[str, Any], model: AdapterLM, spec: LmTaskEval) -> dict[str, Any]:
    """lm-eval's results on loaded tasks, samples included."""
    from harness.evals.lm_tasks import BOOTSTRAP

    with _quiet():
        try:
            found = lm_eval.simple_evaluate(
                model=model,
                tasks=list(tasks.values()),
                num_fewshot=spec.num_fewshot,
                limit=spec.limit,
                bootstrap_iters=BOOTSTRAP,
                batch_size=spec.batch_size,
                task_manager=TaskManager(include_path=str(OURS), include_defaults=False),
            )
        except ValueError as error:
            if isinstance(error, HarnessError):
                raise
            raise HarnessError(f"lm-eval refuses task {spec.data}: {error}") from error
    assert found is not None
    return dict(found)


def _manager(folder: Any) -> TaskManager:
    """The tasks of one folder: the index of all that lm-eval brings takes ten seconds."""
    return TaskManager(include_path=str(folder), include_defaults=False)


def _everything(folder: Any) -> TaskManager:
    """All tasks, for groups and tags, whose members may lie anywhere."""
    folders = [str(OURS), *([] if folder is None else [str(folder)])]
    return TaskManager(include_path=folders)


# --- the Hub ---------------------------------------------------------------------------------


def hub_answers() -> bool:
    """Whether the Hub can be asked: not told to stay offline, and it answers within seconds."""
    import requests
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or os.environ.get("HF_DATASETS_OFFLINE", "0") not in ("", "0"):
        return False
    try:
        requests.head(constants.ENDPOINT, timeout=_HUB_SECONDS)
    except requests.RequestException:
        return False
    return True


@contextmanager
def _offline(offline: bool) -> Iterator[None]:
    """The Hub's libraries look into their caches at once, and try nothing else."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_DATASETS_OFFLINE
    if offline:
        constants.HF_HUB_OFFLINE = datasets.config.HF_DATASETS_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_DATASETS_OFFLINE = before


# --- the log ---------------------------------------------------------------------------------


@contextmanager
def _quiet() -> Iterator[None]:
    """Bars on a terminal alone, prints to standard error, warnings but no advice.

    Its bootstrap stays in this process, which may hold a GPU.
    """
    from datasets.utils import disable_progress_bars, enable_progress_bars
    from lm_eval.api import task

    bars, logger = (task.tqdm, tqdm.tqdm), logging.getLogger("lm_eval.api.task")
    alone = os.environ.get("DISABLE_MULTIPROC")
    os.environ["DISABLE_MULTIPROC"] = "1"
    logger.addFilter(_is_no_advice)
    if not sys.stderr.isatty():
        task.tqdm = tqdm.tqdm = _no_bar
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
