"""Gains with planted sizes and slopes, and what the three claims on thinking make of them."""

from __future__ import annotations

from dataclasses import replace
from math import expm1, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analysis.claims.claim import ClaimVerdict, Finding
from harness.analysis.claims.distance import PAPER
from harness.analysis.claims.judging import CLAIMS, judge
from harness.analysis.exhibits.suites import suite_exhibits
from harness.analysis.exhibits.thinking import ThinkingExhibit
from harness.planning.planned import PlannedRun, Suite
from harness.planning.sections import UncertaintySection
from harness.planning.suite import load_suite
from harness.protocol import Descent
from tests.analysis.claims.planted import shown
from tests.analysis.test_thinking_sections import ABLATION, SCALE, SETS, SHIFT, suite_of, write

S2 = (
    "{transformer++: {adapter: transformer_pp_text}, "
    "ebt: {adapter: ebt_text, config: {variant: s2}}}"
)
GRID = "[{kind: single}, {kind: descent, steps: [3, 6], samples: [1, 5]}]"
THINKING = "{kind: thinking, experiment: text, evaluation: thinking}"
DECLARED = "thinking: [{kind: descent, steps: 6}]"
HOME = "builtin/docs"
SUITES = Path(__file__).parents[3] / "suites"
#: `write` gathers a section, which is done again with all of the suite's: this one takes no time.
EMPTY = UncertaintySection(experiment="text", evaluation="loss")


def text(folder: Path, *sections: str, **given: str) -> Suite:
    words = {"adapters": S2, "thinking": GRID, "data": HOME} | given
    return suite_of(folder, section="\n  - ".join(sections or (THINKING,)), **words)


def gains(of: float, *, per_set: float = 0.0, scatter: float = 0.0, only: str = "") -> Any:
    """Losses of 2 nats, from which every setting saves `of`, in nats, more on far sets.

    Seeds scatter around it. `only` one setting saves anything where it is given.
    """

    def losses(run: PlannedRun, data: str, setting: Any) -> float:
        place = SETS.index(data)
        if not isinstance(setting, Descent):
            return float(2.0 + 0.5 * log(2) * place)
        trained = run.record.trained_thinking(run.config)
        label = f"{setting.steps}x{setting.samples}"
        if setting == trained or (only and label != only):
            return 2.0 + 0.1 * (place % 3)
        shift = scatter * (run.spec.seed - 1)
        return 2.0 + 0.1 * (place % 3) - of - per_set * place - shift

    return losses


def verdict(
    name: str, suite: Suite, folder: Path, losses: Any, *, spread: float = 0.0005
) -> ClaimVerdict:
    write(replace(suite, report=(EMPTY,)), folder, losses, spread)
    return next(v for v in judge([shown(suite, folder)]) if v.claim.name == name)


def of(verdict: ClaimVerdict, what: str) -> Finding:
    (found,) = [f for f in verdict.findings if what in f.what]
    return found


# --- gain -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("saved", "scatter", "status"),
    [
        (0.2, 0.001, "supported"),
        (0.34, 0.01, "supported"),
        (-0.2, 0.001, "not supported"),
        (0.0, 0.001, "not supported"),
        (0.1, 0.1, "undecided"),
    ],
)
def test_the_dearest_setting_decides_where_none_is_declared(
    saved: float, scatter: float, status: str, tmp_path: Path
) -> None:
    found = verdict("thinking", text(tmp_path), tmp_path, gains(saved, scatter=scatter))
    assert found.status == status
    (decides,) = found.confirmatory
    assert decides.what == f"perplexity gain of 6 × 5 on {HOME}"
    assert decides.estimate == pytest.approx(-expm1(-saved), abs=2e-3)
    # The paper's 29 % is of the best of ten, on other sets.
    assert found.magnitude is None
    # Every setting that thinks more than the trained three steps is listed.
    assert len(found.findings) == 3
    assert all("6x5 decides" in f.reason for f in found.exploratory)


