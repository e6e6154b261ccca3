import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.rates.points import Point
from harness.analysis.rates.rate import Bootstrap, scaling_rate

SHORT = Bootstrap(resamples=199)


def test_a_planted_rate_is_recovered_with_its_design_and_level(plant):
    candidate, baseline = plant(seed=1)
    rate = scaling_rate(candidate, baseline=baseline, axis="data")
    assert rate.rho.value == pytest.approx(0.35, abs=0.08)
    assert rate.rho.interval.low < 0.35 < rate.rho.interval.high
    assert rate.profile.low < 0.35 < rate.profile.high
    assert rate.huber == pytest.approx(0.35, abs=0.1)
    assert rate.shared_floor == pytest.approx(0.35, abs=0.08)
    assert rate.verdict.status == "faster"
    assert (rate.rho.points, rate.rho.seeds, rate.rho.interval.level) == (6, 3, 0.95)
    assert rate.rho.label == "confirmatory"
    assert max(abs(one.error) for one in rate.held_out) < 0.02


def test_raw_slopes_call_equal_exponents_a_quarter_faster(points_of):
    x = np.geomspace(1e7, 1e9, 6)
    rng = np.random.default_rng(1)
    families = [
        points_of(x, (1.8 + scale * x**-0.35)[:, None] + rng.normal(0, 0.005, (6, 3)), str(scale))
        for scale in (400, 300)
    ]
    rate = scaling_rate(families[0], baseline=families[1], axis="data")
    assert rate.apparent.value == pytest.approx(0.235, abs=0.02)
    assert rate.apparent.interval.low > 0.2
    assert rate.apparent.label == "apparent slope ratio"
    assert rate.rho.interval.low < 0 < rate.rho.interval.high
    assert rate.verdict.status != "faster"


def test_noise_free_bias_of_the_apparent_slope_is_the_documented_one(points_of):
    x = np.geomspace(1e7, 1e9, 6)
    families = [points_of(x, (1.8 + scale * x**-0.35)[:, None], str(scale)) for scale in (400, 300)]
    rate = scaling_rate(families[0], baseline=families[1], axis="data")
    assert rate.apparent.value == pytest.approx(0.235, abs=0.001)
    assert rate.rho.value == pytest.approx(0.0, abs=1e-5)


def test_a_small_design_is_named_in_its_verdict_and_keeps_the_apparent_slope(plant):
    candidate, baseline = plant(points=3, seeds=2)
    rate = scaling_rate(candidate, baseline=baseline, axis="data")
    assert rate.verdict.text == "undecided: 3 points × 2 seeds"
    assert rate.rho.value is None
    assert rate.rho.interval is None
    assert "3 points for 3 parameters" in rate.rho.reason
    assert rate.rho.label == "exploratory"
    assert rate.apparent.value > 0
    assert rate.apparent.interval is not None
    assert rate.apparent.label == "apparent slope ratio, exploratory"
    assert rate.p is None


def test_one_seed_gives_an_estimate_without_interval_or_verdict(plant):
    candidate, baseline = plant(points=5, seeds=1)
    rate = scaling_rate(candidate, baseline=baseline, axis="data")
    assert rate.verdict.text == "undecided: 5 points × 1 seed"
    assert rate.rho.value is not None
    assert rate.rho.interval is None
    assert rate.rho.reason == "no interval: too few runs to resample"
    assert rate.apparent.interval is None


def test_a_single_point_is_answered_in_words(plant):
    candidate, baseline = plant(points=6)
    one = [p for p in candidate if p.x == candidate[0].x]
    rate = scaling_rate(one, baseline=baseline, axis="data")
    assert rate.verdict.text == "undecided: 1 point × 3 seeds"
    assert rate.apparent.value is None
    assert rate.apparent.reason == "a slope needs two points"
    assert rate.held_out[0].reason.startswith("1 point")


