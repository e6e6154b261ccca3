"""Image networks against numbers computed by the paper authors' implementation."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from baselines.adapters.image_dit import DiTImage
from baselines.adapters.image_ebt import EBTImage
from baselines.dit import add_noise, linear_schedule, noise_mse, variational_bound
from baselines.image_settings import DiTImageConfig, EBTImageConfig
from harness.noise import NoiseSource
from harness.protocol import Descent, Diffusion, ImageShape, NoisyBatch, State

_ROOT = Path(__file__).resolve().parents[2]
PARITY = Path(os.environ.get("HARNESS_SHARED", _ROOT.parent / "shared")) / "data" / "parity"
pytestmark = pytest.mark.skipif(not PARITY.is_dir(), reason="no shared folder (HARNESS_SHARED)")

FORWARD, GRADIENT = 5e-5, 1e-3  # the fixtures' README
NOISE = NoiseSource(0)


def _case(name: str) -> tuple[dict, dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    folder = PARITY / name
    files = (folder / f"{part}.safetensors" for part in ("weights", "case", "grads"))
    return json.loads((folder / "config.json").read_text()), *map(load_file, files)


def _shape(config: dict) -> ImageShape:
    side = config["image_size"]
    return ImageShape(config["channels"], side, side, config["train_timesteps"])


def _sizes(config: dict) -> dict[str, int]:
    return {
        "depth": config["num_layers"],
        "width": config["dim"],
        "heads": config["num_heads"],
        "ffn_width": config["mlp_width"],
        "patch_size": config["patch_size"],
    }


def _error(ours: Tensor, theirs: Tensor) -> float:
    scale = theirs.norm().clamp(min=1e-30 if theirs.any() else 1)
    return float((ours.detach() - theirs).norm() / scale)


def _assert_gradients(network: torch.nn.Module, theirs: dict[str, Tensor]) -> None:
    ours = {name: p.grad for name, p in network.named_parameters()}
    assert ours.keys() == theirs.keys()
    assert max(_error(ours[name], theirs[name]) for name in theirs) < GRADIENT


def _ebt() -> tuple[EBTImage, dict[str, Tensor], dict[str, Tensor]]:
    config, weights, case, grads = _case("ebt_image")
    adapter = EBTImage(EBTImageConfig(**_sizes(config)), _shape(config))
    adapter.network.load_state_dict(weights)
    return adapter, case, grads


def _dit() -> tuple[DiTImage, dict[str, Tensor], dict[str, Tensor]]:
    config, weights, case, grads = _case("dit_image")
    adapter = DiTImage(DiTImageConfig(**_sizes(config)), _shape(config))
    adapter.network.load_state_dict(weights)
    return adapter, case, grads


@pytest.mark.parametrize(
    ("name", "adapter", "settings"),
    [("ebt_image", EBTImage, EBTImageConfig), ("dit_image", DiTImage, DiTImageConfig)],
)
def test_fixed_positions(name: str, adapter: type, settings: type) -> None:
    config, weights, *_ = _case(name)
    fresh = adapter(settings(**_sizes(config)), _shape(config)).network.pos_embed
    assert _error(fresh, weights["pos_embed"]) < 1e-6


def test_ebt_one_training_step_and_its_gradients() -> None:
    adapter, case, grads = _ebt()
    network = adapter.network
    slope, energy = adapter.body(case["noised"], None)
    y = case["noised"] - network.step_size() * slope
    loss = F.smooth_l1_loss(y, case["image"])
    loss.backward()
    assert _error(energy, case["energy.0"]) < FORWARD
    assert _error(y, case["denoised.0"]) < FORWARD
    assert _error(loss, case["loss"]) < FORWARD
    _assert_gradients(network, grads)


def test_ebt_thinking_for_three_steps() -> None:
    adapter, case, _ = _ebt()
    states: list[State] = []
    batch = NoisyBatch(case["noised"], 99, torch.arange(3))
    prediction = adapter.predict(batch, Descent(steps=3), NOISE, states.append)
    assert [s.step for s in states] == [0, 1, 2, 3]
    for k in range(3):  # the fixture lists the energy before each step
        assert _error(states[k + 1].value[:, 0], case[f"think.denoised.{k}"]) < FORWARD
        assert _error(states[k].energy[:, 0], case[f"think.energy.{k}"]) < FORWARD
    assert torch.equal(states[-1].energy[:, 0], adapter.network(prediction.value).detach())
    assert torch.equal(prediction.value, states[-1].value[:, 0])


def test_dit_training_loss_and_its_gradients() -> None:
    adapter, case, grads = _dit()
    schedule = linear_schedule(1000, 1e-4, 2e-2, torch.device("cpu"), torch.float32)
    noised = add_noise(case["image"], case["noise"], case["t"], schedule)
    assert _error(noised, case["noised"]) < FORWARD
    output = adapter.network(noised, case["t"])
    assert _error(output, case["model_output"]) < FORWARD
    mse = noise_mse(output, case["noise"]).mean()
    bound = variational_bound(output, case["image"], noised, case["t"], schedule).mean()
    assert _error(mse, case["loss.noise_mse"]) < FORWARD
    assert _error(bound, case["loss.variational_bound"]) < FORWARD
    assert _error(mse + bound, case["loss"]) < FORWARD
    (mse + bound).backward()
    _assert_gradients(adapter.network, grads)


@pytest.mark.parametrize("start", ["trained", "matched"])
def test_ddim_over_every_timestep_is_the_authors_sampler(start: str) -> None:
    adapter, case, _ = _dit()
    batch = NoisyBatch(case["noised_t99"], 99, torch.arange(3))
    prediction = adapter.predict(batch, Diffusion(steps=100, start=start), NOISE)
    assert _error(prediction.value, case["ddim_denoised"]) < 5e-6
