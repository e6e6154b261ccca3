"""A trace holds what the states said, and shows what a descent does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from baselines.adapters.image_ebt import EBTImage
from baselines.adapters.text import EBTText, TransformerPPText
from baselines.image_settings import EBTImageConfig
from baselines.text_settings import EBTTextConfig, TransformerPPTextConfig
from harness.evals.trace import Trace
from harness.noise import NoiseSource
from harness.protocol import Descent, ImageShape, NoisyBatch, Single, TextBatch, TextShape

NOISE = NoiseSource(1)
SIZES: dict[str, Any] = {"depth": 1, "width": 16, "heads": 2}
VOCAB, LENGTH, ROWS = 23, 7, 3


def text_batch() -> TextBatch:
    tokens = torch.randint(VOCAB, (ROWS, LENGTH + 1), generator=torch.Generator().manual_seed(1))
    return TextBatch(tokens, torch.ones(ROWS, LENGTH, dtype=torch.bool), torch.arange(ROWS))


def test_text_energies_and_chosen_predictions() -> None:
    torch.manual_seed(0)
    config = EBTTextConfig(**SIZES, step_conditioning="none")
    model = EBTText(config, TextShape(VOCAB, LENGTH)).double()
    trace = Trace(positions=slice(2, 4))
    thinking = Descent(steps=4, samples=3, step_size=1e-3)
    prediction = model.predict(text_batch(), thinking, NOISE, trace)
    assert trace.energies.shape == (5, 3, ROWS, LENGTH)
    assert trace.values.shape == (5, 3, ROWS, 2, VOCAB)
    torch.testing.assert_close(trace.energies[-1].min(dim=0).values, prediction.energy)
    best = trace.energies[-1].argmin(dim=0)[:, 2:4]
    for row in range(ROWS):
        for place in range(2):
            chosen = trace.values[-1, best[row, place], row, place]
            torch.testing.assert_close(chosen, prediction.value[row, 2 + place])


def test_image_energies_fall_along_small_steps() -> None:
    torch.manual_seed(0)
    config = EBTImageConfig(**SIZES, patch_size=4)
    model = EBTImage(config, ImageShape(1, 8, 8, train_timesteps=100)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    noisy = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    trace = Trace(positions=slice(None))
    model.predict(
        NoisyBatch(noisy, 99, torch.arange(2)), Descent(steps=3, step_size=1e-3), NOISE, trace
    )
    assert trace.values.shape == (4, 1, 2, 1, 8, 8)
    assert torch.equal(trace.values[0, 0], noisy)
    assert (trace.energies.diff(dim=0) < 0).all()


def test_what_was_not_kept_is_not_made_up() -> None:
    model = TransformerPPText(TransformerPPTextConfig(**SIZES), TextShape(VOCAB, LENGTH))
    trace = Trace()
    model.predict(text_batch(), Single(), NOISE, trace)
    with pytest.raises(LookupError, match="the model has none"):
        _ = trace.energies
    with pytest.raises(LookupError, match="give Trace the positions"):
        _ = trace.values
