"""Denoising and probes with planted quality, and what the two claims on images make of them."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.analysis.claims.claim import ClaimVerdict, Finding
from harness.analysis.claims.judging import judge
from harness.analysis.claims.tables import claims_table, findings_table
from harness.analysis.claims.wording import interval_text, number_text
from harness.analysis.exhibits.suites import suite_exhibits
from harness.planning.planned import PlannedRun, Suite
from harness.planning.suite import load_suite
from tests.analysis import test_probe
from tests.analysis.claims.planted import shown
from tests.analysis.denoising_factory import FLAT, HARDNESS, IMAGES, SUITE, recorded
from tests.analysis.records_factory import write_run, write_suite

Floats = NDArray[np.float64]
#: EBT does with one step, and no better with more, half a dB more than DiT with a hundred calls.
AS_CLAIMED = FLAT | {
    "2x1": 22.0,
    "1x1 recursions 2": 22.0,
    "diffusion 10 x1 trained": 20.0,
    "diffusion 10 x1 trained ddpm": 20.0,
    "diffusion 100 x1 trained": 22.5,
    "diffusion 100 x2 trained": 22.5,
}


def suite_of(folder: Path, *, seeds: str = "[0, 1, 2]", **changed: str) -> Suite:
    text = SUITE.replace("SEEDS", seeds)
    for old, new in changed.items():
        text = text.replace(*{"ebt": ("{adapter: ebt_image}", new), "level": (": [0.1]", new)}[old])
    path = folder / "suite.yaml"
    path.write_text(text)
    return load_suite(path)


def noisy(decibels: dict[str, float], *, scatter: float = 0.02) -> object:
    """Images of one hardness for all; seeds and settings move by `scatter` dB."""

    def of(name: str, run: PlannedRun) -> Floats:
        key = sum(map(ord, name + run.adapter_label)) + 1000 * run.spec.seed
        random = np.random.default_rng(key)
        own = random.normal(0, scatter) + random.normal(0, scatter, IMAGES)
        return np.asarray(decibels[name] + HARDNESS + own)

    return of


def claim_of(name: str, suite: Suite, folder: Path) -> ClaimVerdict:
    return next(v for v in judge([shown(suite, folder)]) if v.claim.name == name)


def passes(
    suite: Suite, folder: Path, decibels: dict[str, float], *, scatter: float = 0.02
) -> ClaimVerdict:
    write_suite(suite, folder, recorded(noisy(decibels, scatter=scatter)))  # type: ignore[arg-type]
    return claim_of("passes", suite, folder)


def by_part(verdict: ClaimVerdict) -> dict[str, Finding]:
    return {finding.part: finding for finding in verdict.confirmatory}


# --- passes -----------------------------------------------------------------------------------


def test_better_with_a_hundredth_of_the_passes_is_supported(tmp_path: Path) -> None:
    verdict = passes(suite_of(tmp_path), tmp_path, AS_CLAIMED)
    assert verdict.status == "supported"
    found = by_part(verdict)
    quality, equal = found["quality"], found["passes"]
    assert quality.what == "PSNR at noise level 0.1: ebt, 1 step, less dit, 100 calls"
    assert quality.estimate == pytest.approx(0.5, abs=0.1)
    assert quality.costs.nfe.value == 0.01
    assert quality.costs.flops.value == pytest.approx(0.02)
    assert quality.costs.seconds.value == pytest.approx(0.01)
    assert (quality.sample.n, quality.sample.of, quality.sample.seeds) == (60, "images", 3)
    # DiT never gets there, in no resample: infinity is told in words, and missing in the data.
    assert equal.estimate == inf
    assert equal.interval is not None
    assert (equal.interval.low, equal.interval.high) == (inf, inf)
    assert equal.costs.nfe.value is None
    assert equal.costs.nfe.interval == (0.0, 0.0)
    assert "no time" not in equal.costs.of
    assert "in 100 % of resamples never its equal" in equal.reason
    assert "dB over dit, 10 calls" in equal.reason
    assert number_text(equal.estimate, equal.unit) == "∞"
    assert interval_text(equal).startswith("[∞, ∞]×")
    rows = [dict(row) for row in (*claims_table([verdict]).data, *findings_table(verdict).data)]
    json.dumps(rows, allow_nan=False)
    (line,) = [row for row in findings_table(verdict).data if row["part"] == "passes"]
    assert (line["estimate"], line["low"], line["high"]) == ("inf", "inf", "inf")


def test_fewer_calls_that_are_as_good_refute_it_whatever_a_hundred_do(tmp_path: Path) -> None:
    """EBT beats a hundred calls with one step, and so do ten calls of DiT."""
    wasteful = AS_CLAIMED | {"diffusion 10 x1 trained": 23.0}
    verdict = passes(suite_of(tmp_path), tmp_path, wasteful)
    assert verdict.status == "not supported"
    found = by_part(verdict)
    assert found["quality"].bears == "for"
    assert found["passes"].bears == "against"
    assert found["passes"].estimate == 10
    assert found["passes"].costs.nfe.value == pytest.approx(0.1)
    assert found["passes"].costs.nfe.interval == pytest.approx((0.1, 0.1))
    assert found["passes"].costs.flops.value == pytest.approx(0.2)
    assert verdict.magnitude is not None
    assert (verdict.magnitude.inside, verdict.magnitude.above) == (0, 1)


def test_worse_than_a_hundred_calls_refutes_it(tmp_path: Path) -> None:
    better = AS_CLAIMED | {"diffusion 100 x1 trained": 23.5, "diffusion 100 x2 trained": 23.5}
    verdict = passes(suite_of(tmp_path), tmp_path, better)
    assert verdict.status == "not supported"
    found = by_part(verdict)
    assert found["quality"].bears == "against"
    # A hundred calls are the first to be as good.
    assert found["passes"].estimate == 100
    assert found["passes"].bears == "for"


def test_what_is_equal_within_the_tolerance_is_not_better(tmp_path: Path) -> None:
    equal = AS_CLAIMED | {"diffusion 100 x1 trained": 23.0, "diffusion 100 x2 trained": 23.0}
    verdict = passes(suite_of(tmp_path), tmp_path, equal, scatter=0.005)
    quality = by_part(verdict)["quality"]
    assert quality.interval is not None
    assert quality.interval.low < 0 < quality.interval.high
    assert quality.bears == "against"
    assert "below 0.1 dB" in quality.reason


def test_much_scatter_leaves_it_undecided(tmp_path: Path) -> None:
    verdict = passes(suite_of(tmp_path), tmp_path, AS_CLAIMED, scatter=1.0)
    assert verdict.status == "undecided"
    assert by_part(verdict)["quality"].bears == "undecided"


def test_out_of_distribution_three_times_the_passes_decide_where_measured(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, level=": [0.2]")
    verdict = passes(suite, tmp_path, AS_CLAIMED)
    # Three recursions of DiT are not measured here, so the trained passes decide.
    assert by_part(verdict)["quality"].what.endswith("ebt, 1 step, less dit, 100 calls")
    text = (
        SUITE.replace("SEEDS", "[0, 1, 2]")
        .replace(": [0.1]", ": [0.2]")
        .replace("recursions: 2}", "recursions: [2, 3]}")
    )
    path = tmp_path / "three.yaml"
    path.write_text(text)
    thrice = AS_CLAIMED | {"diffusion 100 x3 trained": 22.5, "1x1 recursions 3": 23.0}
    verdict = passes(load_suite(path), tmp_path / "three", thrice)
    decides = by_part(verdict)["quality"]
    assert decides.what.endswith("ebt, 1 step × 3, less dit, 100 calls × 3")
    listed = [f for f in verdict.exploratory if f.part == "quality"]
    assert listed
    assert all("not the number of passes that the paper compares" in f.reason for f in listed)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"seeds": "[0, 1]"}, "2 training seeds, 3 needed"),
        ({"ebt": "{adapter: ebt_image, config: {start: noise}}"}, "noisy image"),
    ],
)
def test_few_seeds_and_other_starts_are_listed_alone(
    given: dict[str, str], reason: str, tmp_path: Path
) -> None:
    verdict = passes(suite_of(tmp_path, **given), tmp_path, AS_CLAIMED)
    assert verdict.status == "not tested"
    assert not verdict.confirmatory
    assert all(reason in f.reason for f in verdict.findings)
    assert not verdict.deciding


def test_dit_started_where_it_was_not_trained_is_listed_alone(tmp_path: Path) -> None:
    text = SUITE.replace("SEEDS", "[0, 1, 2]").replace(": [0.1]", ": [0.2]")
    text = text.replace("[1, 10, 100]", "[1, 10]")
    text = text.replace("steps: 100, recursions: 2", "steps: 100, start: matched")
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    matched = AS_CLAIMED | {"diffusion 100 x1 matched": 22.5}
    verdict = passes(load_suite(path), tmp_path, matched)
    (quality,) = [f for f in verdict.findings if f.part == "quality"]
    assert quality.what.endswith("100 calls, matched start")
    assert quality.evidence == "exploratory"


def test_an_equal_that_may_be_chance_is_left_open(tmp_path: Path) -> None:
    """Ten calls lie by a hair within the tolerance: no seed or image says so beyond chance."""
    edge = AS_CLAIMED | {"diffusion 10 x1 trained": 22.91}
    equal = by_part(passes(suite_of(tmp_path), tmp_path, edge, scatter=0.1))["passes"]
    assert equal.bears == "undecided"


def test_without_cheaper_settings_of_dit_nothing_is_compared(tmp_path: Path) -> None:
    text = SUITE.replace("SEEDS", "[0, 1, 2]").replace("[1, 10, 100]", "100")
    text = text.replace("          - {kind: diffusion, steps: 10, sampler: ddpm}\n", "")
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    verdict = passes(load_suite(path), tmp_path, AS_CLAIMED)
    assert verdict.status == "undecided"
    (equal,) = [f for f in verdict.findings if f.part == "passes"]
    assert (equal.evidence, equal.bears) == ("confirmatory", "undecided")
    assert "not tried with fewer passes than 100 times" in equal.reason


def test_a_dit_of_few_calls_cannot_support_it(tmp_path: Path) -> None:
    text = SUITE.replace("SEEDS", "[0, 1, 2]").replace("[1, 10, 100]", "[1, 10]")
    text = text.replace("          - {kind: diffusion, steps: 100, recursions: 2}\n", "")
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    verdict = passes(load_suite(path), tmp_path, AS_CLAIMED)
    assert verdict.status == "undecided"
    (equal,) = verdict.confirmatory
    assert equal.estimate == inf
    assert "no more than 10 passes" in equal.reason
    assert verdict.parts[0].status == "not tested"


def test_images_that_are_not_kept_give_no_resamples(tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    for run in suite.runs:
        write_run(run, tmp_path, recorded(noisy(AS_CLAIMED), kept=False))  # type: ignore[arg-type]
    verdict = claim_of("passes", suite, tmp_path)
    assert verdict.status == "undecided"
    assert verdict.parts[0].counts == verdict.parts[1].counts == (0, 0, 1)
    assert all("errors not kept" in f.reason for f in verdict.findings)


def test_a_suite_without_records_could_decide(tmp_path: Path) -> None:
    verdict = claim_of("passes", suite_of(tmp_path), tmp_path)
    assert verdict.status == "not tested"
    (each,) = verdict.deciding
    assert (each.runs, each.evaluations) == (6, 6)


# --- features ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "status"), [(240, "supported"), (100, "not supported"), (160, "undecided")]
)
def test_more_right_answers_of_the_same_images(
    right: int, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(test_probe.RIGHT, "ebt", (right, 320))
    suite = test_probe.suite_of(tmp_path)
    write_suite(suite, tmp_path, test_probe.planted())
    verdict = claim_of("features", suite, tmp_path)
    assert verdict.status == status
    (finding,) = [f for f in verdict.findings if f.what.startswith("top-1")]
    assert finding.what == "top-1 accuracy on builtin/digits, less dit's"
    assert finding.estimate == pytest.approx((right - 160) / 400)
    assert (finding.sample.n, finding.sample.of) == (400, "images")
    assert finding.costs.nfe.value is None


def test_top_5_is_listed_and_a_baseline_is_needed(tmp_path: Path) -> None:
    suite = test_probe.suite_of(tmp_path)
    write_suite(suite, tmp_path, test_probe.planted())
    verdict = claim_of("features", suite, tmp_path)
    assert [f.what[:5] for f in verdict.exploratory] == ["top-5"]
    alone = test_probe.suite_of(tmp_path, test_probe.SUITE.replace(", baseline: dit", ""))
    assert claim_of("features", alone, tmp_path).status == "not tested"
    swapped = test_probe.suite_of(tmp_path, test_probe.SUITE.replace("line: dit", "line: ebt"))
    assert claim_of("features", swapped, tmp_path).status == "not tested"


def test_a_training_that_is_missing_leaves_images_undecided(tmp_path: Path) -> None:
    """Two of three trainings of EBT, and three of DiT: three were planned, so it may decide."""
    image, probe = tmp_path / "image", tmp_path / "probe"
    image.mkdir()
    probe.mkdir()
    denoising, probed = suite_of(image), test_probe.suite_of(probe)

    def two(suite: Suite) -> Suite:
        kept = (r for r in suite.runs if (r.adapter_label, r.spec.seed) != ("ebt", 2))
        return replace(suite, runs=tuple(kept))

    write_suite(two(denoising), image, recorded(noisy(AS_CLAIMED)))  # type: ignore[arg-type]
    write_suite(two(probed), probe, test_probe.planted())
    for name, suite, folder, counts in (
        ("passes", denoising, image, [(0, 0, 1), (0, 0, 1)]),
        ("features", probed, probe, [(0, 0, 1)]),
    ):
        verdict = claim_of(name, suite, folder)
        assert verdict.status == "undecided"
        assert [part.counts for part in verdict.parts] == counts
        assert all("1 of 6 evaluations missing" in f.reason for f in verdict.confirmatory)


def test_two_trainings_of_each_say_nothing_of_features(tmp_path: Path) -> None:
    suite = test_probe.suite_of(tmp_path, test_probe.SUITE.replace("[0, 1, 2]", "[0, 1]"))
    write_suite(suite, tmp_path, test_probe.planted())
    verdict = claim_of("features", suite, tmp_path)
    assert verdict.status == "not tested"
    assert all("2 training seeds, 3 needed" in f.reason for f in verdict.findings)


def test_several_suites_are_judged_together(tmp_path: Path) -> None:
    image, probe = tmp_path / "image", tmp_path / "probe"
    image.mkdir()
    probe.mkdir()
    denoising, probed = suite_of(image), test_probe.suite_of(probe)
    write_suite(denoising, image, recorded(noisy(AS_CLAIMED)))  # type: ignore[arg-type]
    write_suite(probed, probe, test_probe.planted())
    both = [suite_exhibits(denoising, image), suite_exhibits(replace(probed, name="p"), probe)]
    statuses = {v.claim.name: v.status for v in judge(both)}
    assert statuses == {v.claim.name: v.status for v in judge(both[::-1])}
    assert {name for name, status in statuses.items() if status == "supported"} == {
        "passes",
        "features",
    }
