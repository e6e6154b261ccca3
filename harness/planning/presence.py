"""Whether a suite's data must be there: to train on, yes; to show what was measured, no."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from harness.data.datasets import check_file
from harness.errors import HarnessError
from harness.planning.located import Located
from harness.planning.shapes import MODALITY, AnyTask, check_task, find_data, shape_of
from harness.protocol import AdapterRecord

_NEEDED: ContextVar[bool] = ContextVar("data_needed", default=True)


@contextmanager
def data_needed(needed: bool) -> Iterator[None]:
    """Suites that are loaded within need their data on this machine, or do not."""
    token = _NEEDED.set(needed)
    try:
        yield
    finally:
        _NEEDED.reset(token)


def is_data_needed() -> bool:
    return _NEEDED.get()


def check_trained_on(task: AnyTask, record: AdapterRecord, settings: Located) -> None:
    """`check_task`, but for data that are not here and need not be."""
    try:
        check_task(task, record, settings)
    except HarnessError:
        modality = MODALITY[task.kind]
        if is_data_needed() or record.modality != modality or _is_here(task.data, modality):
            raise
        find_data(task.data, modality, settings.where(("task", "data")))
        shape_of(task)


def _is_here(data: str, modality: str) -> bool:
    try:
        check_file(data, "train", modality)
    except HarnessError:
        return False
    return True
