"""Settings of the image adapters, torch-free: configs, what goes together, what a descent reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from baselines.sizes import Sized, StepSize
from harness.protocol import Descent, Diffusion, ImageShape


class DiTImageConfig(Sized):
    """DiT on pixels; it always learns the variance."""

    patch_size: int = Field(default=16, ge=1, description="patch side; divides height and width")


class EBTImageConfig(Sized, StepSize):
    """Bidirectional image EBT. The defaults are S1; S2 is reached by the settings below `steps`."""

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
    step_size_learned: bool = Field(default=True, description="whether alpha is a parameter")
    steps: int = Field(default=1, ge=1, description="optimization steps in training")
    min_steps: int | None = Field(
        default=None, ge=1, description="fewest, drawn once per training step up to steps; steps"
    )
    between_steps: Literal["detach", "truncate", "unroll"] = Field(
        default="detach",
        description="cut the image's graph after each step (S1); keep it through the image but "
        "differentiate the last step's gradient only (S2); differentiate through every step",
    )
    loss_on: Literal["every", "last"] = Field(
        default="every", description="steps whose image is in the loss; every: their mean"
    )
    random_step_size: float = Field(
        default=1.0, ge=1, description="in training alpha is uniform in [alpha / f, alpha * f]"
    )
    langevin_noise: float = Field(
        default=0.0, ge=0, description="std of what is added to the image before each step"
    )

    @model_validator(mode="before")
    @classmethod
    def _resolve_min_steps(cls, given: object) -> object:
        if not isinstance(given, dict) or given.get("min_steps") is not None:
            return given
        return given | {"min_steps": given.get("steps", cls.model_fields["steps"].default)}

    @model_validator(mode="after")
    def _check_steps(self) -> EBTImageConfig:
        if self.min_steps is not None and self.min_steps > self.steps:
            raise ValueError(f"min_steps = {self.min_steps} exceeds steps = {self.steps}")
        return self

    @property
    def step_counts(self) -> range:
        """The equally likely numbers of optimization steps of a training step."""
        assert self.min_steps is not None, "resolved above"
        return range(self.min_steps, self.steps + 1)

    def differentiated(self, step: int, of: int) -> bool:
        """Whether the gradient of `step` (1..of) is itself differentiated in training."""
        if step == of or self.between_steps == "unroll":
            return True
        return self.between_steps == "detach" and self.loss_on == "every"


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


# --- what a descent reads --------------------------------------------------------------------


@dataclass(frozen=True)
class DescentPlan:
    """Which energies one sample's descent reads, and which of them cost a pass of their own.

    Point k is the image after k steps. Its energy comes free with the gradient of step k + 1 where
    that step adds no noise and point k is surely where it starts.
    """

    thinking: Descent
    noise_std: float

    def noisy(self, step: int) -> bool:
        """Whether `step` (1..steps) adds noise before it takes the gradient."""
        if self.noise_std == 0 or self.thinking.noise == "none":
            return False
        return step == 1 or self.thinking.noise == "every"

    def decides(self, point: int) -> bool:
        """Whether something is decided by the energy of `point` (0..steps)."""
        t = self.thinking
        if t.accept == "lower" or t.tolerance is not None:
            return True
        return t.samples > 1 and (point == t.steps or (point == 0 and t.select == "largest_drop"))

    def shared(self, point: int) -> bool:
        """Whether the energy of `point` comes with the gradient of the next step."""
        if point == self.thinking.steps or self.noisy(point + 1):
            return False
        # A noisy step that may be undone leaves a point whose gradient nobody has taken.
        return not (self.thinking.accept == "lower" and point > 0 and self.noisy(point))

    @property
    def reads(self) -> int:
        """Passes that only read an energy to decide by, if no image stops early."""
        points = range(self.thinking.steps + 1)
        return sum(self.decides(point) and not self.shared(point) for point in points)


def descent_plan(thinking: object, config: EBTImageConfig) -> DescentPlan:
    """The plan of a checked descent, with training's Langevin noise unless overridden."""
    thinking = check_descent(thinking, config)
    override = thinking.noise_std
    return DescentPlan(thinking, config.langevin_noise if override is None else override)
