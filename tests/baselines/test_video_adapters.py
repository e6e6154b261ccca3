"""The video adapters against a textbook EBT, and against shorter and smaller runs."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.adapters import descending
from baselines.adapters.video import EBTVideo, TransformerPPVideo
from baselines.descent_plan import landscape_schedule
from baselines.video_settings import EBTVideoConfig, TransformerPPVideoConfig
from harness.protocol import Descent, Single, VideoBatch, VideoShape
from tests.baselines.naive_frames import NaiveFrames
from tests.baselines.tiny_streams import (
    NOISE,
    SIZES,
    assert_close,
    assert_gradients_agree,
    by_step,
    states,
)

SHAPE = VideoShape(context=7, channels=2, height=3, width=4)
FRAME = (2, 3, 4)
BATCH, LENGTH = 3, SHAPE.context
S2: dict[str, Any] = {"variant": "s2", "step_size": 0.7, "min_steps": 3, "replay_records": 0}


def ebt(dtype: torch.dtype = torch.float64, **changes: Any) -> EBTVideo:
    torch.manual_seed(3)
    model = EBTVideo(EBTVideoConfig(**(SIZES | {"step_size": 2.0} | changes)), SHAPE)
    with torch.no_grad():  # a bias that is not zero
        model.network.project_in.bias.normal_()
    return model.to(dtype)


def batch(rows: int = BATCH, first: int = 0) -> VideoBatch:
    """Random frames; row i is the same whatever the batch."""
    generator = torch.Generator().manual_seed(11)
    frames = torch.randn(12, LENGTH + 1, *FRAME, generator=generator).double()
    return VideoBatch(frames[first : first + rows], torch.arange(first, first + rows) + 40)


def start_of(of: VideoBatch, sample: int = 0) -> Tensor:
    """Flat (B, S, numbers)."""
    drawn = NOISE.normal(of.rows, (LENGTH, *FRAME), purpose="start", sample=sample)
    return drawn.double().flatten(2)


def oracle(model: EBTVideo) -> NaiveFrames:
    return NaiveFrames(dict(model.network.named_parameters()), model.config.heads)


TRAINING: dict[str, dict[str, Any]] = {
    "s1": {},
    "one step": {"steps": 1},
    "no conditioning": {"step_conditioning": "none", "steps": 3},
    "noisy": {"langevin_noise": 0.5},
    "last": {"loss_on": "last", "steps": 3},
    "zeros": {"start": "zeros"},
    "scaled": {"start_scale": 0.1},
    "random step size": {"random_step_size": 2.0},
    "s2": S2,
    "s2 every": S2 | {"loss_on": "every"},
    "s2 landscapes": S2 | {"landscapes": 3},
    "s2 learned": S2 | {"step_size_learned": True, "step_size_lr_multiplier": 1.0},
    "s2 learned every": S2 | {"step_size_learned": True, "loss_on": "every"},
    "unrolled": {"between_steps": "unroll", "steps": 3, "step_size": 0.7},
    "unrolled last": {"between_steps": "unroll", "steps": 3, "loss_on": "last", "step_size": 0.7},
    "recomputed": {"recompute": True},
}


@pytest.mark.parametrize("settings", TRAINING.values(), ids=TRAINING)
@pytest.mark.usefixtures("small_blocks")
def test_training_matches_the_textbook(settings: dict[str, Any]) -> None:
    model, of = ebt(**settings), batch()
    config = model.config
    start = start_of(of) * config.start_scale * (config.start != "zeros")
    alpha = model.network.alpha
    if config.random_step_size > 1:
        u = NOISE.uniform(of.rows, (LENGTH, 1), purpose="step size")
        alpha = alpha * (u * 1.5 + 0.5).double()
    width = (LENGTH, config.width)
    noises: list[Tensor | None] = [
        NOISE.normal(of.rows, width, purpose="langevin", step=step).double() * config.langevin_noise
        if config.langevin_noise
        else None
        for step in range(1, config.steps + 1)
    ]
    out = model.training_loss(of, NOISE)
    expected, _ = oracle(model).training_loss(
        config, of.frames.flatten(3).flatten(2), start, alpha, noises
    )
    assert_close(out.loss_sum, expected, "loss")
    assert out.n == BATCH * LENGTH
    assert_gradients_agree(model.network, out.loss_sum, expected)


def test_the_number_of_steps_is_drawn() -> None:
    model, of = ebt(**S2 | {"min_steps": 2}), batch()
    counts = {model.work(of, NOISE.within(draw))[0] for draw in range(20)}  # type: ignore[index]
    assert counts == {2, 3}


def test_replayed_rows_go_on_from_their_last_predictions() -> None:
    settings = {"steps": 1, "step_conditioning": "none", "replay_records": 4, "replay_share": 1.0}
    model, first, second = ebt(**settings).train(), batch(2), batch(2, first=5)
    model.training_loss(first, NOISE)
    naive, alpha = oracle(model), model.network.alpha

    def flat(of: VideoBatch) -> Tensor:
        return of.frames.flatten(2)

    _, reached = naive.training_loss(model.config, flat(first), start_of(first), alpha, [None])
    fresh, _ = naive.training_loss(model.config, flat(second), start_of(second), alpha, [None])
    again, _ = naive.training_loss(model.config, flat(first), reached, alpha, [None])
    out = model.training_loss(second, NOISE)
    assert_close(out.loss_sum, fresh + again)
    assert out.n == 4 * LENGTH
    assert model.replay.written == 4, "replayed rows are not stored again"
    model.eval()
    assert_close(model.training_loss(second, NOISE).loss_sum, fresh)


# --- thinking --------------------------------------------------------------------------------


def flat_states(
    model: EBTVideo, of: VideoBatch, thinking: Any
) -> tuple[dict[int, tuple[Tensor, Tensor]], Any]:
    """step -> frames (B, M, S, numbers) and energies (B, M, S) of all samples; the prediction."""
    seen, prediction = states(model, of, thinking)
    flat = {}
    for step, (value, energy) in by_step(seen).items():
        assert value.shape == (BATCH, thinking.samples, LENGTH, *FRAME)
        assert energy is not None
        flat[step] = value.flatten(3), energy
    return flat, prediction


@pytest.mark.parametrize(
    ("settings", "thinking"),
    [
        ({}, Descent(steps=2, samples=3)),
        ({}, Descent(steps=4, samples=2)),
        ({}, Descent(steps=4, samples=3, extra_steps="every")),
        ({"step_conditioning": "none"}, Descent(steps=3, samples=2)),
        ({"langevin_noise": 0.4}, Descent(steps=3, samples=2)),
        ({"langevin_noise": 0.4}, Descent(steps=3, samples=2, noise="first")),
        ({"langevin_noise": 0.4}, Descent(steps=3, samples=2, noise="none", step_size=0.3)),
        ({}, Descent(steps=3, samples=2, noise_std=0.2)),
        ({}, Descent(steps=3, samples=3, select="largest_drop")),
        (
            {"step_conditioning": "none"},
            Descent(steps=4, samples=2, accept="lower", step_size=10.0),
        ),
        ({"langevin_noise": 0.4}, Descent(steps=3, samples=2, accept="lower", step_size=3e3)),
    ],
)
@pytest.mark.usefixtures("small_blocks")
def test_thinking_matches_the_textbook(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], thinking: Descent
) -> None:
    monkeypatch.setattr(descending, "CHUNK_NUMBERS", 2 * BATCH * LENGTH * SHAPE.numbers)
    model, of = ebt(**settings), batch()
    seen, prediction = flat_states(model, of, thinking)
    assert model.config.landscapes is not None
    schedule = landscape_schedule(model.config.landscapes, thinking)
    ends = [
        _descent(model, of, thinking, schedule, sample, seen) for sample in range(thinking.samples)
    ]
    if thinking.accept == "lower":
        still = [(seen[k][0] == seen[k - 1][0]).all(-1).any() for k in range(1, len(seen))]
        assert any(still), "a step size so large that some steps are undone"
    scores = torch.stack([score for _, _, score in ends])
    best = scores.argmin(0)
    for row, position in product(range(BATCH), range(LENGTH)):
        value, energy, _ = ends[int(best[row, position])]
        assert_close(prediction.value[row, position].flatten(), value[row, position], "chosen")
        assert_close(prediction.energy[row, position], energy[row, position], "chosen energy")


def _descent(
    model: EBTVideo,
    of: VideoBatch,
    thinking: Descent,
    schedule: list[int],
    sample: int,
    seen: dict[int, tuple[Tensor, Tensor]],
) -> tuple[Tensor, Tensor, Tensor]:
    """One sample's end, energy and score, each point compared with the state seen."""
    naive, observed = oracle(model), of.frames[:, :-1].flatten(2)
    own = float(model.network.alpha.detach())
    alpha = torch.tensor(thinking.step_size or own, dtype=torch.float64)
    std = model.config.langevin_noise if thinking.noise_std is None else thinking.noise_std
    value = start_of(of, sample)

    def energy_of(value: Tensor, landscape: int) -> Tensor:
        return naive.energies(observed, naive.project(value), landscape).detach()

    first = energy_of(value, schedule[0])
    assert_close(seen[0][0][:, sample], value, "start")
    for step, landscape in enumerate(schedule, start=1):
        noise = None
        if std and (thinking.noise == "every" or (thinking.noise == "first" and step == 1)):
            key = {"purpose": "langevin", "step": step, "sample": sample}
            noise = std * NOISE.normal(of.rows, (LENGTH, model.config.width), **key).double()
        moved, _ = naive.step(observed, value, landscape, alpha, noise, create_graph=False)
        moved = moved.detach()
        if thinking.accept == "lower":
            lower = energy_of(moved, landscape) < energy_of(value, landscape)
            moved = torch.where(lower[..., None], moved, value)
        value = moved
        assert_close(seen[step][0][:, sample], value, f"frames {step}")
        assert_close(seen[step][1][:, sample], energy_of(value, landscape), f"energy {step}")
    energy = energy_of(value, schedule[-1])
    return value, energy, energy - first if thinking.select == "largest_drop" else energy


