"""Parameters and FLOPs that the autoregressive adapters, text and video, share; torch-free.

FLOPs are 2 per multiply-add of every matrix product, per row of `context` predictions, as
`harness.cost.FlopCounter` counts them (fused attention: 2 products forward, 5 backward, masked
scores included), and expected ones where a training step draws its number of steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from baselines.autoregressive import AutoregressiveDescent, query_blocks
from baselines.descent_plan import DescentPlan, landscape_schedule, plan_of
from baselines.sizes import Sized
from harness.protocol import Descent


def block_parameters(config: Sized) -> int:
    """Blocks and the final norm."""
    d, f = config.width, config.ffn_width
    return config.depth * (4 * d * d + 3 * d * f + 2 * d) + d


def energy_parameters(config: AutoregressiveDescent) -> int:
    """What an energy network has besides its blocks: head, step size, and step conditioning."""
    d = config.width
    own = d + config.step_size_learned
    if config.step_conditioning != "none":
        own += d * (config.landscapes or 1)
    if config.step_conditioning in ("adaln", "adaln_zero"):
        own += config.depth * (6 * d * d + 6 * d) + 2 * d * d + 2 * d
    return own


@dataclass(frozen=True)
class Products:
    """FLOPs of one matrix product of each kind, for a row of `length` predictions."""

    observed: float  # observed linears, one product each; the last layer has keys, values only
    fused: float  # fused attention, one of the score-sized products, all layers that run it
    predicted: float  # prediction-stream linears
    blocked: float  # prediction-stream attention, one score-sized product
    head: float  # energy head


def transformer_products(config: Sized, length: int) -> Products:
    """The one stream of Transformer++."""
    block = 4 * config.width**2 + 3 * config.width * config.ffn_width
    return Products(
        observed=2.0 * length * config.depth * block,
        fused=2.0 * config.depth * length**2 * config.width,
        predicted=0.0,
        blocked=0.0,
        head=0.0,
    )


def ebt_products(config: AutoregressiveDescent, length: int) -> Products:
    """The two streams of an EBT."""
    d, layers = config.width, config.depth
    block = 4 * d * d + 3 * d * config.ffn_width
    prefix = int(config.step_conditioning == "time_embed")
    rows = length + prefix
    # A block's rows see its keys, and one column more for their own.
    seen = sum((end - start) * (end + prefix + 0.5) for start, end in query_blocks(length))
    return Products(
        observed=2.0 * rows * ((layers - 1) * block + 2 * d * d),
        fused=2.0 * (layers - 1) * rows**2 * d,
        predicted=2.0 * length * layers * block,
        blocked=2.0 * layers * seen * d,
        head=2.0 * length * d,
    )


def ebt_training_network_flops(config: AutoregressiveDescent, length: int) -> float:
    """Of a training step without what projects predictions in and out.

    A differentiated step takes six products per linear, whose forward, inner adjoint, tangent and
    outer adjoint are one each and the weights two; attention twelve. With `recompute` ten and
    twenty. Other steps take two and four. A landscape's context costs a pass forward, and backward
    where a differentiated step reads it.
    """
    one = ebt_products(config, length)
    counts = config.step_counts
    return sum(_training_steps(config, one, count) for count in counts) / len(counts)


def _training_steps(config: AutoregressiveDescent, one: Products, count: int) -> float:
    dear = 10 * one.predicted + 20 * one.blocked if config.recompute else None
    differentiated = dear or 6 * one.predicted + 12 * one.blocked
    plain = 2 * one.predicted + 4 * one.blocked
    total = 0.0
    for step in range(1, count + 1):
        total += (differentiated if config.differentiated(step, count) else plain) + one.head
    for landscape in {config.landscape(step) for step in range(1, count + 1)}:
        graph = config.recorded(landscape, count)
        total += (3 * one.observed + 7 * one.fused) if graph else (one.observed + 2 * one.fused)
    return total


def ebt_plan(config: AutoregressiveDescent, thinking: Descent) -> DescentPlan:
    """The passes of a prediction.

    Raises TypeError for thinking that is no descent, ValueError for one that recurs.
    """
    if not isinstance(thinking, Descent):
        raise TypeError(f"an EBT thinks by 'descent'; got thinking {thinking.kind!r}")
    if thinking.recursions > 1:
        raise ValueError(
            f"descent recursions = {thinking.recursions}, but only images are denoised again from "
            "the model's own output; use recursions = 1"
        )
    assert config.landscapes is not None, "resolved by the config"
    schedule = landscape_schedule(config.landscapes, thinking)
    return plan_of(thinking, trained_noise=config.langevin_noise, schedule=schedule)


def ebt_prediction_network_flops(
    config: AutoregressiveDescent, length: int, thinking: Descent
) -> float:
    """Each landscape's context once; per step and sample a pass forward and back, and the reads.

    With a tolerance this is the most it can cost: nothing stops early.
    """
    one, plan = ebt_products(config, length), ebt_plan(config, thinking)
    forward = one.predicted + 2 * one.blocked
    each = plan.last * (2 * forward + one.head) + plan.reads * (forward + one.head)
    used = len(set(plan.schedule))
    return used * (one.observed + 2 * one.fused) + thinking.samples * each
