"""Image adapters against textbook forms, against diffusers, and against the contract."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.adapters.image_dit import DiTImage
from baselines.adapters.image_ebt import EBTImage
from baselines.image_records import DIT_IMAGE, EBT_IMAGE
from baselines.image_settings import DiTImageConfig, EBTImageConfig
from harness.protocol import Descent, Diffusion, ImageBatch, ImageShape, NoisyBatch, State
from tests.baselines.tiny_images import NOISE, SHAPE, SIZES, small_dit, small_ebt, some_images

# --- textbook forms --------------------------------------------------------------------------


def _textbook_energy(w: dict[str, Tensor], images: Tensor, heads: int, patch: int) -> Tensor:
    """The image EBT written out: a convolution, per-head softmax attention, chunked adaLN."""
    x = F.conv2d(images, w["x_embedder.proj.weight"], w["x_embedder.proj.bias"], stride=patch)
    x = x.flatten(2).transpose(1, 2) + w["pos_embed"]
    width = x.shape[-1]
    silu = F.silu(w["condition.weight"][0])

    def linear(name: str, h: Tensor) -> Tensor:
        return torch.einsum("...i,oi->...o", h, w[f"{name}.weight"]) + w.get(f"{name}.bias", 0)

    def norm(h: Tensor) -> Tensor:
        centred = h - h.mean(-1, keepdim=True)
        return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()

    depth = sum(name.endswith("attn.qkv.bias") for name in w)
    for i in range(depth):
        m = linear(f"blocks.{i}.adaLN_modulation.1", silu).reshape(6, width)
        q, k, v = linear(f"blocks.{i}.attn.qkv", norm(x) * (1 + m[1]) + m[0]).chunk(3, -1)
        size = width // heads
        mixed = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = torch.einsum("bqd,bkd->bqk", q[..., part], k[..., part]) / math.sqrt(size)
            weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
            mixed.append(torch.einsum("bqk,bkd->bqd", weights, v[..., part]))
        x = x + m[2] * linear(f"blocks.{i}.attn.proj", torch.cat(mixed, -1))
        h = linear(f"blocks.{i}.mlp.fc1", norm(x) * (1 + m[4]) + m[3])
        h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
        x = x + m[5] * linear(f"blocks.{i}.mlp.fc2", h)
    shift, scale = linear("final_layer.adaLN_modulation.1", silu).chunk(2)
    return linear("final_layer.linear", norm(x) * (1 + scale) + shift).squeeze(-1).mean(1)


def _textbook_loss(
    adapter: EBTImage, images: Tensor, rows: Tensor, steps: int, kind: str
) -> Tensor:
    """Noise to t = 99 by the product of alphas, then steps of plain gradient descent."""
    kept = math.prod(1 - (1e-4 + (2e-2 - 1e-4) * t / 999) for t in range(100))
    drawn = NOISE.normal(rows, images.shape[1:], purpose="noising").double()
    y = math.sqrt(kept) * images + math.sqrt(1 - kept) * drawn
    weights = dict(adapter.network.state_dict(keep_vars=True))
    total = torch.zeros((), dtype=torch.float64)
    for _ in range(steps):
        y = y.detach().requires_grad_()
        energy = _textbook_energy(weights, y, SIZES["heads"], SIZES["patch_size"]).sum()
        (gradient,) = torch.autograd.grad(energy, y, create_graph=True)
        y = y - weights["alpha"] * gradient
        error = y - images
        if kind == "mse":
            loss = error.pow(2)
        else:
            loss = torch.where(error.abs() < 1, 0.5 * error.pow(2), error.abs() - 0.5)
        total = total + loss.mean(dim=(1, 2, 3)).sum() / steps
    return total


@pytest.mark.parametrize(("steps", "loss"), [(1, "smooth_l1"), (3, "mse")])
def test_ebt_training_is_the_textbook_form(steps: int, loss: str) -> None:
    adapter = small_ebt(steps=steps, loss=loss).double()
    images, rows = some_images(3).double(), torch.tensor([4, 9, 2])
    output = adapter.training_loss(ImageBatch(images, rows), NOISE)
    parameters = list(adapter.parameters())
    ours = torch.autograd.grad(output.loss_sum, parameters)
    truth = _textbook_loss(adapter, images, rows, steps, loss)
    theirs = torch.autograd.grad(truth, parameters)
    torch.testing.assert_close(output.loss_sum, truth, rtol=1e-9, atol=0)
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() <= 1e-9 * b.norm() + 1e-12
    assert output.n == 3


def test_dit_forward_equals_diffusers() -> None:
    from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel

    shape = ImageShape(channels=2, height=16, width=16, train_timesteps=100)
    width, depth = 16, 2
    ours = small_dit(shape, ffn_width=4 * width).network
    theirs = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=width // 2,
        in_channels=2,
        out_channels=4,
        num_layers=depth,
        sample_size=16,
        patch_size=4,
        num_embeds_ada_norm=10,
        norm_eps=1e-6,
    ).eval()
    theirs.load_state_dict(_as_diffusers(ours.state_dict(), depth), strict=False)
    for block in theirs.transformer_blocks:
        embedding = block.norm1.emb
        torch.nn.init.zeros_(embedding.class_embedder.embedding_table.weight)  # no labels here
        embedding.time_proj.downscale_freq_shift = 0  # DiT's own frequencies; diffusers shifts them
    x, t = some_images(3, shape), torch.tensor([99, 40, 0])
    labels = torch.zeros(3, dtype=torch.long)
    expected = theirs(x, timestep=t, class_labels=labels).sample
    torch.testing.assert_close(ours(x, t), expected, rtol=1e-4, atol=1e-5)


def _as_diffusers(w: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    out = {}
    for kind in ("weight", "bias"):
        out[f"pos_embed.proj.{kind}"] = w[f"x_embedder.proj.{kind}"]
        out[f"proj_out_1.{kind}"] = w[f"final_layer.adaLN_modulation.1.{kind}"]
        out[f"proj_out_2.{kind}"] = w[f"final_layer.linear.{kind}"]
        for i in range(depth):
            block, mine = f"transformer_blocks.{i}", f"blocks.{i}"
            for j, number in enumerate(("0", "2"), 1):
                name = f"{block}.norm1.emb.timestep_embedder.linear_{j}.{kind}"
                out[name] = w[f"t_embedder.mlp.{number}.{kind}"]
            out[f"{block}.norm1.linear.{kind}"] = w[f"{mine}.adaLN_modulation.1.{kind}"]
            for part, tensor in zip("qkv", w[f"{mine}.attn.qkv.{kind}"].chunk(3), strict=True):
                out[f"{block}.attn1.to_{part}.{kind}"] = tensor
            out[f"{block}.attn1.to_out.0.{kind}"] = w[f"{mine}.attn.proj.{kind}"]
            out[f"{block}.ff.net.0.proj.{kind}"] = w[f"{mine}.mlp.fc1.{kind}"]
            out[f"{block}.ff.net.2.{kind}"] = w[f"{mine}.mlp.fc2.{kind}"]
    return out


# --- the contract ----------------------------------------------------------------------------

THINKING = {"ebt": Descent(steps=2), "dit": Diffusion(steps=4)}


def _adapter(kind: str) -> DiTImage | EBTImage:
    return small_ebt() if kind == "ebt" else small_dit()


@pytest.mark.parametrize("kind", ["ebt", "dit"])
def test_each_row_is_independent_of_its_batch(kind: str) -> None:
    adapter = _adapter(kind).double()
    images, rows = some_images(4).double(), torch.tensor([8, 1, 6, 3])
    whole = adapter.training_loss(ImageBatch(images, rows), NOISE).loss_sum
    single = sum(
        adapter.training_loss(ImageBatch(images[i : i + 1], rows[i : i + 1]), NOISE).loss_sum
        for i in range(4)
    )
    torch.testing.assert_close(whole, single, rtol=1e-9, atol=0)
    batch = adapter.predict(NoisyBatch(images, 99, rows), THINKING[kind], NOISE).value
    alone = adapter.predict(NoisyBatch(images[2:3], 99, rows[2:3]), THINKING[kind], NOISE).value
    torch.testing.assert_close(batch[2:3], alone, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["ebt", "dit"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_prediction_and_validation_loss_work_under(kind: str, mode: type) -> None:
    adapter = _adapter(kind)
    images, rows = some_images(2), torch.arange(2)
    truth = adapter.predict(NoisyBatch(images, 99, rows), THINKING[kind], NOISE)
    loss = adapter.training_loss(ImageBatch(images, rows), NOISE).loss_sum
    states: list[State] = []
    with mode():
        inside = NoisyBatch(images + 0, 99, rows)
        prediction = adapter.predict(inside, THINKING[kind], NOISE, states.append)
        quiet = adapter.training_loss(ImageBatch(images + 0, rows), NOISE).loss_sum
    torch.testing.assert_close(prediction.value, truth.value)
    torch.testing.assert_close(quiet, loss.detach())
    assert not prediction.value.requires_grad
    assert not quiet.requires_grad
    assert all(p.grad is None for p in adapter.parameters())
    assert len(states) == (3 if kind == "ebt" else 1)


def test_ebt_step_size_is_learned_apart_and_never_below_its_floor() -> None:
    adapter = small_ebt(step_size=20.0)
    network, step_size = adapter.param_groups()
    assert (step_size.lr_multiplier, step_size.weight_decay) == (60.0, False)
    assert [id(p) for p in step_size.params] == [id(adapter.network.alpha)]
    every = {id(p) for p in adapter.parameters()}
    listed = [id(p) for group in (network, step_size) for p in group.params]
    assert len(listed) == len(every)
    assert set(listed) == every
    with torch.no_grad():
        adapter.network.alpha.fill_(-5.0)
    assert adapter.network.step_size().item() == pytest.approx(1e-4)
    batch = NoisyBatch(some_images(2), 99, torch.arange(2))
    override = adapter.predict(batch, Descent(steps=1, step_size=20.0), NOISE).value
    assert torch.equal(override, small_ebt().predict(batch, Descent(steps=1), NOISE).value)


def test_zero_initialisation_still_learns() -> None:
    """At first dE/dy = 0, so only the head has a gradient; then everything moves."""
    torch.manual_seed(0)
    adapter = EBTImage(EBTImageConfig(**SIZES, step_size=100.0), SHAPE)
    batch = ImageBatch(some_images(8), torch.arange(8))
    before = {name: p.detach().clone() for name, p in adapter.named_parameters()}
    optimizer = torch.optim.Adam(adapter.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = adapter.training_loss(batch, NOISE).loss_sum / 8
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    still = {name for name, p in adapter.named_parameters() if torch.equal(p, before[name])}
    assert still == set(), "never moved"


def test_metrics_add_over_micro_batches() -> None:
    for adapter, names in (
        (small_ebt(), {"energy_first", "energy_last"}),
        (small_dit(), {"noise_mse", "variational_bound"}),
    ):
        output = adapter.training_loss(ImageBatch(some_images(3), torch.arange(3)), NOISE)
        assert set(output.metrics) == names
        assert all(
            count == 3 and not total.requires_grad for total, count in output.metrics.values()
        )


# --- impossible combinations -----------------------------------------------------------------


@pytest.mark.parametrize("record", [DIT_IMAGE, EBT_IMAGE], ids=lambda r: r.name)
def test_a_patch_that_does_not_divide_the_image_is_refused_by_planning(record) -> None:
    config = record.config(**(SIZES | {"patch_size": 5}))
    with pytest.raises(ValueError, match="patch_size 5 does not divide images of 8 x 12"):
        record.parameters(config, SHAPE)
    odd = record.config(**(SIZES | {"width": 18, "heads": 3}))
    with pytest.raises(ValueError, match="multiple of 4"):
        record.parameters(odd, SHAPE)


def test_thinking_that_a_model_cannot_do_is_refused_in_planning_and_in_prediction() -> None:
    batch = NoisyBatch(some_images(1), 99, torch.arange(1))
    ebt, dit = EBTImageConfig(**SIZES), DiTImageConfig(**SIZES)
    for bad, message in (
        (Descent(steps=1, samples=2), "samples = 2"),
        (Diffusion(steps=1), "only"),
    ):
        with pytest.raises(ValueError, match=message):
            small_ebt().predict(batch, bad, NOISE)
        with pytest.raises(ValueError, match=message):
            EBT_IMAGE.prediction_flops(ebt, SHAPE, bad)
    for bad, message in ((Diffusion(steps=101), "at most 100"), (Descent(steps=1), "only")):
        with pytest.raises(ValueError, match=message):
            small_dit().predict(batch, bad, NOISE)
        with pytest.raises(ValueError, match=message):
            DIT_IMAGE.prediction_flops(dit, SHAPE, bad)
