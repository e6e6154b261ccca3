"""Verdicts of denoising sections: pairs of images and seeds, fewer of either, and their words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.exhibits.equal_quality import best_gaps, cheapest_best, hundredfold
from harness.analysis.figures.denoising import denoising_figure
from harness.analysis.figures.examples import chosen
from harness.analysis.tables.denoising import denoising_tables
from harness.errors import HarnessError
from harness.planning.planned import PlannedRun
from tests.analysis.denoising_factory import IMAGES, Floats, exhibit_of, hard, pair_of, row_of


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
    ("seeds", "shown", "words"),
    [
        ("[0]", "better, of one training", "not of another training of it"),
        ("[0, 1]", "better", "with fewer than 3 training seeds"),
    ],
)
def test_verdicts_of_few_seeds_say_what_they_are_of(
    tmp_path: Path, seeds: str, shown: str, words: str
) -> None:
    def lead(name: str, run: PlannedRun) -> Floats:
        random = np.random.default_rng(run.spec.seed)
        return hard(name, run) + random.normal(0, 0.1, IMAGES)

    table = denoising_tables(exhibit_of(tmp_path, lead, seeds=seeds), "d")[2]
    assert {row[-1].text for row in table.rows[1:]} == {shown}
    assert {row["verdict"] for row in table.data[1:]} == {"better"}
    notes = " ".join(table.notes)
    assert "not adjusted for the number of rows" in notes
    assert words in notes
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
    assert "cheapest setting (by FLOPs, then NFE)" in denoising_tables(exhibit, "d")[1].notes[0]


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
