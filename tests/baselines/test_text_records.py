"""The text records' formulas against the parameters and the FLOPs that are really there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.adapters.text import EBTText, TransformerPPText
from baselines.text_records import (
    EBT_TEXT,
    QUERY_BLOCK,
    TRANSFORMER_PP_TEXT,
    EBTTextConfig,
    TransformerPPTextConfig,
)
from harness.cost import FlopCounter
from harness.noise import NoiseSource
from harness.protocol import Descent, Single, TextBatch, TextShape

NOISE = NoiseSource(seed=5)


@settings(max_examples=15, deadline=None)
@given(
    depth=st.integers(1, 3),
    heads=st.integers(1, 3),
    ffn=st.integers(0, 20),
    steps=st.integers(1, 3),
    learned=st.booleans(),
    conditioning=st.sampled_from(["time_embed", "none"]),
)
def test_parameter_formulas_are_exact(
    depth: int, heads: int, ffn: int, steps: int, learned: bool, conditioning: str
) -> None:
    shape = TextShape(vocab_size=23, context=9)
    sizes: dict[str, Any] = {"depth": depth, "width": heads * 4, "heads": heads, "ffn_width": ffn}
    plain = TransformerPPTextConfig(**sizes)
    config = EBTTextConfig(
        **sizes, steps=steps, step_size_learned=learned, step_conditioning=conditioning
    )
    for model, record, of in (
        (TransformerPPText(plain, shape), TRANSFORMER_PP_TEXT, plain),
        (EBTText(config, shape), EBT_TEXT, config),
    ):
        count = record.parameters(of, shape)
        trainable = [p for p in model.parameters() if p.requires_grad]
        assert count.total == sum(p.numel() for p in trainable)
        small = [p for p in trainable if 23 not in p.shape]
        assert count.non_embedding == sum(p.numel() for p in small)


def test_named_sizes_match_the_paper() -> None:
    shape = TextShape(vocab_size=50277, context=256)
    for size, millions in {"xxs": 6.18, "xs": 12.4, "medium": 176.0, "large": 396.0}.items():
        for record in (TRANSFORMER_PP_TEXT, EBT_TEXT):
            count = record.parameters(record.config(size=size), shape)
            assert count.non_embedding / 1e6 == pytest.approx(millions, rel=0.005)


@pytest.mark.parametrize("conditioning", ["time_embed", "none"])
@pytest.mark.parametrize(
    ("depth", "width", "ffn", "vocab", "length", "steps"),
    [(1, 16, 0, 31, 12, 2), (2, 32, 48, 67, QUERY_BLOCK + 9, 2), (3, 24, 0, 101, 40, 3)],
)
def test_flop_formulas_match_the_count(
    conditioning: Any, depth: int, width: int, ffn: int, vocab: int, length: int, steps: int
) -> None:
    shape, rows = TextShape(vocab, length), 2
    sizes: dict[str, Any] = {"depth": depth, "width": width, "heads": 2, "ffn_width": ffn}
    config = EBTTextConfig(**sizes, steps=steps, step_conditioning=conditioning)
    plain = TransformerPPTextConfig(**sizes)
    of = TextBatch(
        torch.randint(vocab, (rows, length + 1)),
        torch.ones(rows, length, dtype=torch.bool),
        torch.arange(rows),
    )
    cases = [
        (EBTText(config, shape), EBT_TEXT, config, Descent(steps=steps)),
        (EBTText(config, shape), EBT_TEXT, config, Descent(steps=4, samples=3)),
        (EBTText(config, shape), EBT_TEXT, config, Descent(steps=1, samples=2)),
        (TransformerPPText(plain, shape), TRANSFORMER_PP_TEXT, plain, Single()),
    ]
    for model, record, used, thinking in cases:
        with FlopCounter(vocab_size=vocab) as training:
            model.training_loss(of, NOISE).loss_sum.backward()
        with FlopCounter(vocab_size=vocab) as predicting:
            model.predict(of, thinking, NOISE)
        for counted, formula in (
            (training, record.training_flops(used, shape)),
            (predicting, record.prediction_flops(used, shape, thinking)),
        ):
            assert rows * formula.total == pytest.approx(counted.total, rel=0.01)
            assert rows * formula.vocabulary == pytest.approx(counted.vocabulary, rel=0.01)


def test_config_resolves_the_step_size_multiplier() -> None:
    assert EBTTextConfig(size="xxs").step_size_lr_multiplier == 1500.0
    assert EBTTextConfig(size="xxs", step_size=5).step_size_lr_multiplier == 15.0
    resolved = EBTTextConfig(size="xxs", step_size=5).model_dump()
    assert EBTTextConfig(**resolved).model_dump() == resolved
