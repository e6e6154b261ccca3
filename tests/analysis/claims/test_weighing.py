"""From planted comparisons to statuses: the rules, their symmetry, and how often they are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from harness.analysis.claims import downstream, scaling
from harness.analysis.claims.adjusting import adjusted
from harness.analysis.claims.candidate import Candidate, Widening, distinct, reading
from harness.analysis.claims.claim import STATUSES, ClaimVerdict
from harness.analysis.claims.judging import CLAIMS, judge, weigh
from tests.analysis.claims.planted import ONE, TWO, of_suite, planted

#: Far from 0 and far from the margin, whatever the number of findings.
FOR, AGAINST, OPEN = (0.5, 0.001), (-0.5, 0.001), (0.0, 0.5)


def weighed(*planned: tuple[float, float]) -> ClaimVerdict:
    return weigh(ONE, [planted(estimate, half) for estimate, half in planned])


# --- the rules --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("planned", "status"),
    [
        ([], "not tested"),
        ([FOR], "supported"),
        ([AGAINST], "not supported"),
        ([OPEN], "undecided"),
        ([FOR, FOR, OPEN], "supported"),
        ([AGAINST, AGAINST, OPEN], "not supported"),
        ([FOR, OPEN], "undecided"),
        ([AGAINST, OPEN], "undecided"),
        ([FOR, OPEN, OPEN], "undecided"),
        ([FOR, FOR, FOR, AGAINST], "undecided"),
        ([AGAINST, AGAINST, AGAINST, FOR], "undecided"),
    ],
)
def test_more_than_half_one_way_and_none_the_other_decide(
    planned: list[tuple[float, float]], status: str
) -> None:
    verdict = weighed(*planned)
    assert verdict.status == status
    (part,) = verdict.parts
    expected = tuple(planned.count(each) for each in (FOR, AGAINST, OPEN))
    assert part.counts == expected
    assert verdict.decided == (status in ("supported", "not supported"))


def test_every_status_is_defined_and_said_at_the_scale_run() -> None:
    verdicts = [weighed(*planned) for planned in ((), (FOR,), (AGAINST,), (OPEN,))]
    assert {verdict.status for verdict in verdicts} == set(STATUSES)
    assert [verdict.text for verdict in verdicts] == [
        "not tested",
        "supported at the scale run",
        "not supported at the scale run",
        "undecided at the scale run",
    ]
    assert [verdict.scales for verdict in verdicts] == [(), *[("a scale",)] * 3]


@pytest.mark.parametrize(
    ("quality", "passes", "status"),
    [
        (FOR, FOR, "supported"),
        (FOR, OPEN, "undecided"),
        (FOR, None, "undecided"),
        (FOR, AGAINST, "not supported"),
        (AGAINST, FOR, "not supported"),
        (AGAINST, None, "not supported"),
        (OPEN, OPEN, "undecided"),
    ],
)
def test_a_claim_of_two_parts_needs_both(
    quality: tuple[float, float], passes: tuple[float, float] | None, status: str
) -> None:
    parts = {"quality": quality, "passes": passes}
    candidates = [planted(*each, claim="passes", part=part) for part, each in parts.items() if each]
    verdict = weigh(TWO, candidates)
    assert verdict.status == status
    assert [part.name for part in verdict.parts] == ["quality", "passes"]
    if passes is None:
        assert verdict.parts[1].status == "not tested"
        assert "passes: no finding that may decide" in verdict.reason


def test_a_gain_below_what_counts_is_against_and_above_nothing_for() -> None:
    read = reading(null="0 %", little=(0.05, "+5 %"))
    bears = [
        weigh(ONE, [planted(estimate, half, read=read)]).findings[0].bears
        for estimate, half in ((0.02, 0.01), (0.02, 0.025), (0.02, 0.035), (0.2, 0.1), (-0.1, 0.01))
    ]
    assert bears == ["for", "against", "undecided", "for", "against"]
    small, large = (
        weigh(ONE, [planted(e, h, read=read)]).findings[0].reason
        for e, h in ((0.02, 0.01), (0.2, 0.1))
    )
    assert "below +5 %" in small
    assert "below" not in large


def test_the_paper_s_number_is_placed_apart_from_the_status() -> None:
    verdict = weighed((0.29, 0.01), (0.05, 0.001), (0.6, 0.001), (0.6, 0.001))
    assert verdict.magnitude is not None
    assert (verdict.magnitude.inside, verdict.magnitude.above, verdict.magnitude.below) == (1, 1, 2)
    only = weigh(ONE, [planted(0.29, evidence="exploratory")])
    assert only.magnitude is None
    assert weigh(ONE, [planted(0.29, paper=None)]).magnitude is None


# --- what never decides -----------------------------------------------------------------------

estimates = st.tuples(st.floats(-1, 1, allow_nan=False), st.floats(1e-6, 1, allow_nan=False))


@settings(max_examples=150, deadline=None)
@given(st.lists(estimates, max_size=6), st.lists(estimates, min_size=1, max_size=30))
def test_exploratory_findings_never_change_what_the_others_say(
    confirmatory: list[tuple[float, float]], exploratory: list[tuple[float, float]]
) -> None:
    others = [planted(e, h) for e, h in confirmatory]
    listed = [planted(e, h, evidence="exploratory", reason="few") for e, h in exploratory]
    alone, both = weigh(ONE, others), weigh(ONE, [*listed, *others])
    assert both.status == (alone.status if confirmatory else "not tested")
    assert both.confirmatory == alone.confirmatory
    assert {f.bears for f in both.exploratory} == {"undecided"}
    assert all(f.p is None and not f.interval.adjusted for f in both.exploratory if f.interval)
    if not confirmatory:
        assert both.reason.startswith("only exploratory findings")


def test_what_has_no_interval_counts_as_undecided() -> None:
    lost = planted(None, reason="a loss is not finite")
    verdict = weigh(ONE, [planted(*FOR), lost])
    assert verdict.status == "undecided"
    assert [f.bears for f in verdict.findings] == ["for", "undecided"]
    assert verdict.findings[1].interval is None
    assert verdict.findings[1].reason == "a loss is not finite"


def test_what_was_planned_and_lacks_something_counts_as_undecided_at_any_estimate() -> None:
    """The number of comparisons, and so the level of all others, is what it was without a lack."""
    whole = [planted(*FOR) for _ in range(3)]
    lacking = [whole[0], *(replace(each, open="2 of 3 evaluations missing") for each in whole[1:])]
    verdict = weigh(ONE, lacking)
    assert verdict.status == "undecided"
    assert verdict.parts[0].counts == (1, 0, 2)
    assert [f.reason for f in verdict.findings if f.bears == "undecided"] == [
        "2 of 3 evaluations missing"
    ] * 2
    assert all(f.p is None for f in verdict.findings if f.bears == "undecided")
    first = [f.interval.level for f in verdict.findings if f.bears == "for" and f.interval]
    assert first == pytest.approx([1 - 0.05 / 3])
    listed = weigh(ONE, [planted(*FOR, evidence="exploratory", reason="few", open_="lost")])
    assert listed.findings[0].reason == "few; lost"


# --- one model, several parts -----------------------------------------------------------------


def of_models(**bears: tuple[list[tuple[float, float]], list[tuple[float, float]]]) -> ClaimVerdict:
    """Of each model, its pretraining losses and its downstream ones."""
    found = [
        planted(*each, claim="downstream", part=part, candidate=f"ebt {model}", paper=None)
        for model, parts in bears.items()
        for part, own in zip(("pretraining", "downstream"), parts, strict=True)
        for each in own
    ]
    return weigh(downstream.CLAIM, found)


def test_parts_are_joined_by_model_before_they_are_counted() -> None:
    """Two models are worse in pretraining, and only the third is better downstream."""
    verdict = of_models(a=([FOR], [OPEN] * 3), b=([FOR], [OPEN] * 3), c=([OPEN], [FOR] * 7))
    assert [part.status for part in verdict.parts] == ["supported", "supported"]
    assert verdict.status == "undecided"
    assert "of 3 models 0 for the claim in all parts, 0 against it in one" in verdict.reason


def test_models_that_show_all_parts_carry_the_claim_by_majority() -> None:
    both, neither = ([FOR], [FOR] * 2), ([OPEN], [FOR] * 2)
    assert of_models(a=both, b=both, c=neither).status == "supported"
    assert of_models(a=both, b=neither).status == "undecided"
    assert of_models(a=both, b=both, c=([FOR], [AGAINST])).status == "undecided"
    assert of_models(a=([FOR], [AGAINST]), b=([AGAINST], [FOR])).status == "not supported"
    assert of_models(a=both, b=([FOR], [])).status == "undecided"


def test_a_claim_of_many_parts_says_along_which_it_holds() -> None:
    kinds = {"data on text": FOR, "FLOPs on text": OPEN}
    found = [planted(*each, claim="scaling", part=part) for part, each in kinds.items()]
    verdict = weigh(scaling.CLAIM, found)
    assert verdict.status == "undecided"
    assert verdict.reason.startswith(
        "supported along data on text (1, 0, 0); undecided along FLOPs on text (0, 0, 1); "
        "not tested along batch size on text, depth on text"
    )
    every = [planted(*FOR, claim="scaling", part=part) for part in scaling.PARTS]
    assert weigh(scaling.CLAIM, every).status == "supported"
    one = [planted(*AGAINST, claim="scaling", part="width on video"), *every[:-1]]
    assert weigh(scaling.CLAIM, one).status == "not supported"
    assert weigh(scaling.CLAIM, every[1:]).status == "undecided"


# --- symmetry ---------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.lists(estimates, max_size=8))
def test_the_other_way_round_everything_is_the_other_way_round(
    planned: list[tuple[float, float]],
) -> None:
    swapped = {"supported": "not supported", "not supported": "supported"}
    one = weigh(ONE, [planted(e, h) for e, h in planned])
    other = weigh(ONE, [planted(-e, h) for e, h in planned])
    assert other.status == swapped.get(one.status, one.status)
    assert other.parts[0].counts == tuple(one.parts[0].counts[i] for i in (1, 0, 2))


@settings(max_examples=100, deadline=None)
@given(st.lists(estimates, max_size=8), st.randoms())
def test_the_order_of_findings_does_not_matter(
    planned: list[tuple[float, float]], random: object
) -> None:
    candidates = [planted(e, h, key=i) for i, (e, h) in enumerate(planned)]
    shuffled = list(candidates)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = weigh(ONE, candidates), weigh(ONE, shuffled)
    assert one.status == other.status
    assert sorted(map(repr, one.findings)) == sorted(map(repr, other.findings))


# --- multiplicity -----------------------------------------------------------------------------


def brute_holm(p: Sequence[float], alpha: float = 0.05) -> list[bool]:
    """Holm's rejections by definition."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    rejected = [False] * len(p)
    for rank, i in enumerate(order):
        if p[i] > alpha / (len(p) - rank):
            break
        rejected[i] = True
    return rejected


