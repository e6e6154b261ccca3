"""From a task to the shape a model is built for, and whether an adapter can do it. Torch-free."""

from __future__ import annotations

from functools import cache

from harness.data import datasets
from harness.data.datasets import DatasetRecord, find_dataset, frame_shape, list_datasets
from harness.data.names import is_source
from harness.data.tokenizer import vocabulary_size
from harness.errors import HarnessError
from harness.planning.located import Located
from harness.planning.spec import DenoisingTask, NextFrameTask, NextTokenTask
from harness.protocol import AdapterRecord, ImageShape, Shape, TextShape, VideoShape

MODALITY = {"next_token": "text", "denoising": "image", "next_frame": "video"}

#: How data of the user's own are made of another modality.
_OWN = {
    "image": "size=N makes it images: file:FOLDER?size=32, file:PATH.parquet#FIELD?size=32",
    "video": "size=N and frames=N make it clips: file:FOLDER?size=32&frames=16",
}

AnyTask = NextTokenTask | DenoisingTask | NextFrameTask


@cache
def shape_of(task: AnyTask) -> Shape:
    """Vocabulary and context; channels, size and noise schedule; or context and a frame's size."""
    if isinstance(task, NextTokenTask):
        return TextShape(vocabulary_size(task.tokenizer), task.context)
    if isinstance(task, NextFrameTask):
        _, *frame = frame_shape(task.data, "train", task.autoencoder)
        return VideoShape(task.context, *frame)
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


def check_task(task: AnyTask, record: AdapterRecord, settings: Located) -> None:
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
    check_file(task.data, "train", modality, where)
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
    if isinstance(task, NextFrameTask):
        try:
            frame_shape(task.data, "train")
        except HarnessError as error:
            raise error.located(where) from error
        try:
            shape_of(task)
        except HarnessError as error:
            raise error.located(settings.where(("task", "autoencoder"))) from error
        check_clips(task.data, "train", task, settings.where(("task", "context")))
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


def check_file(name: str, split: str, modality: str, where: str) -> None:
    """A user's `file:` exists and is of a kind that is read; else a HarnessError at `where`."""
    try:
        datasets.check_file(name, split, modality)
    except HarnessError as error:
        raise error.located(where) from error


def check_clips(name: str, split: str, task: NextFrameTask, where: str) -> None:
    """Clips are long enough for the context, of the model's frames; else a HarnessError."""
    shape = shape_of(task)
    assert isinstance(shape, VideoShape)
    try:
        frames, *frame = frame_shape(name, split, task.autoencoder)
    except HarnessError as error:
        raise error.located(where) from error
    trained = [shape.channels, shape.height, shape.width]
    if frame != trained:
        what = "holds frames" if task.autoencoder is None else "gives latents"
        raise HarnessError(
            f"data set {name!r} {what} of {' x '.join(map(str, frame))}, "
            f"the model is trained on {' x '.join(map(str, trained))}",
            where=where,
        )
    if frames <= shape.context:
        raise HarnessError(
            f"the clips of {name!r} ({split}) have {frames} frames, too few for a context of "
            f"{shape.context}",
            where=where,
            allowed=[f"1 to {frames - 1}"],
        )


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
            hint=_OWN.get(modality) if is_source(name) else None,
        )
    return record
