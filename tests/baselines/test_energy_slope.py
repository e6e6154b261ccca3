"""The written-out slope and its gradient against autograd through the textbook network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.ebt import TextEnergy
from baselines.energy_slope import flat
from baselines.text_settings import EBTTextConfig
from tests.baselines.naive_ebt import Naive

pytestmark = pytest.mark.usefixtures("small_blocks")

VOCAB, LENGTH, BATCH, WIDTH = 23, 9, 3, 16
SIZES: dict[str, Any] = {"depth": 3, "width": WIDTH, "heads": 2, "ffn_width": 24}


def network(dtype: torch.dtype = torch.float64, **changes: Any) -> TextEnergy:
    """A small network whose norms are not one."""
    torch.manual_seed(3)
    built = TextEnergy(EBTTextConfig(**(SIZES | changes)), VOCAB).to(dtype)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if "norm" in name or "modulation" in name:
                parameter += 0.3 * torch.randn_like(parameter)
    return built


def tokens() -> Tensor:
    return torch.randint(VOCAB, (BATCH, LENGTH), generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("conditioning", ["time_embed", "none"])
def test_slope_and_its_gradients_match_the_textbook(conditioning: str, recompute: bool) -> None:
    net = network(step_conditioning=conditioning, recompute=recompute)
    named = dict(net.named_parameters())
    distribution = torch.rand(BATCH, LENGTH, VOCAB, dtype=torch.float64).softmax(-1)
    v = torch.randn(BATCH, LENGTH, VOCAB, dtype=torch.float64)

    point = distribution.clone().requires_grad_()
    energy = Naive(named, net.config.heads).energies(tokens(), point, 0)
    (slope,) = torch.autograd.grad(energy.sum(), point, create_graph=True)
    theirs = torch.autograd.grad((slope * v).sum(), [*named.values(), point], allow_unused=True)

    point = distribution.clone().requires_grad_()
    ours_energy, ours_slope = net.differentiable_slope(
        net.project(point), net.context(tokens(), 0), net.view(LENGTH)
    )
    assert not ours_energy.requires_grad
    pulled = net.to_vocabulary(ours_slope)
    ours = torch.autograd.grad((pulled * v).sum(), [*named.values(), point], allow_unused=True)
    torch.testing.assert_close(ours_energy, energy, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(pulled, slope, rtol=1e-10, atol=1e-10)
    for name, one, other in zip([*named, "prediction"], ours, theirs, strict=True):
        if other is None:
            assert one is None or not one.any(), name
            continue
        error = (one - other).norm() / other.norm()
        assert error < 1e-10, f"{name}: {error:.1e}"


@pytest.mark.parametrize("conditioning", ["adaln", "adaln_zero"])
def test_modulated_slopes_match_finite_differences(conditioning: str) -> None:
    """Central differences of <v, slope> along random directions, for every parameter at once."""
    net = network(step_conditioning=conditioning, landscapes=2)
    with torch.no_grad():
        net.energy.weight.normal_()
    e = torch.randn(BATCH, LENGTH, WIDTH, dtype=torch.float64)
    v = torch.randn(BATCH, LENGTH, WIDTH, dtype=torch.float64)
    reached = [p for n, p in net.named_parameters() if n not in ("alpha", "vocab_to_embed.weight")]

    def along(shift: float, directions: list[Tensor]) -> float:
        with torch.no_grad():
            for parameter, direction in zip(reached, directions, strict=True):
                parameter += shift * direction
            _, slope = net.slope(e, net.context(tokens(), 1), net.view(LENGTH))
            for parameter, direction in zip(reached, directions, strict=True):
                parameter -= shift * direction
        return float((slope * v).sum())

    _, slope = net.differentiable_slope(e, net.context(tokens(), 1), net.view(LENGTH))
    gradients = torch.autograd.grad((slope * v).sum(), reached, materialize_grads=True)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        directions = [torch.randn(p.shape, dtype=p.dtype, generator=generator) for p in reached]
        exact = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
        numeric = (along(1e-6, directions) - along(-1e-6, directions)) / 2e-6
        assert numeric == pytest.approx(exact, rel=1e-6)


def test_the_slope_is_that_of_the_energies() -> None:
    net = network(step_conditioning="adaln")
    context, view = net.context(tokens(), 0), net.view(LENGTH)
    e = torch.randn(BATCH, LENGTH, WIDTH, dtype=torch.float64)
    d = torch.randn(BATCH, LENGTH, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        energy, slope = net.slope(e, context, view)
        torch.testing.assert_close(energy, net.energies(e, context, view))
        forth, back = (net.energies(e + s * d, context, view) for s in (1e-6, -1e-6))
    numeric = (forth - back) / 2e-6
    torch.testing.assert_close(numeric, (slope * d).sum(-1), rtol=1e-6, atol=1e-7)


def test_samples_stand_side_by_side_and_alone() -> None:
    """Rows of several samples, and rows at chosen positions, equal one dense run each."""
    net = network()
    context = net.context(tokens(), 0)
    e = torch.randn(BATCH, LENGTH, 2, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        folded = net.energies(e.flatten(1, 2), context, net.view(LENGTH, 2))
        for sample in range(2):
            alone = net.energies(e[:, :, sample], context, net.view(LENGTH))
            torch.testing.assert_close(folded.view(BATCH, LENGTH, 2)[..., sample], alone)
        places = torch.tensor([[0, 1, 5, 5, 8], [2, 3, 4, 7, 7], [6, 6, 6, 6, 6]])
        picked = torch.stack([e[row, places[row], 0] for row in range(BATCH)])
        ragged = net.energies(picked, context, net.view_at(places))
        dense = net.energies(e[:, :, 0], context, net.view(LENGTH))
        torch.testing.assert_close(ragged, dense.gather(1, places))


def test_recomputing_keeps_less_and_changes_nothing() -> None:
    found = {}
    for recompute in (False, True):
        net = network(recompute=recompute)
        e = torch.ones(BATCH, LENGTH, WIDTH, dtype=torch.float64, requires_grad=True)
        _, slope = net.differentiable_slope(e, net.context(tokens(), 0), net.view(LENGTH))
        tape = slope.grad_fn.tape  # type: ignore[union-attr]
        kept = len(tape.saved), len(tape.inner), len(tape.inputs)
        slope.square().sum().backward()
        found[recompute] = kept, e.grad
    assert found[False][0] == (3, 3, 0)
    assert found[True][0] == (0, 0, 3)
    torch.testing.assert_close(found[False][1], found[True][1])


@pytest.mark.slow
@pytest.mark.parametrize("conditioning", ["time_embed", "adaln"])
@pytest.mark.parametrize("shallow", [0, 4])
def test_compiled_bodies_have_the_same_numbers(
    conditioning: str, shallow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("baselines.bodies.SHALLOW", shallow)
    results = []
    for compile_ in (False, True):
        net = network(torch.float32, step_conditioning=conditioning)
        if compile_:
            net.compile_body()
            net.bodies = net.training_bodies
        e = torch.linspace(-1, 1, BATCH * LENGTH * WIDTH).view(BATCH, LENGTH, WIDTH)
        context, view = net.context(tokens(), 0), net.view(LENGTH)
        energy, slope = net.differentiable_slope(e, context, view)
        outputs = [t for t in flat(net.stream(context, view)) if t.requires_grad]
        gradients = torch.autograd.grad(slope.square().sum(), outputs)
        results.append([energy, slope, *gradients])
    for one, other in zip(*results, strict=True):
        assert (one - other).norm() <= 1e-4 * other.norm()
