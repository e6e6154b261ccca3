"""From a task to the shape a model is built for, and whether an adapter can do it. Torch-free."""

from __future__ import annotations

from functools import cache

from harness.data.builtin import DatasetRecord, find_dataset, list_datasets
from harness.data.documents import FILE_PREFIX, find_file
from harness.errors import HarnessError
from harness.planning.located import Located
from harness.planning.spec import DenoisingTask, NextTokenTask
from harness.protocol import AdapterRecord, ImageShape, Shape, TextShape

MODALITY = {"next_token": "text", "denoising": "image"}


@cache
def shape_of(task: NextTokenTask | DenoisingTask) -> Shape:
    """Vocabulary and context, or channels, size and noise schedule."""
    if isinstance(task, NextTokenTask):
        from harness.data.tokenizer import load_tokenizer

        return TextShape(load_tokenizer(task.tokenizer).vocab_size, task.context)
    image_shape = find_dataset(task.data).image_shape
    assert image_shape is not None, "check_task comes first"
    channels, height, width = image_shape
    return ImageShape(
        channels=channels,
        height=height,
        width=width,
        train_timesteps=timesteps(task.train_level, task.num_timesteps),
        num_timesteps=task.num_timesteps,
        beta_start=task.beta_start,
        beta_end=task.beta_end,
    )


def timesteps(level: float, num_timesteps: int) -> int:
    """A noise level as a count of schedule steps: 0.1 of 1000 is 100, whose last is t = 99."""
    return max(1, round(level * num_timesteps))


def check_task(
    task: NextTokenTask | DenoisingTask, record: AdapterRecord, settings: Located
) -> None:
    """The adapter does this kind of task, and the data exist and fit; else a HarnessError."""
    modality = MODALITY[task.kind]
    if record.modality != modality:
        kinds = [kind for kind, m in MODALITY.items() if m == record.modality]
        raise HarnessError(
            f"adapter {record.name!r} is for {record.modality}, a {task.kind} task for {modality}",
            where=settings.where(("task", "kind")),
            given=task.kind,
            allowed=kinds,
        )
    where = settings.where(("task", "data"))
    check_file(task.data, "train", where)
    if "train" not in find_data(task.data, modality, where).splits:
        trainable = [
            d.name for d in list_datasets() if d.modality == modality and "train" in d.splits
        ]
        raise HarnessError(
            "this data set is for evaluation only: it has no train split",
            where=where,
            given=task.data,
            allowed=trainable,
        )
    if isinstance(task, NextTokenTask):
        where = settings.where(("task", "tokenizer"))
        try:
            shape_of(task)
        except HarnessError as error:
            raise error.located(where) from error
        except OSError as error:
            raise HarnessError(
                f"cannot read the tokenizer: {error.strerror or error}",
                where=where,
                given=task.tokenizer,
            ) from error


def check_file(name: str, split: str, where: str) -> None:
    """A user's `file:` exists and can be read; else a HarnessError at `where`."""
    if name.startswith(FILE_PREFIX):
        try:
            find_file(name, split=split)
        except HarnessError as error:
            raise error.located(where) from error


def find_data(name: str, modality: str, where: str) -> DatasetRecord:
    """The data set of that name, which holds `modality`; else a HarnessError at `where`."""
    try:
        record = find_dataset(name)
    except HarnessError as error:
        raise error.located(where) from error
    if record.modality != modality:
        raise HarnessError(
            f"data set {name!r} holds {record.modality}, this needs {modality}",
            where=where,
            given=name,
            allowed=[d.name for d in list_datasets() if d.modality == modality],
        )
    return record
