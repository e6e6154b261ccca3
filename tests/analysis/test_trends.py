"""Trends against scipy, brute force over all orders, and planted slopes."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.analysis.resampling import joint_losses, resampled, stretched
from harness.analysis.trends import permutation
from harness.analysis.trends.permutation import EXACT_POINTS, rank_correlation
from harness.analysis.trends.trend import trend

FEW = st.integers(2, 6).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, 4), min_size=n, max_size=n) for _ in range(2)))
)


@settings(deadline=None, max_examples=60)
@given(FEW)
def test_rho_and_p_are_those_of_every_order_written_out(pair: tuple[list[int], list[int]]) -> None:
    x, y = pair
    found = rank_correlation(x, y)
    if len(set(x)) < 2 or len(set(y)) < 2:
        assert found.rho is None
        assert found.p is None
        return
    truth = stats.spearmanr(x, y).statistic
    assert found.rho == pytest.approx(truth, abs=1e-12)
    ranks, others = stats.rankdata(x), stats.rankdata(y)
    all_rho = [np.corrcoef(ranks, order)[0, 1] for order in permutations(others)]
    assert found.p == pytest.approx(np.mean(np.abs(all_rho) >= abs(truth) - 1e-9), abs=1e-12)


@pytest.mark.parametrize("n", [5, 6, 7])
def test_p_is_that_of_scipys_permutation_test(n: int) -> None:
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=n), rng.normal(size=n)
    truth = stats.permutation_test(
        (x,), lambda a: stats.spearmanr(a, y).statistic, permutation_type="pairings",
        n_resamples=np.inf,
    )  # fmt: skip
    found = rank_correlation(x.tolist(), y.tolist())
    assert found.rho == pytest.approx(truth.statistic)
    assert found.p == pytest.approx(truth.pvalue)


def test_the_smallest_p_is_two_of_all_orders_and_large_n_is_drawn() -> None:
    assert rank_correlation(range(8), range(8)).p == pytest.approx(2 / 40320)
    # In print, 0.738 (sum of squared differences 22) is the two-sided 5 % point of eight ranks.
    for y, squares, below in (
        ([1, 0, 3, 2, 6, 7, 5, 4], 22, True),
        ([2, 0, 1, 3, 6, 7, 5, 4], 24, False),
    ):
        assert sum((a - b) ** 2 for a, b in enumerate(y)) == squares
        p = rank_correlation(range(8), y).p
        assert p is not None
        assert (p <= 0.05) == below
    many = EXACT_POINTS + 4
    found = rank_correlation(range(many), range(many))
    assert found.p == 1 / (permutation.DRAWS + 1)
    assert found.method == "99,999 random orders"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_has_no_rank_and_no_slope(bad: float) -> None:
    x, y = [1.0, 2.0, 3.0], [0.0, bad, 1.0]
    for first, second in ((x, y), (y, x)):
        found = rank_correlation(first, second)
        assert (found.rho, found.p) == (None, None)
        read = trend(first, second, x_draws=None, y_draws=None, seeds=3, enough=(3, "set"))
        assert (read.slope, read.interval, read.reading) == (None, None, "descriptive")
        assert read.reason == "a value is not finite: no slope"


def test_drawn_orders_agree_with_counted_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    x = [1, 2, 2, 3, 5, 6, 7, 9, 9, 11]
    y = [2, 1, 4, 4, 3, 8, 5, 9, 6, 6.5]
    counted = rank_correlation(x, y)
    monkeypatch.setattr(permutation, "EXACT_POINTS", 3)
    drawn = rank_correlation(x, y)
    assert counted.p is not None
    assert drawn.p == pytest.approx(counted.p, abs=5 * (counted.p / 1e5) ** 0.5 + 2e-5)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=8))
def test_only_the_order_counts(pairs: list[tuple[int, int]]) -> None:
    x, y = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    found = rank_correlation(x, y)
    swapped = rank_correlation(y, x)
    bent = rank_correlation([v**3 for v in x], [-2 * v - 1 for v in y])
    if found.rho is None:
        assert swapped.rho is None
        assert bent.rho is None
        return
    assert swapped.rho == pytest.approx(found.rho)
    assert bent.rho == pytest.approx(-found.rho)
    assert found.p == swapped.p == bent.p
    back = rank_correlation(x[::-1], y[::-1])
    assert (back.rho, back.p) == (found.rho, found.p)


# --- slopes and readings ---------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(st.floats(-100, 100), min_size=3, max_size=9, unique=True),
    st.floats(-5, 5),
    st.integers(0, 99),
)
def test_the_slope_is_numpys(x: list[float], slope: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=len(x))
    y = (slope * np.array(x) + noise).tolist()
    if np.ptp(x) < 1e-3:
        return
    found = trend(x, y, x_draws=None, y_draws=None, seeds=3, enough=(3, "set"))
    truth = np.polyfit(x, y, 1)
    assert found.slope == pytest.approx(truth[0], rel=1e-6, abs=1e-9)
    assert found.intercept == pytest.approx(truth[1], rel=1e-6, abs=1e-6)
    assert found.interval is None
    assert found.reading == "undecided"
    rest = np.array(x) < max(x)
    if np.ptp(np.array(x)[rest]) > 1e-3:
        truth = np.polyfit(np.array(x)[rest], np.array(y)[rest], 1)
        assert found.without_farthest == pytest.approx(truth[0], rel=1e-6, abs=1e-9)


X = [float(i) for i in range(14)]


def read(y: list[float], noise: float, points: int = 8, seeds: int = 3) -> tuple[str, str]:
    rng = np.random.default_rng(0)
    draws = np.array(y) + noise * rng.normal(size=(1000, len(y)))
    found = trend(
        X[:points], y[:points], x_draws=None, y_draws=draws[:, :points], seeds=seeds,
        enough=(8, "set"),
    )  # fmt: skip
    return found.reading, found.reason


def test_a_reading_needs_enough_points_the_slope_and_the_order() -> None:
    up = [0.1 * v for v in X[:8]]
    assert read(up, 0.01)[0] == "grows"
    assert read(up[::-1], 0.01)[0] == "shrinks"
    assert read(up, 1.0) == (
        "undecided",
        "the slope's interval holds 0; rank correlation +1.00, p < 0.001",
    )
    # One far point makes the slope; the order of the rest is chance.
    far = [0.0, -0.1, 0.1, -0.2, 0.05, -0.15, 0.02, 9.0]
    reading, reason = read(far, 0.01)
    assert reading == "undecided"
    assert reason.startswith("the slope's interval excludes 0, the order may be chance")
    assert "point apart" in read([-v for v in X[:13]] + [1000.0], 0.001, points=14)[1]
    assert read(up, 0.01, points=7) == ("descriptive", "7 sets, 8 needed")
    assert read(up, 0.01, seeds=1) == ("descriptive", "1 training seed, 3 needed")
    assert read(up, 0.01, seeds=2) == ("descriptive", "2 training seeds, 3 needed")
    one = trend([1.0], [2.0], x_draws=None, y_draws=None, seeds=3, enough=(8, "set"))
    assert (one.slope, one.reading, one.reason) == (None, "descriptive", "1 set: no slope")


def planted(rng: np.random.Generator, *, slope: float, seeds: int) -> tuple[list[float], ...]:
    """Gains of 9 sets, slope per unit of x, as sums of 60 documents for each of `seeds`."""
    x = np.arange(9.0)
    n = rng.integers(5, 40, size=60).astype(float)
    quality = 0.02 * rng.normal(size=seeds)  # what a model gains more than another, on all sets
    tilt = 0.004 * rng.normal(size=seeds)
    gains, draws = [], []
    for place in x:
        gain = 0.05 + slope * place + quality + tilt * place
        trained = 2.0 + 0.3 * rng.normal(size=(seeds, 60))
        own = gain[:, None] + 0.05 * rng.normal(size=(seeds, 60))
        sums = np.stack([trained * n, trained * n * (1 - own)], axis=1)
        losses = joint_losses(sums, n, models=1)
        draws.append(1 - losses[:, 1] / losses[:, 0])
        totals = sums.sum((0, 2))
        gains.append(1 - totals[1] / totals[0])
    return x.tolist(), gains, np.stack(draws, 1)  # type: ignore[return-value]


@pytest.mark.parametrize(("seeds", "slope"), [(3, 0.0), (8, 0.01)])
def test_planted_slopes_are_covered_and_none_is_seldom_read_as_one(
    seeds: int, slope: float
) -> None:
    """Seeds share their tilts over all sets, so the interval bounds false verdicts, p does not."""
    rng = np.random.default_rng(seeds)
    covered, wrong, trials = 0, 0, 80
    for _ in range(trials):
        x, gains, draws = planted(rng, slope=slope, seeds=seeds)
        found = trend(x, gains, x_draws=None, y_draws=draws, seeds=seeds, enough=(8, "set"))
        assert found.interval is not None
        covered += found.interval[0] <= slope <= found.interval[1]
        wrong += found.reading == "shrinks" or (slope == 0 and found.reading == "grows")
    assert covered / trials >= 0.92
    assert wrong / trials <= 0.08


@pytest.mark.parametrize(("seeds", "truth"), [(2, 0.93), (3, 0.95), (5, 0.945), (8, 0.95)])
def test_stretched_seeds_cover_as_students_t_does(seeds: int, truth: float) -> None:
    rng = np.random.default_rng(seeds)
    shares = rng.multinomial(seeds, np.full(seeds, 1 / seeds), 1000) / seeds
    values = rng.normal(size=(2000, seeds))
    low, high = np.quantile(values @ stretched(shares).T, [0.025, 0.975], axis=1)
    assert ((low <= 0) & (high >= 0)).mean() == pytest.approx(truth, abs=0.015)


def test_what_is_resampled_is_a_range_where_rows_differ() -> None:
    assert resampled([1, 1]) == "documents (one training seed)"
    stretch = "training seeds (deviations stretched to Student's t), then documents"
    assert resampled([3]) == f"3 {stretch}"
    assert resampled([3, 1, 2]) == f"1 to 3 {stretch}"


def test_seeds_are_drawn_jointly_over_sets_and_stretched() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(5, 1, (1, 1, 50)) + 0.1 * rng.normal(size=(4, 1, 50))
    n = np.ones(50)
    # What differs between seeds alone: constant over documents.
    quality = np.array([0.0, 1.0, 2.0, 3.0])[:, None, None]
    flat = np.broadcast_to(quality, one.shape)
    first = joint_losses(flat, n, models=1)
    again = joint_losses(flat * 2, np.ones(50) * 2, models=1)
    np.testing.assert_allclose(first, again)
    assert not np.allclose(first, joint_losses(flat, n, models=2))
    # The variance of the mean of four is the unbiased variance over four, as Student's t asks.
    wider = (stats.t.ppf(0.975, 3) / stats.norm.ppf(0.975)) ** 2
    assert first.var() == pytest.approx(wider * np.var([0, 1, 2, 3], ddof=1) / 4, rel=0.1)
    # Documents are drawn alike for sets of equally many.
    both = np.corrcoef(joint_losses(one, n, models=1)[:, 0], joint_losses(one, n, models=2)[:, 0])
    assert both[0, 1] > 0.8
