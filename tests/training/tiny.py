"""Tiny runs of every shipped adapter, on the corpus of conftest.py and on real digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from harness.data.datasets import load_clips, load_images
from harness.data.images import ImageRows
from harness.data.text import TextRows, prepare_text
from harness.data.video import ClipRows
from harness.planning.shapes import shape_of
from harness.planning.spec import TrainSpec
from harness.protocol import TextShape
from harness.records import RunFolder, read_json, read_jsonl
from harness.registry import adapter as find_adapter
from harness.registry import load_factory
from harness.training import checkpoint as ckpt
from harness.training.batches import RowBatches
from harness.training.loop import Operation, train
from harness.training.parallel import ALONE, Ranks

CORPUS = "file:{split}.jsonl#text"
CPU = torch.device("cpu")
SIZE = {"depth": 1, "width": 16, "heads": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "transformer_pp_text": SIZE,
    "ebt_text": SIZE | {"step_size": 0.3},
    "dit_image": SIZE | {"patch_size": 4},
    "ebt_image": SIZE | {"patch_size": 4},
    "transformer_pp_video": SIZE,
    "ebt_video": SIZE | {"step_size": 30.0},
}
TEXT = {"kind": "next_token", "data": CORPUS, "context": 16}
IMAGE = {"kind": "denoising", "data": "builtin/digits"}
VIDEO = {"kind": "next_frame", "data": "builtin/moving-digits", "context": 4}
TASKS = {"text": TEXT, "image": IMAGE, "video": VIDEO}


def spec_of(adapter: str, **changes: Any) -> TrainSpec:
    """A spec of 20 steps; `config`, `task` and `optimizer` add to the tiny defaults."""
    record = find_adapter(adapter)
    task = TASKS[record.modality]
    config = record.config.model_validate(CONFIGS[adapter] | changes.pop("config", {}))
    settings: dict[str, Any] = {
        "adapter": adapter,
        "adapter_version": record.version,
        "config": config.model_dump(mode="json"),
        "task": task | changes.pop("task", {}),
        "batch_size": 4,
        "budget": {"steps": 20},
        "optimizer": {"lr": 1e-3, "warmup_steps": 4} | changes.pop("optimizer", {}),
        "seed": 0,
    }
    return TrainSpec.model_validate(settings | changes)


def build(spec: TrainSpec) -> Any:
    """The adapter as a worker builds it."""
    record = find_adapter(spec.adapter)
    torch.set_num_threads(spec.threads)
    torch.manual_seed(spec.seed)
    config = record.config.model_validate(spec.config)
    return load_factory(record)(config, shape_of(spec.task))


def batches_of(spec: TrainSpec, cache: Path, ranks: Ranks = ALONE) -> RowBatches:
    rows: ImageRows | ClipRows | TextRows
    if spec.task.kind == "denoising":
        rows = ImageRows(load_images(spec.task.data, "train"))
    elif spec.task.kind == "next_frame":
        rows = ClipRows(load_clips(spec.task.data, "train"), context=spec.task.context)
    else:
        shards = prepare_text(spec.task.data, "train", tokenizer="bytes", cache=cache)
        rows = TextRows(shards, context=spec.task.context, rows=spec.task.rows, drop_last=True)
    return RowBatches(rows, spec, CPU, ranks)


def trained(
    spec: TrainSpec,
    results: Path,
    *,
    adapter: Any = None,
    ranks: Ranks = ALONE,
    **operation: Any,
) -> tuple[RunFolder, bool]:
    """Train (on) in `results`; returns the run's folder and whether it finished."""
    record = find_adapter(spec.adapter)
    config = record.config.model_validate(spec.config)
    shape = shape_of(spec.task)
    folder = RunFolder(results, spec.run_id)
    finished = train(
        spec,
        build(spec) if adapter is None else adapter,
        batches_of(spec, results / "data", ranks),
        folder,
        total_steps=spec.total_steps(record.training_flops(config, shape).total),
        operation=Operation(**operation),
        vocab_size=shape.vocab_size if isinstance(shape, TextShape) else None,
        ranks=ranks,
    )
    return folder, finished


def stop_after(calls: int) -> Callable[[], bool]:
    """A should_stop that asks for an end before step `calls` + 1."""
    left = iter(range(calls))
    return lambda: next(left, None) is None


def log_without_time(folder: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "time"} for line in read_jsonl(folder.train_log)]


def assert_same_training(folder: RunFolder, reference: RunFolder) -> None:
    """Weights, optimizer and log are equal bit for bit."""
    ours, theirs = (read_json(f.training)["weights_sha256"] for f in (folder, reference))
    assert ours == theirs
    ends = [ckpt.newest_checkpoint(f.checkpoints) for f in (folder, reference)]
    assert ends[0] is not None
    assert ends[1] is not None
    assert ends[0].weights_hash() == ours
    ours, theirs = (torch.load(end.path / ckpt.OPTIMIZER, weights_only=True) for end in ends)
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"].keys() == theirs["state"].keys()
    for index, state in ours["state"].items():
        for name, tensor in state.items():
            assert torch.equal(tensor, theirs["state"][index][name]), (index, name)
    assert log_without_time(folder) == log_without_time(reference)
