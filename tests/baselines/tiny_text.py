"""Small text adapters and batches, as the tests of text want them."""

from __future__ import annotations

from typing import Any

import torch

from baselines.adapters.text import EBTText, TransformerPPText
from baselines.text_settings import EBTTextConfig, TransformerPPTextConfig
from harness.protocol import TextBatch, TextShape
from tests.baselines.naive_ebt import Naive
from tests.baselines.tiny_streams import SIZES

VOCAB, LENGTH, BATCH = 23, 9, 3
SHAPE = TextShape(vocab_size=VOCAB, context=LENGTH)


def ebt(dtype: torch.dtype = torch.float64, **changes: Any) -> EBTText:
    """A small EBT whose step size keeps three steps well conditioned."""
    torch.manual_seed(3)
    return EBTText(EBTTextConfig(**(SIZES | {"step_size": 2.0} | changes)), SHAPE).to(dtype)


def transformer(dtype: torch.dtype = torch.float64) -> TransformerPPText:
    torch.manual_seed(3)
    return TransformerPPText(TransformerPPTextConfig(**SIZES), SHAPE).to(dtype)


def batch(rows: int = BATCH, length: int = LENGTH) -> TextBatch:
    """Random tokens with some targets masked; row i is the same whatever the batch."""
    generator = torch.Generator().manual_seed(11)
    tokens = torch.randint(VOCAB, (BATCH, LENGTH + 1), generator=generator)[:rows, : length + 1]
    mask = torch.rand(BATCH, LENGTH, generator=generator)[:rows, :length] > 0.25
    return TextBatch(tokens, mask, torch.arange(rows) + 40)


def naive(model: EBTText) -> Naive:
    """The textbook form with the model's weights."""
    return Naive(dict(model.network.named_parameters()), model.config.heads)