@settings(max_examples=200, deadline=None)
@given(st.lists(estimates, min_size=1, max_size=10))
def test_findings_are_for_exactly_where_holm_rejects(planned: list[tuple[float, float]]) -> None:
    candidates = [planted(e, h) for e, h in planned]
    p = [c.p for c in candidates]
    found = adjusted(candidates)
    assert [f.bears != "undecided" for f in found] == brute_holm(
        [1.0 if x is None else x for x in p]
    )
    assert all(f.interval is not None and f.interval.adjusted for f in found)
    assert all((f.p <= 0.05) == (f.bears != "undecided") for f in found if f.p is not None)


def test_an_interval_of_seeds_alone_is_student_s_at_every_level() -> None:
    seeds = np.array([0.3, 0.1, 0.25, 0.4])
    mean, error = float(seeds.mean()), float(seeds.std(ddof=1) / 2)
    half = float(student.ppf(0.975, 3)) * error
    wide = Widening(mean, (mean - half, mean + half), 4)
    assert wide.p == pytest.approx(float(2 * student.sf(mean / error, 3)))
    for level in (0.9, 0.95, 0.999):
        reach = float(student.ppf(0.5 + level / 2, 3)) * error
        bounds = wide.at(level)
        assert (bounds.low, bounds.high) == pytest.approx((mean - reach, mean + reach))


