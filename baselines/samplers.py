"""How a DiT samples: which timesteps it is called at, and what each call's output does to an image.

An update is a function of the call's number, from 0 and on over recursions, the network's output
(B, 2C, H, W), noise and variance fraction, and the image (B, C, H, W); it gives the next image.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import log
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from baselines.dit import linear_schedule
from harness.protocol import ImageShape

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

Update = Callable[[int, Tensor, Tensor], Tensor]


def kept_timesteps(start: int, steps: int) -> list[int]:
    """`steps` evenly strided timesteps from `start` downwards; the last leads to the clean image.

    With n = start + 1 levels, call i is at floor(n * (steps - i) / steps) - 1: all of them for
    steps = n, `start` alone for steps = 1.
    """
    levels = start + 1
    return [levels * (steps - i) // steps - 1 for i in range(steps)]


# --- DDIM ------------------------------------------------------------------------------------


def ddim(shape: ImageShape, timesteps: list[int]) -> Update:
    """Deterministic DDIM (Song et al., arXiv 2010.02502), its clean image clipped; diffusers'."""
    scheduler = _ddim_scheduler(shape, tuple(timesteps))
    steps = len(timesteps)

    def update(call: int, output: Tensor, x: Tensor) -> Tensor:
        index = steps - 1 - call % steps
        predicted = output[:, : shape.channels]
        settings = {"use_clipped_model_output": True, "return_dict": False}
        return scheduler.step(predicted, index, x, **settings)[0]

    return update


@lru_cache(maxsize=16)
def _ddim_scheduler(shape: ImageShape, timesteps: tuple[int, ...]) -> DDIMScheduler:
    """diffusers' DDIM over `timesteps` alone, so that each update's previous one is right.

    Its own `set_timesteps` steps back by a constant 1000 // steps, which fits no stride from
    t = 99. Here index i of len(timesteps), from below, stands for the i-th kept timestep.
    """
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    settings = {"beta_schedule": "linear", "clip_sample": True, "set_alpha_to_one": True}
    ends = shape.beta_start, shape.beta_end
    full = DDIMScheduler(shape.num_timesteps, *ends, **settings)
    kept = DDIMScheduler(len(timesteps), *ends, **settings)
    kept.alphas_cumprod = full.alphas_cumprod[list(timesteps[::-1])]
    kept.set_timesteps(len(timesteps))
    return kept


# --- DDPM ------------------------------------------------------------------------------------


class Ancestral(NamedTuple):
    """One update of DDPM in numbers: x_t to its distribution at the kept timestep before.

    The variance's logarithms are None where the update leads to the clean image: it adds no noise.
    """

    signal: float  # of the clean image in x_t
    noise: float
    clean: float  # weight of the clean image in the mean
    noisy: float  # weight of x_t
    log_variances: tuple[float, float] | None  # of the posterior; of beta


@lru_cache(maxsize=16)
def ancestral(shape: ImageShape, timesteps: tuple[int, ...]) -> list[Ancestral]:
    """The updates of the process that knows `timesteps` alone, with its own betas."""
    ends = shape.beta_start, shape.beta_end
    schedule = linear_schedule(shape.num_timesteps, *ends, torch.device("cpu"), torch.float64)
    updates = []
    for t, previous in zip(timesteps, [*timesteps[1:], None], strict=True):
        signal, noise = float(schedule.signal[t]), float(schedule.noise[t])
        before = 1.0 if previous is None else float(schedule.signal[previous])
        rest = 0.0 if previous is None else float(schedule.noise[previous]) ** 2
        beta = 1 - (signal / before) ** 2
        clean, noisy = before * beta / noise**2, signal / before * rest / noise**2
        logs = None if previous is None else (log(beta * rest / noise**2), log(beta))
        updates.append(Ancestral(signal, noise, clean, noisy, logs))
    return updates


def ddpm(shape: ImageShape, timesteps: list[int], drawn: Callable[[int], Tensor]) -> Update:
    """Ancestral sampling (Ho et al., arXiv 2006.11239), the predicted clean image clipped.

    The variance is the learned one: a fraction of the way, in logarithms, from the posterior's to
    beta (Nichol & Dhariwal, arXiv 2102.09672). `drawn(call)` is the standard normal noise that a
    call adds, which diffusers' scheduler would draw for a whole batch from one generator.
    """
    updates = ancestral(shape, tuple(timesteps))

    def update(call: int, output: Tensor, x: Tensor) -> Tensor:
        own = updates[call % len(updates)]
        predicted, fraction = output.chunk(2, dim=1)
        clean = ((x - own.noise * predicted) / own.signal).clamp(-1, 1)
        mean = own.clean * clean + own.noisy * x
        if own.log_variances is None:
            return mean
        low, high = own.log_variances
        log_variance = low + (fraction + 1) / 2 * (high - low)
        return mean + (0.5 * log_variance).exp() * drawn(call)

    return update
