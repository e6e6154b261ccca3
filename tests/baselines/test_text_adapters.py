"""The text adapters against a textbook EBT, and against shorter, smaller and later runs."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.adapters import descending
from baselines.adapters.descending import Draws
from baselines.blocks import Block
from baselines.bodies import EAGER, compiled_bodies
from baselines.descent_plan import landscape_schedule
from baselines.ebt import TextEnergy
from harness.protocol import Adapter, Descent, Single, TextBatch
from tests.baselines.tiny_streams import (
    NOISE,
    assert_close,
    assert_gradients_agree,
    by_step,
    states,
)
from tests.baselines.tiny_text import BATCH, LENGTH, VOCAB, batch, ebt, naive, transformer


@pytest.fixture(params=["ebt", "transformer"])
def either(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Each adapter with a way to think."""
    if request.param == "ebt":
        return ebt(), Descent(steps=3, samples=2)
    return transformer(), Single()


# --- against the textbook --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditioning", "steps", "step_size"),
    [
        ("time_embed", 1, 2.0),
        ("time_embed", 2, 2.0),
        ("time_embed", 3, 0.3),
        ("none", 2, 2.0),
        ("none", 3, 0.3),
        ("none", 2, 1e-6),
    ],
)
@pytest.mark.usefixtures("small_blocks")
def test_training_matches_the_textbook(conditioning: str, steps: int, step_size: float) -> None:
    model = ebt(step_conditioning=conditioning, steps=steps, step_size=step_size)
    of = batch()
    start = NOISE.normal(of.rows, (LENGTH, VOCAB), purpose="start", sample=0).double()
    out = model.training_loss(of, NOISE)
    expected = naive(model).training_loss(of.tokens, of.mask, start, steps)
    assert_close(out.loss_sum, expected, "loss")
    assert out.n == int(of.mask.sum())
    assert_gradients_agree(model.network, out.loss_sum, expected)


@pytest.mark.usefixtures("small_blocks")
def test_training_metrics_are_sums_over_valid_targets() -> None:
    model, of = ebt(), batch()
    metrics = model.training_loss(of, NOISE).metrics
    oracle = naive(model)
    logits = NOISE.normal(of.rows, (LENGTH, VOCAB), purpose="start", sample=0).double()
    inputs = of.tokens[:, :-1]
    energies = []
    for landscape in range(2):
        distribution = logits.detach().softmax(-1)
        energies.append((oracle.energies(inputs, distribution, landscape) * of.mask).sum())
        logits = oracle.step(inputs, logits.detach(), landscape, model.network.alpha)
    nats = -logits.log_softmax(-1).gather(-1, of.tokens[:, 1:, None])[..., 0]
    expected = {
        "energy_first": energies[0],
        "energy_last": energies[1],
        "loss_last": (nats * of.mask).sum(),
    }
    assert set(metrics) == set(expected)
    for name, (total, count) in metrics.items():
        assert_close(total, expected[name].detach(), name)
        assert count == int(of.mask.sum())


@pytest.mark.parametrize(
    ("conditioning", "extra_steps", "steps", "samples"),
    [
        ("time_embed", "last", 2, 3),
        ("time_embed", "last", 4, 2),
        ("time_embed", "every", 4, 3),
        ("none", "last", 3, 3),
        ("time_embed", "last", 1, 1),
    ],
)
@pytest.mark.usefixtures("small_blocks")
def test_thinking_matches_the_textbook(
    monkeypatch: pytest.MonkeyPatch, conditioning: str, extra_steps: Any, steps: int, samples: int
) -> None:
    monkeypatch.setattr(descending, "CHUNK_NUMBERS", 2 * BATCH * LENGTH * VOCAB)
    model, of = ebt(step_conditioning=conditioning), batch()
    thinking = Descent(steps=steps, samples=samples, extra_steps=extra_steps, step_size=0.7)
    seen, prediction = states(model, of, thinking)
    schedule = landscape_schedule(model.config.landscapes, thinking)
    inputs, alpha = of.tokens[:, :-1], torch.tensor(0.7, dtype=torch.float64)
    found = []
    for sample in range(samples):
        start = NOISE.normal(of.rows, (LENGTH, VOCAB), purpose="start", sample=sample).double()
        for step in range(1, steps + 1):
            logits, energy = naive(model).think(inputs, start, schedule[:step], alpha)
            values, energies = by_step(seen)[step]
            assert_close(values[:, sample], logits, f"logits {step}, {sample}")
            if samples > 1:
                assert energies is not None
                assert_close(energies[:, sample], energy, f"energy {step}, {sample}")
        assert_close(by_step(seen)[0][0][:, sample], start, "start")
        found.append((logits, energy))
    stacked = torch.stack([energy for _, energy in found])
    best = stacked.argmin(0)
    for row, position in product(range(BATCH), range(LENGTH)):
        expected = found[int(best[row, position])][0][row, position]
        assert_close(prediction.value[row, position], expected, "chosen")
    if samples > 1:
        assert_close(prediction.energy, stacked.min(0).values, "chosen energy")
    else:
        assert prediction.energy is None


