"""What must hold before a run goes on: the stated class of device, and the data it began with."""

from __future__ import annotations

from pathlib import Path

from harness.data.decoded import DECODER, PIXELS, content_digests
from harness.data.names import is_source
from harness.data.pixels.autoencoders import AUTOENCODER, autoencoder_digest
from harness.data.text import load_tokenizer, prepare_text
from harness.errors import HarnessError
from harness.planning.spec import NextFrameTask, NextTokenTask, TrainSpec
from harness.records import RunFolder, read_json


def is_cpu(device: str) -> bool:
    """Whether a recorded device is a processor with its threads, else an accelerator."""
    return device.endswith(("threads)", "thread)"))


def check_device_class(spec: TrainSpec, device: str) -> None:
    """HarnessError where a budget in seconds means another kind of device than this one."""
    wanted = spec.device_class
    if wanted is None:
        return
    kind = wanted.lower().partition("-")[0]
    if (kind == "cpu") != is_cpu(device) or (kind != "cpu" and kind not in device.lower()):
        raise HarnessError(
            f"the budget is in seconds on device_class {wanted!r}, and this is {device}",
            hint="run it there, or give the suite this device's class, such as cpu-2 or h100",
        )


def begun(folder: RunFolder) -> bool:
    """There is training that would be gone on from or evaluated."""
    trained = folder.training.exists() or any(folder.checkpoints.glob("step-*"))
    return trained and folder.provenance.exists()


def data_digests(spec: TrainSpec, cache: Path) -> dict[str, str]:
    """Name -> digest, as of now, of what the run trains on: data set, and tokenizer or autoencoder.

    Data of the user's own are prepared into `cache` first: one process reads them, for all. Of
    pixels it says how they were decoded, too.
    """
    task = spec.task
    if isinstance(task, NextTokenTask) and is_source(task.data):
        prepare_text(task.data, "train", tokenizer=task.tokenizer, cache=cache)
    digests = content_digests(task.data, "train", cache=cache)
    if isinstance(task, NextTokenTask):
        digests[f"tokenizer {task.tokenizer}"] = load_tokenizer(task.tokenizer).digest
    if isinstance(task, NextFrameTask) and task.autoencoder is not None:
        digests[f"{AUTOENCODER}{task.autoencoder}"] = autoencoder_digest(task.autoencoder)
    return digests


def check_data(folder: RunFolder, data: dict[str, str]) -> None:
    """HarnessError where the run was begun on other data of the same name."""
    if not begun(folder):
        return
    recorded = read_json(folder.provenance)["data"]
    for name, digest in data.items():
        if name.startswith(DECODER) or recorded.get(name, digest) == digest:
            continue
        back = "bring the old data back"
        if name.startswith(PIXELS):
            key = name.replace(PIXELS, DECODER, 1)
            back = (
                f"they were decoded by {recorded[key]}, and by {data[key]} now: install the former"
            )
        raise HarnessError(
            f"the data changed since this run began: {name} had digest "
            f"{recorded[name][:12]} and has {digest[:12]} now",
            hint=f"{back}, or remove runs/{folder.run_id} to train it again",
        )
