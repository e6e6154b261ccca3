import dataclasses

import numpy as np
import pytest

from harness.analysis.rates.equal_loss import crossover, equal_loss
from harness.analysis.rates.rate import scaling_rate


def pair(points_of, laws, *, sigma=0.001, seeds=3, low=1e6, high=1e8, points=6, seed=1):
    """Two families on (E, A at the first x, a), with noise."""
    x = np.geomspace(low, high, points)
    rng = np.random.default_rng(seed)
    families = [
        points_of(
            x,
            (floor + scale * (x / x[0]) ** -a)[:, None] + rng.normal(0, sigma, (points, seeds)),
            name,
        )
        for name, (floor, scale, a) in zip(("c", "b"), laws, strict=True)
    ]
    return scaling_rate(families[0], baseline=families[1], axis="flops")


def test_a_family_that_is_three_times_cheaper_reads_three(points_of):
    saving = 3**0.3
    rate = pair(points_of, [(1.8, 1.2 / saving, 0.3), (1.8, 1.2, 0.3)])
    gain = equal_loss(rate)
    assert gain.ratio.value == pytest.approx(3.0, rel=0.05)
    assert gain.ratio.interval.low < gain.ratio.value < gain.ratio.interval.high
    assert gain.ratio.interval.half_width < 0.1
    assert gain.loss == pytest.approx(rate.fits[1].law.predict(1e8))
    assert gain.ratio.label == "confirmatory"


def test_a_loss_slightly_out_of_reach_is_labelled_and_a_far_one_refused(points_of):
    rate = pair(points_of, [(1.8, 1.0, 0.3), (1.8, 1.2, 0.3)])
    near = equal_loss(rate, loss=rate.fits[1].law.predict(4e8))
    assert near.ratio.label == "confirmatory, extrapolated 0.6 decades beyond the baseline's points"
    assert near.ratio.value is not None
    far = equal_loss(rate, loss=rate.fits[1].law.predict(2e9))
    assert far.ratio.value is None
    assert (
        far.ratio.reason
        == "refused: extrapolated 1.3 decades beyond the baseline's points, at most 1"
    )


def test_a_loss_under_a_floor_is_never_reached(points_of):
    rate = pair(points_of, [(1.5, 1.2, 0.3), (1.8, 1.2, 0.3)])
    gain = equal_loss(rate, loss=1.6)
    assert gain.ratio.value is None
    assert gain.ratio.reason == "the baseline's fitted curve never reaches a loss of 1.6"


def test_an_unfitted_rate_has_no_gain_and_no_crossover(plant):
    candidate, baseline = plant(points=3, seeds=2)
    rate = scaling_rate(candidate, baseline=baseline, axis="flops")
    assert "3 points for 3 parameters" in equal_loss(rate).ratio.reason
    assert "3 points for 3 parameters" in crossover(rate).budget.reason


def test_one_seed_gives_a_gain_without_interval(points_of):
    rate = pair(points_of, [(1.8, 1.0, 0.3), (1.8, 1.2, 0.3)], seeds=1, sigma=0)
    gain = equal_loss(rate)
    assert gain.ratio.value == pytest.approx(1.2 ** (1 / 0.3), rel=1e-3)
    assert gain.ratio.interval is None
    assert gain.ratio.reason.startswith("no interval")


def test_a_crossover_in_range_is_found_with_an_interval(points_of):
    # Equal where (x / x0)^0.1 = 1.3: x = 1e6 * 1.3^10.
    rate = pair(points_of, [(1.8, 1.3, 0.4), (1.8, 1.0, 0.3)], sigma=0.003)
    found = crossover(rate)
    expected = 1e6 * 1.3**10
    assert found.budget.interval.low < expected < found.budget.interval.high
    assert found.budget.value == pytest.approx(expected, rel=0.2)
    assert found.above == "candidate"
    assert found.share > 0.95


def test_the_other_family_may_be_the_one_that_overtakes(points_of):
    rate = pair(points_of, [(1.8, 1.0, 0.3), (1.8, 1.3, 0.4)], sigma=0.003)
    assert crossover(rate).above == "baseline"
    assert crossover(rate).budget.value == pytest.approx(1e6 * 1.3**10, rel=0.2)


def test_curves_that_do_not_meet_say_none_in_range(points_of):
    rate = pair(points_of, [(1.8, 1.0, 0.35), (1.8, 1.2, 0.3)])
    found = crossover(rate)
    assert found.budget.value is None
    assert found.budget.reason == "none in range: candidate lower throughout"


def test_families_measured_at_separate_budgets_have_no_common_range(points_of, plant):
    candidate, baseline = plant()
    later = [dataclasses.replace(p, x=p.x * 1e4) for p in baseline]
    rate = scaling_rate(candidate, baseline=later, axis="flops")
    assert crossover(rate).budget.reason == "the families' points do not overlap"


def test_a_crossover_made_by_noise_seldom_gets_an_interval(points_of):
    same = [(1.8, 1.0, 0.3), (1.8, 1.0, 0.3)]
    found = [crossover(pair(points_of, same, sigma=0.01, seed=seed)) for seed in range(8)]
    assert sum(one.budget.interval is None for one in found) >= 6
    for one in found:
        words = one.budget.reason
        assert one.budget.interval or words.startswith(("none in range", "no interval: only"))


def test_an_interval_is_withheld_when_resamples_often_never_reach_the_loss(points_of):
    rate = pair(points_of, [(1.8, 1.2, 0.45), (1.8, 1.2, 0.3)], sigma=0.03)
    fitted_floor = max(fit.law.floor for fit in rate.fits)
    gain = equal_loss(rate, loss=fitted_floor + 0.002)
    assert gain.ratio.interval is None
