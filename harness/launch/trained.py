"""A run's adapter with its trained weights, for whoever evaluates or exports it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from harness.errors import HarnessError
from harness.evals.context import EvalContext
from harness.planning.shapes import shape_of
from harness.planning.spec import TrainSpec
from harness.records import RunFolder, read_json
from harness.registry import adapter as find_adapter
from harness.registry import load_factory
from harness.training import checkpoint as ckpt


def untrained(spec: TrainSpec, device: torch.device, results: Path) -> EvalContext:
    """The adapter as training begins with it, on `device`."""
    record = find_adapter(spec.adapter)
    config, shape = record.config.model_validate(spec.config), shape_of(spec.task)
    torch.manual_seed(spec.seed)
    return EvalContext(
        adapter=load_factory(record)(config, shape).to(device),
        record=record,
        config=config,
        shape=shape,
        spec=spec,
        device=device,
        cache=results / "data",
    )


def with_weights(context: EvalContext, folder: RunFolder) -> EvalContext:
    """The same adapter with the weights that training ended with.

    HarnessError where the run is not trained, or its final checkpoint is gone or damaged.
    """
    if not folder.training.exists():
        raise HarnessError(
            "the run is not trained to its end",
            given=folder.run_id,
            hint="`harness ls runs` shows how far it is; run its suite again to go on",
        )
    newest = ckpt.newest_checkpoint(folder.checkpoints)
    recorded = read_json(folder.training)
    if newest is None or newest.weights_hash() != recorded["weights_sha256"]:
        raise HarnessError(
            "the run is trained, but its final checkpoint is gone or damaged, so it cannot be "
            "evaluated",
            hint=f"remove runs/{folder.run_id} to train it again",
        )
    assert isinstance(context.adapter, nn.Module)
    ckpt.load_model(newest, context.adapter)
    per_step = context.spec.tokens_per_step
    return replace(
        context,
        step=newest.step,
        tokens_seen=None if per_step is None else newest.step * per_step,
        weights=recorded["weights_sha256"],
    )


def trained(folder: RunFolder, device: torch.device, results: Path) -> EvalContext:
    """A finished run's adapter, ready to be evaluated. HarnessError where there is none."""
    if not folder.spec.exists():
        raise HarnessError(
            "no such run",
            given=folder.run_id,
            allowed=sorted(path.name for path in folder.path.parent.glob("*-*")),
            hint="`harness ls runs` lists them",
        )
    spec = TrainSpec.model_validate(read_json(folder.spec))
    torch.set_num_threads(spec.threads)
    return with_weights(untrained(spec, device, results), folder)
