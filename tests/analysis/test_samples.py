"""Intervals over seeds and documents against brute force and planted truths."""

from __future__ import annotations

import numpy as np
import pytest

from harness.analysis.exhibits.samples import Sample


def test_a_ratio_of_sums_is_resampled_as_one() -> None:
    """By brute force: weights differ, so a mean of per-document means would be another number."""
    random = np.random.default_rng(3)
    weights = random.integers(1, 50, 30).astype(float)
    sums = weights * random.normal(3, 1, 30)
    sample = Sample({0: float(sums.sum() / weights.sum())}, {0: sums}, weights)
    draws = []
    for _ in range(4000):
        chosen = random.integers(0, 30, 30)
        draws.append(sums[chosen].sum() / weights[chosen].sum())
    expected = np.quantile(draws, [0.025, 0.975])
    assert sample.interval() == pytest.approx(expected, abs=0.04)


def test_what_all_documents_have_alike_has_no_interval() -> None:
    """None right of 200 does not make one in 200 impossible, in one seed or in three."""
    for seeds in (1, 3):
        none = dict.fromkeys(range(seeds), np.zeros(200))
        wrong = Sample(dict.fromkeys(range(seeds), 0.0), none, np.ones(200))
        assert wrong.interval() is None
        assert Sample(wrong.by_seed).interval() is None
        difference = wrong.minus(wrong)
        assert difference is not None
        assert (difference.value, difference.interval, difference.sign) == (0.0, None, 0)
        one = {seed: np.eye(200)[0] for seed in range(seeds)}
        right = Sample(dict.fromkeys(range(seeds), 1 / 200), one, np.ones(200))
        assert right.interval() is not None


def test_models_of_other_tokens_are_not_paired() -> None:
    sums = {0: np.ones(20), 1: np.full(20, 1.2)}
    one = Sample({0: 1.0, 1: 1.2}, sums, np.ones(20))
    other = Sample({0: 0.5, 1: 0.6}, sums, np.full(20, 2.0))
    difference = one.minus(other)
    assert difference is not None
    assert not difference.by_document
    assert one.minus(Sample({7: 1.0})) is None


def test_three_seeds_cover_a_true_difference() -> None:
    """Documents and seeds scatter alike; the interval of the difference holds 0 in nine of ten."""
    random = np.random.default_rng(5)
    covered = 0
    for _ in range(100):
        document = random.normal(0, 0.3, 60)
        seed = random.normal(0, 0.03, 3)
        base = Sample(
            dict.fromkeys(range(3), 0.0), dict.fromkeys(range(3), np.zeros(60)), np.ones(60)
        )
        sums = {index: document + shift for index, shift in enumerate(seed)}
        model = Sample({i: float(s.mean()) for i, s in sums.items()}, sums, np.ones(60))
        difference = model.minus(base)
        assert difference is not None
        covered += difference.sign == 0
    assert 87 <= covered <= 99