def test_the_paper_s_number_stands_beside_the_best_of_ten_on_other_sets(tmp_path: Path) -> None:
    grid = "[{kind: single}, {kind: descent, steps: [3, 6], samples: [1, 5, 10]}]"
    suite = text(tmp_path, data=", ".join(SETS[:3]), thinking=grid)
    found = verdict("thinking", suite, tmp_path, gains(0.34, scatter=0.01))
    beside = {f.what for f in found.findings if f.paper is not None}
    assert beside == {
        f"perplexity gain of {steps} × 10 on {data}" for steps in (3, 6) for data in SETS[1:3]
    }
    assert found.magnitude is not None
    assert (found.magnitude.inside, found.magnitude.total) == (2, 2)


def test_the_best_setting_decides_nothing_unless_it_was_declared(tmp_path: Path) -> None:
    best = gains(0.3, only="3x5")
    found = verdict("thinking", text(tmp_path), tmp_path, best)
    assert found.status == "not supported"
    assert of(found, "3 × 5").evidence == "exploratory"
    assert of(found, "3 × 5").estimate == pytest.approx(-expm1(-0.3), abs=2e-3)
    declares = SHIFT[:-1] + ", thinking: [{kind: descent, steps: 3, samples: 5}]}"
    folder = tmp_path / "declared"
    folder.mkdir()
    found = verdict("thinking", text(folder, THINKING, declares), folder, best)
    assert found.status == "supported"
    assert [f.what for f in found.confirmatory] == [f"perplexity gain of 3 × 5 on {HOME}"]


def test_what_a_gain_stands_on_and_costs_is_said(tmp_path: Path) -> None:
    found = verdict("thinking", text(tmp_path), tmp_path, gains(0.2, scatter=0.001))
    (decides,) = found.confirmatory
    assert (decides.sample.n, decides.sample.of, decides.sample.seeds) == (20, "documents", 3)
    assert decides.costs.nfe.value == 10
    assert decides.costs.flops.value == 10
    assert decides.costs.seconds.value == 1
    assert decides.costs.training_flops == 3 * 5e9
    assert decides.baseline == "ebt, 3 × 1 (trained)"
    assert len(decides.runs) == 3
    assert "loss gain +10.0 %" in decides.reason


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"seeds": "[0, 1]"}, "2 training seeds, 3 needed"),
        ({"adapters": S2.replace("{variant: s2}", "{}")}, "not the paper's S2"),
        ({"adapters": S2.replace("s2}", "s2, replay_records: 0}")}, "not the paper's S2"),
    ],
)
def test_few_seeds_and_other_models_decide_nothing(
    given: dict[str, str], reason: str, tmp_path: Path
) -> None:
    found = verdict("thinking", text(tmp_path, **given), tmp_path, gains(0.2, scatter=0.001))
    assert found.status == "not tested"
    assert found.reason.startswith("only exploratory findings")
    assert all(reason in f.reason for f in found.findings)
    assert not found.deciding


def test_another_step_size_is_still_the_paper_s_model(tmp_path: Path) -> None:
    given = {"adapters": S2.replace("s2}", "s2, step_size: 2}")}
    assert verdict("thinking", text(tmp_path, **given), tmp_path, gains(0.2)).status == "supported"


def test_each_setting_on_each_set_is_a_finding_once(tmp_path: Path) -> None:
    """Two sections of the same evaluation, and a third that follows some of it."""
    suite = text(tmp_path, THINKING, THINKING, SHIFT[:-1] + f", {DECLARED}}}", data=", ".join(SETS))
    found = verdict("thinking", suite, tmp_path, gains(0.2, scatter=0.001))
    assert len(found.findings) == 3 * len(SETS)
    assert len(found.confirmatory) == len(SETS)
    assert {f.what.partition(" on ")[0] for f in found.confirmatory} == {"perplexity gain of 6 × 1"}
    levels = [f.interval.level for f in found.confirmatory if f.interval is not None]
    assert max(levels) == pytest.approx(1 - 0.05 / len(SETS))


