"""The video records' formulas against the parameters and the FLOPs that are really there."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from baselines.adapters.video import EBTVideo, TransformerPPVideo
from baselines.autoregressive import QUERY_BLOCK
from baselines.video_records import (
    EBT_VIDEO,
    TRANSFORMER_PP_VIDEO,
    EBTVideoConfig,
    TransformerPPVideoConfig,
)
from harness.cost import FlopCounter
from harness.noise import NoiseSource
from harness.protocol import Descent, Single, VideoBatch, VideoShape

NOISE = NoiseSource(seed=5)
#: depth, width, feed-forward width, side of a frame, context
SIZES = [(1, 16, 0, 5, 30), (2, 32, 48, 6, QUERY_BLOCK + 9)]
S2: dict[str, Any] = {"variant": "s2", "min_steps": 3, "replay_records": 0}
SETTINGS: dict[str, dict[str, Any]] = {
    "s1": {},
    "one step": {"steps": 1},
    "no conditioning": {"step_conditioning": "none", "steps": 3},
    "adaln": {"step_conditioning": "adaln"},
    "recomputing": {"recompute": True},
    "noisy": {"langevin_noise": 0.5},
    "last": {"loss_on": "last", "steps": 3},
    "s2": S2,
    "s2 every": S2 | {"loss_on": "every"},
    "s2 landscapes": S2 | {"landscapes": 3},
    "s2 learned": S2 | {"step_size_learned": True},
    "unrolled": {"between_steps": "unroll", "steps": 3},
}


def shape_of(side: int, length: int) -> VideoShape:
    return VideoShape(context=length, channels=2, height=side, width=side)


def batch(shape: VideoShape, rows: int = 2) -> VideoBatch:
    frames = torch.randn(rows, shape.context + 1, shape.channels, shape.height, shape.width)
    return VideoBatch(frames, torch.arange(rows))


@pytest.mark.parametrize("conditioning", ["time_embed", "none", "adaln", "adaln_zero"])
@pytest.mark.parametrize("learned", [True, False])
def test_parameter_formulas_are_exact(conditioning: str, learned: bool) -> None:
    shape = shape_of(5, 4)
    sizes: dict[str, Any] = {"depth": 2, "width": 24, "heads": 2, "ffn_width": 20}
    plain = TransformerPPVideoConfig(**sizes)
    config = EBTVideoConfig(**sizes, step_conditioning=conditioning, step_size_learned=learned)
    for model, record, of in (
        (TransformerPPVideo(plain, shape), TRANSFORMER_PP_VIDEO, plain),
        (EBTVideo(config, shape), EBT_VIDEO, config),
    ):
        count = record.parameters(of, shape)
        assert count.total == sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert count.non_embedding == count.total


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize(("depth", "width", "ffn", "side", "length"), SIZES)
def test_training_flops_match_the_count(
    settings: dict[str, Any], depth: int, width: int, ffn: int, side: int, length: int
) -> None:
    shape = shape_of(side, length)
    sizes = {"depth": depth, "width": width, "heads": 2, "ffn_width": ffn}
    config = EBTVideoConfig(**sizes | settings)
    model = EBTVideo(config, shape)
    with FlopCounter() as counted:
        model.training_loss(batch(shape), NOISE).loss_sum.backward()
    formula = EBT_VIDEO.training_flops(config, shape)
    assert 2 * formula.total == pytest.approx(counted.total, rel=0.01)


THINKING = [
    ({}, Descent(steps=4, samples=3)),
    ({}, Descent(steps=2, samples=2, select="largest_drop")),
    ({}, Descent(steps=4, extra_steps="every", accept="lower")),
    (S2, Descent(steps=3)),
    (S2, Descent(steps=3, samples=2, accept="lower")),
    (S2, Descent(steps=3, samples=2, noise="first")),
    ({}, Descent(steps=4, tolerance=1e-12)),
]


@pytest.mark.parametrize(("settings", "thinking"), THINKING)
@pytest.mark.parametrize(("depth", "width", "ffn", "side", "length"), SIZES)
def test_prediction_flops_match_the_count(
    settings: dict[str, Any],
    thinking: Descent,
    depth: int,
    width: int,
    ffn: int,
    side: int,
    length: int,
) -> None:
    shape = shape_of(side, length)
    sizes = {"depth": depth, "width": width, "heads": 2, "ffn_width": ffn}
    config = EBTVideoConfig(**sizes | {"step_size": 0.5} | settings)
    model = EBTVideo(config, shape)
    with FlopCounter() as counted:
        prediction = model.predict(batch(shape), thinking, NOISE)
    formula = EBT_VIDEO.prediction_flops(config, shape, thinking)
    assert 2 * formula.total == pytest.approx(counted.total, rel=0.01)
    assert prediction.passes.nfe == thinking.steps * thinking.samples


@pytest.mark.parametrize(("depth", "width", "ffn", "side", "length"), SIZES)
def test_transformer_flops_match_the_count(
    depth: int, width: int, ffn: int, side: int, length: int
) -> None:
    shape = shape_of(side, length)
    config = TransformerPPVideoConfig(depth=depth, width=width, heads=2, ffn_width=ffn)
    model = TransformerPPVideo(config, shape)
    with FlopCounter() as training:
        model.training_loss(batch(shape), NOISE).loss_sum.backward()
    with FlopCounter() as predicting:
        model.predict(batch(shape), Single(), NOISE)
    trained = TRANSFORMER_PP_VIDEO.training_flops(config, shape)
    predicted = TRANSFORMER_PP_VIDEO.prediction_flops(config, shape, Single())
    assert 2 * trained.total == pytest.approx(training.total, rel=0.01)
    assert 2 * predicted.total == pytest.approx(predicting.total, rel=0.01)


def test_replay_takes_the_bytes_that_the_record_says() -> None:
    shape = shape_of(3, 4)
    config = EBTVideoConfig(depth=1, width=16, heads=2, replay_records=3)
    model = EBTVideo(config, shape)
    model.training_loss(batch(shape), NOISE)
    held = sum(t.numel() * t.element_size() for t in model.replay_state().values())
    assert held == EBT_VIDEO.replay_bytes(config, shape)


def test_variants_are_the_paper_s() -> None:
    s1, s2 = EBTVideoConfig(size="xxs", variant="s1"), EBTVideoConfig(size="xxs", variant="s2")
    assert s1.model_dump() == EBTVideoConfig(size="xxs").model_dump()
    assert (s1.step_size, s1.step_size_lr_multiplier) == (30000.0, 90000.0)
    assert (s2.step_size, s2.langevin_noise, s2.step_size_learned) == (3000.0, 1.0, False)
    assert (s2.step_counts, s2.landscapes, s2.replay_records) == (range(2, 4), 1, 192)
    written = s2.model_dump()
    assert EBTVideoConfig(**written).model_dump() == written
