"""Rank statistics against scipy, brute force, and samples that are really drawn again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from harness.ranks import (
    areas,
    auroc,
    correlations_within,
    each_rank_correlation,
    rank_correlations,
    spearman,
)

PAIRS = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(0, 3)), min_size=2, max_size=30
)


@settings(max_examples=50, deadline=None)
@given(PAIRS)
def test_spearman_is_scipys_also_with_ties(pairs: list[tuple[int, int, int]]) -> None:
    x, y, _ = np.array(pairs, float).T
    found = spearman(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(PAIRS, PAIRS)
def test_auroc_counts_pairs_and_half_the_ties(
    first: list[tuple[int, int, int]], second: list[tuple[int, int, int]]
) -> None:
    lower, higher = (np.array(side, float)[:, 0] for side in (first, second))
    wins = [(b > a) + (a == b) / 2 for a in lower for b in higher]
    assert auroc(lower, higher) == pytest.approx(np.mean(wins))
    assert auroc(lower, []) is None


@settings(max_examples=50, deadline=None)
@given(PAIRS, st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_counts_of_groups_are_samples_with_groups_repeated(
    pairs: list[tuple[int, int, int]], counts: list[int]
) -> None:
    x, y, groups = np.array(pairs).T
    drawn = np.repeat(np.arange(len(x)), np.array(counts)[groups])
    weights = np.array([counts], float)
    expected = spearman(x[drawn], y[drawn]) if len(drawn) else None
    found = rank_correlations(x, y, groups, weights)[0]
    assert np.isnan(found) if expected is None else found == pytest.approx(expected, abs=1e-9)
    area = auroc(x[drawn], y[drawn])
    found = areas(x, y, (groups, groups), weights)[0]
    assert np.isnan(found) if area is None else found == pytest.approx(area)


def test_within_groups_offsets_between_groups_do_not_count() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), [3, 40, 60, 50])
    y = random.normal(size=len(groups))
    x = -y + 100 * groups  # falls inside each group, rises from one to the next
    y = y + 100 * groups
    overall = spearman(x, y)
    assert overall is not None
    assert overall > 0.5
    y[groups == 3] = 7.0
    values, pairs = correlations_within(x, y, groups)
    np.testing.assert_allclose(values, [0, -1, -1, 0])  # too few; no variation
    assert pairs.tolist() == [0, 40, 60, 0]


@pytest.mark.parametrize("draws", [3, 40], ids=["running", "by table"])
def test_several_are_correlated_with_one_as_each_alone(draws: int) -> None:
    """Also where one of them has no ranks, and where there are too many draws for one chunk."""
    random = np.random.default_rng(1)
    y = random.integers(0, 20, 300).astype(float)
    sides = [y + random.normal(0, 9, 300), np.full(300, np.nan), np.round(random.normal(0, 2, 300))]
    groups = random.integers(0, 12, 300)
    counts = random.multinomial(12, np.full(12, 1 / 12), draws).astype(float)
    found = each_rank_correlation(sides, y, groups, counts)
    for one, side in zip(found, sides, strict=True):
        expected = [
            spearmanr(np.repeat(side, times), np.repeat(y, times)).statistic
            for times in counts[:, groups].astype(int)
        ]
        np.testing.assert_allclose(one, expected, atol=1e-12)
