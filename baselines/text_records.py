"""Torch-free records of the text adapters."""

from __future__ import annotations

from baselines.text_costs import (
    ebt_parameters,
    ebt_prediction_flops,
    ebt_replay_bytes,
    ebt_training_flops,
    transformer_parameters,
    transformer_prediction_flops,
    transformer_training_flops,
)
from baselines.text_settings import EBTTextConfig, TransformerPPTextConfig
from harness.protocol import AdapterRecord, Descent, Single

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
