"""Features of clean images against the textbook's blocks: diffusers' own, with the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines.adapters.image_dit import DiTImage
from baselines.adapters.image_ebt import EBTImage
from harness.capabilities import Features
from harness.protocol import ImageBatch
from tests.baselines.tiny_images import NOISE, SIZES, small_dit, small_ebt, some_images

ADAPTERS = {
    "dit": small_dit,
    "ebt from the noisy image": small_ebt,
    "ebt from noise": lambda **given: small_ebt(start="noise", **given),
}
WIDE = {"ffn_width": 4 * SIZES["width"]}  # the only feed-forward width that diffusers has


def _images(n: int = 3) -> ImageBatch:
    return ImageBatch(some_images(n), torch.arange(n))


def _diffusers_tokens(w: dict[str, Tensor], images: Tensor, condition: Tensor) -> Tensor:
    """Patches by a convolution, then diffusers' blocks, each told `condition` (D,) as a class."""
    from diffusers.models.attention import BasicTransformerBlock

    width, heads, patch = SIZES["width"], SIZES["heads"], SIZES["patch_size"]
    x = nn.functional.conv2d(
        images, w["x_embedder.proj.weight"], w["x_embedder.proj.bias"], stride=patch
    )
    x = x.flatten(2).transpose(1, 2) + w["pos_embed"]
    n = len(x)
    for i in range(SIZES["depth"]):
        block: Any = BasicTransformerBlock(
            width,
            heads,
            width // heads,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1,
            attention_bias=True,
            norm_type="ada_norm_zero",
            norm_elementwise_affine=False,
            norm_eps=1e-6,
        ).eval()
        embedding = block.norm1.emb
        for module in embedding.timestep_embedder.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            embedding.class_embedder.embedding_table.weight.copy_(condition)
        block.load_state_dict(_weights(w, f"blocks.{i}"), strict=False)
        zeros = torch.zeros(n, dtype=torch.long)
        x = block(x, timestep=zeros, class_labels=zeros)
    return x


def _weights(w: dict[str, Tensor], mine: str) -> dict[str, Tensor]:
    found = {}
    for kind in ("weight", "bias"):
        found[f"norm1.linear.{kind}"] = w[f"{mine}.adaLN_modulation.1.{kind}"]
        for part, tensor in zip("qkv", w[f"{mine}.attn.qkv.{kind}"].chunk(3), strict=True):
            found[f"attn1.to_{part}.{kind}"] = tensor
        found[f"attn1.to_out.0.{kind}"] = w[f"{mine}.attn.proj.{kind}"]
        found[f"ff.net.0.proj.{kind}"] = w[f"{mine}.mlp.fc1.{kind}"]
        found[f"ff.net.2.{kind}"] = w[f"{mine}.mlp.fc2.{kind}"]
    return found


@pytest.mark.parametrize("kind", ADAPTERS)
def test_features_are_the_mean_of_the_textbooks_last_tokens(kind: str) -> None:
    adapter, batch = ADAPTERS[kind](**WIDE), _images()
    network, images = adapter.network, batch.images
    if isinstance(adapter, EBTImage):
        condition = network.condition.weight[0]
        images = torch.cat([images, images], 1) if kind == "ebt from noise" else images
    else:
        condition = network.t_embedder(torch.zeros(1))[0]
    with torch.no_grad():
        expected = _diffusers_tokens(network.state_dict(), images, condition).mean(1)
    torch.testing.assert_close(adapter.features(batch), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_the_model_reads_its_energy_or_noise_off_the_same_tokens(kind: str) -> None:
    """The final layer on the tokens gives the output of the paths that train and predict."""
    adapter, images = ADAPTERS[kind]().double(), some_images(3).double()
    network = adapter.network
    with torch.no_grad():
        if isinstance(adapter, DiTImage):
            t = torch.zeros(3, dtype=torch.long)
            condition = network.t_embedder(t)
            out = network.final_layer(network.tokens(images, condition), condition)
            torch.testing.assert_close(network.unpatchify(out), network(images, t))
            return
        energies = network(images, network.context(images))
        out = network.final_layer(network.tokens(images), network.condition.weight)
    torch.testing.assert_close(out.mean((1, 2)), energies, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_features_of_an_image_are_its_own(kind: str) -> None:
    adapter = ADAPTERS[kind]().double()
    assert isinstance(adapter, Features)
    images, rows = some_images(4).double(), torch.tensor([8, 1, 6, 3])
    whole = adapter.features(ImageBatch(images, rows))
    assert whole.shape == (4, SIZES["width"])
    assert not whole.requires_grad
    part = adapter.features(ImageBatch(images[[2, 0]], rows[[3, 3]]))
    torch.testing.assert_close(part, whole[[2, 0]], rtol=1e-9, atol=1e-12)
    assert (whole.std(0) > 1e-3).any(), "images are told apart"
    moved = adapter.features(ImageBatch(images.roll(SIZES["patch_size"], dims=-1), rows))
    assert not torch.allclose(moved, whole), "where a patch is matters"


@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_features_under(kind: str, mode: type) -> None:
    adapter, batch = ADAPTERS[kind](), _images()
    truth = adapter.features(batch)
    with mode():
        inside = adapter.features(ImageBatch(batch.images + 0, batch.rows + 0))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = adapter.features(batch)
    assert torch.equal(inside, truth)
    assert low.dtype == torch.float32
    assert (low - truth).norm() < 0.02 * truth.norm()
    assert all(p.grad is None for p in adapter.parameters())
    adapter.training_loss(batch, NOISE).loss_sum.backward()  # still possible


def test_an_energy_given_the_noisy_image_is_given_the_clean_one() -> None:
    """Which half of the embedded channels is which shows where the two differ."""
    adapter, images = small_ebt(start="noise").double(), some_images(3).double()
    network, other = adapter.network, some_images(3).double().flip(0)
    with torch.no_grad():
        given = torch.cat([images, other], dim=1)
        h = network.x_embedder(given) + network.pos_embed
        for block in network.blocks:
            h = block(h, network.condition.weight)
        out = network.final_layer(h, network.condition.weight).mean((1, 2))
        torch.testing.assert_close(out, network(images, network.context(other)))
