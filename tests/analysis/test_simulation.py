import numpy as np
import pytest

from harness.analysis.rates.simulation import Truth, simulate_interval


@pytest.mark.parametrize(
    ("decades", "points", "seeds", "expected", "tolerance"),
    [(1, 4, 1, (2, 80), 8), (2, 6, 3, (28, 41), 1.5), (3, 6, 3, (32, 39), 1.5)],
)
def test_the_documented_sampling_ranges(decades, points, seeds, expected, tolerance):
    found = simulate_interval(
        np.geomspace(1e6, 10 ** (6 + decades), points), seeds=seeds, simulations=4000
    )
    percent = (100 * found.interval.low, 100 * found.interval.high)
    assert percent == pytest.approx(expected, abs=tolerance)


def test_span_buys_more_than_points_or_seeds():
    base = simulate_interval(np.geomspace(1, 10, 6), seeds=3).half_width
    seeds = simulate_interval(np.geomspace(1, 10, 6), seeds=6).half_width
    points = simulate_interval(np.geomspace(1, 10, 12), seeds=3).half_width
    span = simulate_interval(np.geomspace(1, 100, 6), seeds=3).half_width
    assert span < min(seeds, points) < base


def test_the_same_question_has_the_same_answer_whatever_the_unit_or_order():
    xs = np.geomspace(1, 100, 6)
    once = simulate_interval(xs, seeds=3).interval
    again = simulate_interval(xs[::-1] * 1024, seeds=3).interval
    assert (again.low, again.high) == pytest.approx((once.low, once.high), abs=1e-6)
    assert simulate_interval(xs, seeds=3, seed=1).interval != once


def test_three_points_cannot_be_simulated_and_say_why():
    found = simulate_interval([1, 10, 100], seeds=2)
    assert found.interval is None
    assert found.half_width is None
    assert found.reason == "3 points for 3 parameters"


def test_the_label_states_design_and_truth():
    found = simulate_interval([1, 2, 4, 8], seeds=1, truth=Truth(rate=0.1, sigma=0.01))
    assert found.label == (
        "sampling range for a true +10% at sigma 0.01 of a loss of 3: "
        "4 points × 1 seed over 0.9 decades"
    )


@pytest.mark.parametrize(
    ("xs", "seeds", "simulations"), [([], 3, 200), ([0, 1], 3, 200), ([1, 2], 0, 200), ([1], 1, 9)]
)
def test_impossible_designs_are_refused(xs, seeds, simulations):
    with pytest.raises(ValueError, match=r"positive budgets|at least 1 and 40"):
        simulate_interval(xs, seeds=seeds, simulations=simulations)
