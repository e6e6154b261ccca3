"""Settings of the video adapters, torch-free."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from baselines.autoregressive import AutoregressiveDescent, TransformerPPConfig


class TransformerPPVideoConfig(TransformerPPConfig):
    """Transformer++ on frames."""


class EBTVideoConfig(AutoregressiveDescent):
    """Autoregressive EBT over the next frame's numbers. The defaults are S1."""

    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {
        "s1": {},
        "s2": {
            "steps": 3,
            "min_steps": 2,
            "between_steps": "truncate",
            "loss_on": "last",
            "step_size": 3000.0,
            "step_size_learned": False,
            "random_step_size": 2.0,
            "langevin_noise": 1.0,
            "landscapes": 1,
            "replay_records": 192,
        },
    }

    step_size: float = Field(default=30000.0, gt=0, description="alpha at the start of training")
    langevin_noise: float = Field(
        default=0.0, ge=0, description="std of what is added to the projected frame before a step"
    )
