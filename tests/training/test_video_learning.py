"""Both video adapters learn: on held-out moving digits they beat repeating the last frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.evals.next_frame import evaluate_next_frame
from harness.planning.eval_spec import NextFrameEval
from harness.planning.spec import TrainSpec
from harness.registry import adapter as find_adapter
from harness.training import checkpoint as ckpt
from tests.evals.test_next_frame import context_of
from tests.training.tiny import build, spec_of, trained

#: An EBT moves a frame within the D directions of its projection alone: noise it starts from stays.
SETTINGS: dict[str, tuple[float, dict[str, Any]]] = {
    "transformer_pp_video": (3e-3, {}),
    "ebt_video": (1e-2, {"start": "zeros", "steps": 1, "step_size_lr_multiplier": 1.0}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_it_beats_repeating_the_last_frame(name: str, tmp_path: Path) -> None:
    lr, config = SETTINGS[name]
    spec = spec_of(
        name,
        config={"depth": 2, "width": 64, "heads": 2, "ffn_width": 64} | config,
        batch_size=16,
        budget={"steps": 250},
        optimizer={"lr": lr, "warmup_steps": 20},
    )
    untrained = losses(spec, tmp_path, build(spec))["loss"]
    model = build(spec)
    folder, finished = trained(spec, tmp_path, adapter=model)
    assert finished
    newest = ckpt.newest_checkpoint(folder.checkpoints)
    assert newest is not None
    ckpt.load_model(newest, model)
    found = losses(spec, tmp_path, model)
    assert found["loss"] < 0.8 * found["copy_last_loss"]
    assert found["loss"] < 0.5 * untrained


def losses(spec: TrainSpec, folder: Path, model: Any) -> dict[str, float]:
    context = context_of(spec, folder, model)
    thinking = find_adapter(spec.adapter).trained_thinking(context.config)
    evaluation = NextFrameEval(
        data=spec.task.data, split="validation", thinking=thinking, limit=192, timing_repeats=1
    )
    found = evaluate_next_frame(evaluation, context, folder)
    return {m.name: float(m.value or 0) for m in found}
