"""Parameter and FLOP formulas of the image adapters, torch-free.

Formulas are per image and count what runs: 2 FLOPs per multiply-add, every product of every pass,
attention's fused backward with its recomputed scores.
"""

from __future__ import annotations

from statistics import fmean
from typing import NamedTuple

from baselines.image_settings import (
    DiTImageConfig,
    EBTImageConfig,
    ImageConfig,
    check,
    check_diffusion,
    descent_plan,
)
from harness.protocol import Descent, Diffusion, FlopCount, ImageShape, ParameterCount

#: Sinusoids that DiT's timestep embedder starts from.
FREQUENCIES = 256


def _patches(config: ImageConfig, shape: ImageShape) -> tuple[int, int]:
    """Tokens per image and numbers per patch, of a checked pair."""
    check(config, shape)
    area = config.patch_size**2
    return shape.height * shape.width // area, shape.channels * area


# --- parameters ------------------------------------------------------------------------------


def _shared_parameters(config: ImageConfig, patch: int) -> int:
    """Patch embedding, blocks and final modulation."""
    d, f = config.width, config.ffn_width
    block = (6 * d * d + 6 * d) + (4 * d * d + 4 * d) + (2 * d * f + f + d)
    return patch * d + d + config.depth * block + 2 * d * d + 2 * d


def dit_parameters(config: DiTImageConfig, shape: ImageShape) -> ParameterCount:
    """Trainable parameters; images have no vocabulary, so both counts agree."""
    _, patch = _patches(config, shape)
    d = config.width
    embedder = FREQUENCIES * d + d + d * d + d
    total = _shared_parameters(config, patch) + embedder + 2 * patch * d + 2 * patch
    return ParameterCount(total=total, non_embedding=total)


def ebt_parameters(config: EBTImageConfig, shape: ImageShape) -> ParameterCount:
    """Trainable parameters with the condition, the D -> 1 head and a learned alpha."""
    _, patch = _patches(config, shape)
    seen = 2 * patch if config.start == "noise" else patch
    total = _shared_parameters(config, seen) + 2 * config.width + int(config.step_size_learned)
    return ParameterCount(total=total, non_embedding=total)


# --- FLOPs -----------------------------------------------------------------------------------


class _Products(NamedTuple):
    """FLOPs of one pass through each kind of product."""

    embed: float
    linears: float
    attention: float
    modulations: float


def _products(config: ImageConfig, tokens: int, patch: int) -> _Products:
    d, f = config.width, config.ffn_width
    return _Products(
        embed=2 * tokens * patch * d,
        linears=2 * tokens * (4 * d * d + 2 * d * f) * config.depth,
        attention=2 * tokens * tokens * d * 2 * config.depth,
        modulations=2 * d * (6 * d * config.depth + 2 * d),
    )


def dit_training_flops(config: DiTImageConfig, shape: ImageShape) -> FlopCount:
    """Forward and backward; nothing flows back to the noisy image or the sinusoids."""
    tokens, patch = _patches(config, shape)
    d = config.width
    once = _products(config, tokens, patch)
    head = 2 * tokens * d * 2 * patch
    embedder = 2 * 2 * FREQUENCIES * d + 3 * 2 * d * d
    thrice = 3 * (once.linears + once.modulations + head)
    return FlopCount(2 * once.embed + thrice + 3.5 * once.attention + embedder)


def dit_prediction_flops(
    config: DiTImageConfig, shape: ImageShape, thinking: Diffusion
) -> FlopCount:
    """One forward pass per network call."""
    tokens, patch = _patches(config, shape)
    matched = isinstance(thinking, Diffusion) and thinking.start == "matched"
    check_diffusion(thinking, shape.num_timesteps if matched else shape.train_timesteps)
    d = config.width
    embedder = 2 * FREQUENCIES * d + 2 * d * d
    forward = sum(_products(config, tokens, patch)) + 2 * tokens * d * 2 * patch + embedder
    return FlopCount(float(thinking.steps * thinking.recursions * forward))


def ebt_training_flops(config: EBTImageConfig, shape: ImageShape) -> FlopCount:
    """Six products per linear in a differentiated step, eighteen of attention, one of the head.

    A linear's are forward, inner adjoint, tangent and outer adjoint, and two for its gradient.
    Where no gradient flows to the image a step starts from, the patch embedding takes five. A step
    that is not differentiated is one of prediction. The mean over the random number of steps.
    Modulations are left out: the condition is one for the batch, and from four images of 16 patches
    on they are less than 1 %.
    """
    tokens, patch = _patches(config, shape)
    once = _products(config, tokens, patch)
    head = 2 * tokens * config.width

    def of(steps: int) -> float:
        total = 2 * once.embed if config.start == "noise" else 0.0
        for step in range(1, steps + 1):
            if not config.differentiated(step, steps):
                total += _gradient(once, head)
                continue
            reached = step > 1 and (
                config.between_steps == "unroll"
                or (config.between_steps == "truncate" and config.step_size_learned)
            )
            total += 6 * once.linears + 9 * once.attention + head
            total += (6 if reached else 5) * once.embed
        return total

    return FlopCount(fmean(of(steps) for steps in config.step_counts))


def ebt_prediction_flops(config: EBTImageConfig, shape: ImageShape, thinking: Descent) -> FlopCount:
    """A gradient per optimization step, and the energies that decide; as if none stopped early.

    Modulations are left out as in training.
    """
    tokens, patch = _patches(config, shape)
    plan = descent_plan(thinking, config)
    once = _products(config, tokens, patch)
    head = 2 * tokens * config.width
    energy = once.embed + once.linears + once.attention + head
    each = thinking.steps * _gradient(once, head) + plan.reads * energy
    observed = once.embed if config.start == "noise" else 0.0
    return FlopCount(float(thinking.recursions * (thinking.samples * each + observed)))


def _gradient(once: _Products, head: float) -> float:
    """One forward and one backward pass to the image."""
    return 2 * (once.embed + once.linears) + 3 * once.attention + head