def test_an_ablation_declares_its_ways_for_the_whole_model_alone(tmp_path: Path) -> None:
    adapters = (
        "{full: {adapter: ebt_text, config: {variant: s2}}, "
        "bare: {adapter: ebt_text, config: {variant: s2, replay_records: 0}}}"
    )
    section = ABLATION.replace("steps: 4", "steps: 6").replace("samples: 3", "samples: 5")
    suite = text(tmp_path, section, adapters=adapters)
    found = verdict("thinking", suite, tmp_path, gains(0.2, scatter=0.001))
    assert found.status == "supported"
    assert {f.candidate for f in found.confirmatory} == {"full, 6 × 1", "full, 6 × 5"}
    assert {f.candidate for f in found.exploratory} == {"bare, 6 × 1", "bare, 6 × 5"}


def test_a_declared_setting_without_a_finite_loss_stays_undecided(tmp_path: Path) -> None:
    def diverging(run: PlannedRun, data: str, setting: Any) -> float:
        bad = data != HOME and isinstance(setting, Descent) and setting.steps == 6
        return float("nan") if bad else gains(0.2, scatter=0.001)(run, data, setting)

    suite = text(tmp_path, data=", ".join(SETS[:2]))
    found = verdict("thinking", suite, tmp_path, diverging)
    assert found.status == "undecided"
    assert [f.bears for f in found.confirmatory] == ["for", "undecided"]
    lost = found.confirmatory[1]
    assert lost.estimate is None
    assert lost.interval is None
    assert "not finite" in lost.reason
    assert SETS[1] in lost.what


def test_sets_on_which_thinking_blows_up_stay_among_those_that_count(tmp_path: Path) -> None:
    """Two sets gain, on three every resample is beyond a float: two of five support nothing."""

    def blown(run: PlannedRun, data: str, setting: Any) -> float:
        far = SETS.index(data) >= 2 and isinstance(setting, Descent) and setting.steps == 6
        return 2000.0 if far else gains(0.2, scatter=0.001)(run, data, setting)

    suite = text(tmp_path, data=", ".join(SETS[:5]))
    found = verdict("thinking", suite, tmp_path, blown)
    assert found.parts[0].counts == (2, 0, 3)
    assert found.status == "undecided"
    assert "beyond what a float holds" in found.confirmatory[-1].reason
    levels = [f.interval.level for f in found.confirmatory if f.interval is not None]
    assert levels == pytest.approx([1 - 0.05 / 5, 1 - 0.05 / 4])


def test_a_set_that_was_not_evaluated_stays_among_those_that_count(tmp_path: Path) -> None:
    suite = text(tmp_path, data=", ".join(SETS[:3]))
    fewer = [
        replace(run, evaluations=tuple(e for e in run.evaluations if e.spec.data != SETS[2]))
        for run in suite.runs
    ]
    write(replace(suite, runs=tuple(fewer), report=(EMPTY,)), tmp_path, gains(0.2), 0.0005)
    found = next(v for v in judge([shown(suite, tmp_path)]) if v.claim.name == "thinking")
    assert found.parts[0].counts == (2, 0, 1)
    assert found.confirmatory[2].what == f"perplexity gain of 6 × 5 on {SETS[2]}"
    assert found.confirmatory[2].reason == "3 of 3 evaluations missing"


def test_the_same_evaluations_count_once_whatever_their_sets_are_called(tmp_path: Path) -> None:
    """Short names depend on what else a suite evaluates, ids do not."""
    suite = text(tmp_path)
    write(replace(suite, report=(EMPTY,)), tmp_path, gains(0.2, scatter=0.001), 0.0005)
    one, other = (shown(replace(suite, name=name), tmp_path) for name in ("one", "other"))
    renamed = other.frame.rows.assign(data="docs")
    (gathered,) = other.gathered
    assert isinstance(gathered.exhibit, ThinkingExhibit)
    rows = tuple(replace(row, data="docs") for row in gathered.exhibit.rows)
    exhibit = replace(gathered.exhibit, rows=rows)
    other = replace(
        other,
        frame=replace(other.frame, rows=renamed),
        gathered=(replace(gathered, exhibit=exhibit),),
    )
    found = next(v for v in judge([one, other]) if v.claim.name == "thinking")
    assert found.parts[0].counts == (1, 0, 0)
    assert found.confirmatory[0].suites == ("one", "other")


