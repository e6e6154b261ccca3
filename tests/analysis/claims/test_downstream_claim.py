"""Downstream sections with planted losses, and what the claim makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis.claims.claim import ClaimVerdict
from harness.analysis.claims.judging import judge
from harness.analysis.exhibits.downstream import DownstreamExhibit, DownstreamRow, Score
from harness.analysis.exhibits.samples import Difference
from harness.analysis.exhibits.suites import SuiteExhibits
from tests.analysis import downstream_factory
from tests.analysis.claims.planted import shown
from tests.analysis.downstream_factory import LOSSES, SUITE, planted, suite_of
from tests.analysis.records_factory import write_suite

SETS = ("builtin/dyck", "builtin/source", "builtin/arithmetic")


def claimed(
    folder: Path, differences: dict[str, float], text: str = SUITE, **given: object
) -> ClaimVerdict:
    """The verdict where EBT's loss less Transformer++'s is as given, by set."""
    with pytest.MonkeyPatch.context() as patch:
        losses = {data: (base, differences[data]) for data, (base, _) in LOSSES.items()}
        patch.setattr(downstream_factory, "LOSSES", losses)
        suite = suite_of(folder, text)
        write_suite(suite, folder, planted(**given))  # type: ignore[arg-type]
    return next(v for v in judge([shown(suite, folder)]) if v.claim.name == "downstream")


def differences(home: float, *sets: float) -> dict[str, float]:
    return {"builtin/docs": home, **dict(zip(SETS, sets, strict=True))}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> SuiteExhibits:
    folder = tmp_path_factory.mktemp("downstream")
    suite = suite_of(folder)
    write_suite(suite, folder, planted())
    return shown(suite, folder)


def with_differences(shown: SuiteExhibits, differences: dict[str, float]) -> SuiteExhibits:
    """The same suite, had EBT's losses less Transformer++'s been these, ± 0.01."""

    def changed(row: DownstreamRow, score: Score) -> Score:
        value = differences[row.data]
        if score.comparison is None:
            return score
        difference = Difference(value, (value - 0.01, value + 0.01), 3, True)
        return replace(score, comparison=replace(score.comparison, difference=difference))

    (gathered,) = shown.gathered
    exhibit = gathered.exhibit
    assert isinstance(exhibit, DownstreamExhibit)
    rows = tuple(
        replace(row, scores=tuple(changed(row, score) for score in row.scores))
        for row in exhibit.rows
    )
    return replace(shown, gathered=(replace(gathered, exhibit=replace(exhibit, rows=rows)),))


@pytest.mark.parametrize(
    ("home", "sets", "status", "parts"),
    [
        (0.3, (-0.3, -0.3, -0.3), "supported", ("supported", "supported")),
        (0.3, (-0.3, -0.3, 0.0), "supported", ("supported", "supported")),
        (0.3, (-0.3, 0.0, 0.0), "undecided", ("supported", "undecided")),
        (0.3, (-0.3, -0.3, 0.3), "undecided", ("supported", "undecided")),
        (0.3, (0.3, 0.3, 0.3), "not supported", ("supported", "not supported")),
        (0.3, (0.3, 0.3, 0.0), "not supported", ("supported", "not supported")),
        (-0.3, (-0.3, -0.3, -0.3), "not supported", ("not supported", "supported")),
        (0.0, (-0.3, -0.3, -0.3), "undecided", ("undecided", "supported")),
    ],
)
def test_the_claim_needs_a_worse_pretraining_loss_and_better_sets(
    home: float,
    sets: tuple[float, ...],
    status: str,
    parts: tuple[str, str],
    measured: SuiteExhibits,
) -> None:
    changed = with_differences(measured, differences(home, *sets))
    verdict = next(v for v in judge([changed]) if v.claim.name == "downstream")
    assert verdict.status == status
    assert tuple(part.status for part in verdict.parts) == parts


def test_signs_speak_for_the_claim_and_each_set_counts_once(tmp_path: Path) -> None:
    verdict = claimed(tmp_path, differences(0.3, -0.3, -0.3, -0.2))
    found = {f.what: f for f in verdict.confirmatory}
    assert set(found) == {
        "how much worse the pretraining loss is (home)",
        "how much better the loss of all tokens is on questions",
        "how much better the loss of all tokens is on more: builtin/source",
        "how much better the loss of all tokens is on more: builtin/arithmetic",
    }
    home = found["how much worse the pretraining loss is (home)"]
    assert home.estimate == pytest.approx(0.3)
    assert home.interval is not None
    assert 0 < home.interval.low < 0.3 < home.interval.high
    on_questions = found["how much better the loss of all tokens is on questions"]
    assert on_questions.estimate == pytest.approx(0.3)
    assert on_questions.interval is not None
    assert on_questions.interval.low < 0.3 < on_questions.interval.high
    assert (on_questions.sample.n, on_questions.sample.of) == (40, "documents")
    assert on_questions.costs.nfe.value == 2
    assert on_questions.costs.training_flops == 6 * 5e9
    assert len(on_questions.runs) == 6
    # Answers and bits per byte are listed beside.
    assert verdict.exploratory
    assert all("beside the perplexities" in f.reason for f in verdict.exploratory)


def test_a_set_in_two_ways_counts_in_rolling_windows_alone(tmp_path: Path) -> None:
    text = SUITE.replace(
        "      more:", "      cut: {kind: likelihood, data: builtin/dyck}\n      more:"
    ).replace("[questions, more]", "[cut, questions, more]")
    verdict = claimed(tmp_path, differences(0.3, -0.3, -0.3, -0.2), text)
    words = [f.what for f in verdict.confirmatory]
    assert "how much better the loss of all tokens is on questions" in words
    assert "how much better the loss of all tokens is on cut" not in words
    (cut,) = [
        f
        for f in verdict.exploratory
        if f.what.endswith("all tokens is on cut") and "loss" in f.what
    ]
    assert cut.reason == "this set counts once already, in rolling windows"


def test_a_set_that_is_missing_stays_among_those_that_count(tmp_path: Path) -> None:
    """Two sets of three are evaluated, and both are better."""
    suite = suite_of(tmp_path)
    fewer = tuple(
        replace(run, evaluations=tuple(e for e in run.evaluations if e.spec.data != SETS[2]))
        for run in suite.runs
    )
    with pytest.MonkeyPatch.context() as patch:
        better = differences(0.3, -0.3, -0.3, -0.3)
        losses = {data: (base, better[data]) for data, (base, _) in LOSSES.items()}
        patch.setattr(downstream_factory, "LOSSES", losses)
        write_suite(replace(suite, runs=fewer), tmp_path, planted())
    verdict = next(v for v in judge([shown(suite, tmp_path)]) if v.claim.name == "downstream")
    assert sum(verdict.parts[1].counts) == 3
    lost = next(f for f in verdict.confirmatory if SETS[2] in f.what)
    assert (lost.bears, lost.estimate) == ("undecided", None)
    assert "6 of 6 evaluations missing" in lost.reason


def test_few_seeds_decide_nothing(tmp_path: Path) -> None:
    text = SUITE.replace("[0, 1, 2]", "[0, 1]")
    verdict = claimed(tmp_path, differences(0.3, -0.3, -0.3, -0.3), text)
    assert verdict.status == "not tested"
    assert not verdict.confirmatory
    assert not verdict.deciding


def test_a_baseline_of_another_family_is_no_comparison_of_the_paper(tmp_path: Path) -> None:
    swapped = SUITE.replace("baseline: plain", "baseline: ebt")
    assert claimed(tmp_path, differences(0.3, -0.3, -0.3, -0.3), swapped).status == "not tested"
    alone = SUITE.replace("    baseline: plain\n", "")
    assert claimed(tmp_path, differences(0.3, -0.3, -0.3, -0.3), alone).status == "not tested"


def test_a_suite_without_records_could_decide(tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    verdict = next(v for v in judge([shown(suite, tmp_path)]) if v.claim.name == "downstream")
    assert verdict.status == "not tested"
    (each,) = verdict.deciding
    assert each.runs == 6
