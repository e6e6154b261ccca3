from operator import mul

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp
from scipy.optimize import least_squares, nnls

from harness.analysis.rates.points import Point, arrange
from harness.analysis.rates.power_law import fit_family, fit_rows, project
from harness.analysis.rates.sensitivity import (
    huber_exponent,
    profile_interval,
    shared_floor_exponents,
)

X = np.geomspace(1e6, 1e8, 6)


def family_of(loss, x=X):
    return arrange(
        [
            Point(x=float(x[i]), seed=s, loss=float(loss[i, s]), run=f"{i}-{s}")
            for i in range(loss.shape[0])
            for s in range(loss.shape[1])
        ]
    )


def noisy(exponent=0.35, floor=1.8, reducible=1.2, seeds=3, sigma=0.005, seed=0, x=X):
    rng = np.random.default_rng(seed)
    curve = floor + reducible * (x / x[0]) ** -exponent
    return curve[:, None] + rng.normal(0, sigma, (len(x), seeds))


@given(
    exponent=st.floats(0.05, 2.0),
    floor=st.floats(0.2, 4.0),
    reducible=st.floats(0.3, 5.0),
    points=st.integers(4, 9),
)
@settings(max_examples=60, deadline=None)
def test_noise_free_losses_give_back_the_planted_curve(exponent, floor, reducible, points):
    x = np.geomspace(3e5, 9e7, points)
    loss = floor + reducible * (x / x[0]) ** -exponent
    law = fit_family(family_of(loss[:, None], x)).law
    assert law.exponent == pytest.approx(exponent, rel=1e-4)
    assert law.floor == pytest.approx(floor, rel=1e-3, abs=1e-3)
    assert [law.predict(v) for v in x] == pytest.approx(loss.tolist(), rel=1e-7)


def test_the_exponent_is_found_to_nine_digits_of_what_root_finding_in_higher_precision_finds():
    loss = noisy(sigma=0.01)
    law = fit_family(family := family_of(loss)).law
    level, weight = (each[0].tolist() for each in family.collapse(family.loss[None]))
    logs = [mp.log(mp.mpf(float(x)) / mp.mpf(float(X[0]))) for x in family.x]

    def derivative(exponent):
        """Of the weighted squared error by the exponent, E and A being the best."""
        shape = [mp.exp(-exponent * log) for log in logs]
        total = mp.fsum(weight)
        mean = mp.fsum(map(mul, weight, level)) / total
        middle = mp.fsum(map(mul, weight, shape)) / total
        spread = mp.fsum(w * (s - middle) ** 2 for w, s in zip(weight, shape, strict=True))
        scale = mp.fsum(
            w * (s - middle) * (y - mean) for w, s, y in zip(weight, shape, level, strict=True)
        )
        scale /= spread
        rest = [mean + scale * (s - middle) - y for s, y in zip(shape, level, strict=True)]
        return mp.fsum(
            w * r * s * log for w, r, s, log in zip(weight, rest, shape, logs, strict=True)
        )

    with mp.workdps(40):
        found = mp.findroot(derivative, (0.3, 0.4), solver="anderson")
    assert law.exponent == pytest.approx(float(found), rel=1e-9)