@settings(max_examples=200, deadline=None)
@given(
    st.floats(-1, 1),
    st.floats(1e-3, 1),
    st.floats(1e-3, 1),
    st.integers(3, 8),
    st.floats(0.5, 0.9999),
)
def test_an_interval_excludes_nothing_exactly_where_its_p_says_so(
    estimate: float, below: float, above: float, seeds: int, level: float
) -> None:
    wide = Widening(estimate, (estimate - below, estimate + above), seeds)
    bounds = wide.at(level)
    assert bounds.low <= estimate <= bounds.high
    margin = 1e-9
    if abs(wide.p - (1 - level)) > margin:
        assert (wide.p < 1 - level) == (bounds.low > 0 or bounds.high < 0)


def test_an_estimate_outside_of_its_own_interval_rejects_nothing_by_itself() -> None:
    assert Widening(0.5, (-0.2, 0.1), 3).p > 0.05
    bounds = Widening(0.5, (-0.2, 0.1), 3).at(0.99)
    assert bounds.low < -0.2
    assert bounds.high > 0.1


SEEDS_QUANTILE = float(student.ppf(0.975, 2))


def null_findings(rng: np.random.Generator, *, settings: int, shared: float) -> list[Candidate]:
    """Settings that gain nothing, each over three seeds that partly move together."""
    common = rng.normal(0, 1, 3)
    found = []
    for _ in range(settings):
        gains = shared**0.5 * common + (1 - shared) ** 0.5 * rng.normal(0, 1, 3)
        half = float(SEEDS_QUANTILE * gains.std(ddof=1) / 3**0.5)
        found.append(planted(float(gains.mean()), half))
    return found


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.99])
def test_the_best_of_a_hundred_null_settings_is_not_picked(shared: float) -> None:
    """At most 5 % of trials may have any setting for the claim; a naive pick has one in most."""
    rng = np.random.default_rng(20250702)
    any_for = supported = naive = 0
    trials = 80
    for _ in range(trials):
        candidates = null_findings(rng, settings=100, shared=shared)
        verdict = weigh(ONE, candidates)
        any_for += any(f.bears == "for" for f in verdict.findings)
        supported += verdict.status == "supported"
        naive += any(
            c.finding.interval is not None and c.finding.interval.low > 0 for c in candidates
        )
    assert supported == 0
    # 5 % of 80 trials are 4; more than 10 would be seen twice in a thousand.
    assert any_for <= 10
    if shared < 0.9:
        assert naive > trials / 2