def test_two_evaluations_that_measure_the_same_count_once(tmp_path: Path) -> None:
    """Another grid that holds the same setting, on the same documents, is no second finding."""
    again = (
        "      again: {kind: thinking, data: [builtin/docs], only: {adapter: [ebt]}, "
        "thinking: [{kind: descent, steps: 6, samples: 5}]}\nreport:\n  - "
        + THINKING.replace("evaluation: thinking", "evaluation: again")
    )
    path = text(tmp_path).path
    path.write_text(path.read_text().replace("report:", again))
    suite = load_suite(path)
    found = verdict("thinking", suite, tmp_path, gains(0.2, scatter=0.001))
    assert found.parts[0].counts == (1, 0, 0)
    assert len(found.findings) == 3


def test_few_documents_give_no_interval_and_decide_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = np.where(np.arange(20) < 9, 30, 0)
    monkeypatch.setattr("tests.analysis.test_thinking_sections.TOKENS", tokens)
    found = verdict("thinking", text(tmp_path), tmp_path, gains(0.2, scatter=0.001))
    assert found.status == "undecided"
    assert found.parts[0].counts == (0, 0, 1)
    assert all("fewer than 10 documents" in f.reason for f in found.findings)


def test_nothing_is_said_of_a_suite_that_has_not_run(tmp_path: Path) -> None:
    suite = text(tmp_path)
    verdicts = {v.claim.name: v for v in judge([shown(suite, tmp_path)])}
    assert verdicts["thinking"].status == "not tested"
    (each,) = verdicts["thinking"].deciding
    assert each.suite == "gains"
    # Transformer++ is evaluated beside.
    assert each.runs == 6
    assert each.flops is not None
    assert each.flops > 0
    assert not verdicts["distance"].deciding


def test_only_designs_that_could_decide_are_offered(tmp_path: Path) -> None:
    def offered(**given: str) -> dict[str, bool]:
        suite = text(tmp_path, THINKING, SHIFT, SCALE, **given)
        return {v.claim.name: bool(v.deciding) for v in judge([shown(suite, tmp_path)])}

    axes = "{budget: {path: budget.steps, values: [10, 20, 40, 80, 160]}}"
    wanted = ("thinking", "distance", "growth")
    whole = {"data": ", ".join(SETS), "axes": axes}
    one = DECLARED.removeprefix("thinking: ")
    suite = text(
        tmp_path, SCALE[:-1] + f", thinking: {one}}}", **(whole | {"data": ", ".join(SETS[:3])})
    )
    found = {v.claim.name: bool(v.deciding) for v in judge([shown(suite, tmp_path)])}
    assert [name for name in found if found[name]] == ["growth"]
    for given, could in (
        # Nine sets are too many slopes of five points.
        (whole, (True, True, False)),
        (whole | {"data": HOME}, (True, False, True)),
        (whole | {"axes": axes.replace("10, ", "")}, (True, True, False)),
        (whole | {"seeds": "[0, 1]"}, (False, False, False)),
        (whole | {"adapters": S2.replace("{variant: s2}", "{}")}, (False, False, False)),
    ):
        found = offered(**given)
        assert tuple(found[name] for name in wanted) == could
        assert not any(found[name] for name in found if name not in wanted)


# --- distance ---------------------------------------------------------------------------------

FAR = {"data": ", ".join(SETS)}


