"""What a text EBT thinks: every rule of descent against the textbook form, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.adapters import descending
from baselines.adapters.text import EBTText
from harness.cost import FlopCounter
from harness.protocol import Descent, Single, TextBatch
from tests.baselines.tiny_streams import NOISE, assert_close, by_step, states
from tests.baselines.tiny_text import BATCH, LENGTH, VOCAB, batch, ebt, naive, transformer

#: (purpose, optimization step, sample) -> the draw of every position (B, S, V).
Draw = Callable[[str, int, int], Tensor]


# --- by hand ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Path:
    """One sample: each point's logits (B, S, V) and energies (B, S); each step's change in it."""

    values: list[Tensor]
    energies: list[Tensor]
    changes: list[Tensor]

    def steps(self, tolerance: float | None, row: int, position: int) -> int:
        """Optimization steps of one prediction: up to the first that changes too little."""
        if tolerance is not None:
            for step, change in enumerate(self.changes, start=1):
                if change[row, position] < tolerance:
                    return step
        return len(self.changes)


def path_of(model: EBTText, tokens: Tensor, thinking: Descent, sample: int, draw: Draw) -> Path:
    """The textbook's descent after each of `tokens` (B, S), as if no prediction ever stopped."""
    config, oracle = model.config, naive(model)
    std = config.langevin_noise if thinking.noise_std is None else thinking.noise_std
    alpha = thinking.step_size or config.step_size
    value = config.start_scale * draw("start", 0, sample)
    if config.start == "zeros":
        value = torch.zeros_like(value)
    path = Path([value], [], [])
    for step in range(1, thinking.steps + 1):
        landscape = min(step, oracle.landscapes) - 1
        if thinking.extra_steps == "every":
            landscape = (step - 1) * oracle.landscapes // thinking.steps

        def energy(logits: Tensor, landscape: int = landscape) -> Tensor:
            return oracle.energies(tokens, logits.softmax(-1), landscape).detach()

        if step == 1:
            path.energies.append(energy(value))
        entering = value
        if thinking.noise == "every" or (thinking.noise == "first" and step == 1):
            entering = value + std * draw("langevin", step, sample)
        moves_probabilities = config.update_space == "probabilities"
        moved = (entering.softmax(-1) if moves_probabilities else entering).requires_grad_()
        distribution = moved if moves_probabilities else moved.softmax(-1)
        total = oracle.energies(tokens, distribution, landscape).sum()
        (slope,) = torch.autograd.grad(total, moved)
        after, before = (moved - alpha * slope).detach(), energy(value)
        change = (energy(after) - before).abs()
        if thinking.accept == "lower":
            lower = energy(after) < before
            after = torch.where(lower[..., None], after, value)
            # An undone step settles nothing where noise makes the next one another try.
            tries = std > 0 and (
                thinking.noise == "every" or (thinking.noise, step) == ("first", 1)
            )
            change = torch.where(lower, change, torch.inf if tries else 0.0)
        path.changes.append(change)
        path.values.append(after)
        path.energies.append(energy(after))
        value = after
    return path


def chosen(paths: Sequence[Path], thinking: Descent, row: int, position: int) -> tuple[Path, int]:
    """The path that one prediction is taken from, and where on it."""
    ends = [(path, path.steps(thinking.tolerance, row, position)) for path in paths]

    def score(end: tuple[Path, int]) -> float:
        energies = [float(energy[row, position]) for energy in end[0].energies]
        return energies[end[1]] - (energies[0] if thinking.select == "largest_drop" else 0.0)

    return min(ends, key=score)


def decides(thinking: Descent) -> bool:
    """Whether anything is decided by an energy, so that it is part of the prediction."""
    return thinking.samples > 1 or thinking.accept == "lower" or thinking.tolerance is not None


def by_row(of: TextBatch) -> Draw:
    """Draws as a prediction of whole rows makes them."""

    def draw(purpose: str, step: int, sample: int) -> Tensor:
        key = {"purpose": purpose, "step": step, "sample": sample}
        return NOISE.normal(of.rows, (of.tokens.shape[1] - 1, VOCAB), **key).double()

    return draw


def by_position(rows: Tensor, length: int) -> Draw:
    """Draws of the last of `length` positions alone, as generation makes them; zeros before it."""

    def draw(purpose: str, step: int, sample: int) -> Tensor:
        key = {"purpose": purpose, "step": step, "sample": sample, "position": length - 1}
        drawn = torch.zeros(len(rows), length, VOCAB, dtype=torch.float64)
        drawn[:, -1:] = NOISE.normal(rows, (1, VOCAB), **key).double()
        return drawn

    return draw


# --- whole rows ------------------------------------------------------------------------------

