"""The written-out slope of the image energy and its gradient against autograd and differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from baselines.ebt_image import ImageEnergy
from baselines.image_layers import gelu_bend, gelu_share, gelu_slope
from tests.baselines.tiny_images import SIZES, small_ebt, some_images
from tests.bench.naive_image import NaiveImage


def _network(**given: object) -> ImageEnergy:
    return small_ebt(**given).double().network


def _along(like: Tensor, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(like.shape, generator=generator, dtype=like.dtype)


@pytest.mark.parametrize("ffn_width", [16, 24])
def test_slope_and_its_gradients_match_the_textbook(ffn_width: int) -> None:
    net = _network(ffn_width=ffn_width)
    named = {name: p for name, p in net.named_parameters() if name != "alpha"}
    naive = NaiveImage(net.state_dict(keep_vars=True), SIZES["heads"], SIZES["patch_size"])
    images = some_images(3).double()
    v = _along(images)

    point = images.clone().requires_grad_()
    energy = naive.energy(point)
    (slope,) = torch.autograd.grad(energy.sum(), point, create_graph=True)
    theirs = torch.autograd.grad((slope * v).sum(), [*named.values(), point], allow_unused=True)

    point = images.clone().requires_grad_()
    our_slope, our_energy = net.slope(point, net.context())
    assert not our_energy.requires_grad
    ours = torch.autograd.grad((our_slope * v).sum(), [*named.values(), point], allow_unused=True)
    torch.testing.assert_close(our_energy, energy, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(our_slope, slope, rtol=1e-10, atol=1e-12)
    for name, one, other in zip([*named, "images"], ours, theirs, strict=True):
        if other is None or not other.any():
            assert one is None or one.abs().max() < 1e-12, name
            continue
        error = (one - other).norm() / other.norm()
        assert error < 1e-10, f"{name}: {error:.1e}"


@pytest.mark.parametrize("seed", range(3))
def test_gradients_match_finite_differences(seed: int) -> None:
    """Along random directions of every parameter at once, for an energy that observes."""
    net = _network(start="noise")
    images, noisy = some_images(4).double().chunk(2)
    v = _along(images, 9)
    reached = [p for name, p in net.named_parameters() if name != "alpha"]
    directions = [_along(p, seed) for p in reached]

    def moved(by: float) -> float:
        with torch.no_grad():
            for parameter, direction in zip(reached, directions, strict=True):
                parameter.add_(direction, alpha=by)
            slope, _ = net.slope(images, net.context(noisy))
            for parameter, direction in zip(reached, directions, strict=True):
                parameter.sub_(direction, alpha=by)
        return float((slope * v).sum())

    slope, _ = net.slope(images, net.context(noisy))
    gradients = torch.autograd.grad((slope * v).sum(), reached, materialize_grads=True)
    exact = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
    assert (moved(1e-6) - moved(-1e-6)) / 2e-6 == pytest.approx(exact, rel=1e-6)


def test_the_slope_is_that_of_the_energies() -> None:
    net = _network(start="noise")
    images, noisy = some_images(4).double().chunk(2)
    context, d = net.context(noisy), _along(images)
    with torch.no_grad():
        slope, energy = net.slope(images, context)
        torch.testing.assert_close(energy, net(images, context))
        forth, back = (net(images + s * d, context) for s in (1e-6, -1e-6))
    numeric = (forth - back) / 2e-6
    torch.testing.assert_close(numeric, (slope * d).sum((1, 2, 3)), rtol=1e-6, atol=1e-7)


def test_a_part_of_the_batch_has_its_own_context() -> None:
    net = _network(start="noise")
    images, noisy = some_images(6).double().chunk(2)
    at = torch.tensor([2, 0])
    with torch.no_grad():
        context = net.context(noisy)
        whole, part = net(images, context), net(images[at], context.at(at))
    torch.testing.assert_close(part, whole[at])


def test_what_writes_to_the_stream_has_mean_zero() -> None:
    """Else dividing by the root mean square would not be LayerNorm."""
    context = _network().context()
    for layer in context.layers:
        for written in (layer.out, layer.out_bias, layer.down, layer.down_bias):
            assert written.abs().max() > 0.01
            assert written.mean(0).abs().max() < 1e-15
    assert context.embed.mean(0).abs().max() < 1e-15
    assert context.tokens.mean(-1).abs().max() < 1e-15


def test_gelu_and_its_derivatives() -> None:
    hidden = torch.linspace(-6, 6, 101, dtype=torch.float64, requires_grad=True)
    active = torch.nn.functional.gelu(hidden, approximate="tanh")
    (slope,) = torch.autograd.grad(active.sum(), hidden, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), hidden)
    share = gelu_share(hidden)
    torch.testing.assert_close(hidden * share, active, rtol=0, atol=1e-13)
    torch.testing.assert_close(gelu_slope(hidden, share), slope, rtol=0, atol=1e-13)
    torch.testing.assert_close(gelu_bend(hidden, share), bend, rtol=0, atol=1e-13)
