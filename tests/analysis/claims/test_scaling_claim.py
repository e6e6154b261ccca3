"""Scaling sections with planted exponents, and what the claim of faster scaling makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.claims.claim import ClaimVerdict, Finding
from harness.analysis.claims.distrust import distrusted
from harness.analysis.claims.judging import judge
from harness.analysis.claims.tables import claims_table, findings_table
from harness.analysis.exhibits.scaling import ScalingExhibit
from harness.analysis.exhibits.suites import SuiteExhibits
from harness.planning.planned import PlannedRun
from harness.planning.suite import load_suite
from harness.records import Measurement, RunFolder, read_json, write_json
from tests.analysis.claims.planted import shown
from tests.analysis.planted_rates import WIDE, losses, suite_of, written
from tests.analysis.records_factory import measured, write_suite


def scaling(shown: list[SuiteExhibits]) -> ClaimVerdict:
    return next(v for v in judge(shown) if v.claim.name == "scaling")


def statuses(verdict: ClaimVerdict) -> dict[str, str]:
    """Of the parts that are tested."""
    return {part.name: part.status for part in verdict.parts if part.status != "not tested"}


@pytest.fixture(scope="module")
def faster(tmp_path_factory: pytest.TempPathFactory) -> SuiteExhibits:
    """35 % along two axes, of the same runs."""
    return written(tmp_path_factory.mktemp("faster"), losses(0.35), "data", "flops")


def test_a_faster_candidate_is_supported_with_the_section_s_own_adjusted_verdicts(
    faster: SuiteExhibits,
) -> None:
    exhibits = faster
    verdict = scaling([exhibits])
    assert statuses(verdict) == {"data on text": "supported", "FLOPs on text": "supported"}
    # The other axes and video are not tested.
    assert verdict.status == "undecided"
    assert verdict.reason.startswith(
        "supported along data on text (1, 0, 0), FLOPs on text (1, 0, 0); not tested along batch"
    )
    for finding, gathered in zip(verdict.findings, exhibits.gathered, strict=True):
        assert isinstance(gathered.exhibit, ScalingExhibit)
        rate = gathered.exhibit.rate
        assert rate is not None
        assert rate.rho.interval is not None
        assert finding.interval is not None
        assert finding.stem == gathered.stem
        assert finding.estimate == rate.rho.value
        assert finding.p == rate.p_adjusted
        assert finding.reason == rate.verdict.text
        interval = rate.rho.interval
        assert (finding.interval.low, finding.interval.high, finding.interval.level) == (
            interval.low,
            interval.high,
            interval.level,
        )
    # Each axis stands beside the paper's own rate: 35.98 % of data, 2.92 % of FLOPs.
    assert [f.paper for f in verdict.findings] == pytest.approx([0.3598, 0.0292])
    assert verdict.magnitude is not None
    assert (verdict.magnitude.inside, verdict.magnitude.below) == (1, 1)


def test_what_a_finding_stands_on_is_said(faster: SuiteExhibits) -> None:
    finding = next(f for f in scaling([faster]).findings if "tokens" in f.what)
    assert (finding.sample.n, finding.sample.of) == (36, "training runs")
    assert (finding.sample.seeds, finding.sample.points) == (3, 6)
    assert len(finding.runs) == 36
    assert finding.costs.nfe.value == 2.0
    assert finding.costs.flops.value == 1.0  # as the records have it
    assert finding.costs.training_flops == 36 * 5e9
    assert finding.costs.training_seconds == 36 * 2.0
    assert finding.device == ("test device",)
    assert finding.scale.endswith("non-embedding parameters, 1.28 k tokens, builtin/docs")
    assert finding.what == "scaling rate along training tokens"


@pytest.mark.parametrize(
    ("rate", "sigma", "status"),
    [(-0.3, 0.002, "not supported"), (0.0, 0.001, "not supported"), (0.0, 0.012, "undecided")],
)
def test_other_rates(rate: float, sigma: float, status: str, tmp_path: Path) -> None:
    verdict = scaling([written(tmp_path, losses(rate, sigma=sigma), "data")])
    assert verdict.status == status
    assert statuses(verdict) == {"data on text": status}
    assert len(verdict.confirmatory) == 1


def test_swapped_families_turn_the_verdict_round(tmp_path: Path) -> None:
    """What EBT has in one suite Transformer++ has in the other."""

    def swapped(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
        label = {"ebt": "transformer++", "transformer++": "ebt"}[run.adapter_label]
        other = replace(run, adapter_label=label)
        found = losses(0.35)(other, spec, folder)
        return [measured(run, "loss", each.value, cost=each.cost) for each in found]

    assert scaling([written(tmp_path, swapped, "data")]).status == "not supported"


def test_other_pairs_than_the_paper_s_bear_on_nothing(tmp_path: Path) -> None:
    other = written(tmp_path, losses(0.35), "data", pair=("ebt", "transformer++"))
    assert scaling([other]).status == "not tested"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"budgets": "[1.28e5, 1.28e6, 1.28e7]"}, "3 points × 3 seeds"),
        ({"seeds": "[0, 1]"}, "6 points × 2 seeds"),
        ({"budgets": "[1e6, 2e6, 3e6, 4e6, 5e6]"}, "over 0.699 decades, 2 needed"),
    ],
)
def test_small_designs_are_exploratory_and_decide_nothing(
    given: dict[str, str], reason: str, tmp_path: Path
) -> None:
    verdict = scaling([written(tmp_path, losses(1.0), "data", **given)])
    assert verdict.status == "not tested"
    assert verdict.reason.startswith("only exploratory findings")
    (finding,) = verdict.findings
    assert finding.evidence == "exploratory"
    assert reason in finding.reason
    # Nothing unfinished could decide it either, so it says what is made for it.
    assert not verdict.deciding
    assert "suites/registered" in verdict.remedy


@pytest.mark.parametrize("label", ["ebt", "transformer++"])
def test_a_run_without_a_finite_loss_leaves_nothing_decided(label: str, tmp_path: Path) -> None:
    """What is left without it might be the better half: whichever family it is of."""

    def first(run: PlannedRun) -> bool:
        cost = run.cost
        return run.adapter_label == label and cost.tokens == 128_000

    verdict = scaling([written(tmp_path, losses(0.35, lost=first), "data")])
    (finding,) = verdict.findings
    assert (finding.evidence, finding.bears, finding.p) == ("confirmatory", "undecided", None)
    assert "not finite" in finding.reason
    assert f"{label} 128000" in finding.reason
    assert verdict.status == "undecided"
    assert statuses(verdict) == {"data on text": "undecided"}


@pytest.mark.parametrize("how", ["missing", "diverged"])
def test_a_run_without_a_result_keeps_the_section_in_its_family(how: str, tmp_path: Path) -> None:
    """Five points of six pass the gate too: what is not there may have been left out for a reason.

    Both suites count, so the whole one's interval is that of two, whatever the other lacks.
    """
    found = []
    for number in (0, 10):
        folder = tmp_path / str(number)
        folder.mkdir()
        suite = suite_of(folder, "data", seeds=f"[{number}, {number + 1}, {number + 2}]")
        lost = [run for run in suite.runs if number and run.cost.tokens == 128_000]
        kept = tuple(run for run in suite.runs if run not in lost)
        write_suite(replace(suite, runs=kept), folder, losses(0.35))
        for run in lost if how == "diverged" else ():
            RunFolder(folder, run.run_id).set_status(
                "failed", step=3, total_steps=10, reason="not finite: the loss at step 3"
            )
        found.append(shown(suite, folder, name=f"suite {number}"))
    verdict = scaling(found)
    assert statuses(verdict) == {"data on text": "undecided"}
    assert [f.bears for f in verdict.confirmatory] == ["for", "undecided"]
    whole, lacking = verdict.confirmatory
    assert whole.interval is not None
    assert whole.interval.level == pytest.approx(1 - 0.05 / 2)
    assert lacking.reason.startswith("6 of 36 evaluations missing")
    assert ("training diverged" in lacking.reason) == (how == "diverged")
    # What diverged would diverge again: running the suite decides nothing.
    assert bool(verdict.deciding) == (how == "missing")


def test_a_section_of_which_only_one_family_has_run_is_undecided(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, "data")
    kept = tuple(run for run in suite.runs if run.adapter_label == "ebt")
    write_suite(replace(suite, runs=kept), tmp_path, losses(0.35))
    (finding,) = scaling([shown(suite, tmp_path)]).findings
    assert (finding.evidence, finding.bears) == ("confirmatory", "undecided")
    assert finding.reason.startswith("18 of 36 evaluations missing; no rate: transformer++")


def test_a_suite_without_records_is_named_with_what_it_takes(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, "data", "flops")
    verdict = scaling([shown(suite, tmp_path)])
    assert verdict.status == "not tested"
    assert verdict.findings == ()
    (each,) = verdict.deciding
    assert each.command == f"harness run {suite.path}"
    assert (each.runs, each.evaluations) == (36, 36)
    assert each.flops == sum(run.cost.flops or 0.0 for run in suite.runs)


@pytest.mark.parametrize(
    "given",
    [
        {"seeds": "[0, 1]"},
        {"budgets": "[1e6, 2e6, 3e6, 4e6, 5e6]"},
        {"pair": ("ebt", "transformer++")},
    ],
)
def test_a_design_that_could_not_decide_is_not_offered(
    given: dict[str, Any], tmp_path: Path
) -> None:
    verdict = scaling([shown(suite_of(tmp_path, "data", **given), tmp_path)])
    assert verdict.status == "not tested"
    assert verdict.deciding == ()


def test_a_half_finished_suite_says_what_is_left(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, "data")
    done = [run for run in suite.runs if run.spec.seed == 0]
    write_suite(replace(suite, runs=tuple(done)), tmp_path, losses(0.35))
    verdict = scaling([shown(suite, tmp_path)])
    assert verdict.status == "undecided"
    assert verdict.findings[0].reason.startswith("24 of 36 evaluations missing")
    assert verdict.findings[0].sample.seeds == 1
    (each,) = verdict.deciding
    assert (each.runs, each.evaluations) == (24, 24)


def test_the_same_runs_in_two_suites_count_once_and_by_axis(faster: SuiteExhibits) -> None:
    other = replace(faster, suite=replace(faster.suite, name="other"))
    verdict = scaling([faster, other])
    assert [f.suites for f in verdict.findings] == [("planted", "other")] * 2
    assert verdict.findings[0].interval == scaling([faster]).findings[0].interval


def test_suites_are_adjusted_for_each_other(tmp_path: Path) -> None:
    exhibits = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        suite = replace(suite_of(folder, "data", seeds=f"[{number}, {number + 5}, {number + 9}]"))
        write_suite(suite, folder, losses(0.35))
        exhibits.append(shown(suite, folder, name=f"suite {number}"))
    verdict = scaling(exhibits)
    levels = sorted(f.interval.level for f in verdict.findings if f.interval is not None)
    assert levels == pytest.approx([1 - 0.05, 1 - 0.05 / 2])
    assert statuses(scaling(exhibits[::-1])) == statuses(verdict) == {"data on text": "supported"}


def test_seconds_are_compared_on_one_device(tmp_path: Path) -> None:
    """EBT takes 3 times as long on each device, and one device is 10 times slower."""
    suite = suite_of(tmp_path, "data")
    write_suite(suite, tmp_path, losses(0.35))

    def trained(device: Callable[[PlannedRun], str]) -> Finding:
        for run in suite.runs:
            path = RunFolder(tmp_path, run.run_id).training
            record = read_json(path)
            record["device"] = device(run)
            slow = 10 if record["device"] == "slow" else 1
            record["seconds"] = (3.0 if run.adapter_label == "ebt" else 1.0) * slow
            write_json(path, record)
        (finding,) = scaling([shown(suite, tmp_path)]).findings
        return finding

    def mixed(run: PlannedRun) -> str:
        """Of the first seed both are slow, at the first budget each has a device of its own."""
        slow = run.spec.seed == 0
        if run.cost.tokens == 128_000:
            slow = run.adapter_label == "ebt"
        return "slow" if slow else "fast"

    assert trained(lambda run: "fast").costs.seconds.value == pytest.approx(3)
    found = trained(mixed)
    assert found.costs.seconds.value == pytest.approx(3)
    assert "no time" not in found.costs.of
    apart = trained(lambda run: "slow" if run.adapter_label == "ebt" else "fast")
    assert apart.costs.seconds.value is None
    assert apart.costs.of.endswith("no time: not measured on one device")


# --- what was tuned on its own sets -----------------------------------------------------------


def test_what_an_exploratory_suite_has_run_decides_nowhere(
    faster: SuiteExhibits, tmp_path: Path
) -> None:
    """Not under another name, and not in another suite that shows some of its runs only."""
    said = replace(faster, suite=replace(faster.suite, exploratory="tuned on these sets"))
    assert scaling([said]).status == "not tested"
    assert scaling([said]).findings[0].reason.startswith("suite planted: tuned on these sets")
    fewer = suite_of(tmp_path, "data", budgets=WIDE.replace("1.28e5, ", "2e5, "))
    write_suite(fewer, tmp_path, losses(0.35))
    other = shown(fewer, tmp_path, name="other")
    shared = {run.run_id for run in fewer.runs} & {run.run_id for run in said.suite.runs}
    assert 0 < len(shared) < len(fewer.runs)
    assert scaling([other]).status == "undecided"
    for order in ([said, other], [other, said]):
        verdict = scaling(order)
        assert verdict.status == "not tested"
        assert all("tuned on these sets" in f.reason for f in verdict.findings)
    unrun = shown(replace(fewer, exploratory="tuned"), tmp_path / "nothing")
    assert scaling([unrun]).deciding == ()


def test_suites_that_ship_are_known_whatever_is_given(
    faster: SuiteExhibits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `harness ls suites` looks: there a suite says that these runs were tuned."""
    text = faster.suite.path.read_text()
    folder = tmp_path / "suites" / "mine"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (folder / "broken.yaml").write_text("exploratory: [")
    assert scaling([faster]).status == "undecided"
    (folder / "tried.yaml").write_text(
        text.replace("suite: planted", "suite: tried\nexploratory: tried before")
    )
    verdict = scaling([faster])
    assert verdict.status == "not tested"
    assert verdict.findings[0].reason.startswith("suite tried: tried before")


