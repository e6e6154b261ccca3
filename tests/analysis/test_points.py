import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.rates.points import (
    Point,
    are_paired,
    arrange,
    counted_p,
    draw_sources,
    order_interval,
)


def point(x=1.0, seed=0, loss=2.0, run="r"):
    return Point(x=x, seed=seed, loss=loss, run=run)


@pytest.mark.parametrize(
    "bad", [point(x=0.0), point(loss=float("nan")), point(loss=-1.0), point(x=float("inf"))]
)
def test_a_failed_run_is_refused_not_averaged(bad):
    with pytest.raises(ValueError, match="must be finite and positive"):
        arrange([point(run="good", seed=7), bad])


def test_two_losses_of_one_seed_at_one_x_are_refused_by_name():
    with pytest.raises(ValueError, match="'one' and 'two'"):
        arrange([point(run="one"), point(run="two", loss=2.5)])


def test_no_points_at_all_is_an_error():
    with pytest.raises(ValueError, match="no points"):
        arrange([])


def test_scaled_residuals_have_the_variance_of_a_run(points_of):
    rng = np.random.default_rng(0)
    loss = 2 * np.exp(rng.normal(0, 0.01, (4000, 3)))
    family = arrange(points_of(np.arange(1, 4001), loss, "f"))
    assert np.std(family.residuals()) == pytest.approx(0.01, rel=0.03)
    assert family.sigma() == pytest.approx(0.01, rel=0.03)


def test_lone_seeds_receive_residuals_but_give_none(points_of):
    points = points_of([1.0, 2.0, 4.0], np.full((3, 3), 2.0), "f")
    kept = [p for p in points if not (p.x == 4.0 and p.seed > 0)]
    family = arrange(kept)
    sources = draw_sources(family, resamples=500, rng=np.random.default_rng(0), trajectory=False)
    assert family.seeds == 1
    assert set(np.unique(sources)) == set(range(6))
    assert np.isfinite(family.residuals()[sources]).all()


def test_one_seed_everywhere_leaves_nothing_to_draw(points_of):
    family = arrange(points_of([1.0, 2.0, 4.0], np.full((3, 1), 2.0), "f"))
    assert draw_sources(family, resamples=9, rng=np.random.default_rng(0), trajectory=False) is None


@pytest.mark.parametrize("trajectory", [True, False])
def test_runs_that_supply_several_points_are_drawn_whole(trajectory):
    points = [
        point(x=float(x), seed=s, loss=2.0 + 0.1 * s, run=f"seed-{s}")
        for x in (1, 2, 4, 8)
        for s in range(3)
    ]
    family = arrange(points)
    sources = draw_sources(
        family, resamples=50, rng=np.random.default_rng(0), trajectory=trajectory
    )
    donor_seed = family.seed[sources].reshape(50, 4, 3)
    assert family.shares_runs
    assert (donor_seed == donor_seed[:, :1]).all()
    assert (family.point[sources] == family.point).all()


def test_runs_that_share_different_points_do_not_swap():
    points = [
        point(x=float(x), seed=s, run=f"{'small' if x < 3 else 'large'}-{s}")
        for x in (1, 2, 4, 8)
        for s in range(3)
    ]
    family = arrange(points)
    sources = draw_sources(family, resamples=50, rng=np.random.default_rng(0), trajectory=False)
    donor_seed = family.seed[sources].reshape(50, 4, 3)
    assert (donor_seed[:, 0] == donor_seed[:, 1]).all()
    assert (donor_seed[:, 2] == donor_seed[:, 3]).all()
    assert (donor_seed[:, 0] != donor_seed[:, 2]).any()


def test_pairing_needs_the_same_seeds_and_the_same_sharing(points_of):
    loss = np.full((3, 2), 2.0)
    one = arrange(points_of([1.0, 2.0, 4.0], loss, "one"))
    elsewhere = arrange(points_of([1.5, 3.0, 6.0], loss, "two"))
    other_seeds = arrange(
        [point(x=x, seed=s, run=f"{x}{s}") for x in (1.0, 2.0, 4.0) for s in (5, 6)]
    )
    shared = arrange([point(x=x, seed=s, run=f"{s}") for x in (1.0, 2.0, 4.0) for s in (0, 1)])
    assert are_paired(one, elsewhere, trajectory=False)
    assert not are_paired(one, other_seeds, trajectory=False)
    assert not are_paired(one, shared, trajectory=False)
    assert are_paired(one, shared, trajectory=True)


@given(
    draws=st.lists(st.floats(-1, 1), min_size=60, max_size=300),
    null=st.floats(-1, 1),
    level=st.sampled_from([0.8, 0.9, 0.95]),
)
@settings(max_examples=200, deadline=None)
def test_the_interval_excludes_a_value_exactly_when_its_p_is_small(draws, null, level):
    ordered = np.sort(draws)
    interval = order_interval(ordered, level=level, method="bootstrap")
    excluded = not interval.low <= null <= interval.high
    assert excluded == (counted_p(ordered, null=null) <= 1 - level + 1e-12)


def test_too_few_draws_for_a_level_give_no_interval():
    assert order_interval(np.arange(1000.0), level=0.999, method="bootstrap") is None


def test_an_unbounded_end_gives_no_interval():
    draws = np.sort(np.append(np.arange(90.0), np.full(10, np.inf)))
    assert order_interval(draws, level=0.95, method="bootstrap") is None
