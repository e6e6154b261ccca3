"""How a DiT samples: DDIM and DDPM against diffusers, and against their own definitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.adapters.image_dit import DiTImage
from baselines.dit import linear_schedule
from baselines.samplers import ancestral, kept_timesteps
from harness.protocol import Diffusion, NoisyBatch, Passes, State
from tests.baselines.tiny_images import NOISE, SHAPE, small_dit, some_images

ROWS = torch.tensor([8, 1])


def test_kept_timesteps_are_even_and_end_before_the_clean_image() -> None:
    assert kept_timesteps(99, 100) == list(range(99, -1, -1))
    assert kept_timesteps(99, 1) == [99]
    assert kept_timesteps(99, 10) == list(range(99, 0, -10))
    for start, steps in ((99, 7), (199, 64), (5, 4)):
        chosen = kept_timesteps(start, steps)
        assert chosen[0] == start
        assert chosen[-1] >= 0
        gaps = {a - b for a, b in zip(chosen, [*chosen[1:], -1], strict=True)}
        assert gaps <= {(start + 1) // steps, (start + 1) // steps + 1}


def _ddim_by_hand(adapter: DiTImage, x: Tensor, timesteps: list[int]) -> Tensor:
    schedule = linear_schedule(1000, 1e-4, 2e-2, x.device, torch.float64)
    for t, previous in zip(timesteps, [*timesteps[1:], None], strict=True):
        noise = adapter.network(x, torch.full((len(x),), t))[:, : SHAPE.channels].double()
        clean = ((x - schedule.noise[t] * noise) / schedule.signal[t]).clamp(-1, 1)
        if previous is None:
            return clean
        noise = (x - schedule.signal[t] * clean) / schedule.noise[t]
        x = (schedule.signal[previous] * clean + schedule.noise[previous] * noise).float()
    raise AssertionError


@pytest.mark.parametrize("steps", [1, 7, 50])
@pytest.mark.parametrize(("start", "first"), [("trained", 99), ("matched", 149)])
def test_ddim_with_fewer_calls_steps_to_the_stated_previous_timestep(
    steps: int, start: str, first: int
) -> None:
    adapter, x = small_dit(), some_images(2)
    batch = NoisyBatch(x, 149, torch.arange(2))
    with torch.no_grad():
        truth = _ddim_by_hand(adapter, x, kept_timesteps(first, steps)).float()
    value = adapter.predict(batch, Diffusion(steps=steps, start=start), NOISE).value
    assert (value - truth).norm() < 1e-4 * truth.norm()


def test_recursion_starts_again_from_its_own_output() -> None:
    adapter, states = small_dit(), []
    batch = NoisyBatch(some_images(2), 199, torch.arange(2))
    prediction = adapter.predict(batch, Diffusion(steps=5, recursions=2), NOISE, states.append)
    once = adapter.predict(batch, Diffusion(steps=5), NOISE).value
    again = adapter.predict(NoisyBatch(once, 199, batch.rows), Diffusion(steps=5), NOISE).value
    assert [s.step for s in states] == [5, 10]
    assert torch.equal(states[0].value[:, 0], once)
    assert torch.equal(prediction.value, again)
    assert prediction.passes == Passes(nfe=10, forward=10, backward=0)


def test_ddim_over_every_timestep_is_diffusers_own_bit_for_bit() -> None:
    """Without our stride, and so a scheduler that nobody has changed."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    adapter, x = small_dit(), some_images(2)
    scheduler = DDIMScheduler(1000, 1e-4, 2e-2, "linear", clip_sample=True, set_alpha_to_one=True)
    scheduler.set_timesteps(1000)
    value = adapter.predict(NoisyBatch(x, 99, ROWS), Diffusion(steps=100), NOISE).value
    with torch.no_grad():
        for t in range(99, -1, -1):
            predicted = adapter.network(x, torch.full((2,), t))[:, : SHAPE.channels]
            x = scheduler.step(predicted, t, x, use_clipped_model_output=True).prev_sample
    assert torch.equal(value, x)


# --- DDPM ------------------------------------------------------------------------------------


def _diffusers_ddpm(
    adapter: DiTImage, x: Tensor, timesteps: list[int], first: int, monkeypatch: Any
) -> Tensor:
    """diffusers' scheduler over the kept timesteps, with the noise that calls from `first` add.

    Its products of alphas are given in float64: in float32 their ratios, which are close to 1,
    leave of a beta of 1e-4 three digits.
    """
    from diffusers.schedulers import scheduling_ddpm

    scheduler = scheduling_ddpm.DDPMScheduler(
        len(timesteps), variance_type="learned_range", clip_sample=True
    )
    beta = torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)
    scheduler.alphas_cumprod = (1 - beta).cumprod(0)[timesteps[::-1]]
    scheduler.set_timesteps(len(timesteps))
    noise = _drawn(x, first)
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, **__: next(noise))
    for t in scheduler.timesteps.tolist():
        output = adapter.network(x, torch.full((len(x),), timesteps[::-1][t]))
        x = scheduler.step(output, t, x).prev_sample
    return x


