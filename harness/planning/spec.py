"""TrainSpec: frozen, closed, and identified by the hash of its full content; thinking in words.

Everything that changes a number is in a spec; workers, paths, cluster and logging are not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from math import ceil
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter, model_validator

from harness.protocol import Descent, Diffusion, Frozen, Single, Thinking

ID_LENGTH = 12


class NextTokenTask(Frozen):
    """Predict the next token of a text data set."""

    kind: Literal["next_token"] = "next_token"
    data: str = Field(default="builtin/docs", description="training set; its train split is used")
    tokenizer: str = Field(default="bytes", description="'bytes' or a tokenizers JSON file")
    context: int = Field(ge=1, le=2**20, description="observed tokens per row")
    rows: Literal["packed", "first_window"] = Field(
        default="packed",
        description="cut the joined documents into rows, or keep each document's first window",
    )


class DenoisingTask(Frozen):
    """Remove noise of a linear beta schedule from images."""

    kind: Literal["denoising"] = "denoising"
    data: str = Field(default="builtin/digits", description="training set; its train split is used")
    train_level: float = Field(
        default=0.1, gt=0, le=1, description="training noise, a fraction of the schedule"
    )
    num_timesteps: int = Field(default=1000, ge=2)
    beta_start: float = Field(default=1e-4, gt=0, lt=1)
    beta_end: float = Field(default=2e-2, gt=0, lt=1)


class NextFrameTask(Frozen):
    """Predict the next frame, or its latents, of a set of clips."""

    LATER: ClassVar[tuple[str, ...]] = ("autoencoder",)

    kind: Literal["next_frame"] = "next_frame"
    data: str = Field(
        default="builtin/moving-digits", description="training set; its train split is used"
    )
    context: int = Field(ge=1, le=2**20, description="observed frames per row")
    autoencoder: str | None = Field(
        default=None,
        description="diffusers' AutoencoderKL, a folder or a name on the Hub, whose latents are "
        "predicted; null = pixels",
    )


Task = Annotated[NextTokenTask | DenoisingTask | NextFrameTask, Field(discriminator="kind")]


class Budget(Frozen):
    """How long a run trains, in exactly one unit."""

    steps: int | None = Field(default=None, ge=1, description="optimizer steps")
    tokens: float | None = Field(default=None, gt=0, description="fresh training tokens")
    flops: float | None = Field(default=None, gt=0, description="training FLOPs by the formula")
    seconds: float | None = Field(
        default=None, gt=0, description="training seconds on device_class, running alone"
    )

    @property
    def unit(self) -> str:
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _one_unit(self) -> Budget:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "a budget has exactly one of steps, tokens, flops, seconds; "
                f"given: {', '.join(given) or 'none'}"
            )
        return self


class Optimizer(Frozen):
    """AdamW with linear warm-up, cosine decay and gradient clipping (paper Table 4)."""

    lr: float = Field(gt=0, description="peak learning rate")
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.01, ge=0, description="step sizes are never decayed")
    clip_norm: float | None = Field(default=1.0, gt=0, description="global norm; null = off")
    warmup_steps: int = Field(default=0, ge=0)
    decay_steps: int | None = Field(
        default=None, ge=1, description="length of the cosine; null = the whole budget"
    )
    floor_ratio: float = Field(default=0.1, ge=0, le=1, description="final over peak rate")
    floor: Literal["per_group", "base_lr"] = Field(
        default="per_group",
        description="each group decays to its own floor, or all to the base rate's (authors' code)",
    )


class TrainSpec(Frozen):
    """One training run, fully resolved."""

    adapter: str
    adapter_version: str
    config: dict[str, Any]
    task: Task
    batch_size: int = Field(ge=1, description="rows per optimizer step, over all micro-batches")
    accumulate: int = Field(default=1, ge=1, description="micro-batches per optimizer step")
    budget: Budget
    optimizer: Optimizer
    seed: int = Field(ge=0)
    precision: Literal["float32", "bf16"] = "float32"
    compile: bool = Field(
        default=False, description="compile the model's body for training (evaluations stay eager)"
    )
    threads: int = Field(default=1, ge=1, description="CPU threads of the run")
    device_class: str | None = Field(
        default=None, description="named device that a budget in seconds refers to"
    )

    @model_validator(mode="after")
    def _consistent(self) -> TrainSpec:
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate must divide batch_size, got {self.accumulate} and {self.batch_size}"
            )
        if self.budget.unit == "seconds" and self.device_class is None:
            raise ValueError(
                "a budget in seconds needs device_class, such as cpu-2 or h100: seconds differ"
            )
        if self.budget.unit != "seconds" and self.device_class is not None:
            raise ValueError("device_class belongs to a budget in seconds; remove it")
        if self.budget.unit == "tokens" and self.task.kind != "next_token":
            raise ValueError(
                f"a {self.task.kind} task has no tokens; give the budget in steps, flops or seconds"
            )
        return self

    @property
    def run_id(self) -> str:
        return f"{self.adapter}-{content_hash(self)}"

    @property
    def tokens_per_step(self) -> int | None:
        if isinstance(self.task, NextTokenTask):
            return self.batch_size * self.task.context
        return None

    def check_processes(self, processes: int) -> None:
        """ValueError where micro-batches cannot be cut into equal parts for so many processes."""
        multiple = self.accumulate * processes
        if self.batch_size % multiple:
            micro = f" in {self.accumulate} micro-batches" if self.accumulate > 1 else ""
            raise ValueError(
                f"batch_size {self.batch_size} cannot be cut into equal parts for {processes} "
                f"processes{micro}: it must be a multiple of {multiple}"
            )

    def total_steps(self, flops_per_row: float) -> int | None:
        """Optimizer steps of the budget; None for a budget in seconds."""
        if self.budget.steps is not None:
            return self.budget.steps
        if self.budget.tokens is not None and self.tokens_per_step is not None:
            return ceil(self.budget.tokens / self.tokens_per_step)
        if self.budget.flops is not None:
            return ceil(self.budget.flops / (flops_per_row * self.batch_size))
        return None


# --- thinking --------------------------------------------------------------------------------

_THINKING: TypeAdapter[Single | Descent | Diffusion] = TypeAdapter(Thinking)
#: Settings of a descent by the word that stands before their value; the rest are said by value.
_WORDS = {
    "step_size": "size ",
    "noise": "noise ",
    "noise_std": "std ",
    "tolerance": "tolerance ",
    "recursions": "recursions ",
}


def thinking_label(thinking: Single | Descent | Diffusion) -> str:
    """A short name, unique per setting: `2x1 size 5 every`, `diffusion 9 x3 trained`, `single`.

    Records use it as a key. `2x1` are steps x samples; DDPM is named, DDIM is not.
    """
    if isinstance(thinking, Descent):
        return f"{thinking.steps}x{thinking.samples} {descent_variant(thinking)}".strip()
    if isinstance(thinking, Diffusion):
        sampler = "" if thinking.sampler == "ddim" else f" {thinking.sampler}"
        return f"diffusion {thinking.steps} x{thinking.recursions} {thinking.start}{sampler}"
    return thinking.kind


def descent_variant(thinking: Descent) -> str:
    """How a descent differs from the trained one, steps and samples apart: `size 5 every`."""
    changed = [
        _WORDS.get(name, "") + _written(getattr(thinking, name))
        for name, field in Descent.model_fields.items()
        if name not in ("kind", "steps", "samples") and getattr(thinking, name) != field.default
    ]
    return " ".join(changed)


def _written(value: Any) -> str:
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value).replace("_", " ")


def thinking_of(tags: Mapping[str, Any]) -> Single | Descent | Diffusion | None:
    """The thinking whose fields a measurement's tags hold; None where they hold none.

    Raises ValueError for fields that no thinking has these values of.
    """
    kinds: dict[str, type[Frozen]] = {"single": Single, "descent": Descent, "diffusion": Diffusion}
    model = kinds.get(str(tags.get("kind")))
    if model is None:
        return None
    return _THINKING.validate_python({k: tags[k] for k in model.model_fields if k in tags})


def content_hash(spec: Frozen) -> str:
    """First 12 hex digits of the SHA-256 of the spec's canonical JSON."""
    canonical = json.dumps(
        {"type": type(spec).__name__, **spec.model_dump(mode="json")},
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:ID_LENGTH]
