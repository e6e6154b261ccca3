"""Torch-free records of the video adapters."""

from __future__ import annotations

from baselines.video_costs import (
    ebt_parameters,
    ebt_prediction_flops,
    ebt_replay_bytes,
    ebt_training_flops,
    transformer_parameters,
    transformer_prediction_flops,
    transformer_training_flops,
)
from baselines.video_settings import EBTVideoConfig, TransformerPPVideoConfig
from harness.protocol import AdapterRecord, Descent, Single

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
