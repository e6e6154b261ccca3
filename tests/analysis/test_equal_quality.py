"""Denoising sections on planted errors: intervals, rows, and what equal quality costs."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.analysis import resampling
from harness.analysis.exhibits import image_sums
from harness.analysis.exhibits.denoising import denoising_exhibit
from harness.analysis.exhibits.equal_quality import (
    best_gaps,
    equal_quality,
)
from harness.analysis.exhibits.image_sums import (
    ImageErrors,
    interval_of,
    load_image_errors,
)
from harness.analysis.figures.denoising import denoising_figure
from harness.analysis.frame import load_frame
from harness.analysis.tables.denoising import denoising_tables
from harness.errors import HarnessError
from harness.planning.planned import PlannedRun
from harness.records import Measurement
from tests.analysis.denoising_factory import (
    FLAT,
    HARDNESS,
    IMAGES,
    Floats,
    exhibit_of,
    hard,
    pair_of,
    recorded,
    row_of,
    suite_of,
)
from tests.analysis.records_factory import measured, write_suite

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


# --- equal quality ---------------------------------------------------------------------------


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
