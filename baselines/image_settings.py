"""Settings of the image adapters, torch-free: configs, and what goes together."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from baselines.descent_plan import DescentPlan, plan_of
from baselines.sizes import DescentTraining, Sized
from harness.protocol import Descent, Diffusion, ImageShape


class DiTImageConfig(Sized):
    """DiT on pixels; it always learns the variance."""

    patch_size: int = Field(default=16, ge=1, description="patch side; divides height and width")


class EBTImageConfig(Sized, DescentTraining):
    """Bidirectional image EBT. The defaults are S1.

    For images the authors have S2 as settings only; `variant: s2` takes those that text has values
    for, but its step size and noise, which depend on what is descended.
    """

    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {
        "s1": {},
        "s2": {
            "steps": 3,
            "min_steps": 2,
            "between_steps": "truncate",
            "loss_on": "last",
            "step_size_learned": False,
            "random_step_size": 2.0,
        },
    }

    patch_size: int = Field(default=16, ge=1, description="patch side; divides height and width")
    start: Literal["noisy", "noise"] = Field(
        default="noisy",
        description="descend from the noisy image itself (the authors' code), or from N(0, 1) with "
        "an energy that also sees the noisy image (left open by the paper)",
    )
    loss: Literal["smooth_l1", "mse"] = Field(
        default="smooth_l1", description="of a step's image; the paper's text says mse"
    )
    step_size: float = Field(default=3000.0, gt=0, description="alpha at the start of training")
    steps: int = Field(default=1, ge=1, description="optimization steps in training")


ImageConfig = DiTImageConfig | EBTImageConfig


# --- what goes together ----------------------------------------------------------------------


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


def check_descent(thinking: object, config: EBTImageConfig) -> Descent:
    """Return `thinking` if it is a descent that `config` can start, else raise ValueError."""
    if not isinstance(thinking, Descent):
        raise ValueError(f"ebt_image thinks by descent only, got {thinking!r}")
    if thinking.samples != 1 and config.start == "noisy":
        raise ValueError(
            f"descent samples = {thinking.samples}, but ebt_image with start = noisy starts from "
            "the noisy image itself, so every sample would be the same; use samples = 1, or train "
            "with start = noise"
        )
    return thinking


def descent_plan(thinking: object, config: EBTImageConfig) -> DescentPlan:
    """The plan of a checked descent: images have one landscape."""
    thinking = check_descent(thinking, config)
    schedule = (0,) * thinking.steps
    return plan_of(thinking, trained_noise=config.langevin_noise, schedule=schedule)