@pytest.mark.usefixtures("small_blocks")
def test_predictions_that_stop_are_those_of_fewer_steps() -> None:
    model, of = ebt(step_conditioning="none"), batch()
    seen, _ = flat_states(model, of, Descent(steps=6))
    energies = torch.stack([seen[k][1][:, 0] for k in range(7)])
    changes = (energies[1:] - energies[:-1]).abs()
    tolerance = float(changes[2].median())
    prediction = model.predict(of, Descent(steps=6, tolerance=tolerance), NOISE)
    assert prediction.steps is not None
    assert len(prediction.steps.unique()) > 1
    for row, position in product(range(BATCH), range(LENGTH)):
        below = (changes[:, row, position] < tolerance).nonzero()
        steps = int(below[0]) + 1 if len(below) else 6
        assert int(prediction.steps[row, position]) == steps
        expected = seen[steps][0][row, 0, position]
        assert_close(prediction.value[row, position].flatten(), expected, f"stopped after {steps}")
    assert prediction.passes.nfe == pytest.approx(float(prediction.steps.double().mean()))


# --- both ------------------------------------------------------------------------------------


def test_transformer_is_causal_and_its_loss_the_mean_error_of_frames() -> None:
    torch.manual_seed(3)
    model = TransformerPPVideo(TransformerPPVideoConfig(**SIZES), SHAPE).double()
    of = batch()
    predicted = model.predict(of, Single(), NOISE).value
    for cut in range(1, LENGTH):
        short = VideoBatch(of.frames[:, : cut + 1], of.rows)
        assert_close(predicted[:, :cut], model.predict(short, Single(), NOISE).value)
    gap = (predicted - of.frames[:, 1:]).abs()
    errors = torch.where(gap < 1, gap.square() / 2, gap - 0.5)
    out = model.training_loss(of, NOISE)
    assert_close(out.loss_sum, errors.mean((2, 3, 4)).sum())
    assert out.n == BATCH * LENGTH


def test_adapters_refuse_thinking_they_cannot_do() -> None:
    model = TransformerPPVideo(TransformerPPVideoConfig(**SIZES), SHAPE)
    with pytest.raises(TypeError, match="cannot think; got thinking 'descent'"):
        model.predict(batch(), Descent(steps=1), NOISE)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="'descent'"):
        ebt().predict(batch(), Single(), NOISE)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="multiple of 2; got 3"):
        ebt().predict(batch(), Descent(steps=3, extra_steps="every"), NOISE)
