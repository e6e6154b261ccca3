"""An image EBT applied to its own output: what repeats, what is drawn afresh, what it costs."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from baselines.adapters.image_ebt import EBTImage
from baselines.catalogue import EBT_IMAGE, EBT_TEXT, EBT_VIDEO
from harness.conformance.subject import subject_of
from harness.cost import FlopCounter
from harness.protocol import AdapterRecord, Descent, NoisyBatch, Passes, State
from tests.baselines.tiny_images import NOISE, SHAPE, small_ebt, some_images

ROWS = torch.tensor([8, 1, 6, 3])
RULES = [
    {"noise": noise, "accept": accept, "tolerance": tolerance}
    for noise, accept, tolerance in product(["every", "none"], ["always", "lower"], [None, 0.1])
]


class Shifted:
    """A noise source whose draws are those of `by` steps later: of a later recursion."""

    def __init__(self, steps: int, starts: int) -> None:
        self.by = {"langevin": steps, "start": starts}

    def normal(self, rows, shape, *, purpose, step=0, sample=0):
        later = step + self.by[purpose]
        return NOISE.normal(rows, shape, purpose=purpose, step=later, sample=sample)


def _adapter(start: str = "noisy", **given: object) -> EBTImage:
    """Steps overshoot and noise is strong, so that every rule is put to work."""
    settings = {"step_size": 10.0, "langevin_noise": 0.5} | given
    adapter = small_ebt(start=start, **settings).double()
    with torch.no_grad():
        for name, parameter in adapter.network.named_parameters():
            if name != "alpha" and not name.startswith("final_layer"):
                parameter.mul_(3)
    return adapter


def _batch() -> NoisyBatch:
    return NoisyBatch(some_images(4).double(), 99, ROWS)


@pytest.mark.parametrize("accept", ["always", "lower"])
def test_from_the_noisy_image_recursions_are_further_steps(accept: str) -> None:
    adapter = _adapter(langevin_noise=0.0)
    thrice = adapter.predict(_batch(), Descent(steps=2, recursions=3, accept=accept), NOISE)
    once = adapter.predict(_batch(), Descent(steps=6, accept=accept), NOISE)
    assert torch.equal(thrice.value, once.value)
    assert thrice.passes.nfe == once.passes.nfe == 6
    if accept == "always":
        assert thrice.passes == once.passes


def test_langevin_noise_goes_on_over_recursions_as_over_steps() -> None:
    adapter = _adapter()
    thrice = adapter.predict(_batch(), Descent(steps=2, recursions=3), NOISE).value
    once = adapter.predict(_batch(), Descent(steps=6), NOISE).value
    assert torch.equal(thrice, once)
    first = Descent(steps=2, recursions=3, noise="first")
    assert not torch.equal(adapter.predict(_batch(), first, NOISE).value, once)


@pytest.mark.parametrize(("start", "samples"), [("noisy", 1), ("noise", 1), ("noise", 3)])
@pytest.mark.parametrize("rules", RULES, ids=str)
def test_a_recursion_denoises_the_last_ones_result_under_its_own_draws(
    start: str, samples: int, rules: dict
) -> None:
    """Each is an ordinary prediction; of several samples it hands the best one on."""
    adapter, batch, steps = _adapter(start), _batch(), 2
    one = Descent(steps=steps, samples=samples, **rules)
    parts = []
    for recursion in range(3):
        noisy = parts[-1].value if parts else batch.noisy
        given = NoisyBatch(noisy, 99, ROWS)
        parts.append(adapter.predict(given, one, Shifted(recursion * steps, recursion)))
    whole = adapter.predict(batch, one.model_copy(update={"recursions": 3}), NOISE)
    assert torch.equal(whole.value, parts[-1].value)
    each = [part.passes for part in parts]
    assert whole.passes == Passes(
        *(sum(getattr(p, kind) for p in each) for kind in ("nfe", "forward", "backward"))
    )
    if rules["tolerance"] is None:
        assert whole.steps is None
        assert whole.passes.nfe == 3 * steps * samples
    else:
        assert torch.equal(whole.steps, sum(part.steps for part in parts))
    if parts[-1].energy is None:
        assert whole.energy is None
    else:
        assert torch.equal(whole.energy, parts[-1].energy)


def test_from_noise_a_recursion_starts_afresh_and_sees_the_cleaner_image() -> None:
    adapter, batch = _adapter("noise", langevin_noise=0.0), _batch()
    twice = adapter.predict(batch, Descent(steps=2, recursions=2), NOISE).value
    assert not torch.allclose(twice, adapter.predict(batch, Descent(steps=4), NOISE).value)
    once = adapter.predict(batch, Descent(steps=2), NOISE).value
    same_start = adapter.predict(NoisyBatch(once, 99, ROWS), Descent(steps=2), NOISE).value
    assert not torch.allclose(twice, same_start)


@pytest.mark.parametrize(("start", "samples"), [("noisy", 1), ("noise", 2)])
def test_states_count_on_and_only_the_first_recursion_shows_its_start(
    start: str, samples: int
) -> None:
    adapter, states = _adapter(start), []
    thinking = Descent(steps=2, samples=samples, recursions=3)
    prediction = adapter.predict(_batch(), thinking, NOISE, states.append)
    steps = [[0, 1, 2], [3, 4], [5, 6]]
    expected = [(k, m) for some in steps for m in range(samples) for k in some]
    assert [(s.step, *s.samples) for s in states] == expected
    best = torch.stack([s.energy[:, 0] for s in states if s.step == 6]).min(0).values
    assert samples == 1 or torch.equal(prediction.energy, best)
    assert torch.equal(adapter.predict(_batch(), thinking, NOISE).value, prediction.value)
    for count in (1, 2):  # fewer recursions are a prefix
        fewer = thinking.model_copy(update={"recursions": count})
        short: list[State] = []
        adapter.predict(_batch(), fewer, NOISE, short.append)
        for one, other in zip(short, states, strict=False):
            assert torch.equal(one.value, other.value)


@pytest.mark.parametrize("rules", [r for r in RULES if r["tolerance"] is None], ids=str)
@pytest.mark.parametrize(("start", "samples"), [("noisy", 1), ("noise", 2)])
def test_recursions_cost_what_planning_says(start: str, samples: int, rules: dict) -> None:
    adapter, batch = _adapter(start).float(), _batch()
    thinking = Descent(steps=2, samples=samples, recursions=3, **rules)
    counted = []
    for n in (1, 4):
        with FlopCounter() as counter:
            adapter.predict(NoisyBatch(batch.noisy[:n].float(), 99, ROWS[:n]), thinking, NOISE)
        counted.append(counter.total)
    expected = EBT_IMAGE.prediction_flops(adapter.config, SHAPE, thinking).total
    assert (counted[1] - counted[0]) / 3 == pytest.approx(expected, rel=1e-9)
    once = thinking.model_copy(update={"recursions": 1})
    assert expected == 3 * EBT_IMAGE.prediction_flops(adapter.config, SHAPE, once).total


def test_a_row_recurs_alone_as_in_any_batch() -> None:
    adapter, batch = _adapter("noise"), _batch()
    thinking = Descent(steps=2, samples=2, recursions=2)
    whole = adapter.predict(batch, thinking, NOISE).value
    part = adapter.predict(NoisyBatch(batch.noisy[[2, 0]], 99, ROWS[[2, 0]]), thinking, NOISE)
    torch.testing.assert_close(part.value, whole[[2, 0]], rtol=1e-6, atol=1e-9)
    with torch.inference_mode():
        given = NoisyBatch(batch.noisy + 0, 99, ROWS + 0)
        inside = adapter.predict(given, thinking, NOISE).value
    assert torch.equal(inside, whole)


@pytest.mark.parametrize("record", [EBT_TEXT, EBT_VIDEO], ids=lambda r: r.name)
def test_nothing_but_an_image_is_denoised_again(record: AdapterRecord) -> None:
    of = subject_of(record, record.config(**record.example))
    thinking = of.thinking.model_copy(update={"recursions": 2})
    with pytest.raises(ValueError, match="recursions = 2, but only images"):
        of.build().predict(of.given(), thinking, NOISE)
    with pytest.raises(ValueError, match="use recursions = 1"):
        record.prediction_flops(of.config, of.shape, thinking)
