"""Parameters and FLOPs of the video adapters, torch-free; see `baselines.autoregressive_costs`.

Nothing here is vocabulary-sized: every parameter counts as non-embedding.
"""

from __future__ import annotations

from typing import Any

from baselines.autoregressive_costs import (
    block_parameters,
    ebt_plan,
    ebt_prediction_network_flops,
    ebt_training_network_flops,
    energy_parameters,
    transformer_products,
)
from baselines.video_settings import EBTVideoConfig
from harness.protocol import Descent, FlopCount, ParameterCount, Single, VideoShape


def _projection(config: Any, shape: VideoShape) -> float:
    """One product of a row's S frames with a frame-to-D matrix."""
    return 2.0 * shape.context * shape.numbers * config.width


def transformer_parameters(config: Any, shape: VideoShape) -> ParameterCount:
    """Blocks and norms, a biased projection in and one out, and D * D between norm and that."""
    d, numbers = config.width, shape.numbers
    total = block_parameters(config) + d * d + d * (numbers + 1) + numbers * (d + 1)
    return ParameterCount(total, total)


def ebt_parameters(config: EBTVideoConfig, shape: VideoShape) -> ParameterCount:
    """Blocks and norms, one biased projection in, and what an EBT adds."""
    total = block_parameters(config) + energy_parameters(config)
    total += config.width * (shape.numbers + 1)
    return ParameterCount(total, total)


def ebt_replay_bytes(config: EBTVideoConfig, shape: VideoShape) -> int:
    """float32 frames and predictions, and the mask, of every record; and the counter."""
    frames = 2 * shape.context + 1
    per_record = 4 * frames * shape.numbers + shape.context
    return config.replay_records * per_record + 8 * bool(config.replay_records)


def transformer_training_flops(config: Any, shape: VideoShape) -> FlopCount:
    """Three products per linear, but two of the projection in: frames have no gradient."""
    one = transformer_products(config, shape.context)
    between = 2.0 * shape.context * config.width**2
    ends = 5 * _projection(config, shape)
    return FlopCount(3 * (one.observed + between) + 7 * one.fused + ends)


def transformer_prediction_flops(config: Any, shape: VideoShape, thinking: Single) -> FlopCount:
    """One forward pass."""
    one = transformer_products(config, shape.context)
    between = 2.0 * shape.context * config.width**2
    return FlopCount(one.observed + between + 2 * one.fused + 2 * _projection(config, shape))


def ebt_training_flops(config: EBTVideoConfig, shape: VideoShape) -> FlopCount:
    """Per fresh row, replayed rows included once the buffer is full."""
    counts = config.step_counts
    products = 2 + sum(_step_products(config, count) for count in counts) / len(counts)
    network = ebt_training_network_flops(config, shape.context)
    rows = 1 + (config.replay_share if config.replay_records else 0.0)
    return FlopCount(rows * (network + products * _projection(config, shape)))


def _step_products(config: EBTVideoConfig, count: int) -> int:
    """Projections in and out, and their gradients.

    A differentiated step has the gradients of both weights and of its slope, and that of its
    prediction where that carries a graph.
    """
    carries = config.between_steps == "unroll" or (
        config.between_steps == "truncate" and config.step_size_learned
    )
    differentiated = [step for step in range(1, count + 1) if config.differentiated(step, count)]
    carried = sum(step > 1 for step in differentiated) if carries else 0
    return 2 * count + 3 * len(differentiated) + carried


def ebt_prediction_flops(config: EBTVideoConfig, shape: VideoShape, thinking: Descent) -> FlopCount:
    """The context in once; a prediction in and out at each step, in for each energy read.

    With a tolerance this is the most it can cost.
    """
    plan = ebt_plan(config, thinking)
    products = 1 + thinking.samples * (2 * plan.last + plan.reads)
    network = ebt_prediction_network_flops(config, shape.context, thinking)
    return FlopCount(network + products * _projection(config, shape))
