"""Vocabulary-wide products by way of tiles, beside plain ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from baselines.adapters.text import EBTText
from baselines.catalogue import EBT_TEXT
from baselines.text_settings import EBTTextConfig
from baselines.vocabulary import TILE, WIDE, add_scores
from harness.cost import FlopCounter
from harness.protocol import Descent, TextShape
from tests.baselines.tiny_streams import NOISE, SIZES
from tests.baselines.tiny_text import batch

RAGGED = WIDE + TILE // 3


@pytest.mark.parametrize("width", [WIDE - 1, WIDE, RAGGED])
@pytest.mark.parametrize("out", ["fresh", "base", "given"])
def test_tiles_are_the_product(width: int, out: str) -> None:
    base, left, rows = torch.randn(5, width), torch.randn(5, 3), torch.randn(width, 3)
    expected = base + left @ rows.t()
    given = {"fresh": None, "base": base, "given": torch.full_like(base, torch.nan)}[out]
    found = add_scores(base, left, rows, out=given)
    torch.testing.assert_close(found, expected)
    assert given is None or found is given


def wide(dtype: torch.dtype = torch.float64) -> Any:
    torch.manual_seed(3)
    config = EBTTextConfig(**(SIZES | {"step_size": 2.0}))
    return EBTText(config, TextShape(vocab_size=RAGGED, context=9)).to(dtype)


def learned(model: EBTText) -> list[Any]:
    return [p for p in model.parameters() if p.grad is not None]


def test_steps_at_a_large_vocabulary_are_those_without_tiles() -> None:
    """Counted, a product is one; and what is counted is as wide as the vocabulary."""
    model, of = wide(), batch()
    loss = model.training_loss(of, NOISE).loss_sum
    loss.backward()
    gradients = [p.grad.clone() for p in learned(model)]
    model.zero_grad()
    with FlopCounter(vocab_size=RAGGED) as counter:
        counted = model.training_loss(of, NOISE).loss_sum
        counted.backward()
    torch.testing.assert_close(counted, loss)
    torch.testing.assert_close(
        [p.grad for p in model.parameters() if p.grad is not None], gradients
    )
    products = 3 * model.config.steps + 2  # see baselines.text_schedule
    one = 2 * of.mask.numel() * RAGGED * model.config.width
    assert counter.vocabulary == products * one


def test_predictions_at_a_large_vocabulary_are_those_without_tiles() -> None:
    model, of, thinking = wide(), batch(), Descent(steps=2, samples=2)
    found = model.predict(of, thinking, NOISE).value
    with torch.no_grad(), FlopCounter(vocab_size=RAGGED) as counter:
        torch.testing.assert_close(model.predict(of, thinking, NOISE).value, found)
    expected = EBT_TEXT.prediction_flops(model.config, TextShape(RAGGED, 9), thinking)
    assert counter.vocabulary == pytest.approx(expected.vocabulary * len(of.mask))