def test_more_settings_make_one_harder_to_see() -> None:
    one = (0.1, 0.05)
    assert weighed(one).status == "supported"
    verdict = weighed(one, *[OPEN] * 9)
    assert verdict.parts[0].counts == (0, 0, 10)
    widths = [weighed(*[one] * n).findings[0].interval for n in (1, 5, 20)]
    assert widths[0].high < widths[1].high < widths[2].high  # type: ignore[union-attr]


# --- the same comparison ----------------------------------------------------------------------


def test_the_same_comparison_counts_once_with_all_suites_that_show_it() -> None:
    one = planted(*FOR, key="same")
    verdict = weigh(ONE, [of_suite(one, "first"), of_suite(one, "second"), planted(*FOR)])
    assert verdict.parts[0].counts == (2, 0, 0)
    assert verdict.findings[0].suites == ("first", "second")


def test_what_one_suite_declares_decides_though_another_only_lists_it() -> None:
    listed = planted(*FOR, key="same", evidence="exploratory", reason="not declared")
    for order in ([listed, planted(*FOR, key="same")], [planted(*FOR, key="same"), listed]):
        assert weigh(ONE, order).status == "supported"


def test_what_an_untrusted_suite_shows_decides_nowhere() -> None:
    tuned = planted(*FOR, key="same", evidence="exploratory", reason="tuned", untrusted=True)
    for order in ([tuned, planted(*FOR, key="same")], [planted(*FOR, key="same"), tuned]):
        verdict = weigh(ONE, order)
        assert verdict.status == "not tested"
        assert verdict.findings[0].reason == "tuned"
    assert len(distinct([tuned, planted(*FOR, key="same")])) == 1


# --- nothing at all ---------------------------------------------------------------------------


def test_without_suites_no_claim_is_tested() -> None:
    verdicts = judge([])
    assert [verdict.claim for verdict in verdicts] == list(CLAIMS)
    assert {verdict.status for verdict in verdicts} == {"not tested"}
    assert all(not v.findings and not v.deciding and v.magnitude is None for v in verdicts)
    assert all(v.claim.suites in v.remedy for v in verdicts)


def test_every_claim_says_what_it_is_and_how_it_is_decided() -> None:
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS) == 7
    for claim in CLAIMS:
        assert claim.statement.endswith(".")
        assert "For:" in claim.definition
        assert "Against:" in claim.definition
        assert "may decide" in claim.definition
        assert claim.exhibits
        assert claim.parts
