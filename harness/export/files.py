"""A trained run as files: weights, what to build them into, and a README."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from harness.capabilities import Exports
from harness.data.tokenizer import load_tokenizer
from harness.errors import HarnessError
from harness.evals.context import EvalContext
from harness.export.card import Card
from harness.export.folder import Format, appearing
from harness.export.tokenizer import tokenizer_files
from harness.launch.trained import trained
from harness.planning.spec import NextTokenTask
from harness.provenance import without_absolute_paths
from harness.records import RunFolder, read_json, write_json, write_text
from harness.training import checkpoint as ckpt

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
RUN = "run.json"


@dataclass(frozen=True)
class Exported:
    """What was written; `parameters` counts the numbers in the run's weights."""

    run: str
    format: Format
    out: str
    files: tuple[str, ...]
    parameters: int
    weights_sha256: str


def export(folder: RunFolder, results: Path, out: Path, given: Format | None) -> Exported:
    """Write a finished run to the new folder `out`, as `hf` where its adapter can unless `given`.

    HarnessError where the run is not finished, its adapter has no such format, its tokenizer file
    has changed since, or `out` is taken or cannot be written.
    """
    context = trained(folder, torch.device("cpu"), results)
    formats: list[Format] = ["safetensors"]
    if isinstance(context.adapter, Exports) and isinstance(context.spec.task, NextTokenTask):
        formats.insert(0, "hf")
    if given is not None and given not in formats:
        raise HarnessError(
            f"adapter {context.spec.adapter!r} has no such form",
            where="--format",
            given=given,
            allowed=formats,
        )
    chosen = given or formats[0]
    run = _document(context, folder)
    with appearing(out) as building:
        if chosen == "hf":
            _write_hugging_face(context, folder, run, building)
        else:
            _write_own(folder, run, building)
        card = Card(
            run | {"file": RUN if chosen == "hf" else CONFIG},
            context.record.description,
            context.record.family,
            _measured(folder),
        )
        shape = None if chosen == "hf" else type(context.shape).__name__
        write_text(building / "README.md", card.text(shape=shape))
        files = tuple(sorted(path.name for path in building.iterdir()))
    assert isinstance(context.adapter, nn.Module)
    parameters = sum(parameter.numel() for parameter in context.adapter.parameters())
    return Exported(folder.run_id, chosen, str(out), files, parameters, run["weights_sha256"])


def _write_hugging_face(
    context: EvalContext, folder: RunFolder, run: dict[str, Any], building: Path
) -> None:
    adapter, task = context.adapter, context.spec.task
    assert isinstance(adapter, Exports)
    assert isinstance(task, NextTokenTask)
    tokenizer = load_tokenizer(task.tokenizer)
    provenance = read_json(folder.provenance) if folder.provenance.exists() else {}
    recorded = provenance.get("data", {}).get(f"tokenizer {task.tokenizer}")
    if recorded not in (None, tokenizer.digest):
        raise HarnessError(
            "the tokenizer file has changed since the run was trained with it",
            given=task.tokenizer,
            hint="bring back the file that it was, or export with --format safetensors",
        )
    config, weights = adapter.hugging_face()
    ids = {f"{name}_token_id": tokenizer.end_of_text for name in ("bos", "eos", "pad")}
    write_json(building / CONFIG, {**config, **ids})
    write_json(building / "generation_config.json", ids)
    # transformers 4 reads no safetensors without this note of who wrote them.
    try:
        save_file(dict(weights), building / WEIGHTS, metadata={"format": "pt"})
    except SafetensorError as error:  # a full disk among others
        raise OSError(str(error)) from error
    for file, text in tokenizer_files(task.tokenizer, task.context).items():
        write_text(building / file, text)
    write_json(building / RUN, run)


def _write_own(folder: RunFolder, run: dict[str, Any], building: Path) -> None:
    """The checkpoint's own file, byte for byte, so that the recorded hash stays true."""
    newest = ckpt.newest_checkpoint(folder.checkpoints)
    assert newest is not None, "it was loaded just now"
    shutil.copyfile(newest.path / ckpt.MODEL, building / WEIGHTS)
    write_json(building / CONFIG, run)


def _document(context: EvalContext, folder: RunFolder) -> dict[str, Any]:
    """Everything to build the adapter by and to know where it comes from; no absolute path."""
    spec = context.spec
    found: dict[str, Any] = without_absolute_paths(
        {
            "run": folder.run_id,
            "adapter": spec.adapter,
            "adapter_version": spec.adapter_version,
            "config": spec.config,
            "shape": asdict(context.shape),
            "step": context.step,
            "tokens_seen": context.tokens_seen,
            "weights_sha256": context.weights,
            "spec": spec.model_dump(mode="json"),
            "training": read_json(folder.training),
            "provenance": read_json(folder.provenance) if folder.provenance.exists() else None,
        }
    )
    return found


def _measured(folder: RunFolder) -> list[dict[str, Any]]:
    """What finished evaluations measured of the model: what cost no pass through it is not its."""
    found: list[dict[str, Any]] = []
    for path in sorted((folder.path / "evals").glob("*/")):
        evaluation = folder.evaluation(path.name)
        if evaluation.is_done():
            found += [each for each in evaluation.read() if each["cost"].get("nfe") is not None]
    measured: list[dict[str, Any]] = without_absolute_paths(found)
    return sorted(measured, key=lambda each: str(each["tags"].get("data")))
