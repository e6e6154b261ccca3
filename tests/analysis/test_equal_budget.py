"""Losses at equal FLOPs, seconds and tokens, and costs at equal loss, against brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.analysis.exhibits.equal_budget import budget_differences
from harness.analysis.exhibits.scaling import ScalingExhibit, scaling_exhibit
from harness.analysis.frame import load_frame
from harness.analysis.tables.equal_loss import equal_loss_tables
from harness.planning.planned import Suite
from tests.analysis.planted_rates import suite_of
from tests.analysis.records_factory import measured, write_suite

#: What each seed adds, to both families, and the scatter of EBT alone.
SEEDS = (0.0, 0.2, -0.1)
OWN = (0.001, -0.002, 0.0015)


def planted(run, exponent: float, floor: float = 1.0) -> float:
    x = next(v for v in run.spec.budget.model_dump().values() if v is not None)
    return floor + 2 * (x / 3e9) ** -exponent


def losses(run, spec, folder):
    """EBT starts 0.05 above and falls faster, and crosses."""
    ebt = run.adapter_label == "ebt"
    value = planted(run, 0.36 if ebt else 0.3) + (0.05 + OWN[run.spec.seed] if ebt else 0.0)
    return [measured(run, "loss", value + SEEDS[run.spec.seed])]


def exhibit_of(
    folder: Path, losses=losses, *, unit: str = "flops", axis: str = "flops", settings: str = ""
) -> tuple[ScalingExhibit, Suite]:
    varied = f"budget: {{path: budget.{unit}, values: [3e9, 1e10, 3e10, 1e11, 3e11]}}"
    suite = suite_of(folder, axis, varied=varied, settings=settings)
    write_suite(suite, folder / "results", losses)
    return scaling_exhibit(suite.report[0], suite, load_frame(suite, folder / "results")), suite


def test_differences_are_paired_by_seed_as_a_t_test_has_them(tmp_path: Path) -> None:
    exhibit, suite = exhibit_of(tmp_path)
    found = budget_differences(exhibit)
    assert [one.budget for one in found] == [3e9, 1e10, 3e10, 1e11, 3e11]
    for one in found:
        runs = [r for r in suite.runs if r.spec.budget.flops == one.budget]
        ours, theirs = (
            [losses(r, None, None)[0].value for r in runs if r.adapter_label == label]
            for label in ("ebt", "transformer++")
        )
        expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
        assert one.difference.value == pytest.approx(np.mean(ours) - np.mean(theirs))
        assert (one.difference.low, one.difference.high) == pytest.approx(tuple(expected))
        assert one.seeds == (0, 1, 2)
        # Seeds differ by 0.2 between families alike: pairing is what decides.
        assert stats.ttest_ind(ours, theirs).pvalue > 0.05
    assert found[0].lower == "baseline"
    assert found[-1].lower == "candidate"


def test_seeds_that_one_family_lacks_are_left_out(tmp_path: Path) -> None:
    def lost(run, spec, folder):
        gone = run.adapter_label == "ebt" and run.spec.seed == 2
        found = losses(run, spec, folder)
        return [measured(run, "loss", None)] if gone else found

    exhibit, _ = exhibit_of(tmp_path, lost)
    assert {one.seeds for one in budget_differences(exhibit)} == {(0, 1)}
    table = equal_loss_tables(exhibit, "stem")[-1]
    assert "not finite" in " ".join(table.notes)
    assert "seed 2" in " ".join(table.notes)


def test_one_seed_gives_no_interval_and_decides_nothing(tmp_path: Path) -> None:
    def single(run, spec, folder):
        return losses(run, spec, folder) if run.spec.seed == 0 else [measured(run, "loss", None)]

    exhibit, _ = exhibit_of(tmp_path, single)
    assert {one.lower for one in budget_differences(exhibit)} == {"undecided"}
    table = equal_loss_tables(exhibit, "stem")[-1]
    assert {row[-3].text for row in table.rows} == {"one seed: no interval"}
    assert {row["low"] for row in table.data} == {None}


def test_budgets_in_another_unit_are_not_equal(tmp_path: Path) -> None:
    """Equal tokens are no equal FLOPs, though both are along the axis of FLOPs."""
    exhibit, _ = exhibit_of(tmp_path, unit="tokens", axis="flops")
    assert budget_differences(exhibit) == []
    assert [t.name for t in equal_loss_tables(exhibit, "stem")] == ["stem-equal-loss"]


@pytest.mark.parametrize(
    ("unit", "axis", "settings", "first"),
    [
        ("seconds", "seconds", "device_class: cpu-2", "34722 d 05 h"),
        ("tokens", "data", "", "3 G"),
    ],
)
def test_seconds_and_tokens_are_budgets_too(
    tmp_path: Path, unit: str, axis: str, settings: str, first: str
) -> None:
    exhibit, _ = exhibit_of(tmp_path, unit=unit, axis=axis, settings=settings)
    table = equal_loss_tables(exhibit, "scaling-x")[-1]
    assert table.name == "scaling-x-differences"
    assert table.rows[0][0].text == first
    assert len(table.rows) == 5


def test_gain_and_crossover_are_those_of_the_planted_curves(tmp_path: Path) -> None:
    exhibit, _ = exhibit_of(tmp_path)
    gain, crossed = equal_loss_tables(exhibit, "stem")[0].data
    u = np.geomspace(1, 100, 100_001)
    ours, theirs = 0.05 + 2 * u**-0.36, 2 * u**-0.3
    lowest = max(ours[-1], theirs[-1])
    ratio = u[np.argmax(theirs <= lowest)] / u[np.argmax(ours <= lowest)]
    assert gain["value"] == pytest.approx(ratio, rel=0.05)
    assert gain["value"] > 1
    assert crossed["value"] == pytest.approx(3e9 * u[np.argmax(ours <= theirs)], rel=0.1)
    assert crossed["lower_beyond"] == "candidate"
    assert gain["low"] < gain["value"] < gain["high"]
    titles = [row[0].text for row in equal_loss_tables(exhibit, "stem")[0].rows]
    assert titles == ["compute-equivalent gain", "crossover"]


def test_at_equal_width_the_difference_is_told_though_costs_differ(tmp_path: Path) -> None:
    varied = "width: {path: config.width, values: [16, 32, 64, 128, 256]}"
    suite = suite_of(tmp_path, "width", varied=varied, settings="budget: {steps: 10}")

    def by_width(run, spec, folder):
        ebt = run.adapter_label == "ebt"
        loss = 4 * run.spec.config["width"] ** -0.3 + (0.1 + OWN[run.spec.seed] if ebt else 0.0)
        return [measured(run, "loss", loss + SEEDS[run.spec.seed] / 10)]

    write_suite(suite, tmp_path / "results", by_width)
    frame = load_frame(suite, tmp_path / "results")
    exhibit = scaling_exhibit(suite.report[0], suite, frame)
    found = budget_differences(exhibit)
    assert [one.budget for one in found] == [16, 32, 64, 128, 256]
    assert {one.lower for one in found} == {"baseline"}
    table = equal_loss_tables(exhibit, "stem")[-1]
    assert [row[0].text for row in table.rows] == ["16", "32", "64", "128", "256"]
    # Of parameters no two are equal: the families' differ.
    by_parameters = suite.report[0].model_copy(update={"x": "parameters"})
    assert budget_differences(scaling_exhibit(by_parameters, suite, frame)) == []
