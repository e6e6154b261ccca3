"""Torch-free records of the text adapters."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from baselines.autoregressive import AutoregressiveDescent, TransformerPPConfig
from baselines.text_costs import (
    ebt_parameters,
    ebt_prediction_flops,
    ebt_replay_bytes,
    ebt_training_flops,
    transformer_parameters,
    transformer_prediction_flops,
    transformer_training_flops,
)
from harness.protocol import AdapterRecord, Descent, Single


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


_SOURCE = "arXiv 2507.02092, sections 3 and 4.1"
_EXAMPLE = {"depth": 2, "width": 32, "heads": 2}

TRANSFORMER_PP_TEXT = AdapterRecord(
    name="transformer_pp_text",
    version="2",
    family="transformer++",
    modality="text",
    description="Transformer++ (Llama-2 recipe), next-token prediction in one forward pass",
    config=TransformerPPTextConfig,
    factory="baselines.adapters.text:TransformerPPText",
    thinking=("single",),
    trained_thinking=lambda config: Single(),
    parameters=transformer_parameters,
    training_flops=transformer_training_flops,
    prediction_flops=transformer_prediction_flops,
    source="arXiv 2507.02092, sections 1 and 4.1; Llama-2 (arXiv 2307.09288)",
    example=_EXAMPLE,
    compiles=True,
)

EBT_TEXT = AdapterRecord(
    name="ebt_text",
    version="2",
    family="ebt",
    modality="text",
    description="autoregressive Energy-Based Transformer: energy descent on each next token",
    config=EBTTextConfig,
    factory="baselines.adapters.text:EBTText",
    thinking=("descent",),
    trained_thinking=lambda config: Descent(steps=config.steps),
    parameters=ebt_parameters,
    training_flops=ebt_training_flops,
    prediction_flops=ebt_prediction_flops,
    source=_SOURCE,
    example=_EXAMPLE | {"step_size": 10.0},
    compiles=True,
    replay_bytes=ebt_replay_bytes,
)
