"""Denoising sections on planted errors: intervals, what equal quality costs, verdicts, pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from harness.analysis import resampling
from harness.analysis.exhibits import image_sums
from harness.analysis.exhibits.denoising import DenoisingExhibit, DenoisingRow, denoising_exhibit
from harness.analysis.exhibits.equal_quality import (
    best_gaps,
    cheapest_best,
    equal_quality,
    hundredfold,
)
from harness.analysis.exhibits.image_sums import (
    ImageErrors,
    interval_of,
    load_image_errors,
)
from harness.analysis.figures.denoising import denoising_figure
from harness.analysis.figures.examples import chosen
from harness.analysis.frame import load_frame
from harness.analysis.tables.denoising import denoising_tables
from harness.errors import HarnessError
from harness.planning.planned import PlannedRun, Suite
from harness.planning.spec import thinking_label
from harness.planning.suite import load_suite
from harness.records import Measurement
from tests.analysis.records_factory import measured, write_run, write_suite

Floats = NDArray[np.float64]
SUITE = """
suite: image
experiments:
  image:
    base:
      task: {kind: denoising, train_level: 0.1}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
      config: {depth: 1, width: 16, heads: 1, patch_size: 2}
    adapters: {dit: {adapter: dit_image}, ebt: {adapter: ebt_image}}
    seeds: SEEDS
    evaluations:
      denoising:
        kind: denoising
        data: builtin/digits
        levels: [0.1]
        thinking:
          - {kind: descent, steps: [1, 2]}
          - {kind: descent, steps: 1, recursions: 2}
          - {kind: diffusion, steps: [1, 10, 100]}
          - {kind: diffusion, steps: 100, recursions: 2}
          - {kind: diffusion, steps: 10, sampler: ddpm}
report:
  - {kind: denoising, experiment: image, evaluation: denoising}