def test_a_long_axis_needs_two_decades_whatever_the_interval_says(plant):
    candidate, baseline = plant(decades=1.5, seeds=5, rate=1.0)
    rate = scaling_rate(candidate, baseline=baseline, axis="flops")
    assert rate.rho.interval.low > 0
    assert rate.verdict.text == "undecided: 6 points × 5 seeds over 1.5 decades, 2 needed"


def test_a_short_axis_is_judged_by_its_simulated_width(plant):
    candidate, baseline = plant(decades=1.0, start=2, points=5, rate=1.0)
    narrow = scaling_rate(candidate, baseline=baseline, axis="depth", bootstrap=SHORT)
    assert not narrow.gate.passed
    assert "simulated half-width" in narrow.verdict.reason
    candidate, baseline = plant(decades=2.0, start=2, points=6)
    wide = scaling_rate(candidate, baseline=baseline, axis="width")
    assert wide.gate.passed
    assert wide.gate.half_width < 0.1


def test_few_resamples_give_an_interval_but_no_verdict(plant):
    candidate, baseline = plant()
    rate = scaling_rate(candidate, baseline=baseline, axis="data", bootstrap=SHORT)
    assert rate.rho.interval is not None
    assert rate.verdict.text == "undecided: 199 resamples, 1000 needed"


@pytest.mark.parametrize(
    ("fields", "start"),
    [
        ({"rate": 0.35}, "faster: 95 % interval [+"),
        ({"rate": 0.02, "sigma": 0.0003}, "faster: by less than 5 %, 95 %"),
        ({"rate": -0.1, "sigma": 0.001}, "not faster: 95 % interval [−"),
        ({"rate": 0.0, "sigma": 0.01}, "undecided: 95 % interval [−"),
    ],
)
def test_the_four_things_a_verdict_can_say(plant, fields, start):
    candidate, baseline = plant(seed=1, **fields)
    rate = scaling_rate(candidate, baseline=baseline, axis="data")
    assert rate.verdict.text.startswith(start)


def test_an_unidentified_fit_is_undecided_and_says_which_parameter(points_of, plant):
    x = np.geomspace(1e6, 1e8, 6)
    bent = 3 * (x / x[0]) ** -0.3 * np.array([1, 1, 1, 1, 0.99, 0.97])
    rng = np.random.default_rng(0)
    pure = points_of(x, bent[:, None] * np.exp(rng.normal(0, 0.001, (6, 3))), "pure")
    rate = scaling_rate(pure, baseline=plant()[1], axis="data")
    assert rate.rho.value is None
    assert rate.verdict.text == "undecided: candidate not identified: E at its bound 0"


def test_a_fit_that_keeps_hitting_its_bounds_is_undecided(plant):
    candidate, baseline = plant(floor=0.35, exponent=0.1, seed=4, sigma=0.01)
    rate = scaling_rate(candidate, baseline=baseline, axis="data")
    assert rate.at_bound > 0.05
    assert rate.verdict.status == "undecided"
    assert "at its bound" in rate.verdict.reason


def test_paired_seeds_narrow_the_interval_only_when_they_move_together(plant):
    candidate, baseline = plant(correlation=0.95, seed=2)
    paired = scaling_rate(candidate, baseline=baseline, axis="data")
    strangers = [dataclasses.replace(p, seed=p.seed + 10) for p in baseline]
    unpaired = scaling_rate(candidate, baseline=strangers, axis="data")
    assert paired.paired
    assert not unpaired.paired
    assert paired.rho.interval.half_width < 0.7 * unpaired.rho.interval.half_width


def test_trajectories_are_labelled_and_drawn_by_seed(plant):
    candidate, baseline = plant()
    own = scaling_rate(candidate, baseline=baseline, axis="data")
    read = scaling_rate(
        candidate, baseline=baseline, axis="data", bootstrap=Bootstrap(trajectory=True)
    )
    assert own.resampling == "residuals pooled over points"
    assert read.resampling == "whole seeds along trajectories (not one run per budget)"
    assert read.profile is None
    assert read.rho.value == own.rho.value
    # Three paired seeds can be drawn in only ten ways.
    assert len(np.unique(np.round(read.draws.rates, 6))) == 10