@pytest.mark.parametrize(
    ("per_set", "status"), [(0.02, "supported"), (-0.02, "not supported"), (0.0, "undecided")]
)
def test_a_gain_that_grows_with_distance_by_both_of_its_measures(
    per_set: float, status: str, tmp_path: Path
) -> None:
    suite = text(tmp_path, SHIFT[:-1] + f", {DECLARED}}}", **FAR)
    found = verdict("distance", suite, tmp_path, gains(0.2, per_set=per_set, scatter=0.002))
    assert found.status == status
    ratio, bigrams = found.confirmatory
    assert [part.name for part in found.parts] == ["perplexity ratio", "bigrams"]
    assert "per doubling of the perplexity ratio" in ratio.what
    assert "per nat of cross-entropy under bigrams" in bigrams.what
    assert "perplexity gain of 6 × 1" in ratio.what
    assert (ratio.paper, bigrams.paper) == (PAPER, None)
    assert ratio.sample.points == len(SETS)
    assert ratio.sample.seeds == 3
    # Half a doubling and 0.3 nats a set.
    assert ratio.estimate == pytest.approx((bigrams.estimate or 0) * 0.6, rel=0.05, abs=1e-3)
    assert ratio.costs.nfe.value == 2
    # Three runs, each evaluated on nine sets, were trained once.
    assert ratio.costs.training_flops == 3 * 5e9
    assert {f.reason.partition(":")[0] for f in found.exploratory} == {"sensitivity line"}


def test_a_slope_that_a_single_far_set_makes_is_undecided(tmp_path: Path) -> None:
    def one_far(run: PlannedRun, data: str, setting: Any) -> float:
        place = SETS.index(data)
        up = 0.3 if data == SETS[-1] else 0.001 * (-1) ** place
        return gains(0.2 + up * (setting != run.record.trained_thinking(run.config)))(
            run, data, setting
        )

    suite = text(tmp_path, SHIFT[:-1] + f", {DECLARED}}}", **FAR)
    found = verdict("distance", suite, tmp_path, one_far)
    assert found.status == "undecided"
    ratio = found.confirmatory[0]
    assert ratio.interval is not None
    assert ratio.interval.low > 0
    assert "the order may be chance" in ratio.reason


def test_a_permutation_of_few_sets_describes(tmp_path: Path) -> None:
    suite = text(tmp_path, SHIFT[:-1] + f", {DECLARED}}}", data=", ".join(SETS[:7]))
    found = verdict("distance", suite, tmp_path, gains(0.2, per_set=0.02, scatter=0.002))
    assert found.status == "not tested"
    assert not found.confirmatory
    assert all("7 sets, 8 needed" in f.reason for f in found.findings)


def test_a_trend_with_a_lost_loss_decides_nothing(tmp_path: Path) -> None:
    def diverging(run: PlannedRun, data: str, setting: Any) -> float:
        bad = data == SETS[0] and isinstance(setting, Descent) and setting.samples == 1
        value = gains(0.2, per_set=0.02, scatter=0.002)(run, data, setting)
        return float("nan") if bad and setting.steps == 6 else value

    suite = text(tmp_path, SHIFT, **FAR)
    found = verdict("distance", suite, tmp_path, diverging)
    reasons = {
        f.what.split(" of ")[2][:5]: f.reason for f in found.findings if "perplexity g" in f.what
    }
    assert "not finite" in reasons["6 × 1"]
    assert "not finite" not in reasons["6 × 5"]


def test_a_set_that_blows_up_leaves_its_trend_undecided(tmp_path: Path) -> None:
    """Eight of nine sets support it, and the ninth is the farthest."""

    def blown(run: PlannedRun, data: str, setting: Any) -> float:
        far = data == SETS[-1] and isinstance(setting, Descent) and setting.steps == 6
        return 2000.0 if far else gains(0.2, per_set=0.02, scatter=0.002)(run, data, setting)

    suite = text(tmp_path, SHIFT[:-1] + f", {DECLARED}}}", **FAR)
    found = verdict("distance", suite, tmp_path, blown)
    assert found.status == "undecided"
    assert [f.bears for f in found.confirmatory] == ["undecided"] * 2
    assert all(f"no gain: {SETS[-1]}" in f.reason for f in found.confirmatory)