"""
IMAGES = 60
#: dB of each setting, without what images and seeds add.
FLAT = {
    "noisy": 17.0,
    "gaussian filter": 19.0,
    "median filter": 20.0,
    "diffusion 1 x1 trained": 18.0,
    "diffusion 10 x1 trained": 23.0,
    "diffusion 100 x1 trained": 23.05,
    "diffusion 100 x2 trained": 23.05,
    "diffusion 10 x1 trained ddpm": 22.0,
    "1x1": 23.0,
    "2x1": 23.02,
    "1x1 recursions 2": 23.02,
}
#: Each image is easy or hard for every setting alike, as the same noise and content make it.
HARDNESS = np.random.default_rng(0).normal(0, 2.0, IMAGES)

Decibels = Callable[[str, PlannedRun], Floats]


def suite_of(folder: Path, *, seeds: str = "[0, 1, 2]") -> Suite:
    path = folder / "suite.yaml"
    path.write_text(SUITE.replace("SEEDS", seeds))
    return load_suite(path)


def recorded(
    decibels: Decibels,
    *,
    kept: bool = True,
    dropped: Callable[[PlannedRun], int] | None = None,
    filtered: int = IMAGES,
) -> Any:
    """An evaluator of these dB per image, and of the PSNR that they come to; of a set of one image
    more, a run did without the one that `dropped` says. Filters see the first `filtered` alone.
    """

    def evaluate(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
        found: list[Measurement] = []
        arrays: dict[str, Any] = {}
        settings = {thinking_label(t): t for t in spec.thinking}
        for name in ("noisy", "gaussian filter", "median filter", *settings):
            tags = {"data": spec.data, "split": spec.split, "level": spec.level}
            cost: Mapping[str, float] = {}
            if name in settings:
                thinking = settings[name]
                tags |= thinking.model_dump(mode="json")
                nfe = float(thinking.steps * getattr(thinking, "recursions", 1))
                each = 2.0 if thinking.kind == "descent" else 1.0
                cost = {"nfe": nfe, "flops": 1e6 * each * nfe, "seconds": 1e-3 * nfe}
            else:
                tags |= {"kind": name} | ({"filter_width": 3} if "filter" in name else {})
            own = decibels(name, run)[: filtered if "filter" in name else None]
            errors = 255**2 / 10 ** (own / 10)
            mse = float(errors.mean())
            values = {
                "mse": mse,
                "psnr": 10 * np.log10(255**2 / mse),
                "psnr_per_image": own.mean(),
                "ssim": 0.5,
            }
            given = {"n": len(own), "tags": tags, "cost": cost, "unit": ""}
            found += [measured(run, k, float(v), **given) for k, v in values.items()]
            arrays[f"mse/{name}"] = errors[None].astype(np.float32)
            arrays[f"ssim/{name}"] = np.full((1, len(own)), 0.5, np.float32)
        if dropped is not None:
            arrays["rows"] = np.delete(np.arange(IMAGES + 1), dropped(run))
        if kept:
            np.savez_compressed(folder / "per_image.npz", **arrays)
        return found

    return evaluate


def hard(name: str, run: PlannedRun) -> Floats:
    return FLAT[name] + HARDNESS


def exhibit_of(
    folder: Path,
    decibels: Decibels,
    *,
    seeds: str = "[0, 1, 2]",
    finished: Callable[[PlannedRun], bool] = lambda _: True,
    **given: Any,
) -> DenoisingExhibit:
    suite = suite_of(folder, seeds=seeds)
    for run in filter(finished, suite.runs):
        write_run(run, folder, recorded(decibels, **given))
    section: Any = suite.report[0]
    return denoising_exhibit(section, load_frame(suite, folder))


def row_of(exhibit: DenoisingExhibit, label: str) -> DenoisingRow:
    return next(row for row in exhibit.rows if row.label == label)


# --- intervals -------------------------------------------------------------------------------


def errors_of(decibels: Floats) -> ImageErrors:
    """Of dB (seeds, images), one noise seed."""
    errors = 255**2 / 10 ** (decibels / 10)
    seeds, images = decibels.shape
    return ImageErrors(np.arange(images), tuple(range(seeds)), errors[:, None])


def test_draws_are_those_of_a_plain_bootstrap() -> None:
    random = np.random.default_rng(1)
    decibels = 23 + random.normal(0, 2, (3, 40)) + random.normal(0, 0.3, (3, 1))
    drawn = errors_of(decibels).drawn()
    assert drawn is not None
    counts, shares = resampling.joint_draws(3, 40, models=1)
    for draw in (0, 17, 999):
        rows = np.repeat(np.arange(40), counts[draw])
        assert len(rows) == 40
        mse = [
            np.mean([255**2 / 10 ** (decibels[seed, i] / 10) for i in rows]) for seed in range(3)
        ]
        expected = sum(
            s * 10 * np.log10(255**2 / m) for s, m in zip(shares[draw], mse, strict=True)
        )
        assert drawn.psnr[draw] == pytest.approx(expected)
        means = decibels[:, rows].mean(1)
        assert drawn.per_image is not None
        assert drawn.per_image[draw] == pytest.approx(float(shares[draw] @ means))


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_holds_the_true_mean_as_often_as_it_says(seeds: int) -> None:
    """Images, and seeds where there are several, are a draw of many; errors are skewed."""
    random = np.random.default_rng(seeds)
    held = 0
    for _ in range(200):
        images = 23 + random.gamma(2.0, 1.0, 60) - 2.0
        decibels = images + random.normal(0, 0.4, (seeds, 1)) * (seeds > 1)
        drawn = errors_of(decibels + random.normal(0, 0.1, (seeds, 60))).drawn()
        assert drawn is not None
        interval = interval_of(drawn.per_image)
        assert interval is not None
        held += interval[0] <= 23 <= interval[1]
    assert 0.90 <= held / 200 <= 0.99


@pytest.mark.parametrize("by_class", [False, True])
def test_many_images_are_drawn_in_groups_with_the_same_interval(
    by_class: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the images of one class, which are alike hard, lie together."""
    errors = np.random.default_rng(3).gamma(2.0, 100.0, (1, 3001)).astype(np.float32)
    if by_class:
        errors.sort()
    np.savez_compressed(tmp_path / "per_image.npz", **{"mse/1x1": errors})
    bounds = []
    for groups in (3001, 300):
        monkeypatch.setattr(resampling, "GROUPS", groups)
        image_sums._again.cache_clear()
        each = load_image_errors({0: tmp_path}, "1x1")
        assert each is not None
        assert image_sums._again(1, 3001).counts.shape[1] == groups
        drawn = each.drawn()
        assert drawn is not None
        bounds.append(interval_of(drawn.psnr))
        assert drawn.ssim is None
    np.testing.assert_allclose(bounds[0], bounds[1], atol=0.03)
    width = bounds[0][1] - bounds[0][0]
    spread = errors.std() / errors.mean() / 3001**0.5 * 10 / np.log(10)
    assert width == pytest.approx(2 * 1.96 * spread, rel=0.1)


