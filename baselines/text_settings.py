"""Settings of the text adapters, torch-free."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from baselines.autoregressive import AutoregressiveDescent, TransformerPPConfig


class TransformerPPTextConfig(TransformerPPConfig):
    """Transformer++ on text."""


class EBTTextConfig(AutoregressiveDescent):
    """Autoregressive EBT over the next token's distribution. The defaults are S1."""

    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {
        "s1": {},
        "s2": {
            "steps": 3,
            "min_steps": 2,
            "between_steps": "truncate",
            "loss_on": "last",
            "step_size": 5.0,
            "step_size_learned": False,
            "random_step_size": 2.0,
            "langevin_noise": 3.0,
            "landscapes": 1,
            "replay_records": 192,
        },
    }

    step_size: float = Field(default=500.0, gt=0, description="alpha at the start of training")
    update_space: Literal["probabilities", "logits"] = Field(
        default="probabilities",
        description="what a step moves: the softmaxed prediction (the authors' code), or its "
        "logits (the paper's pseudocode)",
    )
    projection: Literal["linear", "embedding"] = Field(
        default="linear",
        description="predictions enter by a projection of their own, or by the embedding table",
    )