@given(st.integers(0, 10_000))
@settings(max_examples=80, deadline=None)
def test_closed_form_matches_an_outside_non_negative_least_squares(seed):
    rng = np.random.default_rng(seed)
    shape, level = rng.uniform(0.1, 3, 6), rng.uniform(0.1, 3, 6)
    weight = rng.uniform(0.1, 2, 6)
    floor, scale, error = project(shape, level=level[None], weight=weight[None])
    root = np.sqrt(weight)
    expected, distance = nnls(np.stack([root, root * shape], axis=1), root * level)
    assert [floor[0], scale[0]] == pytest.approx(expected.tolist(), abs=1e-9)
    assert error[0] == pytest.approx(distance**2, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_fit_reaches_the_optimum_an_outside_optimiser_finds(seed):
    loss = noisy(seed=seed)
    law = fit_family(family_of(loss)).law

    def residual(parameters):
        floor, log_scale, exponent = parameters
        curve = floor + np.exp(log_scale - exponent * np.log(X / X[0]))
        return ((curve[:, None] - loss) / loss).ravel()

    outside = least_squares(residual, [1.8, np.log(1.2), 0.35], xtol=1e-14, ftol=1e-14)
    assert law.exponent == pytest.approx(outside.x[2], rel=1e-5)
    assert law.floor == pytest.approx(outside.x[0], rel=1e-5)


def test_many_rows_at_once_equal_single_fits():
    level = np.stack([noisy(seed=s, seeds=1)[:, 0] for s in range(20)])
    together = fit_rows(X, level=level, weight=1 / level**2)
    for row in range(20):
        alone = fit_rows(X, level=level[row : row + 1], weight=1 / level[row : row + 1] ** 2)
        assert together.law(row) == alone.law(0)


@given(factor=st.floats(1e-6, 1e6), unit=st.floats(0.01, 100), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_units_of_x_and_loss_do_not_change_the_exponent(factor, unit, seed):
    loss = noisy(seed=seed)
    law = fit_family(family_of(loss)).law
    scaled = fit_family(family_of(loss * unit, X * factor)).law
    assert scaled.exponent == pytest.approx(law.exponent, rel=1e-5)
    assert scaled.floor == pytest.approx(law.floor * unit, rel=1e-4)
    assert scaled.predict(X[2] * factor) == pytest.approx(law.predict(X[2]) * unit, rel=1e-6)


def test_a_pure_power_law_is_not_identified_because_e_is_at_its_bound():
    x = np.geomspace(1, 100, 6)
    bent = 3 * x**-0.3 * np.array([1, 1, 1, 1, 0.99, 0.97])
    fit = fit_family(family_of(bent[:, None], x))
    assert fit.reason == "not identified: E at its bound 0"


def test_a_rising_loss_is_not_identified():
    fit = fit_family(family_of(np.linspace(2, 3, 6)[:, None]))
    assert fit.reason == "not identified: A at its bound 0: the loss does not fall"


def test_a_loss_that_drops_once_puts_the_exponent_at_its_bound():
    loss = np.array([3.0, 2, 2, 2, 2, 2])[:, None]
    assert fit_family(family_of(loss)).reason == "not identified: a at its bound 4"


@pytest.mark.parametrize(("points", "text"), [(1, "1 point"), (2, "2 points"), (3, "3 points")])
def test_three_points_cannot_identify_three_parameters(points, text):
    fit = fit_family(family_of(noisy()[:points], X[:points]))
    assert fit.reason == f"not identified: {text} for 3 parameters"


def test_huber_ignores_a_stray_run_that_moves_least_squares():
    loss = noisy(seed=3)
    clean = fit_family(family_of(loss)).law.exponent
    loss[5, 0] *= 1.08
    family = family_of(loss)
    law = fit_family(family).law
    robust = huber_exponent(family, start=law)
    assert abs(law.exponent - clean) > 0.05
    assert abs(robust - clean) < 0.4 * abs(law.exponent - clean)


def test_a_shared_floor_recovers_both_exponents():
    families = [family_of(noisy(exponent=a, sigma=1e-5)) for a in (0.45, 0.3)]
    laws = tuple(fit_family(one).law for one in families)
    shared = shared_floor_exponents(families[0], baseline=families[1], starts=laws)
    assert shared == pytest.approx((0.45, 0.3), rel=2e-3)


def test_profile_interval_agrees_with_the_linearised_standard_error():
    families = [family_of(noisy(exponent=a, seed=i)) for i, a in enumerate((0.45, 0.3))]
    exponents = tuple(fit_family(one).law.exponent for one in families)
    found = profile_interval(families[0], baseline=families[1], exponents=exponents, level=0.95)
    variance = 0.0
    for one, exponent in zip(families, exponents, strict=True):
        law = fit_family(one).law
        ratio = X / X[0]
        scale = law.predict(X[0]) - law.floor
        slope = scale * ratio**-exponent
        curve = law.floor + slope
        jacobian = np.stack([1 / curve, slope / curve, -slope * np.log(ratio) / curve], axis=1)
        covariance = np.linalg.inv(3 * jacobian.T @ jacobian) * one.sigma() ** 2
        variance += covariance[2, 2] / exponent**2
    half = 2.06 * (exponents[0] / exponents[1]) * np.sqrt(variance)
    assert found.half_width == pytest.approx(half, rel=0.15)
    assert found.low < exponents[0] / exponents[1] - 1 < found.high


def test_profile_is_absent_without_a_second_seed():
    families = [family_of(noisy(exponent=a, seeds=1)) for a in (0.45, 0.3)]
    assert (
        profile_interval(families[0], baseline=families[1], exponents=(0.45, 0.3), level=0.95)
        is None
    )


def test_inverting_returns_the_budget_of_a_loss_or_nothing():
    law = fit_family(family_of(noisy())).law
    assert law.invert(law.predict(3e7)) == pytest.approx(3e7)
    assert law.invert(law.floor) is None
    assert law.invert(law.floor * 0.5) is None