def test_rows_have_intervals_over_seeds_and_images(tmp_path: Path) -> None:
    exhibit = exhibit_of(tmp_path, lambda n, r: hard(n, r) + 0.1 * r.spec.seed)
    row = row_of(exhibit, "1x1")
    assert row.over == "seeds and images"
    assert row.psnr_per_image is not None
    assert row.psnr_per_image.value == pytest.approx(23.1 + HARDNESS.mean())
    spread = HARDNESS.std() / IMAGES**0.5
    assert row.psnr_per_image.half_width > 1.96 * spread * 0.9
    assert row.psnr.low < row.psnr.value < row.psnr.high
    assert row.ssim is not None
    assert row.ssim.interval is None, "alike in every image"
    notes = " ".join(denoising_tables(exhibit, "d")[0].notes)
    assert "3 training seeds" in notes
    assert "then images" in notes


def test_one_seed_says_what_its_interval_is_not(tmp_path: Path) -> None:
    exhibit = exhibit_of(tmp_path, hard, seeds="[0]")
    row = row_of(exhibit, "1x1")
    assert row.over == "images"
    assert row.psnr_per_image is not None
    spread = HARDNESS.std(ddof=1) / IMAGES**0.5
    assert row.psnr_per_image.half_width == pytest.approx(1.96 * spread, rel=0.1)
    for table in denoising_tables(exhibit, "d")[:3]:
        assert "of other trainings they say nothing" in " ".join(table.notes)


def test_without_images_seeds_give_what_interval_there_is(tmp_path: Path) -> None:
    exhibit = exhibit_of(tmp_path, lambda n, r: hard(n, r) + 0.1 * r.spec.seed, kept=False)
    row = row_of(exhibit, "1x1")
    assert row.over == "seeds"
    assert row.psnr.half_width == pytest.approx(0.1 * 4.3027 / 3**0.5, rel=1e-3)
    assert {gap.verdict for gap in best_gaps(exhibit)} == {"undecided"}
    pair = equal_quality(exhibit)[0]
    assert pair.never is None
    assert pair.ratio_interval("nfe") is None
    text = denoising_tables(exhibit, "d")[1].markdown()
    assert "[" not in text.split("\n- ")[0]
    assert denoising_figure(exhibit) is not None


def test_runs_of_one_model_on_other_images_are_refused(tmp_path: Path) -> None:
    def fewer(name: str, run: PlannedRun) -> Floats:
        return hard(name, run)[: IMAGES - run.spec.seed]

    with pytest.raises(HarnessError, match="different images"):
        exhibit_of(tmp_path, fewer)


def test_models_without_different_images_are_compared_on_those_that_both_have(
    tmp_path: Path,
) -> None:
    """Of models that were trained on different data, each does without images of its own."""
    found = []
    for name, ebt in (("same", 3), ("other", 4)):
        (tmp_path / name).mkdir()
        exhibit = exhibit_of(
            tmp_path / name, hard, dropped=lambda r, ebt=ebt: {"ebt": ebt}.get(r.adapter_label, 3)
        )
        (between,) = (gap for gap in best_gaps(exhibit) if gap.other.adapter == "ebt")
        found.append((between.images, pair_of(exhibit, "ebt").images))
        notes = " ".join(denoising_tables(exhibit, "d")[1].notes)
        assert ("what both have" in notes) == (name == "other")
    assert found == [(IMAGES, IMAGES), (IMAGES - 1, IMAGES - 1)]
    (tmp_path / "mixed").mkdir()
    with pytest.raises(HarnessError, match="different images"):
        exhibit_of(tmp_path / "mixed", hard, dropped=lambda r: r.spec.seed)


# --- equal quality ---------------------------------------------------------------------------


def pair_of(exhibit: DenoisingExhibit, model: str) -> Any:
    return next(pair for pair in equal_quality(exhibit) if pair.row.adapter == model)


def test_a_planted_ratio_is_found_with_certainty(tmp_path: Path) -> None:
    """Images differ, but all settings alike: no resample chooses otherwise."""
    exhibit = exhibit_of(tmp_path, hard)
    pair = pair_of(exhibit, "ebt")
    # 1 step is within a tenth of a decibel of 2, and 10 calls are of it.
    assert (pair.row.setting, pair.other.setting) == ("1 step", "10 calls")
    assert pair.ratio("nfe") == 10
    assert pair.ratio("flops") == 5
    assert pair.ratio("seconds") == 10
    assert pair.ratio_interval("nfe") == (10, 10)
    assert pair.ratio_interval("flops") == (5, 5)
    assert pair.never == 0
    back = pair_of(exhibit, "dit")
    assert (back.row.setting, back.other.setting) == ("10 calls", "1 step")
    assert back.ratio("nfe") == pytest.approx(0.1)
    table = denoising_tables(exhibit, "d")[1]
    assert "10 [10, 10]" in table.markdown()
    assert table.data[0]["never_reached"] == 0


