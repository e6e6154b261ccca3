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


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("start", ["noisy", "noise"])
def test_parameter_formula_under(start: str, learned: bool) -> None:
    adapter = small_ebt(start=start, step_size_learned=learned)
    real = sum(p.numel() for p in adapter.parameters())
    assert EBT_IMAGE.parameters(adapter.config, SHAPE) == ParameterCount(real, real)


@pytest.mark.parametrize(("shape", "sizes"), CASES)
@pytest.mark.parametrize(("record", "given", "thinking"), FLOP_CASES)
@pytest.mark.parametrize("batch", [1, 5])
def test_flop_formulas_match_the_counter(record, given, thinking, shape, sizes, batch) -> None:
    adapter = (small_ebt if record is EBT_IMAGE else small_dit)(shape, **sizes, **given)
    config = record.config(**sizes, **given)
    images, rows = some_images(batch, shape), torch.arange(batch)
    with FlopCounter() as counter:
        adapter.training_loss(ImageBatch(images, rows), NOISE).loss_sum.backward()
    expected = batch * record.training_flops(config, shape).total
    assert counter.total == pytest.approx(expected, rel=0.01)
    with FlopCounter() as counter:
        adapter.predict(NoisyBatch(images, 99, rows), thinking, NOISE)
    expected = batch * record.prediction_flops(config, shape, thinking).total
    assert counter.total == pytest.approx(expected, rel=0.01)


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
    with FlopCounter() as counter:
        adapter.training_loss(
            ImageBatch(some_images(2), torch.arange(2)), NOISE
        ).loss_sum.backward()
    expected = 2 * EBT_IMAGE.training_flops(adapter.config, SHAPE).total
    assert counter.total == pytest.approx(expected, rel=1e-3)


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
