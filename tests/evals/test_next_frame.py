"""The next-frame evaluation: sums worked out by brute force, whatever the batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.data.datasets import load_clips
from harness.errors import HarnessError
from harness.evals.context import EvalContext
from harness.evals.next_frame import evaluate_next_frame
from harness.planning.eval_spec import NextFrameEval
from harness.planning.shapes import shape_of
from harness.planning.spec import TrainSpec
from harness.protocol import Descent, Single, VideoBatch
from harness.registry import adapter as find_adapter
from tests.training.tiny import CPU, build, spec_of

DIGITS = "builtin/moving-digits"


def context_of(spec: TrainSpec, cache: Path, model: Any = None) -> EvalContext:
    record = find_adapter(spec.adapter)
    config = record.config.model_validate(spec.config)
    model = build(spec) if model is None else model
    return EvalContext(model, record, config, shape_of(spec.task), spec, CPU, cache)


def evaluation(thinking: Any, **changes: Any) -> NextFrameEval:
    given = {"data": DIGITS, "split": "validation", "timing_repeats": 1} | changes
    return NextFrameEval(thinking=thinking, **given)


@pytest.mark.parametrize(
    ("name", "thinking"),
    [("transformer_pp_video", Single()), ("ebt_video", Descent(steps=3, samples=2))],
)
def test_errors_are_means_over_every_predicted_frame(
    name: str, thinking: Any, tmp_path: Path
) -> None:
    context = context_of(spec_of(name), tmp_path)
    length = context.spec.task.context
    spec = evaluation(thinking, limit=5, batch_size=2, noise_seeds=(0, 7))
    found = {(m.name, m.noise_seed): m for m in evaluate_next_frame(spec, context)}
    assert len(found) == 2 * 2 + 2

    clips = load_clips(DIGITS, "validation").pixels
    windows = (clips.shape[1] - 1) // length
    for seed in (0, 7):
        smooth, squared, copied, copied_squared = [], [], [], []
        for row in range(5):
            clip, window = divmod(row, windows)
            frames = clips[clip, window * length : (window + 1) * length + 1]
            batch = VideoBatch(torch.from_numpy(frames[None].copy()), torch.tensor([row]))
            noise = context.noise(seed, f"{DIGITS}/validation")
            predicted = context.adapter.predict(batch, thinking, noise).value[0].numpy()
            for position in range(length):
                for guess, losses, squares in (
                    (predicted[position], smooth, squared),
                    (frames[position], copied, copied_squared),
                ):
                    gap = np.abs(guess.astype(np.float64) - frames[position + 1])
                    losses.append(np.where(gap < 1, gap**2 / 2, gap - 0.5).mean())
                    squares.append((gap**2).mean())
        for key, values in (
            (("loss", seed), smooth),
            (("mse", seed), squared),
            (("copy_last_loss", None), copied),
            (("copy_last_mse", None), copied_squared),
        ):
            assert found[key].value == pytest.approx(np.mean(values), rel=1e-5)
            assert found[key].n == len(values) == 5 * length
    assert not found["copy_last_loss", None].cost
    cost, record = found["loss", 0].cost, context.record
    formula = record.prediction_flops(context.config, context.shape, thinking).total / length
    assert cost["flops"] == pytest.approx(formula, rel=0.01)
    assert cost["nfe"] == (6 if name == "ebt_video" else 1)


def test_a_set_that_holds_training_clips_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", load_clips(DIGITS, "train").pixels[:4])
    np.save(tmp_path / "validation.npy", load_clips(DIGITS, "train").pixels[2:3])
    data = f"file:{tmp_path}/{{split}}.npy"
    context = context_of(spec_of("transformer_pp_video", task={"data": data}), tmp_path)
    with pytest.raises(HarnessError, match=r"clip 0 of .* is in the training split too"):
        evaluate_next_frame(evaluation(Single(), data=data), context)