def test_what_is_never_reached_says_so(tmp_path: Path) -> None:
    def far(name: str, run: PlannedRun) -> Floats:
        return hard(name, run) + 3 * (run.adapter_label == "ebt" and "x" in name)

    exhibit = exhibit_of(tmp_path, far)
    pair = pair_of(exhibit, "ebt")
    assert pair.other is None
    assert pair.ratio("nfe") is None
    assert pair.ratio_interval("nfe") == (inf, inf)
    assert pair.never == 1
    table = denoising_tables(exhibit, "d")[1]
    assert "never reached" in table.markdown()
    row = next(row for row in table.data if row["model"] == "ebt")
    assert (row["nfe_ratio"], row["nfe_ratio_high"], row["never_reached"]) == (None, None, 1)


def test_what_is_sometimes_reached_has_a_share(tmp_path: Path) -> None:
    """EBT lies a tenth of a decibel above the best of DiT, on images that disagree about it."""
    scatter = np.random.default_rng(5).normal(0, 1.0, IMAGES)
    scatter -= scatter.mean()

    def close(name: str, run: PlannedRun) -> Floats:
        flat = np.full(IMAGES, FLAT[name])
        return flat + (0.15 + scatter if run.adapter_label == "ebt" else 0.0)

    pair = pair_of(exhibit_of(tmp_path, close), "ebt")
    assert 0.05 < pair.never < 0.95
    low, high = pair.ratio_interval("nfe")
    assert low <= 10
    assert high == inf
    shown = f"{100 * pair.never:.0f} %"
    exhibit = exhibit_of(tmp_path, close)
    assert shown in denoising_tables(exhibit, "d")[1].markdown()


# --- verdicts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lead", "verdict"), [(0.5, "better"), (-0.5, "worse"), (0.0, "undecided")]
)
def test_pairs_of_images_decide_what_their_spread_would_hide(
    tmp_path: Path, lead: float, verdict: str
) -> None:
    """Images spread over 2 dB; the models lie half a decibel apart on each, with some scatter."""

    def shifted(name: str, run: PlannedRun) -> Floats:
        random = np.random.default_rng(run.spec.seed + 10 * (run.adapter_label == "ebt"))
        own = hard(name, run) + random.normal(0, 0.2, IMAGES)
        return own + lead * (run.adapter_label == "dit" and "diffusion" in name)

    gaps = best_gaps(exhibit_of(tmp_path, shifted))
    first = gaps[0]
    assert (first.row.adapter, first.other.adapter) == ("dit", "ebt")
    assert first.difference == pytest.approx(lead + 0.03, abs=0.15)
    assert first.verdict == verdict
    others = {(g.row.adapter, g.other.adapter): g.verdict for g in gaps[1:]}
    assert others == {
        (model, reference): "better"
        for model in ("dit", "ebt")
        for reference in ("noisy input", "Gaussian filter", "median filter")
    }


def test_filters_of_fewer_images_are_compared_on_those(tmp_path: Path) -> None:
    """The later images are so hard that over all of them each model looks worse than a filter."""

    def later_hard(name: str, run: PlannedRun) -> Floats:
        random = np.random.default_rng(run.spec.seed + 10 * (run.adapter_label == "ebt"))
        return hard(name, run) + random.normal(0, 0.2, IMAGES) - 9 * (np.arange(IMAGES) >= 40)

    exhibit = exhibit_of(tmp_path, later_hard, filtered=40)
    gaps = {(g.row.adapter, g.other.adapter): g for g in best_gaps(exhibit)}
    gap = gaps["ebt", "median filter"]
    assert (gap.row.images, gap.other.images, gap.images, gap.seeds) == (60, 40, 40, 3)
    assert gap.row.psnr.value < gap.other.psnr.value
    assert gap.row.each is not None
    assert gap.other.each is not None
    own = 255**2 / np.asarray(gap.row.each.errors, np.float64)[:, 0, :40].mean(1)
    theirs = 255**2 / np.asarray(gap.other.each.errors, np.float64)[0, 0].mean()
    expected = 10 * np.log10(own).mean() - 10 * np.log10(theirs)
    assert gap.difference == pytest.approx(expected, abs=1e-6)
    assert gap.difference == pytest.approx(3.0, abs=0.2)
    assert gap.verdict == "better"
    assert gaps["ebt", "noisy input"].images == 60
    table = denoising_tables(exhibit, "d")[2]
    assert "both have" in " ".join(table.notes)
    assert {row["images"] for row in table.data} == {40, 60}