PLAIN = {"step_conditioning": "none", "step_size": 1.0}
NOISY = PLAIN | {"langevin_noise": 0.5}
LANDSCAPES = {"steps": 3, "landscapes": 3, "step_size": 0.5}
LOGITS = {"update_space": "logits", "step_size": 4.0}
#: Far enough that some steps raise an energy; farther, all of a distribution is on one token, and
#: energies tie.
FAR = 2.0
RULES: list[tuple[dict[str, Any], Descent]] = [
    *(
        (NOISY, Descent(steps=4, noise=noise, accept=accept, samples=2, step_size=FAR))
        for noise, accept in product(("every", "first", "none"), ("always", "lower"))
    ),
    (PLAIN, Descent(steps=3, noise_std=0.3)),
    (NOISY, Descent(steps=3, noise_std=0.2, noise="first", samples=2)),
    (NOISY, Descent(steps=2, noise_std=0.0, samples=2)),
    (PLAIN, Descent(steps=3, samples=4, select="largest_drop")),
    (NOISY, Descent(steps=2, samples=3, select="largest_drop", accept="lower", step_size=FAR)),
    (LANDSCAPES, Descent(steps=5, samples=2)),
    (LANDSCAPES, Descent(steps=6, samples=2, extra_steps="every")),
    (LANDSCAPES, Descent(steps=6, accept="lower", extra_steps="every", step_size=FAR)),
    (LANDSCAPES, Descent(steps=4, accept="lower", noise_std=0.5, samples=2, step_size=FAR)),
    (LANDSCAPES, Descent(steps=4, samples=3, select="largest_drop")),
    (LANDSCAPES, Descent(steps=4, tolerance=0.2, samples=2)),
    (PLAIN, Descent(steps=6, tolerance=0.03)),
    (NOISY, Descent(steps=5, tolerance=0.3, samples=2, select="largest_drop")),
    (NOISY, Descent(steps=5, tolerance=0.03, accept="lower", noise="first", step_size=FAR)),
    (LOGITS, Descent(steps=4, samples=2)),
    (LOGITS, Descent(steps=4, noise_std=0.4, accept="lower", step_size=20.0)),
    (LOGITS, Descent(steps=6, tolerance=0.05, extra_steps="every")),
    (PLAIN | {"start": "zeros"}, Descent(steps=3, accept="lower", step_size=FAR)),
    (NOISY | {"start": "zeros"}, Descent(steps=3, samples=2)),
    (PLAIN | {"start_scale": 0.1}, Descent(steps=3, samples=2)),
]


@pytest.mark.parametrize(("settings", "thinking"), RULES, ids=str)
@pytest.mark.usefixtures("small_blocks")
def test_a_batch_thinks_as_the_textbook_does_by_hand(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], thinking: Descent
) -> None:
    monkeypatch.setattr(descending, "CHUNK_NUMBERS", 2 * BATCH * LENGTH * VOCAB)
    model, of = ebt(**settings), batch()
    draw, tokens = by_row(of), of.tokens[:, :-1]
    paths = [path_of(model, tokens, thinking, i, draw) for i in range(thinking.samples)]
    seen, listened = states(model, of, thinking)
    prediction = model.predict(of, thinking, NOISE)
    points = by_step(seen)
    for row, position in product(range(BATCH), range(LENGTH)):
        here = f"row {row}, position {position}"
        for sample, path in enumerate(paths):
            steps = path.steps(thinking.tolerance, row, position)
            for k, (values, energies) in points.items():
                point = min(k, steps)  # one that stopped stays
                assert_close(values[row, sample, position], path.values[point][row, position], here)
                assert energies is not None
                assert_close(
                    energies[row, sample, position], path.energies[point][row, position], here
                )
        path, steps = chosen(paths, thinking, row, position)
        assert_close(prediction.value[row, position], path.values[steps][row, position], here)
        if prediction.energy is not None:
            assert_close(
                prediction.energy[row, position], path.energies[steps][row, position], here
            )
        if prediction.steps is not None:
            assert int(prediction.steps[row, position]) == steps, here
    assert (prediction.energy is not None) == decides(thinking)
    assert (prediction.steps is not None) == (thinking.tolerance is not None)
    assert torch.equal(listened.value, prediction.value), "listening changed the prediction"


@pytest.mark.parametrize(("settings", "thinking"), RULES, ids=str)
def test_the_rules_above_are_put_to_work(settings: dict[str, Any], thinking: Descent) -> None:
    """Some steps are undone, some predictions stop early, and rules choose otherwise than none."""
    model, of = ebt(**settings), batch()
    value = model.predict(of, thinking, NOISE).value
    if thinking.accept == "lower":
        always = thinking.model_copy(update={"accept": "always"})
        assert not torch.equal(value, model.predict(of, always, NOISE).value)
    if thinking.select == "largest_drop":
        lowest = thinking.model_copy(update={"select": "lowest"})
        assert not torch.equal(value, model.predict(of, lowest, NOISE).value)
    if thinking.tolerance is not None:
        steps = model.predict(of, thinking, NOISE).steps
        assert steps is not None
        assert len(steps.unique()) > 1


