"""Torch-free records of the video adapters."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from baselines.autoregressive import AutoregressiveDescent, TransformerPPConfig
from baselines.video_costs import (
    ebt_parameters,
    ebt_prediction_flops,
    ebt_replay_bytes,
    ebt_training_flops,
    transformer_parameters,
    transformer_prediction_flops,
    transformer_training_flops,
)
from harness.protocol import AdapterRecord, Descent, Single


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


_EXAMPLE = {"depth": 2, "width": 32, "heads": 2}

TRANSFORMER_PP_VIDEO = AdapterRecord(
    name="transformer_pp_video",
    version="1",
    family="transformer++",
    modality="video",
    description="Transformer++ (Llama-2 recipe) over frames, next frame in one forward pass",
    config=TransformerPPVideoConfig,
    factory="baselines.adapters.video:TransformerPPVideo",
    thinking=("single",),
    trained_thinking=lambda config: Single(),
    parameters=transformer_parameters,
    training_flops=transformer_training_flops,
    prediction_flops=transformer_prediction_flops,
    source="arXiv 2507.02092, sections 1 and 4.2; Llama-2 (arXiv 2307.09288)",
    example=_EXAMPLE,
    compiles=True,
)

EBT_VIDEO = AdapterRecord(
    name="ebt_video",
    version="1",
    family="ebt",
    modality="video",
    description="autoregressive Energy-Based Transformer: energy descent on each next frame",
    config=EBTVideoConfig,
    factory="baselines.adapters.video:EBTVideo",
    thinking=("descent",),
    trained_thinking=lambda config: Descent(steps=config.steps),
    parameters=ebt_parameters,
    training_flops=ebt_training_flops,
    prediction_flops=ebt_prediction_flops,
    source="arXiv 2507.02092, sections 3 and 4.2",
    example=_EXAMPLE | {"step_size": 10.0},
    compiles=True,
    replay_bytes=ebt_replay_bytes,
)
