"""What only a GPU shows: the same numbers there, bf16, compiled bodies, training to the end.

Skipped without CUDA. Draws differ between devices, so both sides get the CPU's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.adapters.image_dit import DiTImage
from baselines.adapters.image_ebt import EBTImage
from baselines.adapters.text import EBTText, TransformerPPText
from baselines.image_settings import DiTImageConfig, EBTImageConfig
from baselines.text_settings import EBTTextConfig, TransformerPPTextConfig
from harness.noise import NoiseSource
from harness.protocol import (
    Descent,
    Diffusion,
    ImageBatch,
    ImageShape,
    NoisyBatch,
    Single,
    TextBatch,
    TextShape,
)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

VOCAB, LENGTH, ROWS = 61, 70, 4
SIZES: dict[str, Any] = {"depth": 2, "width": 64, "heads": 2}
TEXT = TextShape(VOCAB, LENGTH)
IMAGE = ImageShape(1, 8, 8, train_timesteps=100)
S2 = {"variant": "s2", "replay_records": 8}
EBTS: dict[str, dict[str, Any]] = {
    "s1": {"step_size": 5.0},
    "s2": S2 | {"step_size": 0.5},
    "unrolled": {"step_size": 1.0, "between_steps": "unroll"},
    "adaln": {"step_size": 1.0, "step_conditioning": "adaln"},
    "recomputing": {"step_size": 5.0, "recompute": True},
}


class FromCPU:
    """Draws on the CPU, handed out on the rows' device."""

    def __init__(self, source: NoiseSource) -> None:
        self.source = source

    def normal(self, rows: Tensor, shape: Sequence[int], **key: Any) -> Tensor:
        return self.source.normal(rows.cpu(), shape, **key).to(rows.device)

    def uniform(self, rows: Tensor, shape: Sequence[int], **key: Any) -> Tensor:
        return self.source.uniform(rows.cpu(), shape, **key).to(rows.device)


NOISE = FromCPU(NoiseSource(2))


def text_batch(device: str) -> TextBatch:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(VOCAB, (ROWS, LENGTH + 1), generator=generator)
    mask = torch.rand(ROWS, LENGTH, generator=generator) > 0.2
    return TextBatch(tokens.to(device), mask.to(device), torch.arange(ROWS, device=device))


def image_batch(device: str) -> ImageBatch:
    images = torch.rand(ROWS, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return ImageBatch(images.to(device), torch.arange(ROWS, device=device))


def built(name: str, device: str, dtype: torch.dtype = torch.float64) -> Any:
    torch.manual_seed(0)
    if name == "transformer++":
        model: Any = TransformerPPText(TransformerPPTextConfig(**SIZES), TEXT)
    elif name == "dit":
        model = DiTImage(DiTImageConfig(**SIZES, patch_size=2), IMAGE)
    elif name == "ebt image":
        model = EBTImage(EBTImageConfig(**SIZES, patch_size=2, step_size=30.0), IMAGE)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
    else:
        model = EBTText(EBTTextConfig(**(SIZES | EBTS[name])), TEXT)
    return model.to(device, dtype)


def batch_for(name: str, device: str, dtype: torch.dtype = torch.float64) -> Any:
    if name in ("dit", "ebt image"):
        batch = image_batch(device)
        return ImageBatch(batch.images.to(dtype), batch.rows)
    return text_batch(device)


NAMES = ["transformer++", "dit", "ebt image", *EBTS]


@pytest.mark.parametrize("name", NAMES)
def test_losses_and_gradients_are_those_of_the_cpu(name: str) -> None:
    """Twice, so that a replay buffer is drawn from."""
    found = {}
    for device in ("cpu", "cuda"):
        model, batch = built(name, device), batch_for(name, device)
        model.training_loss(batch, NOISE)
        loss = model.training_loss(batch, NOISE).loss_sum
        loss.backward()
        gradients = {n: p.grad.cpu() for n, p in model.named_parameters() if p.requires_grad}
        found[device] = loss.detach().cpu(), gradients
    torch.testing.assert_close(found["cuda"][0], found["cpu"][0], rtol=1e-9, atol=0)
    for key, expected in found["cpu"][1].items():
        error = (found["cuda"][1][key] - expected).norm() / expected.norm().clamp(min=1e-12)
        assert error < 1e-7, f"{key}: {error:.1e}"


@pytest.mark.parametrize("name", NAMES)
def test_bf16_trains_on_about_the_same_loss(name: str) -> None:
    model = built(name, "cuda", torch.float32)
    batch = batch_for(name, "cuda", torch.float32)
    exact = built(name, "cuda", torch.float32).training_loss(batch, NOISE).loss_sum
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = model.training_loss(batch, NOISE).loss_sum
    loss.backward()
    assert loss.item() == pytest.approx(exact.item(), rel=0.05)
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            assert parameter.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "thinking"),
    [
        ("transformer++", Single()),
        ("s1", Descent(steps=3, samples=3)),
        ("s2", Descent(steps=3, samples=2, accept="lower", select="largest_drop")),
        ("s1", Descent(steps=5, tolerance=0.05)),
        ("ebt image", Descent(steps=3, tolerance=1e-4)),
        ("dit", Diffusion(steps=7)),
    ],
)
def test_predictions_are_those_of_the_cpu(name: str, thinking: Any) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        model, batch = built(name, device), batch_for(name, device)
        if isinstance(batch, ImageBatch):
            batch = NoisyBatch(batch.images, 99, batch.rows)
        found[device] = model.predict(batch, thinking, NOISE).value.cpu()
    torch.testing.assert_close(found["cuda"], found["cpu"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["transformer++", "s1", "s2"])
def test_decoding_is_that_of_the_cpu(name: str) -> None:
    thinking = Single() if name == "transformer++" else Descent(steps=2, samples=2)
    found = {}
    for device in ("cpu", "cuda"):
        model, batch = built(name, device), text_batch(device)
        decoder = model.decoder(batch.rows, thinking, NOISE)
        fed = [decoder.feed(part).value.cpu() for part in batch.tokens.split(20, dim=1)]
        found[device] = torch.stack(fed)
    torch.testing.assert_close(found["cuda"], found["cpu"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("name", ["transformer++", "s1", "s2", "adaln"])
def test_compiled_steps_have_the_same_gradients(name: str, bf16: bool) -> None:
    """Over three steps on other rows and weights; in bf16, as near to float32 as eager ones."""
    exact, plain, compiled = (built(name, "cuda", torch.float32) for _ in range(3))
    compiled.compile_body()
    for step in range(3):
        batch, noise = text_batch("cuda"), FromCPU(NoiseSource(2).within(step))
        batch = TextBatch((batch.tokens + step) % VOCAB, batch.mask, batch.rows)
        for model in (exact, plain, compiled):
            model.zero_grad()
            low = bf16 and model is not exact
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=low):
                loss = model.training_loss(batch, noise).loss_sum
            loss.backward()
        for (key, one), *others in zip(
            exact.named_parameters(), plain.parameters(), compiled.parameters(), strict=True
        ):
            if one.requires_grad:
                assert one.grad is not None
                off = [float((one.grad - other.grad).norm() / one.grad.norm()) for other in others]
                allowed = 2 * off[0] + 0.1 if bf16 else 5e-3
                assert off[1] <= allowed, f"{step} {key}: {off}"
                with torch.no_grad():
                    one -= 1e-4 * one.grad
                    for other in others:
                        other.copy_(one)