@pytest.mark.parametrize("noise", ["every", "first", "none"])
@pytest.mark.parametrize("conditioning", ["none", "time_embed"])
def test_accepting_only_lower_energies_never_raises_one(conditioning: str, noise: Any) -> None:
    model, of = ebt(step_conditioning=conditioning, langevin_noise=0.5), batch()
    thinking = Descent(steps=6, accept="lower", noise=noise, samples=2, step_size=FAR)
    points = by_step(states(model, of, thinking)[0])
    oracle, tokens, still = naive(model), of.tokens[:, :-1], 0
    for k, sample in product(range(1, 7), range(2)):
        landscape = min(k, oracle.landscapes) - 1  # each step is judged on its own
        before, after = (
            oracle.energies(tokens, points[i][0][:, sample].softmax(-1), landscape).detach()
            for i in (k - 1, k)
        )
        assert (after <= before).all()
        still += int((after == before).sum())
    assert still > 0


# --- stopping --------------------------------------------------------------------------------


def test_predictions_that_stop_are_those_of_shorter_runs_and_cost_less() -> None:
    model, of, tolerance = ebt(**PLAIN), batch(), 1.0
    with FlopCounter(vocab_size=VOCAB) as adaptive:
        stopped = model.predict(of, Descent(steps=6, tolerance=tolerance), NOISE)
    with FlopCounter(vocab_size=VOCAB) as whole:
        full = model.predict(of, Descent(steps=6), NOISE)
    assert stopped.steps is not None
    counts = stopped.steps.unique().tolist()
    assert len(counts) > 1
    for steps in counts:
        shorter = model.predict(of, Descent(steps=steps), NOISE).value
        there = stopped.steps == steps
        assert_close(stopped.value[there], shorter[there], f"stopped after {steps}")
    assert adaptive.total < whole.total
    assert adaptive.vocabulary < whole.vocabulary
    assert stopped.passes.nfe == pytest.approx(float(stopped.steps.double().mean()))
    assert stopped.passes.backward < full.passes.backward


def test_tolerance_from_one_step_to_all() -> None:
    model, of = ebt(**PLAIN), batch()
    everything = model.predict(of, Descent(steps=5, tolerance=1e9), NOISE)
    assert everything.steps is not None
    assert (everything.steps == 1).all()
    assert_close(everything.value, model.predict(of, Descent(steps=1), NOISE).value)
    nothing = model.predict(of, Descent(steps=5, tolerance=1e-300), NOISE)
    assert nothing.steps is not None
    assert (nothing.steps == 5).all()
    assert_close(nothing.value, model.predict(of, Descent(steps=5), NOISE).value)


# --- one token after another -----------------------------------------------------------------


DECODING: list[tuple[dict[str, Any], Descent]] = [
    ({}, Descent(steps=2)),
    (NOISY, Descent(steps=3, samples=3)),
    (NOISY, Descent(steps=3, samples=2, accept="lower", step_size=FAR)),
    (PLAIN, Descent(steps=5, samples=2, tolerance=0.03)),
    (LANDSCAPES, Descent(steps=6, samples=2, extra_steps="every", select="largest_drop")),
    (LANDSCAPES, Descent(steps=4, noise_std=0.3, noise="first")),
    (LOGITS, Descent(steps=2, samples=2)),
    ({"start": "zeros"}, Descent(steps=3)),
    ({"start_scale": 0.1}, Descent(steps=2, samples=2)),
]


@pytest.mark.parametrize(("settings", "thinking"), DECODING, ids=str)
@pytest.mark.usefixtures("small_blocks")
def test_decoding_is_the_textbook_without_a_cache(
    settings: dict[str, Any], thinking: Descent
) -> None:
    model, of = ebt(**settings), batch()
    decoder = model.decoder(of.rows, thinking, NOISE)
    for length in range(1, LENGTH + 1):
        found = decoder.feed(of.tokens[:, length - 1 : length])
        tokens, draw = of.tokens[:, :length], by_position(of.rows, length)
        paths = [path_of(model, tokens, thinking, i, draw) for i in range(thinking.samples)]
        for row in range(BATCH):
            path, steps = chosen(paths, thinking, row, length - 1)
            here = f"row {row} after {length} tokens"
            assert_close(found.value[row], path.values[steps][row, -1], here)
            if found.energy is not None:
                assert_close(found.energy[row], path.energies[steps][row, -1], here)
            if found.steps is not None:
                assert int(found.steps[row]) == steps, here
    assert (found.energy is not None) == decides(thinking)
    assert (found.steps is not None) == (thinking.tolerance is not None)


@pytest.mark.parametrize(("settings", "thinking"), [*DECODING, (None, Single())], ids=str)
def test_decoding_does_not_depend_on_how_tokens_are_fed(
    settings: dict[str, Any] | None, thinking: Any
) -> None:
    model, of = transformer() if settings is None else ebt(**settings), batch()
    for parts in ([LENGTH], [1] * LENGTH, [4, 1, 3, 1]):
        decoder = model.decoder(of.rows, thinking, NOISE)
        found = [decoder.feed(part) for part in of.tokens[:, :LENGTH].split(parts, dim=1)][-1]
        once = model.decoder(of.rows, thinking, NOISE).feed(of.tokens[:, :LENGTH])
        assert_close(found.value, once.value, str(parts))
        assert (found.steps is None) == (once.steps is None)
        if found.steps is not None:
            assert torch.equal(found.steps, once.steps)
    if settings is None:
        assert_close(once.value, model.predict(of, thinking, NOISE).value[:, -1])
