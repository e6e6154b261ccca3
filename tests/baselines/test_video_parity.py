"""The video networks and their descent against numbers from the authors' implementation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from baselines.ebt_video import VideoEnergy
from baselines.text_descent import Steps
from baselines.transformer_video import VideoTransformer
from baselines.video_descent import FrameRows, frame_errors, video_objective
from baselines.video_records import EBTVideoConfig, TransformerPPVideoConfig
from harness.protocol import VideoShape

REPO = Path(__file__).resolve().parents[2]
PARITY = REPO / os.environ.get("HARNESS_SHARED", "../shared") / "data" / "parity"
FORWARD, GRADIENT = 5e-5, 1e-3
#: 3136 numbers a frame: the latents of 224 x 224 pixels.
SHAPE = VideoShape(context=5, channels=4, height=28, width=28)

pytestmark = pytest.mark.skipif(
    not PARITY.is_dir(), reason="no parity fixtures: HARNESS_SHARED is not there"
)


class Case:
    """One fixture folder; `frames` (B, S + 1, C, H, W)."""

    def __init__(self, name: str) -> None:
        folder = PARITY / name
        self.given: dict[str, Any] = json.loads((folder / "config.json").read_text())
        self.weights = load_file(folder / "weights.safetensors")
        self.case = load_file(folder / "case.safetensors")
        self.grads = load_file(folder / "grads.safetensors")
        assert self.given["latent_dim"] == SHAPE.numbers
        self.frames = framed(self.case["latents"])
        self.sizes = {
            "depth": self.given["num_layers"],
            "width": self.given["dim"],
            "heads": self.given["num_heads"],
            "ffn_width": self.given["ffn_width"],
        }


def framed(flat: Tensor) -> Tensor:
    return flat.unflatten(-1, (SHAPE.channels, SHAPE.height, SHAPE.width))


def close(ours: Tensor, theirs: Tensor, tolerance: float, what: str) -> None:
    """Relative error in the norm of the whole tensor."""
    error = float((ours.detach() - theirs).norm() / theirs.norm())
    assert error <= tolerance, f"{what}: relative error {error:.2e}"


def gradients_match(network: torch.nn.Module, case: Case) -> None:
    """Every parameter's gradient, and no parameter without one."""
    named = dict(network.named_parameters())
    assert set(named) == set(case.grads)
    for name, parameter in named.items():
        assert parameter.grad is not None, name
        close(parameter.grad, case.grads[name], GRADIENT, name)


def test_transformer_pp_video() -> None:
    fixture = Case("transformer_pp_video")
    network = VideoTransformer(TransformerPPVideoConfig(**fixture.sizes), SHAPE)
    network.load_state_dict(fixture.weights)
    predicted = network(fixture.frames[:, :-1])
    close(predicted, framed(fixture.case["prediction"]), FORWARD, "prediction")
    loss = frame_errors(predicted, fixture.frames[:, 1:]).mean()
    close(loss, fixture.case["loss"], FORWARD, "loss")
    loss.backward()
    gradients_match(network, fixture)


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
    sums = video_objective(network, FrameRows(fixture.frames, start), steps)
    predicted = start.shape[0] * start.shape[1]
    (sums.loss / predicted).backward()
    close(sums.loss / predicted, case["loss"], FORWARD, "loss")
    close(sums.energy_first, case["energy.0"].sum(), FORWARD, "first energy")
    close(sums.energy_last, case["energy.1"].sum(), FORWARD, "last energy")
    close(sums.frames, framed(case["prediction.1"]), FORWARD, "prediction")
    gradients_match(network, fixture)


def test_ebt_video_trajectory() -> None:
    """Every frame and energy that the fixture lists, step by step."""
    fixture = Case("ebt_video")
    network, case = energy_network(fixture), fixture.case
    value = framed(case["draw.0.randn_like"])
    view = network.view(value.shape[1])
    with torch.no_grad():
        observed = network.project(fixture.frames[:, :-1])
        for step in range(network.config.steps):
            context = network.run_context(observed, step)
            energy, slope = network.slope(network.project(value), context, view)
            value = value - network.step_size() * network.to_frames(slope)
            close(energy, case[f"energy.{step}"], FORWARD, f"energy {step}")
            close(value, framed(case[f"prediction.{step}"]), FORWARD, f"prediction {step}")
