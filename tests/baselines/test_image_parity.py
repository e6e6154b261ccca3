"""Image networks against numbers computed by the paper authors' implementation."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from baselines.adapters.image_dit import DiTImage
from baselines.adapters.image_ebt import EBTImage
from baselines.dit import add_noise, linear_schedule, noise_mse, variational_bound
from baselines.image_settings import DiTImageConfig, EBTImageConfig
from harness.noise import NoiseSource
from harness.protocol import Descent, Diffusion, ImageShape, NoisyBatch, State
from tests.baselines.parity import (
    FORWARD,
    Case,
    assert_close,
    assert_gradients_match,
    needs_fixtures,
)

pytestmark = needs_fixtures

NOISE = NoiseSource(0)


def _shape(config: dict) -> ImageShape:
    side = config["image_size"]
    return ImageShape(config["channels"], side, side, config["train_timesteps"])


def _sizes(fixture: Case) -> dict[str, int]:
    return fixture.sizes | {"patch_size": fixture.given["patch_size"]}


def _ebt() -> tuple[EBTImage, Case]:
    fixture = Case("ebt_image")
    adapter = EBTImage(EBTImageConfig(**_sizes(fixture)), _shape(fixture.given))
    adapter.network.load_state_dict(fixture.weights)
    return adapter, fixture


def _dit() -> tuple[DiTImage, Case]:
    fixture = Case("dit_image")
    adapter = DiTImage(DiTImageConfig(**_sizes(fixture)), _shape(fixture.given))
    adapter.network.load_state_dict(fixture.weights)
    return adapter, fixture


@pytest.mark.parametrize(
    ("name", "adapter", "settings"),
    [("ebt_image", EBTImage, EBTImageConfig), ("dit_image", DiTImage, DiTImageConfig)],
)
def test_fixed_positions(name: str, adapter: type, settings: type) -> None:
    fixture = Case(name)
    fresh = adapter(settings(**_sizes(fixture)), _shape(fixture.given)).network.pos_embed
    assert_close(fresh, fixture.weights["pos_embed"], 1e-6, "positions")


def test_ebt_one_training_step_and_its_gradients() -> None:
    adapter, fixture = _ebt()
    case = fixture.case
    network = adapter.network
    slope, energy = network.slope(case["noised"], network.context())
    y = case["noised"] - network.step_size() * slope
    loss = F.smooth_l1_loss(y, case["image"])
    loss.backward()
    assert_close(energy, case["energy.0"], FORWARD, "energy.0")
    assert_close(y, case["denoised.0"], FORWARD, "denoised.0")
    assert_close(loss, case["loss"], FORWARD, "loss")
    assert_gradients_match(network, fixture)


def test_ebt_thinking_for_three_steps() -> None:
    adapter, fixture = _ebt()
    case = fixture.case
    states: list[State] = []
    batch = NoisyBatch(case["noised"], 99, torch.arange(3))
    prediction = adapter.predict(batch, Descent(steps=3), NOISE, states.append)
    assert [s.step for s in states] == [0, 1, 2, 3]
    for k in range(3):  # the fixture lists the energy before each step
        assert_close(
            states[k + 1].value[:, 0], case[f"think.denoised.{k}"], FORWARD, f"think.denoised.{k}"
        )
        assert_close(
            states[k].energy[:, 0], case[f"think.energy.{k}"], FORWARD, f"think.energy.{k}"
        )
    assert torch.equal(states[-1].energy[:, 0], adapter.network(prediction.value).detach())
    assert torch.equal(prediction.value, states[-1].value[:, 0])


def test_dit_training_loss_and_its_gradients() -> None:
    adapter, fixture = _dit()
    case = fixture.case
    schedule = linear_schedule(1000, 1e-4, 2e-2, torch.device("cpu"), torch.float32)
    noised = add_noise(case["image"], case["noise"], case["t"], schedule)
    assert_close(noised, case["noised"], FORWARD, "noised")
    output = adapter.network(noised, case["t"])
    assert_close(output, case["model_output"], FORWARD, "model_output")
    mse = noise_mse(output, case["noise"]).mean()
    bound = variational_bound(output, case["image"], noised, case["t"], schedule).mean()
    assert_close(mse, case["loss.noise_mse"], FORWARD, "loss.noise_mse")
    assert_close(bound, case["loss.variational_bound"], FORWARD, "loss.variational_bound")
    assert_close(mse + bound, case["loss"], FORWARD, "loss")
    (mse + bound).backward()
    assert_gradients_match(adapter.network, fixture)


@pytest.mark.parametrize("start", ["trained", "matched"])
def test_ddim_over_every_timestep_is_the_authors_sampler(start: str) -> None:
    adapter, fixture = _dit()
    case = fixture.case
    batch = NoisyBatch(case["noised_t99"], 99, torch.arange(3))
    prediction = adapter.predict(batch, Diffusion(steps=100, start=start), NOISE)
    assert_close(prediction.value, case["ddim_denoised"], 5e-6, "ddim_denoised")
