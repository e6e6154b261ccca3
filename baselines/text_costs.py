"""Parameters and FLOPs of the text adapters, torch-free; see `baselines.autoregressive_costs`."""

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
from baselines.text_settings import EBTTextConfig
from harness.protocol import Descent, FlopCount, ParameterCount, Single, TextShape


def _vocabulary(config: Any, shape: TextShape) -> float:
    """One product of a row's (S, V, D)."""
    return 2.0 * shape.context * shape.vocab_size * config.width


def transformer_parameters(config: Any, shape: TextShape) -> ParameterCount:
    """Blocks and norms, plus an embedding and an output head of V * D each."""
    blocks = block_parameters(config)
    return ParameterCount(blocks + 2 * shape.vocab_size * config.width, blocks)


def ebt_parameters(config: EBTTextConfig, shape: TextShape) -> ParameterCount:
    """Transformer++ with a V-to-D projection, or none, for output head, and what an EBT adds."""
    blocks = block_parameters(config) + energy_parameters(config)
    tables = 2 if config.projection == "linear" else 1
    return ParameterCount(blocks + tables * shape.vocab_size * config.width, blocks)


def ebt_replay_bytes(config: EBTTextConfig, shape: TextShape) -> int:
    """float32 logits, int64 tokens and the mask of every record, and the count of all written."""
    per_record = shape.context * (4 * shape.vocab_size + 1) + 8 * (shape.context + 1)
    return config.replay_records * per_record + 8 * (config.replay_records > 0)


def transformer_training_flops(config: Any, shape: TextShape) -> FlopCount:
    """Three products per linear (6N a token), 2 + 5 per fused attention."""
    one, vocabulary = transformer_products(config, shape.context), _vocabulary(config, shape)
    return FlopCount(3 * one.observed + 7 * one.fused + 3 * vocabulary, 3 * vocabulary)


def transformer_prediction_flops(config: Any, shape: TextShape, thinking: Single) -> FlopCount:
    """One forward pass."""
    one, vocabulary = transformer_products(config, shape.context), _vocabulary(config, shape)
    return FlopCount(one.observed + 2 * one.fused + vocabulary, vocabulary)


def ebt_training_flops(config: EBTTextConfig, shape: TextShape) -> FlopCount:
    """Per fresh row, replayed rows included once the buffer is full."""
    counts = config.step_counts
    products = sum(_vocabulary_products(config, count) for count in counts) / len(counts)
    vocabulary = products * _vocabulary(config, shape)
    total = ebt_training_network_flops(config, shape.context) + vocabulary
    rows = 1 + (config.replay_share if config.replay_records else 0.0)
    return FlopCount(rows * total, rows * vocabulary)


def _vocabulary_products(config: EBTTextConfig, count: int) -> float:
    """Products of size (B*S, V, D) in a training step of `count` steps; see `text_schedule`."""
    if config.update_space == "logits" or config.between_steps == "unroll":
        return _plain_products(config, count)
    if config.between_steps == "truncate" and config.step_size_learned:
        return _plain_products(config, count)
    differentiated = [config.differentiated(step, count) for step in range(1, count + 1)]
    products = 0
    for index, graph in enumerate(differentiated):
        chained = config.langevin_noise == 0 and index + 1 < count
        entered = index > 0 and config.langevin_noise == 0
        products += (not entered) + 1  # in, unless it is known, and out
        products += chained or graph  # of the distribution after it
        if graph:
            products += 1 + (not chained)  # its own gradients, and those through the one after
    return products


def _plain_products(config: EBTTextConfig, count: int) -> float:
    """In, out and their gradients by autograd.

    A step's projection has gradients of W where the step is differentiated, and of the prediction
    where that carries a graph; its slope's way out likewise.
    """
    products = 0.0
    for step in range(1, count + 1):
        graph = config.differentiated(step, count)
        carries = config.between_steps == "unroll" or config.step_size_learned
        carried = step > 1 and config.between_steps != "detach" and carries
        products += 2 + (3 if graph else 0) + (carried and graph)
    return products


def ebt_prediction_flops(config: EBTTextConfig, shape: TextShape, thinking: Descent) -> FlopCount:
    """In and out at each step, in for each energy read; with a tolerance, at most."""
    plan = ebt_plan(config, thinking)
    products = thinking.samples * (2 * plan.last + plan.reads)
    vocabulary = products * _vocabulary(config, shape)
    network = ebt_prediction_network_flops(config, shape.context, thinking)
    return FlopCount(network + vocabulary, vocabulary)
