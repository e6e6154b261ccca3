"""What the autoregressive adapters, text and video, are told; torch-free."""

from __future__ import annotations

from math import ceil
from typing import Any, Literal

from pydantic import Field, model_validator

from baselines.sizes import DescentTraining, Sized

#: Positions in one causal block of the prediction stream, as the cost formulas count it. On a GPU
#: blocks are larger: few kernels are worth more there than the scores that a mask throws away.
QUERY_BLOCK = 64
GPU_QUERY_BLOCK = 256


def query_blocks(length: int, block: int | None = None) -> list[tuple[int, int]]:
    """(start, end) of the causal blocks of the prediction stream."""
    size = block or QUERY_BLOCK
    return [(start, min(start + size, length)) for start in range(0, length, size)]


class TransformerPPConfig(Sized):
    """Transformer++: the Llama-2 recipe with feed-forward width = model width."""

    rope_theta: float = Field(default=10000.0, gt=0, description="base of the rotary frequencies")
    norm_eps: float = Field(default=1e-5, gt=0, description="added to the mean square in RMSNorm")


class AutoregressiveDescent(TransformerPPConfig, DescentTraining):
    """An EBT whose predictions stand beside an observed stream."""

    step_conditioning: Literal["none", "time_embed", "adaln", "adaln_zero"] = Field(
        default="time_embed",
        description="how a landscape is told: not at all, by a step embedding before the sequence, "
        "or by shifts, scales and gates of it in every block (zero: that start at zero)",
    )
    landscapes: int | None = Field(
        default=None,
        ge=1,
        description="distinct energy landscapes; step k is on number min(k, landscapes). One per "
        "step, or one without conditioning",
    )
    start: Literal["noise", "zeros"] = Field(
        default="noise", description="what a prediction starts from: N(0, start_scale) or zeros"
    )
    start_scale: float = Field(default=1.0, gt=0, description="std of the starting noise")
    replay_records: int = Field(
        default=0, ge=0, description="rows kept with their last prediction to start from; 0 = none"
    )
    replay_share: float = Field(
        default=0.5, gt=0, le=1, description="replayed rows appended to a batch, per fresh row"
    )
    replay_checkpoint: Literal["full", "drop"] = Field(
        default="full",
        description="keep the replay buffer in checkpoints, or start it empty on resume: smaller, "
        "and a resumed run is then not bit-identical",
    )
    recompute: bool = Field(
        default=False,
        description="trade time for memory: keep one layer's activations of an optimization step, "
        "and compute the others again",
    )

    @model_validator(mode="before")
    @classmethod
    def _resolve_landscapes(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        known: dict[str, Any] = cls.VARIANTS.get(str(given.get("variant")), {}) | given
        if known.get("landscapes") is not None:
            return given
        defaults = {name: cls.model_fields[name].default for name in ("step_conditioning", "steps")}
        known = defaults | known
        plain = known["step_conditioning"] == "none"
        return given | {"landscapes": 1 if plain else known["steps"]}

    @model_validator(mode="after")
    def _check_landscapes(self) -> AutoregressiveDescent:
        assert self.landscapes is not None, "resolved above"
        if self.step_conditioning == "none" and self.landscapes > 1:
            raise ValueError(
                f"landscapes = {self.landscapes} needs a step_conditioning that tells them apart; "
                "step_conditioning none has one"
            )
        if self.landscapes > self.steps:
            raise ValueError(
                f"landscapes = {self.landscapes} exceeds steps = {self.steps}: the others would "
                "never be trained"
            )
        return self

    @property
    def mean_steps(self) -> float:
        """Expected optimization steps of a training step."""
        return sum(self.step_counts) / len(self.step_counts)

    def landscape(self, step: int) -> int:
        """The landscape (from 0) that training step `step` (from 1) descends on."""
        assert self.landscapes is not None, "resolved above"
        return min(step, self.landscapes) - 1

    def recorded(self, landscape: int, of: int) -> bool:
        """Whether any of a training step's `of` steps on `landscape` is differentiated."""
        steps = (step for step in range(1, of + 1) if self.landscape(step) == landscape)
        return any(self.differentiated(step, of) for step in steps)


def replay_rows(config: AutoregressiveDescent, rows: int) -> int:
    """Replayed rows appended to `rows` fresh ones, rounded up, once the buffer has as many."""
    return min(ceil(rows * config.replay_share), config.replay_records)