@pytest.mark.parametrize("name", ["quickstart", "smoke"])
def test_the_suites_that_decide_nothing_say_so(name: str) -> None:
    suite = load_suite(Path(__file__).parents[3] / "suites" / f"{name}.yaml")
    assert suite.exploratory
    known = distrusted([])
    assert {known[run.run_id] for run in suite.runs} == {f"suite {name}: {suite.exploratory}"}


def test_what_is_no_suite_among_those_that_ship_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Editors leave links to nowhere beside the files that they have open."""
    (tmp_path / ".#open.yaml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "broken.yaml").write_text("exploratory: [")
    suite = suite_of(tmp_path, "data")
    suite.path.write_text(f"exploratory: only tried\n{suite.path.read_text()}")
    monkeypatch.setattr("harness.analysis.claims.distrust._SHIPPED", (tmp_path,))
    assert set(distrusted([])) == {run.run_id for run in suite.runs}


def test_tables_have_a_row_per_claim_and_per_finding(faster: SuiteExhibits) -> None:
    verdicts = judge([faster])
    table = claims_table(verdicts)
    assert len(table.rows) == len(table.data) == len(verdicts) == 7
    row = table.rows[0]
    assert [cell.text for cell in row[:5]] == [
        "Faster scaling",
        "up to 35 % faster on text, 34 % on video",
        "undecided",
        "2, 0, 0",
        "0",
    ]
    assert row[5].text.startswith("data on text: +3")
    assert "; FLOPs on text: +3" in row[5].text
    assert not table.rows[1][2].bold
    assert row[6].text == "3"
    assert row[7].text == "2"
    findings = findings_table(verdicts[0])
    assert len(findings.rows) == len(verdicts[0].findings)
    for one in (table, findings, findings_table(verdicts[1])):
        assert one.markdown()
        assert one.latex()
        assert all(len(each) == len(one.header) for each in one.rows)
    lines = findings.csv().splitlines()
    assert lines[0].startswith("claim,part,suites,section,what,")
    assert len(lines) == 3
