"""Adapters of a third party, registered by the tests: slow, broken or fragile on request."""

from harness.protocol import AdapterRecord, FlopCount, Frozen, ParameterCount, Single


class ToyConfig(Frozen):
    """`delay` in seconds per step; step numbers from 1."""

    delay: float = 0.0
    raise_at: int | None = None
    spoil_at: int | None = None
    replay_bytes: int = 0
    replay_checkpoint: str = "keep"


TOY = AdapterRecord(
    name="toy",
    version="1",
    family="toy",
    modality="text",
    description="a bigram table",
    config=ToyConfig,
    factory="toy_network:Toy",
    thinking=("single",),
    trained_thinking=lambda config: Single(),
    parameters=lambda config, shape: ParameterCount(shape.vocab_size**2, 0),
    training_flops=lambda config, shape: FlopCount(1.0),
    prediction_flops=lambda config, shape, thinking: FlopCount(1.0),
    source="tests/launch",
    compiles=True,
    replay_bytes=lambda config, shape: config.replay_bytes,
)
