"""Training an image EBT under every setting: against plain autograd, and against differences."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from baselines.adapters.image_dit import DiTImage
from baselines.adapters.image_ebt import EBTImage
from baselines.image_settings import EBTImageConfig
from harness.noise import NoiseSource
from harness.protocol import Descent, ImageBatch, NoisyBatch
from tests.baselines.tiny_images import NOISE, SHAPE, SIZES, small_dit, small_ebt, some_images

ROWS = torch.tensor([4, 9, 2])
#: What makes a training step random, small enough that rounding does not grow over the steps.
RANDOM = {"random_step_size": 2.0, "langevin_noise": 0.3}


def _batch() -> ImageBatch:
    return ImageBatch(some_images(3).double(), ROWS)


def _gradients(adapter: EBTImage, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*adapter.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True))


def _plain_loss(adapter: EBTImage, batch: ImageBatch) -> Tensor:
    """One graph over everything, cut by `detach` where the setting says so."""
    config, rows = adapter.config, batch.rows
    t = torch.full((len(rows),), SHAPE.train_timesteps - 1)
    noisy, _ = adapter.noised(batch, t, NOISE)
    context, y = None, noisy
    if config.start == "noise":
        context = adapter.network.context(noisy)
        y = NOISE.normal(rows, noisy.shape[1:], purpose="start").double()
    f = config.random_step_size
    u = NOISE.uniform(rows, (1, 1, 1), purpose="step size").double()
    alpha = adapter.network.alpha * (1 / f + u * (f - 1 / f))
    losses = []
    for k in range(1, config.steps + 1):
        drawn = NOISE.normal(rows, noisy.shape[1:], purpose="langevin", step=k).double()
        y = y + config.langevin_noise * drawn
        y = y.detach() if config.between_steps == "detach" else y
        y = y if y.requires_grad else y.requires_grad_()
        energy = adapter.network(y, context).sum()
        (slope,) = torch.autograd.grad(energy, y, create_graph=True)
        if config.between_steps == "truncate" and k < config.steps:
            slope = slope.detach()
        y = y - alpha * slope
        losses.append(F.smooth_l1_loss(y, batch.images, reduction="none").mean((1, 2, 3)).sum())
    return losses[-1] if config.loss_on == "last" else sum(losses) / len(losses)


@pytest.mark.parametrize("random", [{}, RANDOM], ids=["plain", "random"])
@pytest.mark.parametrize(
    ("between", "loss_on", "start"),
    product(["detach", "truncate", "unroll"], ["every", "last"], ["noisy", "noise"]),
)
def test_every_setting_is_plain_autograd(between, loss_on, start, random) -> None:
    given = {"between_steps": between, "loss_on": loss_on, "start": start} | random
    adapter = small_ebt(steps=3, step_size=2.0, **given).double()
    loss, truth = adapter.training_loss(_batch(), NOISE).loss_sum, _plain_loss(adapter, _batch())
    torch.testing.assert_close(loss, truth, rtol=1e-10, atol=0)
    ours, theirs = _gradients(adapter, loss), _gradients(adapter, truth)
    for name, expected in theirs.items():
        assert expected is not None
        assert (ours[name] - expected).norm() <= 1e-8 * expected.norm() + 1e-13, name


@pytest.mark.parametrize("start", ["noisy", "noise"])
def test_the_unrolled_gradient_is_the_slope_of_the_loss(start: str) -> None:
    settings = {"between_steps": "unroll", "loss_on": "last", "start": start}
    adapter = small_ebt(steps=3, step_size=2.0, **settings, **RANDOM).double()
    generator = torch.Generator().manual_seed(1)
    parameters = list(adapter.parameters())
    along = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    loss = adapter.training_loss(_batch(), NOISE).loss_sum
    gradients = torch.autograd.grad(loss, parameters)
    slope = sum((g * v).sum() for g, v in zip(gradients, along, strict=True))

    def moved(by: float) -> Tensor:
        with torch.no_grad():
            for p, v in zip(parameters, along, strict=True):
                p.add_(v, alpha=by)
            value = adapter.training_loss(_batch(), NOISE).loss_sum
            for p, v in zip(parameters, along, strict=True):
                p.add_(v, alpha=-by)
        return value

    h = 1e-4
    differences = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
    torch.testing.assert_close(slope, differences, rtol=1e-6, atol=0)


def test_truncation_under_a_fixed_step_size_trains_the_last_step_alone() -> None:
    settings = {"steps": 3, "step_size": 2.0, "loss_on": "last", "step_size_learned": False}
    found = {}
    for between in ("truncate", "detach", "unroll"):
        adapter = small_ebt(between_steps=between, **settings).double()
        found[between] = _gradients(adapter, adapter.training_loss(_batch(), NOISE).loss_sum)
    for name, truncated in found["truncate"].items():
        assert torch.equal(truncated, found["detach"][name])
    head = "network.final_layer.linear.weight"
    assert not torch.allclose(found["truncate"][head], found["unroll"][head], rtol=1e-3)


def test_a_random_number_of_steps_is_one_draw_for_all_parts_of_a_batch() -> None:
    adapter = small_ebt(steps=4, min_steps=2, langevin_noise=0.1)
    other = ImageBatch(some_images(2), torch.tensor([70, 71]))
    seen = []
    for step in range(40):
        source = NOISE.within(step)
        count = adapter.work(_batch(), source)
        assert count == adapter.work(other, source)
        seen.append(count)
    assert set(seen) == {2, 3, 4}
    assert all(seen.count(count) >= 5 for count in (2, 3, 4))
    for count in (2, 3, 4):
        source = NOISE.within(seen.index(count))
        fixed = small_ebt(steps=count, langevin_noise=0.1).training_loss(other, source)
        assert torch.equal(adapter.training_loss(other, source).loss_sum, fixed.loss_sum)


def test_random_step_sizes_are_per_row_and_within_their_factor() -> None:
    adapter = small_ebt(step_size=20.0, random_step_size=4.0)
    rows = torch.arange(400)
    drawn = adapter._training_step_size(rows, NOISE).flatten().detach()
    assert torch.equal(drawn[7:8], adapter._training_step_size(rows[7:8], NOISE).flatten())
    assert drawn.min() >= 5
    assert drawn.max() <= 80
    assert drawn.mean() == pytest.approx((5 + 80) / 2, rel=0.1)
    lower = (drawn < 23.75).float().mean()  # the lowest quarter of the interval
    assert lower == pytest.approx(0.25, abs=0.08)


def test_a_fixed_step_size_is_kept_but_not_trained() -> None:
    adapter = small_ebt(step_size=20.0, step_size_learned=False)
    assert [group.name for group in adapter.param_groups()] == ["weights"]
    assert adapter.state_dict()["network.alpha"].item() == 20.0
    assert {id(p) for p in adapter.param_groups()[0].params} == {
        id(p) for p in adapter.parameters()
    }
    learned = small_ebt(step_size=20.0)
    loss = adapter.training_loss(_batch_float(), NOISE).loss_sum
    assert torch.equal(loss, learned.training_loss(_batch_float(), NOISE).loss_sum)


def _batch_float() -> ImageBatch:
    return ImageBatch(some_images(3), ROWS)


def test_from_noise_the_energy_is_given_the_noisy_image() -> None:
    adapter = small_ebt(start="noise")
    noisy, other = some_images(4)[:2], some_images(4)[2:]
    network = adapter.network
    energies = [network(other, network.context(given)) for given in (noisy, other)]
    assert not torch.allclose(*energies)
    # Both images enter as the channels of one: prediction first.
    whole = network.x_embedder(torch.cat([other, noisy], dim=1))
    whole = whole + network.pos_embed
    context = network.context(noisy)
    tokens = network.x_embedder.patches(other) @ context.embed.t() + context.tokens
    torch.testing.assert_close(tokens, whole - whole.mean(-1, keepdim=True))
    predictions = [
        adapter.predict(NoisyBatch(x, 99, ROWS[:2]), Descent(steps=1), NOISE).value
        for x in (noisy, other)
    ]
    assert not torch.allclose(*predictions)


def test_settings_resolve_so_that_equal_configs_are_equal() -> None:
    implicit = EBTImageConfig(**SIZES, steps=3)
    assert implicit == EBTImageConfig(**SIZES, steps=3, min_steps=3, step_size_lr_multiplier=9000)
    assert implicit.step_counts == range(3, 4)
    s2 = EBTImageConfig(**SIZES, variant="s2", steps=5)
    assert (s2.step_counts, s2.between_steps, s2.loss_on) == (range(2, 6), "truncate", "last")
    s1 = EBTImageConfig(**SIZES, variant="s1")
    assert s1.model_dump() == EBTImageConfig(**SIZES).model_dump(), "a name enters no run id"
    with pytest.raises(ValidationError, match="min_steps = 3 exceeds steps = 2"):
        EBTImageConfig(**SIZES, steps=2, min_steps=3)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        EBTImageConfig(**SIZES, random_step_size=0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        {"steps": 1},
        {"steps": 2, "start": "noise", "between_steps": "unroll", "loss_on": "last"},
        {"steps": 2, "between_steps": "truncate", "loss_on": "last", **RANDOM},
        None,
    ],
    ids=["s1", "unroll from noise", "s2", "dit"],
)
def test_compiled_training_is_the_eager_one(given: dict | None) -> None:
    def build() -> EBTImage | DiTImage:
        return small_dit() if given is None else small_ebt(step_size=2.0, **given)

    torch._dynamo.reset()
    eager, compiled = build(), build()
    compiled.compile_body()
    for source in (NOISE, NoiseSource(8)):
        losses = [m.training_loss(_batch_float(), source).loss_sum for m in (eager, compiled)]
        torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-6)
        found = [_gradients(m, loss) for m, loss in zip((eager, compiled), losses, strict=True)]
        for name, expected in found[0].items():
            difference = (found[1][name] - expected).norm()
            assert difference <= 1e-3 * expected.norm() + 1e-6, name
    assert set(compiled.state_dict()) == set(eager.state_dict())
    with torch.no_grad():
        quiet = compiled.training_loss(_batch_float(), NOISE).loss_sum
    assert torch.equal(quiet, eager.training_loss(_batch_float(), NOISE).loss_sum.detach())