def test_without_kept_images_what_saw_others_has_no_difference(tmp_path: Path) -> None:
    gaps = best_gaps(exhibit_of(tmp_path, hard, kept=False, filtered=40))
    found = {g.other.adapter: g.difference is None for g in gaps if g.row.adapter == "ebt"}
    assert found == {"noisy input": False, "Gaussian filter": True, "median filter": True}
    assert {g.verdict for g in gaps} == {"undecided"}


@pytest.mark.parametrize("kept", [True, False])
def test_models_are_compared_on_the_seeds_that_both_have(tmp_path: Path, kept: bool) -> None:
    """A seed adds five decibels to each model alike; of the DiT the best seeds are missing."""

    def seeded(name: str, run: PlannedRun) -> Floats:
        random = np.random.default_rng(run.spec.seed + 10 * (run.adapter_label == "ebt"))
        lead = 0.0 if "x" not in name else 5.0 * run.spec.seed
        return hard(name, run) + lead + random.normal(0, 0.05, IMAGES)

    exhibit = exhibit_of(
        tmp_path, seeded, kept=kept, finished=lambda r: r.adapter_label == "ebt" or not r.spec.seed
    )
    gap = next(g for g in best_gaps(exhibit) if g.other.adapter == "ebt")
    assert (gap.row.seeds, gap.other.seeds, gap.seeds) == (1, 3, 1)
    assert gap.difference == pytest.approx(0.03, abs=0.05)
    pair = pair_of(exhibit, "ebt")
    assert (pair.seeds, pair.other.setting, pair.never) == (1, "10 calls", 0 if kept else None)
    assert pair.psnr == pytest.approx(row_of(exhibit, "1x1").by_seed[0], abs=1e-4)
    tables = denoising_tables(exhibit, "d")
    assert "1–3 training seeds" in tables[0].notes[0]
    assert "what both have, 1 training seed" in " ".join(tables[1].notes)
    assert tables[2].data[0]["seeds"] == 1
    drawing = denoising_figure(exhibit)
    assert drawing is not None
    said = " ".join(text.get_text() for text in drawing.figure.texts).replace("\n", " ")
    assert "mean of 1–3 training seeds" in said


def test_models_without_a_seed_in_common_have_no_difference(tmp_path: Path) -> None:
    exhibit = exhibit_of(
        tmp_path, hard, finished=lambda r: (r.adapter_label == "ebt") == (r.spec.seed > 0)
    )
    gap = next(g for g in best_gaps(exhibit) if g.other.adapter == "ebt")
    assert (gap.difference, gap.interval, gap.seeds, gap.verdict) == (None, None, 0, "undecided")
    pair = pair_of(exhibit, "ebt")
    assert (pair.other.setting, pair.seeds, pair.never) == ("10 calls", 0, None)
    tables = denoising_tables(exhibit, "d")
    assert "each on its own" in " ".join(tables[1].notes)
    assert "no seed in common" in " ".join(tables[2].notes)


@pytest.mark.parametrize(
    ("seeds", "shown"), [("[0]", "better, of one training"), ("[0, 1]", "better")]
)
def test_verdicts_of_few_seeds_say_what_they_are_of(tmp_path: Path, seeds: str, shown: str) -> None:
    def lead(name: str, run: PlannedRun) -> Floats:
        random = np.random.default_rng(run.spec.seed)
        return hard(name, run) + random.normal(0, 0.1, IMAGES)

    table = denoising_tables(exhibit_of(tmp_path, lead, seeds=seeds), "d")[2]
    assert {row[-1].text for row in table.rows[1:]} == {shown}
    assert {row["verdict"] for row in table.data[1:]} == {"better"}
    notes = " ".join(table.notes)
    assert "not adjusted for the number of rows" in notes
    assert "fewer than 3 training seeds they are of these trained models" in notes
    assert "exploratory" in notes


def test_three_seeds_are_not_called_exploratory(tmp_path: Path) -> None:
    table = denoising_tables(exhibit_of(tmp_path, hard), "d")[2]
    assert "exploratory" not in " ".join(table.notes)


