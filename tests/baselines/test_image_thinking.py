"""What an image EBT thinks: every rule of descent against one image at a time, by hand."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from baselines.adapters.image_ebt import EBTImage
from baselines.image_records import EBT_IMAGE
from harness.capabilities import EnergyLandscape
from harness.cost import FlopCounter
from harness.protocol import Descent, NoisyBatch, Passes, State
from tests.baselines.tiny_images import NOISE, SHAPE, small_ebt, some_images

ROWS = torch.tensor([8, 1, 6, 3])
STEP_SIZE, NOISE_STD, TOLERANCE = 10.0, 0.5, 0.1


def _adapter(start: str = "noise", **given: object) -> EBTImage:
    """An energy rough enough that steps overshoot, with noise strong enough to raise it."""
    settings = {"step_size": STEP_SIZE, "langevin_noise": NOISE_STD, "steps": 3} | given
    adapter = small_ebt(start=start, **settings).double()
    with torch.no_grad():
        for name, parameter in adapter.network.named_parameters():
            if name != "alpha" and not name.startswith("final_layer"):
                parameter.mul_(3)
    return adapter


def _batch(n: int = 4) -> NoisyBatch:
    return NoisyBatch(some_images(4)[:n].double(), 99, ROWS[:n])


# --- by hand ---------------------------------------------------------------------------------


def _energy(adapter: EBTImage, y: Tensor, noisy: Tensor) -> Tensor:
    return adapter.network(y, adapter.network.context(noisy))[0]


def _one_sample(
    adapter: EBTImage, noisy: Tensor, row: Tensor, thinking: Descent, sample: int
) -> tuple[Tensor, list[float], int]:
    """The image one sample ends at, its energies at each point, and the steps it took."""
    draw = {"shape": noisy.shape[1:], "sample": sample}
    y = NOISE.normal(row, purpose="start", **draw).double()
    y = noisy if adapter.config.start == "noisy" else y
    energies = [float(_energy(adapter, y, noisy).detach())]
    for step in range(1, thinking.steps + 1):
        at = y
        if thinking.noise == "every" or (thinking.noise == "first" and step == 1):
            std = NOISE_STD if thinking.noise_std is None else thinking.noise_std
            drawn = NOISE.normal(row, purpose="langevin", step=step, **draw)
            at = y + std * drawn.double()
        at = at.detach().requires_grad_()
        (slope,) = torch.autograd.grad(_energy(adapter, at, noisy), at)
        after = at.detach() - (thinking.step_size or STEP_SIZE) * slope
        energy = float(_energy(adapter, after, noisy).detach())
        undone = thinking.accept == "lower" and not energy < energies[-1]
        if undone:
            after, energy = y, energies[-1]
        y = after
        energies.append(energy)
        # An undone step settles nothing where noise makes the next one another try.
        again = undone and (thinking.noise == "every" or (thinking.noise, step) == ("first", 1))
        if thinking.tolerance is None or again:
            continue
        if abs(energy - energies[-2]) < thinking.tolerance:
            break
    return y, energies, len(energies) - 1


def _by_hand(
    adapter: EBTImage, batch: NoisyBatch, thinking: Descent
) -> list[tuple[Tensor, float, int]]:
    kept = []
    for i in range(len(batch.rows)):
        noisy, row = batch.noisy[i : i + 1], batch.rows[i : i + 1]
        ends = [_one_sample(adapter, noisy, row, thinking, m) for m in range(thinking.samples)]
        drop = thinking.select == "largest_drop"
        y, energies, steps = min(ends, key=lambda e: e[1][-1] - (e[1][0] if drop else 0))
        kept.append((y, energies[-1], steps))
    return kept


RULES = [
    {"noise": noise, "accept": accept, "tolerance": tolerance}
    for noise, accept, tolerance in product(
        ["every", "first", "none"], ["always", "lower"], [None, TOLERANCE]
    )
]


@pytest.mark.parametrize(
    ("start", "samples", "select", "rules"),
    [
        *(("noisy", 1, "lowest", rules) for rules in RULES),
        *(("noise", 2, "lowest", rules) for rules in RULES[::2]),
        *(("noise", 2, "largest_drop", rules) for rules in RULES[1::2]),
    ],
    ids=str,
)
def test_a_batch_thinks_as_each_image_does_by_hand(start, samples, select, rules) -> None:
    adapter, batch = _adapter(start), _batch()
    thinking = Descent(steps=4, samples=samples, select=select, **rules)
    states: list[State] = []
    prediction = adapter.predict(batch, thinking, NOISE)
    listened = adapter.predict(batch, thinking, NOISE, states.append)
    decided = samples > 1 or thinking.accept == "lower" or thinking.tolerance is not None
    for i, (value, energy, steps) in enumerate(_by_hand(adapter, batch, thinking)):
        torch.testing.assert_close(prediction.value[i : i + 1], value, rtol=1e-4, atol=1e-6)
        if decided:
            assert prediction.energy is not None
            assert float(prediction.energy[i]) == pytest.approx(energy, rel=1e-5)
        if thinking.tolerance is not None:
            assert prediction.steps is not None
            assert int(prediction.steps[i]) == steps
    assert (prediction.energy is not None) == decided
    assert (prediction.steps is not None) == (thinking.tolerance is not None)
    assert torch.equal(listened.value, prediction.value), "listening changed the prediction"
    assert listened.passes == prediction.passes


def test_the_rules_above_are_put_to_work() -> None:
    """Some steps raise an energy, and images stop at different steps: nothing passes idly."""
    adapter, batch = _adapter(), _batch()
    for noise in ("every", "none"):
        states: list[State] = []
        adapter.predict(batch, Descent(steps=4, noise=noise), NOISE, states.append)
        path = torch.stack([s.energy[:, 0] for s in states])
        assert (path.diff(dim=0) > 0).any()
        stopped = adapter.predict(batch, Descent(steps=4, noise=noise, tolerance=TOLERANCE), NOISE)
        assert len(set(stopped.steps.tolist())) > 1


# --- identities ------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", ["every", "first", "none"])
def test_states_are_every_step_with_the_energy_of_what_they_show(noise: str) -> None:
    adapter, batch, states = _adapter(), _batch(), []
    thinking = Descent(steps=3, samples=2, noise=noise)
    prediction = adapter.predict(batch, thinking, NOISE, states.append)
    assert [(s.step, *s.samples) for s in states] == [(k, m) for m in range(2) for k in range(4)]
    context = adapter.network.context(batch.noisy)
    for state in states:
        energy = adapter.network(state.value[:, 0], context)
        torch.testing.assert_close(state.energy[:, 0], energy.detach(), rtol=1e-12, atol=0)
    last = torch.cat([s.energy for s in states if s.step == 3], dim=1)
    assert torch.equal(prediction.energy, last.min(dim=1).values)
    for k in (1, 2):  # fewer steps are a prefix
        short = adapter.predict(batch, Descent(steps=k, noise=noise), NOISE).value
        assert torch.equal(short, states[k].value[:, 0])


@pytest.mark.parametrize("noise", ["every", "first", "none"])
def test_accepting_only_lower_energies_never_raises_one(noise: str) -> None:
    adapter, states = _adapter(), []
    thinking = Descent(steps=6, accept="lower", noise=noise)
    prediction = adapter.predict(_batch(), thinking, NOISE, states.append)
    path = torch.stack([s.energy[:, 0] for s in states])
    assert (path.diff(dim=0) <= 0).all()
    assert torch.equal(prediction.energy, path[-1])


def test_tolerance_from_one_step_to_all() -> None:
    adapter, batch = _adapter("noisy", langevin_noise=0.0), _batch()
    everything = adapter.predict(batch, Descent(steps=5, tolerance=1e9), NOISE)
    assert everything.steps.tolist() == [1] * 4
    one = adapter.predict(batch, Descent(steps=1), NOISE)
    assert torch.equal(everything.value, one.value)
    assert everything.passes == Passes(nfe=1, forward=2, backward=2)
    nothing = adapter.predict(batch, Descent(steps=5, tolerance=1e-300), NOISE)
    assert nothing.steps.tolist() == [5] * 4
    assert torch.equal(nothing.value, adapter.predict(batch, Descent(steps=5), NOISE).value)
    assert nothing.passes == Passes(nfe=5, forward=6, backward=5)


def test_noise_can_be_given_and_taken_away_at_prediction() -> None:
    batch = _batch()
    quiet, loud = _adapter(langevin_noise=0.0), _adapter()
    same = [
        (quiet, Descent(steps=2), loud, Descent(steps=2, noise="none")),
        (quiet, Descent(steps=2), loud, Descent(steps=2, noise_std=0)),
        (quiet, Descent(steps=2, noise_std=NOISE_STD), loud, Descent(steps=2)),
    ]
    for a, one, b, other in same:
        assert torch.equal(a.predict(batch, one, NOISE).value, b.predict(batch, other, NOISE).value)
    first = loud.predict(batch, Descent(steps=2, noise="first"), NOISE).value
    assert not torch.equal(first, loud.predict(batch, Descent(steps=2), NOISE).value)
    assert not torch.equal(first, quiet.predict(batch, Descent(steps=2), NOISE).value)


def test_no_randomness_of_training_reaches_the_prediction() -> None:
    plain = _adapter(langevin_noise=0.0)
    random = _adapter(langevin_noise=0.0, random_step_size=3.0, min_steps=1)
    values = [a.predict(_batch(), Descent(steps=3), NOISE).value for a in (plain, random)]
    assert torch.equal(*values)


# --- passes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", RULES, ids=lambda r: "-".join(map(str, r.values())))
@pytest.mark.parametrize(("samples", "select"), [(1, "lowest"), (2, "lowest"), (2, "largest_drop")])
def test_passes_are_the_images_that_the_network_saw(samples, select, rules) -> None:
    adapter, batch, seen = _adapter(), _batch(), []
    adapter.network.register_forward_hook(lambda _, given, out: seen.append(len(given[0])))
    gradients = []
    whole = adapter.network.slope
    adapter.network.slope = lambda y, context: (gradients.append(len(y)), whole(y, context))[1]
    thinking = Descent(steps=3, samples=samples, select=select, **rules)
    prediction = adapter.predict(batch, thinking, NOISE)
    assert prediction.passes.forward == (sum(seen) + sum(gradients)) / 4
    assert prediction.passes.backward == sum(gradients) / 4
    if thinking.tolerance is None:
        assert prediction.passes.nfe == 3 * samples
    elif samples == 1:
        assert prediction.passes.nfe == prediction.steps.double().mean()


@pytest.mark.parametrize("rules", RULES[::2] + RULES[1::6], ids=str)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_thinking_under(mode, rules) -> None:
    adapter, thinking = _adapter(), Descent(steps=3, samples=2, **rules)
    truth = adapter.predict(_batch(), thinking, NOISE)
    with mode():
        batch = NoisyBatch(_batch().noisy + 0, 99, ROWS + 0)
        inside = adapter.predict(batch, thinking, NOISE)
    assert torch.equal(inside.value, truth.value)
    assert not inside.value.requires_grad


# --- the landscape ---------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["noisy", "noise"])
def test_a_small_step_lowers_the_energy_of_the_start(start: str) -> None:
    adapter, batch, states = _adapter(start), _batch(), []
    assert isinstance(adapter, EnergyLandscape)
    before, after = adapter.descent_energies(batch, NOISE, 1e-5)
    thinking = Descent(steps=1, step_size=1e-5, noise="none")
    adapter.predict(batch, thinking, NOISE, states.append)
    torch.testing.assert_close(before, states[0].energy[:, 0])
    torch.testing.assert_close(after, states[1].energy[:, 0])
    assert (after < before).all()


@pytest.mark.parametrize("rules", [r for r in RULES if r["tolerance"] is None], ids=str)
@pytest.mark.parametrize(("start", "samples"), [("noisy", 1), ("noise", 3)])
@pytest.mark.parametrize("select", ["lowest", "largest_drop"])
def test_thinking_costs_what_planning_says(select, start, samples, rules) -> None:
    adapter, batch = _adapter(start).float(), _batch()
    thinking = Descent(steps=4, samples=samples, select=select, **rules)
    counted = []
    for n in (1, 4):
        with FlopCounter() as counter:
            adapter.predict(NoisyBatch(batch.noisy[:n].float(), 99, ROWS[:n]), thinking, NOISE)
        counted.append(counter.total)
    expected = EBT_IMAGE.prediction_flops(adapter.config, SHAPE, thinking).total
    assert (counted[1] - counted[0]) / 3 == pytest.approx(expected, rel=1e-9)
