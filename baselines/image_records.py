"""Torch-free records of the image adapters: configs, parameter and FLOP formulas.

Formulas are per image and count what runs: 2 FLOPs per multiply-add, every product of every pass,
attention's fused backward with its recomputed scores.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from baselines.sizes import Sized, StepSize
from harness.protocol import (
    AdapterRecord,
    Descent,
    Diffusion,
    FlopCount,
    ImageShape,
    ParameterCount,
)

#: Sinusoids that DiT's timestep embedder starts from.
FREQUENCIES = 256

_SOURCE = "Gladstone et al., arXiv 2507.02092, section 3 (images); Peebles & Xie, arXiv 2212.09748"


class DiTImageConfig(Sized):
    """DiT on pixels; it always learns the variance."""

    patch_size: int = Field(default=16, ge=1, description="patch side; divides height and width")


class EBTImageConfig(Sized, StepSize):
    """Bidirectional image EBT trained S1: one landscape, prediction detached between steps."""

    patch_size: int = Field(default=16, ge=1, description="patch side; divides height and width")
    step_size: float = Field(default=3000.0, gt=0, description="initial alpha; learned")
    loss: Literal["smooth_l1", "mse"] = Field(
        default="smooth_l1", description="of each step's image; the paper's text says mse"
    )
    steps: int = Field(default=1, ge=1, description="optimization steps in training")


ImageConfig = DiTImageConfig | EBTImageConfig


def check(config: ImageConfig, shape: ImageShape) -> None:
    """Raise ValueError, in plain words, where config and shape cannot go together."""
    p = config.patch_size
    if shape.height % p or shape.width % p:
        raise ValueError(
            f"patch_size {p} does not divide images of {shape.height} x {shape.width}; "
            "choose a common divisor of the two sides"
        )
    if config.width % 4:
        raise ValueError(f"width must be a multiple of 4 for 2-D positions, got {config.width}")
    if not 1 <= shape.train_timesteps <= shape.num_timesteps:
        raise ValueError(
            f"train_timesteps must be within 1..{shape.num_timesteps}, the steps of the noise "
            f"schedule, got {shape.train_timesteps}"
        )


def check_diffusion(thinking: object, timesteps: int) -> Diffusion:
    """Return `thinking` if it can run over `timesteps` noise levels, else raise ValueError."""
    if not isinstance(thinking, Diffusion):
        raise ValueError(f"dit_image thinks by diffusion only, got {thinking!r}")
    if thinking.steps > timesteps:
        raise ValueError(
            f"diffusion steps = {thinking.steps}, but only {timesteps} timesteps lie between the "
            f"start ({thinking.start}) and the clean image; use at most {timesteps}"
        )
    return thinking


def check_descent(thinking: object) -> Descent:
    """Return `thinking` if it is a descent from one start, else raise ValueError."""
    if not isinstance(thinking, Descent):
        raise ValueError(f"ebt_image thinks by descent only, got {thinking!r}")
    if thinking.samples != 1:
        raise ValueError(
            f"descent samples = {thinking.samples}, but ebt_image starts from the noisy image "
            "itself, so every sample would be the same; use samples = 1"
        )
    return thinking


# --- sizes -----------------------------------------------------------------------------------


def _patches(config: ImageConfig, shape: ImageShape) -> tuple[int, int]:
    """Tokens per image and numbers per patch, of a checked pair."""
    check(config, shape)
    area = config.patch_size**2
    return shape.height * shape.width // area, shape.channels * area


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
    """Trainable parameters with the condition, the D -> 1 head and alpha."""
    _, patch = _patches(config, shape)
    total = _shared_parameters(config, patch) + config.width + config.width + 1
    return ParameterCount(total=total, non_embedding=total)


# --- FLOPs -----------------------------------------------------------------------------------


def _products(config: ImageConfig, tokens: int, patch: int) -> tuple[float, float, float, float]:
    """FLOPs of one pass of (patch embedding, block linears, attention, modulations)."""
    d, f = config.width, config.ffn_width
    linears = 2 * tokens * (4 * d * d + 2 * d * f) * config.depth
    attention = 2 * tokens * tokens * d * 2 * config.depth
    modulations = 2 * d * (6 * d * config.depth + 2 * d)
    return 2 * tokens * patch * d, linears, attention, modulations


def dit_training_flops(config: DiTImageConfig, shape: ImageShape) -> FlopCount:
    """Forward and backward; nothing flows back to the noisy image or the sinusoids."""
    tokens, patch = _patches(config, shape)
    d = config.width
    embed, linears, attention, modulations = _products(config, tokens, patch)
    head = 2 * tokens * d * 2 * patch
    embedder = 2 * 2 * FREQUENCIES * d + 3 * 2 * d * d
    total = 2 * embed + 3 * (linears + modulations + head) + 3.5 * attention + embedder
    return FlopCount(total)


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
    """Six products per linear and step (forward 1, inner gradient 1, outer 4), attention 9 : 1.

    The modulations see no inner gradient; the loss does not see the energy itself, so the head's
    forward product is not differentiated.
    """
    tokens, patch = _patches(config, shape)
    embed, linears, attention, modulations = _products(config, tokens, patch)
    head = 2 * tokens * config.width
    step = 6 * (embed + linears) + 9 * attention + 3 * (modulations + head)
    return FlopCount(float(config.steps * step))


def ebt_prediction_flops(config: EBTImageConfig, shape: ImageShape, thinking: Descent) -> FlopCount:
    """One forward and one backward pass to the image per optimization step."""
    tokens, patch = _patches(config, shape)
    check_descent(thinking)
    embed, linears, attention, modulations = _products(config, tokens, patch)
    head = 2 * tokens * config.width
    step = 2 * (embed + linears + head) + 3 * attention + modulations
    return FlopCount(float(thinking.steps * step))


# --- records ---------------------------------------------------------------------------------

DIT_IMAGE = AdapterRecord(
    name="dit_image",
    version="1",
    family="dit",
    modality="image",
    description="Diffusion Transformer on pixels, denoising by deterministic DDIM",
    config=DiTImageConfig,
    factory="baselines.adapters.image:DiTImage",
    thinking=("diffusion",),
    trained_thinking=lambda config: Diffusion(steps=100),
    parameters=dit_parameters,
    training_flops=dit_training_flops,
    prediction_flops=dit_prediction_flops,
    source=_SOURCE,
)

EBT_IMAGE = AdapterRecord(
    name="ebt_image",
    version="1",
    family="ebt",
    modality="image",
    description="bidirectional Energy-Based Transformer, denoising by energy descent",
    config=EBTImageConfig,
    factory="baselines.adapters.image:EBTImage",
    thinking=("descent",),
    trained_thinking=lambda config: Descent(steps=config.steps),
    parameters=ebt_parameters,
    training_flops=ebt_training_flops,
    prediction_flops=ebt_prediction_flops,
    source=_SOURCE,
)
