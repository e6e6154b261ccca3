"""Torch-free records of the text adapters: configs, parameter counts and FLOP formulas.

FLOPs are 2 per multiply-add of every matrix product, per row of `context` predictions, as
`harness.cost.FlopCounter` counts them (fused attention: 2 products forward, 5 backward, masked
scores included). Derivations are in `ebt_training_flops` and follow paper section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from baselines.sizes import Sized, StepSize
from harness.protocol import AdapterRecord, Descent, FlopCount, ParameterCount, Single, TextShape

#: Positions in one causal block of the prediction stream.
QUERY_BLOCK = 64


class TransformerPPTextConfig(Sized):
    """Transformer++: the Llama-2 recipe with feed-forward width = model width."""

    rope_theta: float = Field(default=10000.0, gt=0, description="base of the rotary frequencies")
    norm_eps: float = Field(default=1e-5, gt=0, description="added to the mean square in RMSNorm")


class EBTTextConfig(TransformerPPTextConfig, StepSize):
    """Autoregressive EBT, trained as S1: detached steps, loss on every step, learned step size."""

    step_conditioning: Literal["time_embed", "none"] = Field(
        default="time_embed",
        description="a step embedding before the tokens (one landscape per step), or one landscape",
    )
    steps: int = Field(default=2, ge=1, description="optimization steps in training")
    step_size: float = Field(default=500.0, gt=0, description="alpha at the start of training")
    step_size_learned: bool = Field(default=True, description="whether alpha is a parameter")

    @property
    def landscapes(self) -> int:
        """Distinct energy landscapes: one per trained step under `time_embed`, else one."""
        return self.steps if self.step_conditioning == "time_embed" else 1


def landscape_schedule(config: EBTTextConfig, thinking: Descent) -> list[int]:
    """The landscape of each optimization step.

    `last` repeats the last landscape beyond the trained steps, so a shorter schedule is a prefix of
    a longer one; `every` spends steps / landscapes on each (the authors' default). Raises
    ValueError where `every` does not divide.
    """
    landscapes, steps = config.landscapes, thinking.steps
    if thinking.extra_steps == "last":
        return [min(step, landscapes - 1) for step in range(steps)]
    if steps % landscapes:
        raise ValueError(
            f"extra_steps 'every' spends equally many steps on each of {landscapes} landscapes, "
            f"so steps must be a multiple of {landscapes}; got {steps}"
        )
    return [step // (steps // landscapes) for step in range(steps)]


def query_blocks(length: int) -> list[tuple[int, int]]:
    """(start, end) of the causal blocks of the prediction stream."""
    return [(start, min(start + QUERY_BLOCK, length)) for start in range(0, length, QUERY_BLOCK)]


# --- parameters ------------------------------------------------------------------------------


def _block_parameters(config: Sized) -> int:
    d, f = config.width, config.ffn_width
    return config.depth * (4 * d * d + 3 * d * f + 2 * d) + d


def transformer_parameters(config: TransformerPPTextConfig, shape: TextShape) -> ParameterCount:
    """Blocks and norms, plus an embedding and an output head of V * D each."""
    blocks = _block_parameters(config)
    return ParameterCount(blocks + 2 * shape.vocab_size * config.width, blocks)


def ebt_parameters(config: EBTTextConfig, shape: TextShape) -> ParameterCount:
    """Transformer++ with V-to-D projection for output head, plus energy head, steps and alpha."""
    conditioned = config.step_conditioning == "time_embed"
    own = config.width * (1 + conditioned * config.landscapes) + config.step_size_learned
    blocks = _block_parameters(config) + own
    return ParameterCount(blocks + 2 * shape.vocab_size * config.width, blocks)


# --- FLOPs -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Products:
    """FLOPs of one matrix product of each kind, for a row."""

    observed: float  # observed linears, one product each; the last layer has keys, values only
    fused: float  # fused attention, one of the score-sized products, all layers that run it
    predicted: float  # prediction-stream linears
    blocked: float  # prediction-stream attention, one score-sized product
    head: float  # energy head
    vocabulary: float  # one (S, V, D) product


def _products(config: TransformerPPTextConfig, shape: TextShape) -> _Products:
    d, f, layers, length = config.width, config.ffn_width, config.depth, shape.context
    block = 4 * d * d + 3 * d * f
    if not isinstance(config, EBTTextConfig):
        return _Products(
            observed=2.0 * length * layers * block,
            fused=2.0 * layers * length**2 * d,
            predicted=0.0,
            blocked=0.0,
            head=0.0,
            vocabulary=2.0 * length * shape.vocab_size * d,
        )
    prefix = int(config.step_conditioning == "time_embed")
    seen = sum((end - start) * (end + prefix) for start, end in query_blocks(length))
    rows = length + prefix
    return _Products(
        observed=2.0 * rows * ((layers - 1) * block + 2 * d * d),
        fused=2.0 * (layers - 1) * rows**2 * d,
        predicted=2.0 * length * layers * block,
        blocked=2.0 * layers * seen * d,
        head=2.0 * length * d,
        vocabulary=2.0 * length * shape.vocab_size * d,
    )


def transformer_training_flops(config: TransformerPPTextConfig, shape: TextShape) -> FlopCount:
    """Three products per linear (6N a token), 2 + 5 per fused attention."""
    one = _products(config, shape)
    total = 3 * one.observed + 7 * one.fused + 3 * one.vocabulary
    return FlopCount(total, 3 * one.vocabulary)


def transformer_prediction_flops(
    config: TransformerPPTextConfig, shape: TextShape, thinking: Single
) -> FlopCount:
    """One forward pass."""
    one = _products(config, shape)
    return FlopCount(one.observed + 2 * one.fused + one.vocabulary, one.vocabulary)


def ebt_training_flops(config: EBTTextConfig, shape: TextShape) -> FlopCount:
    """S1: per landscape an ordinary pass over the observed stream, per step a second-order one.

    Second order, every linear y = x W costs six products: y; the inner input gradient; in the outer
    backward two for each of those. Attention likewise 2 + 2 + 4 + 4; the energy head, whose inner
    output gradient is constant, five. The vocabulary costs 3n + 2 (see `text_descent`).
    """
    one, steps = _products(config, shape), config.steps
    context = 3 * one.observed + 7 * one.fused
    step = 6 * one.predicted + 12 * one.blocked + 5 * one.head
    vocabulary = (3 * steps + 2) * one.vocabulary
    return FlopCount(config.landscapes * context + steps * step + vocabulary, vocabulary)


def ebt_prediction_flops(config: EBTTextConfig, shape: TextShape, thinking: Descent) -> FlopCount:
    """Each landscape's context once; per step and sample a forward and an input gradient.

    More than one sample adds a forward pass each, to select by the final energy.
    """
    one = _products(config, shape)
    used = len(set(landscape_schedule(config, thinking)))
    nfe = thinking.steps * thinking.samples
    final = thinking.samples if thinking.samples > 1 else 0
    forward = one.predicted + 2 * one.blocked + one.head
    vocabulary = (2 * nfe + final) * one.vocabulary
    total = used * (one.observed + 2 * one.fused) + (2 * nfe + final) * forward + vocabulary
    return FlopCount(total, vocabulary)


TRANSFORMER_PP_TEXT = AdapterRecord(
    name="transformer_pp_text",
    version="1",
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
)

EBT_TEXT = AdapterRecord(
    name="ebt_text",
    version="1",
    family="ebt",
    modality="text",
    description="autoregressive Energy-Based Transformer, S1: energy descent on each next token",
    config=EBTTextConfig,
    factory="baselines.adapters.text:EBTText",
    thinking=("descent",),
    trained_thinking=lambda config: Descent(steps=config.steps),
    parameters=ebt_parameters,
    training_flops=ebt_training_flops,
    prediction_flops=ebt_prediction_flops,
    source="arXiv 2507.02092, sections 3 and 4.1 (S1)",
)