def test_a_set_without_a_distance_leaves_its_trend_undecided(tmp_path: Path) -> None:
    """Transformer++ has no finite loss on one set, so its ratio is missing there."""

    def lost(run: PlannedRun, data: str, setting: Any) -> float:
        bad = data == SETS[4] and run.adapter_label == "transformer++"
        value = gains(0.2, per_set=0.02, scatter=0.002)(run, data, setting)
        return float("nan") if bad else value

    suite = text(tmp_path, SHIFT[:-1] + f", {DECLARED}}}", **FAR)
    found = verdict("distance", suite, tmp_path, lost)
    ratio, bigrams = found.confirmatory
    assert (ratio.bears, bigrams.bears) == ("undecided", "for")
    assert "1 set without a place" in ratio.reason
    assert found.status == "undecided"


def test_two_distances_of_one_trend_are_one_vote(tmp_path: Path) -> None:
    """One setting's gain grows by both distances, another's shrinks: they disagree."""

    def apart(run: PlannedRun, data: str, setting: Any) -> float:
        many = isinstance(setting, Descent) and setting.samples == 5
        return float(gains(0.2, per_set=-0.02 if many else 0.02, scatter=0.002)(run, data, setting))

    both = "thinking: [{kind: descent, steps: 6, samples: [1, 5]}]"
    suite = text(tmp_path, SHIFT[:-1] + f", {both}}}", **FAR)
    found = verdict("distance", suite, tmp_path, apart)
    assert len(found.confirmatory) == 4
    assert "of 2 trends 1 for the claim in all parts, 1 against it in one" in found.reason
    assert found.status == "undecided"


# --- growth -----------------------------------------------------------------------------------

BUDGETS = {
    "axes": "{budget: {path: budget.steps, values: [10, 20, 40, 80, 160]}}",
    "adapters": "{ebt: {adapter: ebt_text, config: {variant: s2}}}",
    "data": "builtin/dyck",
    "thinking": "[{kind: descent, steps: 6}]",
}


def growing(per_doubling: float) -> Any:
    def losses(run: PlannedRun, data: str, setting: Any) -> float:
        steps = run.spec.budget.steps
        assert steps is not None
        doublings = np.log2(steps / 10)
        base = 3.0 - 0.1 * doublings
        if setting == run.record.trained_thinking(run.config):
            return float(base)
        noise = 0.001 * (run.spec.seed - 1)
        return float(base - 0.1 - per_doubling * doublings - noise)

    return losses


@pytest.mark.parametrize(
    ("per_doubling", "status"), [(0.05, "supported"), (-0.05, "not supported")]
)
def test_a_gain_that_grows_with_training(per_doubling: float, status: str, tmp_path: Path) -> None:
    found = verdict("growth", text(tmp_path, SCALE, **BUDGETS), tmp_path, growing(per_doubling))
    assert found.status == status
    (decides,) = found.confirmatory
    assert decides.what == (
        "slope of the perplexity gain of 6 × 1 per doubling of training tokens on builtin/dyck"
    )
    assert decides.candidate == "ebt, 6 × 1"
    assert decides.sample.points == 5
    assert len(decides.runs) == 15
    assert "1.28 k tokens" in decides.scale
    # The exact p of five points in order is 1 in 60.
    assert decides.p == pytest.approx(1 / 60)


def test_several_sets_leave_five_points_undecided(tmp_path: Path) -> None:
    """Of four trends Holm asks for p of 0.0125 first; five points give no less than 0.017."""
    given = BUDGETS | {"data": "builtin/dyck, builtin/docs, builtin/source, builtin/arithmetic"}
    found = verdict("growth", text(tmp_path, SCALE, **given), tmp_path, growing(0.05))
    assert found.status == "undecided"
    assert found.parts[0].counts == (0, 0, 4)


def test_four_budgets_and_other_axes_describe(tmp_path: Path) -> None:
    few = BUDGETS | {"axes": "{budget: {path: budget.steps, values: [10, 20, 40, 80]}}"}
    found = verdict("growth", text(tmp_path, SCALE, **few), tmp_path, growing(0.05))
    assert not found.confirmatory
    assert "4 points, 5 needed" in found.findings[0].reason
    other = tmp_path / "other"
    other.mkdir()
    suite = text(other, SCALE.replace("x: data", "x: flops"), **BUDGETS)
    found = verdict("growth", suite, other, growing(0.05))
    assert not found.confirmatory
    assert "the paper's axis is training tokens" in found.findings[0].reason