def test_cheapest_is_by_flops_in_tables_and_examples_alike(tmp_path: Path) -> None:
    """One descent step costs two calls' FLOPs: by NFE it would come before two calls."""
    exhibit = exhibit_of(tmp_path, hard)
    rows = exhibit.at(exhibit.places[0])
    swapped = [replace(r, flops=1e12) if r.setting == "1 step" else r for r in rows]
    own = [r for r in swapped if r.adapter == "ebt"]
    assert cheapest_best(own).setting == "2 steps"
    assert [r.setting for r in chosen(own)] == ["2 steps", "1 step"]
    assert "cheapest by FLOPs, then NFE" in denoising_tables(exhibit, "d")[1].notes[0]


def test_k_passes_stand_beside_100_k(tmp_path: Path) -> None:
    exhibit = exhibit_of(tmp_path, hard)
    gaps = {(g.row.setting, g.other.setting): g for g in hundredfold(exhibit)}
    assert gaps.keys() == {
        ("1 step", "100 calls"),
        ("2 steps", "100 calls × 2"),
        ("1 step × 2", "100 calls × 2"),
    }
    for gap in gaps.values():
        assert gap.ratio("nfe") == 100
        assert gap.ratio("flops") == 50
        assert gap.difference == pytest.approx(-0.04, abs=0.02)
    *_, table = denoising_tables(exhibit, "d")
    assert table.name == "d-passes"
    assert len(table.rows) == 3
    assert "a ratio of NFE" in table.notes[0]


# --- rows ------------------------------------------------------------------------------------


def test_settings_are_named_and_in_order(tmp_path: Path) -> None:
    exhibit = exhibit_of(tmp_path, hard)
    assert [(row.adapter, row.setting) for row in exhibit.rows] == [
        ("noisy input", ""),
        ("Gaussian filter", "σ = 3 px"),
        ("median filter", "3 × 3 px"),
        ("dit", "1 call"),
        ("dit", "10 calls"),
        ("dit", "100 calls"),
        ("dit", "100 calls × 2"),
        ("dit", "10 calls, DDPM"),
        ("ebt", "1 step"),
        ("ebt", "2 steps"),
        ("ebt", "1 step × 2"),
    ]
    assert r"$\sigma$ = 3 px" in denoising_tables(exhibit, "d")[0].latex()
    assert exhibit.places[0].within == "in distribution"
    assert {row.label for row in exhibit.models} == {name for name in FLAT if "x" in name}
    data = denoising_tables(exhibit, "d")[0].data
    assert [row["sampler"] for row in data[3:9]] == ["ddim"] * 4 + ["ddpm", None]
    assert [row["recursions"] for row in data[:3]] == [None] * 3


def test_a_setting_that_diverges_for_one_seed_is_left_out_by_name(tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    evaluate = recorded(hard)

    def diverges(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
        found = evaluate(run, spec, folder)
        bad = {"kind": "descent", "steps": 2}
        return [
            measured(run, m.name, None, tags=m.tags, cost=m.cost)
            if run.spec.seed == 1 and bad.items() <= m.tags.items()
            else m
            for m in found
        ]

    write_suite(suite, tmp_path, diverges)
    section: Any = suite.report[0]
    exhibit = denoising_exhibit(section, load_frame(suite, tmp_path))
    assert exhibit.lost == ("ebt, 2 steps at 0.1",)
    assert "2x1" not in {row.label for row in exhibit.models}
    assert "ebt, 2 steps at 0.1" in " ".join(denoising_tables(exhibit, "d")[0].notes)


def test_sets_are_kept_apart(tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    write_suite(suite, tmp_path, recorded(hard))
    frame = load_frame(suite, tmp_path)
    other = frame.rows.assign(data="others", value=frame.rows["value"] + 2.0)
    both = replace(frame, rows=pd.concat([frame.rows, other], ignore_index=True))
    section: Any = suite.report[0]
    exhibit = denoising_exhibit(section, both)
    first, second = exhibit.places
    assert exhibit.place_name(first).endswith(", noise level 0.1")
    best = [row for row in exhibit.models if row.label == "1x1"]
    assert best[1].psnr.value - best[0].psnr.value == pytest.approx(2.0)
    assert len(exhibit.at(first)) == len(exhibit.at(second)) == 8
    assert denoising_tables(exhibit, "d")[0].header[:2] == ("data", "noise")
    drawing = denoising_figure(exhibit)
    assert drawing is not None
    assert len(drawing.figure.axes) == 6
