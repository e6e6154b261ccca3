"""The text records' formulas against the parameters and the FLOPs that are really there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.adapters.text import EBTText, TransformerPPText
from baselines.autoregressive import QUERY_BLOCK
from baselines.text_records import (
    EBT_TEXT,
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
    conditioning=st.sampled_from(["time_embed", "none", "adaln", "adaln_zero"]),
    projection=st.sampled_from(["linear", "embedding"]),
)
def test_parameter_formulas_are_exact(
    depth: int, heads: int, ffn: int, steps: int, learned: bool, conditioning: str, projection: str
) -> None:
    shape = TextShape(vocab_size=23, context=9)
    sizes: dict[str, Any] = {"depth": depth, "width": heads * 4, "heads": heads, "ffn_width": ffn}
    plain = TransformerPPTextConfig(**sizes)
    config = EBTTextConfig(
        **sizes,
        steps=steps,
        step_size_learned=learned,
        step_conditioning=conditioning,
        projection=projection,
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


SHAPES = [(1, 16, 0, 37, 30), (2, 32, 48, 67, QUERY_BLOCK + 9), (3, 24, 0, 101, 40)]
S2 = {"variant": "s2", "min_steps": 3, "replay_records": 0}
SETTINGS: dict[str, dict[str, Any]] = {
    "s1": {},
    "s1 one step": {"steps": 1},
    "s1 no conditioning": {"step_conditioning": "none", "steps": 3},
    "s1 adaln": {"step_conditioning": "adaln"},
    "s1 recomputing": {"recompute": True},
    "s1 noisy": {"langevin_noise": 0.5},
    "s1 last": {"loss_on": "last", "steps": 3},
    "s2": S2,
    "s2 noise-free": S2 | {"langevin_noise": 0},
    "s2 every": S2 | {"loss_on": "every"},
    "s2 landscapes": S2 | {"landscapes": 3},
    "s2 learned": S2 | {"step_size_learned": True},
    "unrolled": {"between_steps": "unroll", "steps": 3},
    "logits": {"update_space": "logits"},
    "logits s2": S2 | {"update_space": "logits"},
}


def _batch(vocab: int, length: int, rows: int = 2) -> TextBatch:
    torch.manual_seed(0)  # of the models too, which are built after it
    return TextBatch(
        torch.randint(vocab, (rows, length + 1)),
        torch.ones(rows, length, dtype=torch.bool),
        torch.arange(rows),
    )


@pytest.mark.parametrize("settings_", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize(("depth", "width", "ffn", "vocab", "length"), SHAPES)
def test_training_flops_match_the_count(
    settings_: dict[str, Any], depth: int, width: int, ffn: int, vocab: int, length: int
) -> None:
    shape, of = TextShape(vocab, length), _batch(vocab, length)
    config = EBTTextConfig(
        **{"depth": depth, "width": width, "heads": 2, "ffn_width": ffn, **settings_}
    )
    model = EBTText(config, shape)
    with FlopCounter(vocab_size=vocab) as counted:
        model.training_loss(of, NOISE).loss_sum.backward()
    formula = EBT_TEXT.training_flops(config, shape)
    assert 2 * formula.total == pytest.approx(counted.total, rel=0.01)
    assert 2 * formula.vocabulary == pytest.approx(counted.vocabulary, rel=0.01)


def test_replayed_rows_are_counted_once_the_buffer_has_them() -> None:
    shape, of = TextShape(31, 12), _batch(31, 12, rows=4)
    config = EBTTextConfig(
        depth=1, width=16, heads=2, variant="s2", min_steps=3, replay_records=6, replay_share=0.5
    )
    model = EBTText(config, shape)
    keys, totals = [], []
    for _ in range(3):
        keys.append(model.work(of, NOISE))
        with FlopCounter(vocab_size=31) as counted:
            model.training_loss(of, NOISE).loss_sum.backward()
        totals.append(counted.total)
    assert keys[0] != keys[1] == keys[2]
    assert totals[0] < totals[1] == totals[2]
    assert 4 * EBT_TEXT.training_flops(config, shape).total == pytest.approx(totals[2], rel=0.01)


THINKING = [
    ({}, Descent(steps=4, samples=3)),
    ({}, Descent(steps=1, samples=2, select="largest_drop")),
    ({}, Descent(steps=4, extra_steps="every", accept="lower")),
    ({"step_conditioning": "none"}, Descent(steps=3, accept="lower", samples=2)),
    (S2, Descent(steps=3)),
    (S2, Descent(steps=3, samples=2, accept="lower")),
    (S2, Descent(steps=3, samples=2, noise="first")),
    (S2, Descent(steps=2, noise="none", tolerance=1e-12)),
    ({}, Descent(steps=4, tolerance=1e-12)),
]


@pytest.mark.parametrize(("settings_", "thinking"), THINKING)
@pytest.mark.parametrize(("depth", "width", "ffn", "vocab", "length"), SHAPES)
def test_prediction_flops_match_the_count(
    settings_: dict[str, Any],
    thinking: Descent,
    depth: int,
    width: int,
    ffn: int,
    vocab: int,
    length: int,
) -> None:
    shape, of = TextShape(vocab, length), _batch(vocab, length)
    config = EBTTextConfig(
        **{"depth": depth, "width": width, "heads": 2, "ffn_width": ffn, **settings_}
    )
    model = EBTText(config, shape).double()  # where no energy stands still by rounding
    with FlopCounter(vocab_size=vocab) as counted:
        prediction = model.predict(of, thinking, NOISE)
    formula = EBT_TEXT.prediction_flops(config, shape, thinking)
    assert 2 * formula.total == pytest.approx(counted.total, rel=0.01)
    assert 2 * formula.vocabulary == pytest.approx(counted.vocabulary, rel=0.01)
    assert prediction.passes.nfe == thinking.steps * thinking.samples


@pytest.mark.parametrize(("depth", "width", "ffn", "vocab", "length"), SHAPES)
def test_transformer_flops_match_the_count(
    depth: int, width: int, ffn: int, vocab: int, length: int
) -> None:
    shape, of = TextShape(vocab, length), _batch(vocab, length)
    config = TransformerPPTextConfig(depth=depth, width=width, heads=2, ffn_width=ffn)
    model = TransformerPPText(config, shape)
    with FlopCounter(vocab_size=vocab) as training:
        model.training_loss(of, NOISE).loss_sum.backward()
    with FlopCounter(vocab_size=vocab) as predicting:
        model.predict(of, Single(), NOISE)
    for counted, formula in (
        (training, TRANSFORMER_PP_TEXT.training_flops(config, shape)),
        (predicting, TRANSFORMER_PP_TEXT.prediction_flops(config, shape, Single())),
    ):
        assert 2 * formula.total == pytest.approx(counted.total, rel=0.01)
        assert 2 * formula.vocabulary == pytest.approx(counted.vocabulary, rel=0.01)


def test_variants_are_sets_of_settings() -> None:
    plain = EBTTextConfig(size="xxs")
    assert EBTTextConfig(size="xxs", variant="s1").model_dump() == plain.model_dump()
    s2 = EBTTextConfig(size="xxs", variant="s2")
    written = s2.model_dump()
    assert "variant" not in written
    assert EBTTextConfig(**written).model_dump() == written
    assert (s2.step_size, s2.step_size_lr_multiplier, s2.landscapes) == (5.0, None, 1)
    single = EBTTextConfig(size="xxs", variant="s2", steps=1)
    assert single.step_counts == range(1, 2), "what a variant implies gives way"
    dropped = EBTTextConfig(size="xxs", variant="s2", langevin_noise=0)
    assert dropped.model_dump() == written | {"langevin_noise": 0.0}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_steps": 3}, "min_steps = 3 exceeds steps = 2"),
        ({"step_conditioning": "none", "landscapes": 2}, "landscapes = 2 needs"),
        ({"landscapes": 8}, "landscapes = 8 exceeds steps = 2"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EBTTextConfig(size="xxs", **wrong)


def test_config_resolves_the_step_size_multiplier() -> None:
    assert EBTTextConfig(size="xxs").step_size_lr_multiplier == 1500.0
    assert EBTTextConfig(size="xxs", step_size=5).step_size_lr_multiplier == 15.0
    resolved = EBTTextConfig(size="xxs", step_size=5).model_dump()
    assert EBTTextConfig(**resolved).model_dump() == resolved