# --- what a prediction may depend on ---------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.usefixtures("small_blocks")
def test_no_prediction_sees_its_target_or_anything_later(
    either: tuple[Any, Any], dtype: torch.dtype
) -> None:
    model, thinking = either[0].to(dtype), either[1]
    of = batch()
    before, chosen = states(model, of, thinking)
    for position in range(1, LENGTH + 1):
        tokens = of.tokens.clone()
        tokens[:, position:] = (tokens[:, position:] + 1) % VOCAB
        after, other = states(model, TextBatch(tokens, of.mask, of.rows), thinking)
        assert torch.equal(chosen.value[:, :position], other.value[:, :position])
        if position < LENGTH:
            assert not torch.equal(chosen.value[:, position], other.value[:, position])
        for one, two in zip(before, after, strict=True):
            assert torch.equal(one.value[:, :, :position], two.value[:, :, :position])


def test_predictions_do_not_depend_on_the_batch(either: tuple[Any, Any]) -> None:
    model, thinking = either
    whole = model.predict(batch(), thinking, NOISE).value
    for rows in range(1, BATCH):
        assert_close(model.predict(batch(rows), thinking, NOISE).value, whole[:rows])
    single = batch()
    last = TextBatch(single.tokens[2:], single.mask[2:], single.rows[2:])
    assert_close(model.predict(last, thinking, NOISE).value, whole[2:])


def test_losses_add_over_micro_batches(either: tuple[Any, Any]) -> None:
    model, whole = either[0], batch()
    parts = [
        model.training_loss(TextBatch(whole.tokens[r], whole.mask[r], whole.rows[r]), NOISE)
        for r in (slice(0, 1), slice(1, 3))
    ]
    out = model.training_loss(whole, NOISE)
    assert_close(parts[0].loss_sum + parts[1].loss_sum, out.loss_sum)
    assert parts[0].n + parts[1].n == out.n


def test_training_ignores_masked_targets(either: tuple[Any, Any]) -> None:
    model, of = either[0], batch()
    tokens = of.tokens.clone()
    position = int((~of.mask[0]).nonzero()[-1])  # a masked target, and nothing valid after it
    mask = of.mask.clone()
    mask[0, position:] = False
    one = model.training_loss(TextBatch(tokens, mask, of.rows), NOISE)
    tokens[0, position + 1] = (tokens[0, position + 1] + 1) % VOCAB
    other = model.training_loss(TextBatch(tokens, mask, of.rows), NOISE)
    assert torch.equal(one.loss_sum, other.loss_sum)
    assert one.n == int(mask.sum())


@pytest.mark.parametrize("conditioning", ["time_embed", "none"])
def test_one_pass_holds_every_shorter_run(
    monkeypatch: pytest.MonkeyPatch, conditioning: str
) -> None:
    model, of = ebt(step_conditioning=conditioning), batch()
    monkeypatch.setattr(descending, "CHUNK_NUMBERS", 3 * BATCH * LENGTH * VOCAB)
    seen = by_step(states(model, of, Descent(steps=4, samples=5))[0])
    assert sorted(seen) == [0, 1, 2, 3, 4]
    for steps, samples in product(range(1, 5), range(2, 6)):
        run = model.predict(of, Descent(steps=steps, samples=samples), NOISE)
        value, energy = seen[steps]
        assert energy is not None
        lowest, index = energy[:, :samples].min(dim=1)
        picked = value.gather(1, index[:, None, :, None].expand(-1, 1, -1, VOCAB))[:, 0]
        assert_close(run.value, picked)
        assert_close(run.energy, lowest)
    for steps in range(1, 5):
        assert_close(model.predict(of, Descent(steps=steps), NOISE).value, seen[steps][0][:, 0])