def test_a_budget_without_a_finite_loss_leaves_the_trend_undecided(tmp_path: Path) -> None:
    def diverging(run: PlannedRun, data: str, setting: Any) -> float:
        bad = run.spec.budget.steps == 10 and setting != run.record.trained_thinking(run.config)
        return float("nan") if bad else growing(0.05)(run, data, setting)

    axes = "{budget: {path: budget.steps, values: [10, 20, 40, 80, 160, 320]}}"
    suite = text(tmp_path, SCALE, **(BUDGETS | {"axes": axes}))
    found = verdict("growth", suite, tmp_path, diverging)
    assert found.parts[0].counts == (0, 0, 1)
    assert all("not finite" in f.reason for f in found.findings)


def test_a_budget_that_has_not_run_leaves_the_trend_undecided(tmp_path: Path) -> None:
    """Five points are enough, and six were planned."""
    axes = "{budget: {path: budget.steps, values: [10, 20, 40, 80, 160, 320]}}"
    suite = text(tmp_path, SCALE, **(BUDGETS | {"axes": axes}))
    kept = tuple(run for run in suite.runs if run.spec.budget.steps != 320)
    write(replace(suite, runs=kept, report=(EMPTY,)), tmp_path, growing(0.05), 0.0005)
    found = next(v for v in judge([shown(suite, tmp_path)]) if v.claim.name == "growth")
    assert found.parts[0].counts == (0, 0, 1)
    assert "3 of 18 evaluations missing" in found.findings[0].reason


def test_growth_is_offered_only_where_holm_leaves_something_of_it(tmp_path: Path) -> None:
    """Five points in order have p = 1/60: enough for three slopes, not for four."""
    sets = ["builtin/dyck", "builtin/docs", "builtin/source", "builtin/arithmetic"]

    def offered(number: int, *others: str) -> bool:
        folder = tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        suite = text(folder, SCALE, **(BUDGETS | {"data": ", ".join(sets[:number])}))
        given = [shown(replace(suite, name=name), tmp_path / name) for name in ("new", *others)]
        return bool(next(v for v in judge(given) if v.claim.name == "growth").deciding)

    assert offered(1)
    assert offered(3)
    assert not offered(4)
    # Slopes of another suite count too.
    two = BUDGETS | {"data": ", ".join(sets[:2]), "seeds": "[7, 8, 9]"}
    (tmp_path / "done").mkdir()
    done = text(tmp_path / "done", SCALE, **two)
    write(replace(done, report=(EMPTY,)), tmp_path / "done", growing(0.0), 0.02)
    other = shown(replace(done, name="done"), tmp_path / "done")

    def beside(number: int) -> bool:
        suite = text(
            tmp_path / str(number), SCALE, **(BUDGETS | {"data": ", ".join(sets[:number])})
        )
        new = shown(replace(suite, name="new"), tmp_path / "new")
        return bool(next(v for v in judge([new, other]) if v.claim.name == "growth").deciding)

    (tmp_path / "2").mkdir()
    assert beside(1)
    assert not beside(2)


def test_the_suites_that_ship_for_growth_are_what_the_claim_says_of_them() -> None:
    def offered(name: str) -> bool:
        suite = load_suite(SUITES / name, needs_data=False)
        found = judge([suite_exhibits(suite, SUITES / "nothing")])
        return bool(next(v for v in found if v.claim.name == "growth").deciding)

    assert offered("paper/thinking_scale.yaml")
    assert not offered("cpu/thinking.yaml")
    claim = next(claim for claim in CLAIMS if claim.name == "growth")
    assert claim.suites == "suites/paper/thinking_scale.yaml"
    assert "p = 1/60, which is enough for 3 slopes at most" in claim.definition
