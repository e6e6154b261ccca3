"""Parameter and FLOP formulas of the image adapters against what runs."""

from __future__ import annotations

import pytest
import torch

from baselines.adapters.image_dit import DiTImage
from baselines.adapters.image_ebt import EBTImage
from baselines.image_records import DIT_IMAGE, EBT_IMAGE
from harness.cost import FlopCounter
from harness.protocol import Descent, Diffusion, ImageBatch, ImageShape, NoisyBatch, ParameterCount
from tests.baselines.tiny_images import NOISE, small_dit, small_ebt, some_images

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