def _drawn(x: Tensor, call: int) -> Iterator[Tensor]:
    while True:
        yield NOISE.normal(ROWS, x.shape[1:], purpose="ddpm", step=call).to(x)
        call += 1


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("steps", [1, 7, 100])
@pytest.mark.parametrize(("start", "first"), [("trained", 99), ("matched", 149)])
def test_ddpm_is_diffusers_with_our_noise(
    dtype: torch.dtype, limit: float, steps: int, start: str, first: int, monkeypatch: Any
) -> None:
    adapter, x = small_dit().to(dtype), some_images(2).to(dtype)
    thinking = Diffusion(steps=steps, start=start, sampler="ddpm", recursions=2)
    prediction = adapter.predict(NoisyBatch(x, 149, ROWS), thinking, NOISE)
    timesteps, truth = kept_timesteps(first, steps), x
    with torch.no_grad():
        for before in (0, steps):
            truth = _diffusers_ddpm(adapter, truth, timesteps, before, monkeypatch)
    assert (prediction.value - truth).norm() < limit * truth.norm()
    assert prediction.passes == Passes(nfe=2 * steps, forward=2 * steps, backward=0)


def test_ddpm_leaves_a_stride_with_the_marginals_of_the_schedule() -> None:
    """If the clean image is known, an update takes the noise level of t to that of t' exactly."""
    schedule = linear_schedule(1000, 1e-4, 2e-2, torch.device("cpu"), torch.float64)
    for start, steps in ((99, 100), (99, 7), (199, 30)):
        timesteps = tuple(kept_timesteps(start, steps))
        updates = ancestral(SHAPE, timesteps)
        for own, t, after in zip(updates, timesteps, timesteps[1:], strict=False):
            signal, level = float(schedule.signal[t]), float(schedule.noise[t])
            assert own.log_variances is not None
            posterior = torch.tensor(own.log_variances[0]).exp()
            left = own.noisy**2 * level**2 + posterior
            assert own.clean + own.noisy * signal == pytest.approx(float(schedule.signal[after]))
            assert float(left) == pytest.approx(float(schedule.noise[after]) ** 2, rel=1e-6)
            assert own.log_variances[1] > own.log_variances[0]
        assert updates[-1].log_variances is None
        assert (updates[-1].clean, updates[-1].noisy) == (pytest.approx(1, abs=1e-12), 0)


def test_ddpm_adds_noise_of_the_learned_variance() -> None:
    """The output's second half moves nothing else; the last call adds none."""
    adapter, x = small_dit().double(), some_images(2).double()
    batch = NoisyBatch(x, 99, ROWS)

    def sampled(fraction: float, steps: int) -> Tensor:
        whole = adapter.network.forward

        def forward(x: Tensor, t: Tensor) -> Tensor:
            output = whole(x, t)
            return torch.cat([output[:, :2] * 0, output[:, 2:] * 0 + fraction], dim=1)

        adapter.network.forward = forward
        try:
            return adapter.predict(batch, Diffusion(steps=steps, sampler="ddpm"), NOISE).value
        finally:
            del adapter.network.forward

    assert torch.equal(sampled(-1, 1), sampled(1, 1))
    one = adapter.predict(batch, Diffusion(steps=1), NOISE).value
    ancestral_one = adapter.predict(batch, Diffusion(steps=1, sampler="ddpm"), NOISE).value
    torch.testing.assert_close(ancestral_one, one, rtol=0, atol=1e-5)
    first, last = ancestral(SHAPE, (99, 49))
    assert first.log_variances is not None
    spread = [torch.tensor(log / 2).exp() for log in first.log_variances]
    drawn = next(_drawn(x, 0))
    mean = first.clean * (x / first.signal).clamp(-1, 1) + first.noisy * x
    for fraction, std in zip((-1, 1), spread, strict=True):
        expected = ((mean + std * drawn) / last.signal).clamp(-1, 1)
        torch.testing.assert_close(sampled(fraction, 2), expected)


def test_ddpm_draws_by_row_and_call_and_ddim_not_at_all() -> None:
    adapter, rows = small_dit().double(), torch.tensor([8, 1, 6])
    x, thinking = some_images(3).double(), Diffusion(steps=4, recursions=2, sampler="ddpm")
    whole = adapter.predict(NoisyBatch(x, 99, rows), thinking, NOISE).value
    part = adapter.predict(NoisyBatch(x[[2, 0]], 99, rows[[2, 0]]), thinking, NOISE).value
    torch.testing.assert_close(part, whole[[2, 0]], rtol=1e-9, atol=1e-9)
    other = adapter.predict(NoisyBatch(x, 99, rows), thinking, NOISE.within("other")).value
    assert not torch.allclose(other, whole)
    # Started afresh from the same image, the second recursion would draw what the first drew.
    states: list[State] = []
    adapter.predict(NoisyBatch(x, 99, rows), thinking, NOISE, states.append)
    assert [s.step for s in states] == [4, 8]
    once = NoisyBatch(states[0].value[:, 0], 99, rows)
    again = adapter.predict(once, Diffusion(steps=4, sampler="ddpm"), NOISE).value
    assert not torch.allclose(again, whole)
    with torch.inference_mode():
        inside = adapter.predict(NoisyBatch(x + 0, 99, rows + 0), thinking, NOISE).value
    assert torch.equal(inside, whole)


def test_more_calls_of_ddpm_than_timesteps_are_refused() -> None:
    batch = NoisyBatch(some_images(2), 99, ROWS)
    with pytest.raises(ValueError, match="at most 100"):
        small_dit().predict(batch, Diffusion(steps=101, sampler="ddpm"), NOISE)
