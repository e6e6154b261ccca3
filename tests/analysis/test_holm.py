import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.rates.holm import holm
from harness.analysis.rates.points import counted_p, order_interval
from harness.analysis.rates.rate import scaling_rate


@pytest.fixture(scope="module")
def template(plant):
    candidate, baseline = plant()
    return scaling_rate(candidate, baseline=baseline, axis="data")


def with_draws(template, draws):
    """The template's design with other resampled rates."""
    ordered = np.sort(draws)
    interval = order_interval(ordered, level=0.95, method="bootstrap")
    p = counted_p(ordered, null=0.0)
    return dataclasses.replace(
        template,
        rho=dataclasses.replace(template.rho, value=float(np.median(draws)), interval=interval),
        draws=dataclasses.replace(template.draws, rates=ordered),
        p=p,
        p_adjusted=p,
    )


def normal_rates(template, means):
    rng = np.random.default_rng(0)
    return [with_draws(template, rng.normal(m, 1, 1999)) for m in means]


@given(means=st.lists(st.floats(-5, 5), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_adjusted_p_is_holms_and_intervals_agree_with_it(template, means):
    before = normal_rates(template, means)
    after = holm(before)
    order = sorted(range(len(before)), key=lambda i: before[i].p)
    expected, running = {}, 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(before) - rank) * before[i].p))
        expected[i] = running
    for i, (was, now) in enumerate(zip(before, after, strict=True)):
        assert now.p_adjusted == pytest.approx(expected[i])
        assert now.p_adjusted >= was.p
        assert now.rho.interval.low <= was.rho.interval.low
        assert now.rho.interval.high >= was.rho.interval.high
        excludes_zero = not now.rho.interval.low <= 0 <= now.rho.interval.high
        assert excludes_zero == (now.p_adjusted <= 0.05 + 1e-12)
        assert (now.verdict.status == "faster") == (now.rho.interval.low > 0)
    ranked = [after[i].p_adjusted for i in order]
    assert ranked == sorted(ranked)


def test_one_axis_is_left_as_it_was(template):
    (after,) = holm([template])
    assert after.rho.interval.low == template.rho.interval.low
    assert after.p_adjusted == template.p


def test_a_verdict_can_be_lost_to_the_number_of_axes(template):
    alone, *_ = normal_rates(template, [2.15])
    assert holm([alone])[0].verdict.status == "faster"
    crowd = holm([alone, *normal_rates(template, [0.0, 0.1, -0.1])])
    assert crowd[0].verdict.status == "undecided"
    assert crowd[0].rho.interval.level == pytest.approx(1 - 0.05 / 4)
    assert crowd[0].rho.interval.method == "bootstrap, Holm over 4 axes"


def test_exploratory_axes_neither_pay_nor_cost(template, plant):
    candidate, baseline = plant(points=3, seeds=2)
    small = scaling_rate(candidate, baseline=baseline, axis="depth")
    after = holm([template, small])
    assert after[1] == small
    assert after[0].rho.interval.level == pytest.approx(0.95)


def test_an_axis_without_a_fit_still_counts(template):
    missing = dataclasses.replace(
        template,
        rho=dataclasses.replace(template.rho, value=None, interval=None, reason="not identified"),
        p=None,
        p_adjusted=None,
    )
    after = holm([template, missing])
    assert after[0].rho.interval.level == pytest.approx(0.975)
    assert after[1].p_adjusted is None
    assert after[1].verdict.text == "undecided: not identified"


def test_too_many_axes_for_the_resamples_say_so(template):
    after = holm([template] * 60)
    assert after[0].rho.interval is None
    assert after[0].verdict.text == "undecided: no interval: too few resamples for 99.92 %"
