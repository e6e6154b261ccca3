"""The video networks and their descent against numbers from the authors' implementation."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.ebt_video import VideoEnergy
from baselines.training_descent import Steps
from baselines.transformer_video import VideoTransformer
from baselines.video_descent import FrameRows, frame_errors, video_objective
from baselines.video_settings import EBTVideoConfig, TransformerPPVideoConfig
from harness.protocol import VideoShape
from tests.baselines.parity import (
    FORWARD,
    Case,
    assert_close,
    assert_gradients_match,
    needs_fixtures,
)

#: 3136 numbers a frame: the latents of 224 x 224 pixels.
SHAPE = VideoShape(context=5, channels=4, height=28, width=28)

pytestmark = needs_fixtures


def framed(flat: Tensor) -> Tensor:
    return flat.unflatten(-1, (SHAPE.channels, SHAPE.height, SHAPE.width))


def frames_of(fixture: Case) -> Tensor:
    """(B, S + 1, C, H, W)"""
    assert fixture.given["latent_dim"] == SHAPE.numbers
    return framed(fixture.case["latents"])


def test_transformer_pp_video() -> None:
    fixture = Case("transformer_pp_video")
    network = VideoTransformer(TransformerPPVideoConfig(**fixture.sizes), SHAPE)
    network.load_state_dict(fixture.weights)
    frames = frames_of(fixture)
    predicted = network(frames[:, :-1])
    assert_close(predicted, framed(fixture.case["prediction"]), FORWARD, "prediction")
    loss = frame_errors(predicted, frames[:, 1:]).mean()
    assert_close(loss, fixture.case["loss"], FORWARD, "loss")
    loss.backward()
    assert_gradients_match(network, fixture)


def energy_network(fixture: Case) -> VideoEnergy:
    given = fixture.given
    config = EBTVideoConfig(
        **fixture.sizes,
        step_conditioning=given["step_conditioning"],
        steps=given["num_landscapes"],
        step_size=given["alpha"],
    )
    network = VideoEnergy(config, SHAPE)
    network.load_state_dict(fixture.weights)
    return network


def test_ebt_video_training() -> None:
    fixture = Case("ebt_video")
    network, case = energy_network(fixture), fixture.case
    start = framed(case["draw.0.randn_like"])
    steps = Steps(network.config.steps, network.step_size(), None)
    sums = video_objective(network, FrameRows(frames_of(fixture), start), steps)
    predicted = start.shape[0] * start.shape[1]
    (sums.loss / predicted).backward()
    assert_close(sums.loss / predicted, case["loss"], FORWARD, "loss")
    assert_close(sums.energy_first, case["energy.0"].sum(), FORWARD, "first energy")
    assert_close(sums.energy_last, case["energy.1"].sum(), FORWARD, "last energy")
    assert_close(sums.value, framed(case["prediction.1"]), FORWARD, "prediction")
    assert_gradients_match(network, fixture)


def test_ebt_video_trajectory() -> None:
    """Every frame and energy that the fixture lists, step by step."""
    fixture = Case("ebt_video")
    network, case = energy_network(fixture), fixture.case
    value = framed(case["draw.0.randn_like"])
    view = network.view(value.shape[1])
    with torch.no_grad():
        observed = network.project(frames_of(fixture)[:, :-1])
        for step in range(network.config.steps):
            context = network.run_context(observed, step)
            energy, slope = network.slope(network.project(value), context, view)
            value = value - network.step_size() * network.to_frames(slope)
            assert_close(energy, case[f"energy.{step}"], FORWARD, f"energy {step}")
            assert_close(value, framed(case[f"prediction.{step}"]), FORWARD, f"prediction {step}")
