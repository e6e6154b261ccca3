"""Keyed noise: a number depends on its key alone, and different keys are independent."""

from __future__ import annotations

import itertools
from hashlib import blake2b

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harness.noise import NoiseSource

SOURCE = NoiseSource(seed=3, scope=("test",))
KINDS = ("normal", "uniform")


def draw(rows: list[int], kind: str = "normal", source: NoiseSource = SOURCE) -> Tensor:
    return getattr(source, kind)(torch.tensor(rows), (5, 2), purpose="start", step=1, sample=2)


@given(
    rows=st.lists(st.integers(0, 2**40), min_size=1, max_size=6, unique=True),
    order=st.randoms(use_true_random=False),
    kind=st.sampled_from(KINDS),
)
def test_a_row_draws_the_same_in_any_batch_and_order(rows: list[int], order, kind: str) -> None:
    together = dict(zip(rows, draw(rows, kind), strict=True))
    shuffled = order.sample(rows, len(rows))
    for row, values in zip(shuffled, draw(shuffled, kind), strict=True):
        assert torch.equal(values, together[row])
    for row in rows:
        assert torch.equal(draw([row], kind)[0], together[row])


def test_every_part_of_the_key_counts() -> None:
    rows = torch.arange(2)
    draws = [
        source.normal(rows, (512,), purpose=purpose, step=step, sample=sample)[row]
        for source in (SOURCE, NoiseSource(4, ("test",)), NoiseSource(3), SOURCE.within(1))
        for purpose in ("start", "noising")
        for step, sample, row in itertools.product((0, 1), (0, 1), (0, 1))
    ]
    uniform = SOURCE.uniform(rows, (512,), purpose="start")
    correlations = torch.corrcoef(torch.stack([*draws, *(uniform - 0.5)])).fill_diagonal_(0)
    # Of about 2,000 correlations of independent streams, the largest is below 5 / sqrt(512).
    assert correlations.abs().max() < 5 / 512**0.5


def test_a_numpy_integer_names_the_same_stream() -> None:
    rows = torch.tensor([7])
    plain = NoiseSource(1).within(2).normal(rows, (4,), purpose="p", step=3)
    numpy = (
        NoiseSource(np.int64(1))
        .within(np.int64(2))
        .normal(rows, (4,), purpose="p", step=np.int64(3))
    )
    assert torch.equal(plain, numpy)


def test_moments_and_range() -> None:
    rows = torch.arange(200)
    normal = SOURCE.normal(rows, (1000,), purpose="moments").double()
    uniform = SOURCE.uniform(rows, (1000,), purpose="moments").double()
    n = normal.numel()
    assert abs(normal.mean()) < 5 / n**0.5
    assert abs(normal.var() - 1) < 5 * (2 / n) ** 0.5
    assert abs((normal**4).mean() - 3) < 5 * (96 / n) ** 0.5
    assert abs(uniform.mean() - 0.5) < 5 * (1 / 12 / n) ** 0.5
    assert abs(uniform.var() - 1 / 12) < 5 * (1 / 180 / n) ** 0.5
    assert uniform.min() >= 0
    assert uniform.max() < 1


@pytest.mark.parametrize("kind", KINDS)
def test_one_number_per_row_is_a_vector(kind: str) -> None:
    values = getattr(SOURCE, kind)(torch.arange(3), (), purpose="timestep")
    assert values.shape == (3,)
    assert len(set(values.tolist())) == 3


def test_draws_leave_torch_and_numpy_generators_alone() -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    draw([1, 2, 3])
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.parametrize("kind", KINDS)
def test_long_rows_and_threads_keep_to_the_key(kind: str) -> None:
    """A row of a million numbers comes from another generator, in several threads at once."""
    shape, rows = (2**20,), torch.arange(3)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = getattr(SOURCE, kind)(rows, shape, purpose="start")
    finally:
        torch.set_num_threads(threads)
    for row in rows:
        alone = getattr(SOURCE, kind)(row[None], shape, purpose="start")[0]
        assert torch.equal(alone, together[row])
    mean, spread = (0.0, 1.0) if kind == "normal" else (0.5, 12**-0.5)
    assert together.mean(1).sub(mean).abs().max() < 5 * spread / 2**10
    assert together.std(1).sub(spread).abs().max() < 5 * spread / 2**10
    assert torch.corrcoef(together).fill_diagonal_(0).abs().max() < 5 / 2**10
    other = getattr(SOURCE.within(1), kind)(rows[:1], shape, purpose="start")
    assert not torch.equal(other[0], together[0])


def test_streams_are_those_of_philox_under_the_digest() -> None:
    """Pinned, so that numbers drawn years ago can be drawn again."""
    found = NoiseSource(7).within("step", 3).normal(torch.tensor([41]), (2, 3), purpose="start")
    key = repr((7, "step", 3, "normal", "start", 0, 0, 41)).encode()
    digest = int.from_bytes(blake2b(key, digest_size=16).digest(), "little")
    drawn = np.random.Generator(np.random.Philox(key=digest))
    assert np.array_equal(found[0].numpy(), drawn.standard_normal((2, 3), dtype=np.float32))


def test_short_rows_in_several_threads_keep_to_the_key() -> None:
    shape, rows, threads = (2**16,), torch.arange(32), torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        together = SOURCE.normal(rows, shape, purpose="start")
    finally:
        torch.set_num_threads(threads)
    for row in rows:
        assert torch.equal(SOURCE.normal(row[None], shape, purpose="start")[0], together[row])


def test_a_position_has_a_stream_of_its_own() -> None:
    rows = torch.arange(2)
    draws = [
        SOURCE.normal(rows, (512,), purpose="start", position=position)[row]
        for position in (None, 0, 1)
        for row in (0, 1)
    ]
    assert torch.corrcoef(torch.stack(draws)).fill_diagonal_(0).abs().max() < 5 / 512**0.5