def test_shared_runs_are_labelled_and_resampled_whole(plant):
    candidate, baseline = (
        [dataclasses.replace(p, run=f"{name}-{p.seed}") for p in points]
        for name, points in zip("cb", plant(), strict=True)
    )
    rate = scaling_rate(candidate, baseline=baseline, axis="data")
    assert rate.resampling == "whole runs (points share runs)"
    assert rate.profile is None


def test_holding_out_a_far_point_says_how_far_it_reached(plant):
    candidate, baseline = plant(points=5, decades=2.0)
    far = [dataclasses.replace(p, x=p.x * 10) if p.x == candidate[-1].x else p for p in candidate]
    rate = scaling_rate(far, baseline=baseline, axis="data", bootstrap=SHORT)
    assert rate.held_out[0].decades_beyond == pytest.approx(1.5)
    assert rate.held_out[0].reason == "past one decade beyond the fitted points"
    assert rate.held_out[1].reason == ""


@pytest.mark.parametrize("bad", [Bootstrap(level=1.0), Bootstrap(resamples=5)])
def test_an_impossible_bootstrap_is_refused(plant, bad):
    candidate, baseline = plant()
    with pytest.raises(ValueError, match="level between 0 and 1 and at least 40"):
        scaling_rate(candidate, baseline=baseline, axis="data", bootstrap=bad)


@given(seed=st.integers(0, 999), order=st.randoms(use_true_random=False))
@settings(max_examples=10, deadline=None)
def test_the_order_of_points_changes_nothing(plant, seed, order):
    candidate, baseline = plant(seed=seed)
    once = scaling_rate(candidate, baseline=baseline, axis="data", bootstrap=SHORT)
    order.shuffle(candidate)
    order.shuffle(baseline)
    again = scaling_rate(candidate, baseline=baseline, axis="data", bootstrap=SHORT)
    assert again == once


@given(
    seed=st.integers(0, 999),
    x_unit=st.floats(1e-6, 1e6),
    loss_unit=st.floats(0.1, 10),
    shift=st.floats(0.1, 10),
)
@settings(max_examples=10, deadline=None)
def test_units_of_budget_and_loss_change_nothing(plant, seed, x_unit, loss_unit, shift):
    families = plant(seed=seed)

    def rescaled(points: list[Point], factor: float) -> list[Point]:
        return [dataclasses.replace(p, x=p.x * factor, loss=p.loss * loss_unit) for p in points]

    once = scaling_rate(families[0], baseline=families[1], axis="data", bootstrap=SHORT)
    again = scaling_rate(
        rescaled(families[0], x_unit * shift),
        baseline=rescaled(families[1], x_unit),
        axis="data",
        bootstrap=SHORT,
    )
    assert again.rho.value == pytest.approx(once.rho.value, abs=1e-4)
    assert again.rho.interval.low == pytest.approx(once.rho.interval.low, abs=1e-4)
    assert again.rho.interval.high == pytest.approx(once.rho.interval.high, abs=1e-4)


@given(seed=st.integers(0, 999))
@settings(max_examples=10, deadline=None)
def test_swapping_the_families_inverts_the_ratio(plant, seed):
    candidate, baseline = plant(seed=seed)
    forth = scaling_rate(candidate, baseline=baseline, axis="data", bootstrap=SHORT)
    back = scaling_rate(baseline, baseline=candidate, axis="data", bootstrap=SHORT)
    assert 1 + back.rho.value == pytest.approx(1 / (1 + forth.rho.value))
    assert 1 + back.rho.interval.high == pytest.approx(1 / (1 + forth.rho.interval.low))
    assert back.p == forth.p


def test_the_seed_is_keyed_by_axis_and_repeats_exactly(plant):
    candidate, baseline = plant()
    rates = [
        scaling_rate(candidate, baseline=baseline, axis=axis, bootstrap=SHORT)
        for axis in ("data", "data", "flops")
    ]
    assert rates[0].rho == rates[1].rho
    assert rates[0].rho.interval != rates[2].rho.interval
