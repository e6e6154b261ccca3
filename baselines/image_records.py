"""Torch-free records of the image adapters."""

from __future__ import annotations

from baselines.image_costs import (
    dit_parameters,
    dit_prediction_flops,
    dit_training_flops,
    ebt_parameters,
    ebt_prediction_flops,
    ebt_training_flops,
)
from baselines.image_settings import DiTImageConfig, EBTImageConfig
from harness.protocol import AdapterRecord, Descent, Diffusion

_SOURCE = "Gladstone et al., arXiv 2507.02092, section 3 (images); Peebles & Xie, arXiv 2212.09748"
_EXAMPLE = {"depth": 1, "width": 32, "heads": 2, "patch_size": 4}

DIT_IMAGE = AdapterRecord(
    name="dit_image",
    version="1",
    family="dit",
    modality="image",
    description="Diffusion Transformer on pixels, denoising by DDIM or DDPM",
    config=DiTImageConfig,
    factory="baselines.adapters.image_dit:DiTImage",
    thinking=("diffusion",),
    trained_thinking=lambda config: Diffusion(steps=100),
    parameters=dit_parameters,
    training_flops=dit_training_flops,
    prediction_flops=dit_prediction_flops,
    source=_SOURCE,
    example=_EXAMPLE,
    compiles=True,
    features=True,
)

EBT_IMAGE = AdapterRecord(
    name="ebt_image",
    version="2",
    family="ebt",
    modality="image",
    description="bidirectional Energy-Based Transformer, denoising by energy descent",
    config=EBTImageConfig,
    factory="baselines.adapters.image_ebt:EBTImage",
    thinking=("descent",),
    trained_thinking=lambda config: Descent(steps=config.steps),
    parameters=ebt_parameters,
    training_flops=ebt_training_flops,
    prediction_flops=ebt_prediction_flops,
    source=_SOURCE,
    example=_EXAMPLE,
    compiles=True,
    features=True,
)
