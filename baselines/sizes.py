"""What configs share: named model sizes (paper Table 5; 4xs and 3xs from the authors' code), and
how a descent is trained."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from harness.protocol import Frozen

SizeName = Literal["4xs", "3xs", "xxs", "xs", "small", "medium", "large", "xl"]

#: name -> (depth, width, heads)
SIZES: dict[str, tuple[int, int, int]] = {
    "4xs": (2, 128, 2),
    "3xs": (4, 256, 4),
    "xxs": (6, 384, 6),
    "xs": (12, 384, 6),
    "small": (12, 768, 12),
    "medium": (24, 1024, 16),
    "large": (24, 1536, 16),
    "xl": (24, 2048, 32),
}


class Sized(Frozen):
    """Depth, width and heads, given by `size` or explicitly; the resolved config holds numbers."""

    size: SizeName | None = Field(
        default=None, description="a named size, instead of depth, width and heads", exclude=True
    )
    depth: int = Field(default=0, ge=0, description="number of blocks")
    width: int = Field(default=0, ge=0, description="model width D")
    heads: int = Field(default=0, ge=0, description="attention heads; must divide width")
    ffn_width: int = Field(default=0, ge=0, description="feed-forward width; 0 means width")

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        values = dict(given)
        size = values.get("size")
        if size is not None:
            explicit = [k for k in ("depth", "width", "heads") if values.get(k)]
            named = dict(zip(("depth", "width", "heads"), SIZES.get(str(size), ()), strict=False))
            if any(values[k] != named.get(k) for k in explicit):
                raise ValueError(f"size {size!r} and {', '.join(explicit)} are both given")
            values |= named
        if not values.get("ffn_width"):
            values["ffn_width"] = values.get("width", 0)
        return values

    @model_validator(mode="after")
    def _check(self) -> Sized:
        missing = [k for k in ("depth", "width", "heads") if getattr(self, k) == 0]
        if missing:
            raise ValueError(
                f"give size ({', '.join(SIZES)}) or depth, width and heads; "
                f"missing: {', '.join(missing)}"
            )
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(
                f"width / heads must be an even whole number, got {self.width} / {self.heads}"
            )
        return self


#: The learned step size never falls below this (authors' code).
MIN_STEP_SIZE = 1e-4


class StepSize(Frozen):
    """The step size of an energy descent; the multiplier is resolved, so that ids agree."""

    step_size: float = Field(gt=0, description="alpha at the start of training")
    step_size_lr_multiplier: float | None = Field(
        default=None,
        gt=0,
        description="learning rate of a learned alpha over the base one; 3 * step_size",
    )

    @model_validator(mode="before")
    @classmethod
    def _resolve_multiplier(cls, given: object) -> object:
        if not isinstance(given, dict) or given.get("step_size_lr_multiplier") is not None:
            return given
        if given.get("step_size_learned") is False:  # then it means nothing
            return given
        step_size = given.get("step_size", cls.model_fields["step_size"].default)
        try:
            return given | {"step_size_lr_multiplier": 3 * float(step_size)}
        except (TypeError, ValueError):  # not a number: the field's own check says so
            return given


class DescentTraining(StepSize):
    """How energy descent is trained: S1, S2 (paper section 2), or any mixture of their settings."""

    #: variant -> the settings it stands for; each can be given otherwise beside it.
    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {}

    variant: Literal["s1", "s2"] | None = Field(
        default=None, description="a named set of the settings below", exclude=True
    )
    steps: int = Field(default=2, ge=1, description="optimization steps in training")
    min_steps: int | None = Field(
        default=None, ge=1, description="fewest, drawn once per training step up to steps; steps"
    )
    between_steps: Literal["detach", "truncate", "unroll"] = Field(
        default="detach",
        description="cut the prediction's graph after each step (S1); keep it through the "
        "prediction but differentiate the last step's gradient only (S2); differentiate all steps",
    )
    loss_on: Literal["every", "last"] = Field(
        default="every", description="steps whose prediction is in the loss; every: their mean"
    )
    step_size_learned: bool = Field(default=True, description="whether alpha is a parameter")
    random_step_size: float = Field(
        default=1.0, ge=1, description="in training alpha is uniform in [alpha / f, alpha * f]"
    )
    langevin_noise: float = Field(
        default=0.0, ge=0, description="std of what is added to the prediction before each step"
    )

    @model_validator(mode="before")
    @classmethod
    def _resolve_variant(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        values = cls.VARIANTS.get(str(given.get("variant")), {}) | given
        steps = values.get("steps", cls.model_fields["steps"].default)
        if given.get("min_steps") is None:  # a variant's gives way to fewer steps
            implied = values.get("min_steps")
            values["min_steps"] = steps if implied is None else min(implied, steps)
        return values

    @model_validator(mode="after")
    def _check_steps(self) -> DescentTraining:
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
