"""Parameter and FLOP formulas of the image adapters against what runs."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from baselines.adapters.image_dit import DiTImage
from baselines.adapters.image_ebt import EBTImage
from baselines.image_records import DIT_IMAGE, EBT_IMAGE
from baselines.image_settings import EBTImageConfig
from harness.cost import FlopCounter
from harness.protocol import Descent, Diffusion, ImageBatch, ImageShape, NoisyBatch, ParameterCount
from tests.baselines.tiny_images import NOISE, SHAPE, SIZES, small_dit, small_ebt, some_images

CASES = [
    (ImageShape(1, 8, 8, 100), {"depth": 2, "width": 32, "heads": 2, "patch_size": 2}),
    (ImageShape(3, 16, 24, 50), {"depth": 3, "width": 24, "heads": 3, "patch_size": 4}),
    (
        ImageShape(3, 32, 32, 100),
        {"depth": 1, "width": 64, "heads": 4, "patch_size": 8, "ffn_width": 256},
    ),
    (ImageShape(1, 4, 4, 100), {"depth": 1, "width": 8, "heads": 1, "patch_size": 4}),
]


@pytest.mark.parametrize(("shape", "sizes"), CASES)
@pytest.mark.parametrize("record", [DIT_IMAGE, EBT_IMAGE], ids=lambda r: r.name)
def test_parameter_formula_counts_the_real_ones(record, shape: ImageShape, sizes: dict) -> None:
    config = record.config(**sizes)
    build = DiTImage if record is DIT_IMAGE else EBTImage
    real = sum(p.numel() for p in build(config, shape).parameters())
    assert record.parameters(config, shape) == ParameterCount(real, real)


FLOP_CASES = [
    (EBT_IMAGE, {"steps": 1}, Descent(steps=3)),
    (EBT_IMAGE, {"steps": 2}, Descent(steps=1)),
    (DIT_IMAGE, {}, Diffusion(steps=3, recursions=2)),
]


def _trained(adapter: DiTImage | EBTImage, batch: int) -> float:
    """FLOPs of a training step."""
    images = ImageBatch(some_images(batch, adapter.shape), torch.arange(batch))
    with FlopCounter() as counter:
        adapter.training_loss(images, NOISE).loss_sum.backward()
    return counter.total


def _predicted(adapter: DiTImage | EBTImage, batch: int, thinking: Descent | Diffusion) -> float:
    images = NoisyBatch(some_images(batch, adapter.shape), 99, torch.arange(batch))
    with FlopCounter() as counter:
        adapter.predict(images, thinking, NOISE)
    return counter.total


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("start", ["noisy", "noise"])
def test_parameter_formula_under(start: str, learned: bool) -> None:
    adapter = small_ebt(start=start, step_size_learned=learned)
    real = sum(p.numel() for p in adapter.parameters())
    assert EBT_IMAGE.parameters(adapter.config, SHAPE) == ParameterCount(real, real)


@pytest.mark.parametrize(("shape", "sizes"), CASES)
@pytest.mark.parametrize(("record", "given", "thinking"), FLOP_CASES)
def test_flop_formulas_match_the_counter(record, given, thinking, shape, sizes) -> None:
    """What each further image costs; DiT's does not depend on the others."""
    adapter = (small_ebt if record is EBT_IMAGE else small_dit)(shape, **sizes, **given)
    config = record.config(**sizes, **given)
    one, five = (_trained(adapter, batch) for batch in (1, 5))
    expected = record.training_flops(config, shape).total
    assert (five - one) / 4 == pytest.approx(expected, rel=0.01)
    assert one == pytest.approx(expected, rel=0.01) or record is EBT_IMAGE
    one, five = (_predicted(adapter, batch, thinking) for batch in (1, 5))
    expected = record.prediction_flops(config, shape, thinking).total
    assert (five - one) / 4 == pytest.approx(expected, rel=1e-9)
    assert one == pytest.approx(expected, rel=0.01) or record is EBT_IMAGE


def test_the_condition_of_a_whole_batch_is_less_than_a_percent_of_four_images() -> None:
    """Sixteen patches, as the formulas' docstrings say; they leave it out."""
    shape, sizes = CASES[0]
    adapter = small_ebt(shape, **sizes)
    expected = 4 * EBT_IMAGE.training_flops(adapter.config, shape).total
    assert expected < _trained(adapter, 4) < 1.01 * expected
    thinking = Descent(steps=1)
    expected = 4 * EBT_IMAGE.prediction_flops(adapter.config, shape, thinking).total
    assert expected < _predicted(adapter, 4, thinking) < 1.01 * expected


@pytest.mark.parametrize(
    ("between", "loss_on", "start", "learned"),
    product(["detach", "truncate", "unroll"], ["every", "last"], ["noisy", "noise"], [True, False]),
)
def test_every_setting_of_training_costs_what_its_formula_says(
    between: str, loss_on: str, start: str, learned: bool
) -> None:
    """Patches are large, so that a product too many in their embedding would show."""
    settings = {"between_steps": between, "loss_on": loss_on, "start": start, "steps": 3}
    random = {"random_step_size": 2.0, "langevin_noise": 0.1, "step_size_learned": learned}
    adapter = small_ebt(**settings, **random)
    further = (_trained(adapter, 3) - _trained(adapter, 1)) / 2
    expected = EBT_IMAGE.training_flops(adapter.config, SHAPE).total
    assert further == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("between", ["detach", "truncate", "unroll"])
def test_a_random_number_of_steps_costs_the_mean_of_its_counts(between: str) -> None:
    given = SIZES | {"between_steps": between, "loss_on": "last"}
    fixed = [
        EBT_IMAGE.training_flops(EBTImageConfig(**given, steps=n), SHAPE).total for n in (2, 3, 4)
    ]
    config = EBTImageConfig(**given, steps=4, min_steps=2)
    expected = pytest.approx(sum(fixed) / 3, rel=1e-12)
    assert EBT_IMAGE.training_flops(config, SHAPE).total == expected
    assert len(set(fixed)) == 3