@pytest.mark.parametrize("conditioning", ["time_embed", "none", "adaln"])
def test_a_listener_hears_every_energy_at_no_cost_to_the_prediction(conditioning: str) -> None:
    model = ebt(step_conditioning=conditioning)
    seen, prediction = states(model, batch(), Descent(steps=4))
    assert [state.step for state in seen] == [0, 1, 2, 3, 4]
    assert all(state.energy is not None for state in seen)
    quiet = model.predict(batch(), Descent(steps=4), NOISE)
    assert prediction.energy is None
    assert prediction.passes == quiet.passes
    assert torch.equal(prediction.value, quiet.value)


@pytest.mark.parametrize("caller", [nullcontext, torch.no_grad, torch.inference_mode])
def test_any_caller_may_predict(either: tuple[Any, Any], caller: Any) -> None:
    model, thinking = either
    expected = model.predict(batch(), thinking, NOISE).value
    with caller():
        of = batch()
        prediction = model.predict(of, thinking, NOISE)
    assert torch.equal(prediction.value, expected)
    assert not prediction.value.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    model.training_loss(batch(), NOISE).loss_sum.backward()


def test_passes_count_selection() -> None:
    model, of = ebt(), batch()
    one = model.predict(of, Descent(steps=3), NOISE).passes
    assert (one.nfe, one.forward, one.backward) == (3, 3, 3)
    many = model.predict(of, Descent(steps=3, samples=4), NOISE).passes
    assert (many.nfe, many.forward, many.backward) == (12, 16, 12)


# --- settings --------------------------------------------------------------------------------


def test_step_size_is_clamped() -> None:
    model, of = ebt(), batch()
    with torch.no_grad():
        model.network.alpha.fill_(-3.0)
    clamped = model.predict(of, Descent(steps=2), NOISE).value
    explicit = model.predict(of, Descent(steps=2, step_size=1e-4), NOISE).value
    assert_close(clamped, explicit)
    loss = model.training_loss(of, NOISE).loss_sum
    with torch.no_grad():
        model.network.alpha.fill_(1e-4)
    assert_close(model.training_loss(of, NOISE).loss_sum, loss)


def test_step_size_has_its_own_group() -> None:
    weights, alpha = ebt(step_size=0.3).param_groups()
    assert (alpha.lr_multiplier, alpha.weight_decay) == (pytest.approx(0.9), False)
    assert (weights.lr_multiplier, weights.weight_decay) == (1.0, True)
    assert ebt(step_size=0.3, step_size_lr_multiplier=2.0).param_groups()[1].lr_multiplier == 2.0
    assert [group.name for group in ebt(step_size_learned=False).param_groups()] == ["weights"]


@pytest.mark.parametrize("learned", [True, False])
def test_param_groups_hold_everything_once(learned: bool) -> None:
    model = ebt(step_size_learned=learned)
    grouped = [id(p) for group in model.param_groups() for p in group.params]
    trainable = [id(p) for p in model.parameters() if p.requires_grad]
    assert sorted(grouped) == sorted(trainable)


def test_every_landscape_must_get_equal_steps() -> None:
    with pytest.raises(ValueError, match="multiple of 2; got 3"):
        ebt().predict(batch(), Descent(steps=3, extra_steps="every"), NOISE)


def test_adapters_refuse_thinking_they_cannot_do() -> None:
    with pytest.raises(TypeError, match="cannot think"):
        transformer().predict(batch(), Descent(steps=1), NOISE)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="'descent'"):
        ebt().predict(batch(), Single(), NOISE)  # type: ignore[arg-type]
    assert isinstance(ebt(), Adapter)
    assert isinstance(transformer(), Adapter)


def test_autocast_keeps_energies_and_logits_in_float32() -> None:
    model, of = ebt(torch.float32, step_size=0.05), batch()
    exact, _ = states(model, of, Descent(steps=2, samples=2))
    loss = model.training_loss(of, NOISE).loss_sum
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen, prediction = states(model, of, Descent(steps=2, samples=2))
        low = model.training_loss(of, NOISE)
    low.loss_sum.backward()
    for state, reference in zip(seen, exact, strict=True):
        assert state.value.dtype == torch.float32
        assert state.energy is not None
        assert state.energy.dtype == torch.float32
        assert reference.energy is not None
        error = (state.energy - reference.energy).norm() / reference.energy.norm()
        assert error < 0.1, f"step {state.step}: {error:.3f}"
    assert prediction.energy.dtype == torch.float32
    torch.testing.assert_close(low.loss_sum, loss, rtol=0.02, atol=0.0)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


