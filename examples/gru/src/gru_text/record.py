"""What planning knows about the GRU. Nothing here imports torch."""

from __future__ import annotations

from pydantic import Field

from harness.protocol import (
    AdapterRecord,
    FlopCount,
    Frozen,
    ParameterCount,
    Single,
    TextShape,
)


class GRUTextConfig(Frozen):
    """One recurrent layer between an embedding and an output matrix."""

    width: int = Field(default=64, ge=1, description="of the embedding and of the state")


def parameters(config: GRUTextConfig, shape: TextShape) -> ParameterCount:
    """Three gates, each with a matrix and a bias for the input and for the state."""
    d = config.width
    gates = 2 * (3 * d * d + 3 * d)
    return ParameterCount(total=gates + 2 * shape.vocab_size * d, non_embedding=gates)


def prediction_flops(config: GRUTextConfig, shape: TextShape, thinking: Single) -> FlopCount:
    """Per position one product of D x 3D for the input, one for the state, one for the logits."""
    d, positions = config.width, shape.context
    gates = 2.0 * positions * d * 3 * d
    logits = 2.0 * positions * d * shape.vocab_size
    return FlopCount(2 * gates + logits, vocabulary=logits)


def training_flops(config: GRUTextConfig, shape: TextShape) -> FlopCount:
    """Forward, and twice that backward; but no gradient flows into the first, constant state."""
    forward = prediction_flops(config, shape, Single())
    first_state = 2.0 * config.width * 3 * config.width
    return FlopCount(3 * forward.total - first_state, vocabulary=3 * forward.vocabulary)


GRU_TEXT = AdapterRecord(
    name="gru_text",
    version="1",
    family="gru",
    modality="text",
    description="a gated recurrent unit, next-token prediction in one pass",
    config=GRUTextConfig,
    factory="gru_text.model:GRUText",
    thinking=("single",),
    trained_thinking=lambda config: Single(),
    parameters=parameters,
    training_flops=training_flops,
    prediction_flops=prediction_flops,
    source="Cho et al., arXiv 1406.1078",
    example={"width": 16},
)