# --- what a training step may depend on ------------------------------------------------------


def test_replayed_rows_draw_under_the_rows_they_accompany() -> None:
    """Two micro-batches of one step that replay the same records get different noise."""
    model = ebt(variant="s2", step_size=0.5, replay_records=1, replay_share=0.25)
    of = batch()
    model.training_loss(of, NOISE)

    def replayed(rows: Tensor) -> Tensor:
        draws = Draws(NOISE, rows, replayed=1)
        return draws.langevin((LENGTH, VOCAB), step=1)[-1]

    assert not torch.equal(replayed(of.rows), replayed(of.rows + 10))
    assert torch.equal(replayed(of.rows), replayed(of.rows))


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_replay_share_is_rounded_up(rows: int) -> None:
    model = ebt(variant="s2", step_size=0.5, replay_records=8)
    of = batch(rows)
    fresh = model.training_loss(of, NOISE).n
    assert fresh == int(of.mask.sum())
    assert len(model.replay) == rows
    for _ in range(8 // rows):
        model.training_loss(of, NOISE)
    assert model.work(of, NOISE)[1] == (rows + 1) // 2
    more = model.training_loss(of, NOISE)
    assert more.n > fresh


def test_room_made_under_inference_mode_serves_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descending.Scratch, "WORTH", 0)
    kept, plain = ebt(torch.float32), ebt(torch.float32)
    with torch.inference_mode():
        kept.training_loss(batch(), NOISE)
    assert kept.scratch.held
    kept.training_loss(batch(), NOISE).loss_sum.backward()
    monkeypatch.setattr(descending.Scratch, "WORTH", 2**60)
    plain.training_loss(batch(), NOISE).loss_sum.backward()
    for one, other in zip(kept.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_contexts_are_run_once_per_landscape(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    real = TextEnergy.run_context

    def counted(self: TextEnergy, x: Tensor, landscape: int, **options: Any) -> Any:
        runs.append(landscape)
        return real(self, x, landscape, **options)

    monkeypatch.setattr(TextEnergy, "run_context", counted)
    s2: dict[str, Any] = {"variant": "s2", "min_steps": 3, "replay_records": 0}
    for settings, expected in (({}, [0, 1]), (s2, [0]), (s2 | {"update_space": "logits"}, [0])):
        runs.clear()
        ebt(**settings).training_loss(batch(), NOISE)
        assert runs == expected


def test_the_offset_of_modulated_energies_is_float32_under_autocast() -> None:
    model = ebt(torch.float32, step_conditioning="adaln")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        context = model.network.context(batch().tokens[:, :-1], 0)
    assert context.offset is not None
    assert context.offset.dtype == torch.float32
    assert context.head.dtype == torch.float32


def test_compiled_bodies_are_for_training_alone() -> None:
    model, of = ebt(), batch()
    used: list[str] = []

    def observe(*given: Any, **named: Any) -> Any:
        used.append("compiled")
        return Block.observe(*given, **named)

    model.network.training_bodies = EAGER._replace(observe=observe)
    model.training_loss(of, NOISE).loss_sum.backward()
    assert used
    used.clear()
    model.predict(of, Descent(steps=2), NOISE)
    model.decoder(of.rows, Descent(steps=2), NOISE).feed(of.tokens)
    model.descent_energies(of, NOISE, 1e-3)
    assert not used


def test_shallow_streams_are_compiled_at_once_and_deep_ones_by_layer() -> None:
    shallow, deep = compiled_bodies(4), compiled_bodies(5)
    assert shallow.halves is not EAGER.halves
    assert shallow.passes is EAGER.passes
    assert deep.halves is EAGER.halves
    assert deep.passes is not EAGER.passes


@pytest.mark.slow
def test_one_process_compiles_for_many_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced, not generated: sizes one after the other, each with and without replayed rows."""
    traced = partial(torch.compile, backend="eager")
    monkeypatch.setattr("baselines.compiling.torch.compile", traced)
    for width in (16, 32, 48, 64, 80, 96):
        settings: dict[str, Any] = {"variant": "s2", "step_size": 0.5, "width": width}
        model, plain = (ebt(torch.float32, **settings) for _ in range(2))
        model.compile_body()
        for _ in range(2):
            loss = model.training_loss(batch(), NOISE).loss_sum
            loss.backward()
            torch.testing.assert_close(loss, plain.training_loss(batch(), NOISE).loss_sum)
