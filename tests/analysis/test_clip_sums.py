"""Whole videos drawn again, and frames without error: sums of clips against planted ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.analysis.exhibits.clip_sums import frame_sample
from harness.analysis.exhibits.gather import gather
from harness.analysis.exhibits.next_frame import NextFrameExhibit
from harness.analysis.figures.next_frame import next_frame_figure
from harness.analysis.frame import load_frame
from harness.analysis.tables.next_frame import next_frame_tables
from harness.planning.planned import PlannedRun
from harness.records import Measurement
from tests.analysis.frames_factory import (
    COPIED,
    FRAMES,
    SUITE,
    exhibit_of,
    plain,
    record,
    row_of,
    suite_of,
    words,
)
from tests.analysis.records_factory import write_suite


def test_whole_videos_are_drawn_where_clips_say_theirs(tmp_path: Path) -> None:
    """Of two clips a video the second repeats the first, so 24 clips say no more than 12 do."""
    scatter = np.random.default_rng(3).uniform(0.5, 1.4, 12).repeat(2)
    base = COPIED[::2].repeat(2)
    given: dict[str, Any] = {"seeds": [0], "copied": lambda run: base}
    videos = np.arange(12).repeat(2) + 5
    exhibit = exhibit_of(tmp_path / "v", lambda run: base * scatter, videos=videos, **given)
    row = row_of(exhibit, "ebt")
    assert (row.clips, row.videos) == (24, 12)
    once = base[::2] * scatter[::2]
    drawn = np.random.default_rng(0).integers(12, size=(20_000, 12))
    low, high = np.quantile(once[drawn].mean(1), [0.025, 0.975])
    assert row.loss.interval == pytest.approx((low, high), abs=0.1 * (high - low))
    table, differences = next_frame_tables(exhibit, "frames")
    notes = " ".join((*table.notes, *differences.notes))
    assert "360 frames of 24 clips of 12 videos" in notes
    assert "1 training seed, then videos drawn again" in notes
    assert "paired by video" in notes
    assert "paired by training seed and video" in notes
    assert table.data[0]["videos"] == 12
    drawing = next_frame_figure(exhibit)
    assert drawing is not None
    assert "then videos drawn again" in words(drawing)
    assert drawing.data[0]["videos"] == 12
    apart = row_of(exhibit_of(tmp_path / "c", lambda run: base * scatter, **given), "ebt")
    assert apart.videos is None
    assert apart.loss.interval is not None
    assert apart.loss.interval[1] - apart.loss.interval[0] < 0.8 * (high - low)


def test_few_videos_have_no_interval_however_many_clips_they_give(tmp_path: Path) -> None:
    exhibit = exhibit_of(tmp_path, plain, seeds=[0], videos=np.arange(24) // 4)
    row = row_of(exhibit, "ebt")
    assert (row.clips, row.videos, row.loss.interval) == (24, 6, None)
    values, _ = next_frame_tables(exhibit, "frames")
    assert "fewer than 10 of them are known, and none with one seed" in " ".join(values.notes)


@pytest.mark.parametrize(("known", "least", "most"), [(True, 0.9, 0.97), (False, 0.5, 0.8)])
def test_intervals_hold_the_truth_where_clips_of_a_video_are_known(
    known: bool, least: float, most: float, tmp_path: Path
) -> None:
    """100 sets of 20 videos of 6 clips, whose losses share as much as they differ by."""
    drawn, videos = np.random.default_rng(0), np.arange(20).repeat(6)
    n = np.full(120, 15.0)
    held = 0
    for _ in range(100):
        losses = 1 + 0.1 * (drawn.normal(size=20)[videos] + drawn.normal(size=120))
        kept: dict[str, Any] = {"n": n, "loss": n * losses[None]}
        np.savez(tmp_path / "per_clip.npz", **kept, **({"video": videos} if known else {}))
        row = {"metric": "loss", "seed": 0, "value": losses.mean(), "folder": str(tmp_path)}
        sample = frame_sample(pd.DataFrame([row]), "loss")
        assert sample is not None
        interval = sample.interval()
        assert interval is not None
        held += interval[0] <= 1 <= interval[1]
    assert least <= held / 100 <= most


def test_sets_with_and_without_known_videos_say_both(tmp_path: Path) -> None:
    known = exhibit_of(tmp_path / "v", plain, seeds=[0], videos=np.arange(24) // 2)
    other = exhibit_of(tmp_path / "c", plain, seeds=[0])
    both = replace(known, rows=(*known.rows, *(replace(r, data="other") for r in other.rows)))
    table, differences = next_frame_tables(both, "frames")
    notes = " ".join((*table.notes, *differences.notes))
    assert "then videos, or clips where no videos are known, drawn again" in notes
    assert "paired by video or clip" in notes


def perfect(run: PlannedRun, where: Path, names: Sequence[str]) -> list[Measurement]:
    """A record in which one frame of the third clip has no error: its PSNR is infinite."""
    found = record(run, where, plain(run), copied=COPIED, psnr=True, decoded=False)
    kept = dict(np.load(where / "per_clip.npz"))
    kept.setdefault("copy_last_psnr_per_frame", 15.5 * FRAMES)
    for name in names:
        kept[name][..., 2] = np.inf
    np.savez(where / "per_clip.npz", **kept)
    return [replace(m, value=None) if m.name in names else m for m in found]


def test_a_copied_frame_without_error_says_why_copies_have_no_psnr(tmp_path: Path) -> None:
    suite = suite_of(SUITE.replace("SEEDS", "[0, 1]"), tmp_path)
    write_suite(suite, tmp_path, lambda run, _, to: perfect(run, to, ["copy_last_psnr_per_frame"]))
    (gathered,) = gather(suite, load_frame(suite, tmp_path))
    exhibit = gathered.exhibit
    assert isinstance(exhibit, NextFrameExhibit)
    said = "No PSNR per frame where one has no error, since its PSNR is infinite: copy last frame"
    table, _ = next_frame_tables(exhibit, gathered.stem)
    assert table.rows[2][2].text == ""
    assert f"{said} (in 1 of 24 clips)." in " ".join(table.notes)
    drawing = next_frame_figure(exhibit)
    assert drawing is not None
    assert f"{said} (in 1 of 24 clips)." in words(drawing)
    assert row_of(exhibit, "ebt").psnr_per_frame is not None
    whole = exhibit_of(tmp_path / "whole", plain)
    assert "infinite" not in " ".join(next_frame_tables(whole, "frames")[0].notes)


def test_a_frame_predicted_without_error_leaves_that_model_s_psnr_missing(tmp_path: Path) -> None:
    """In one run alone, and under one of its noise seeds: a mean of the others is another one."""
    suite = suite_of(SUITE.replace("SEEDS", "[0, 1]"), tmp_path)

    def evaluator(run: PlannedRun, spec: Any, where: Path) -> list[Measurement]:
        if run.adapter_label != "ebt" or run.spec.seed != 1:
            return record(run, where, plain(run), copied=COPIED, psnr=True, decoded=False)
        found = perfect(run, where, [])
        kept = dict(np.load(where / "per_clip.npz"))
        kept["psnr_per_frame"][1, [2, 5]] = np.inf
        np.savez(where / "per_clip.npz", **kept)
        lost = ("psnr_per_frame", 1)
        return [replace(m, value=None) if (m.name, m.noise_seed) == lost else m for m in found]

    write_suite(suite, tmp_path, evaluator)
    (gathered,) = gather(suite, load_frame(suite, tmp_path))
    exhibit = gathered.exhibit
    assert isinstance(exhibit, NextFrameExhibit)
    ebt = row_of(exhibit, "ebt")
    assert ebt.psnr_per_frame is None
    assert ebt.psnr == 19.0
    assert ebt.comparison is not None
    assert ebt.comparison.psnr is None
    table, _ = next_frame_tables(exhibit, gathered.stem)
    assert "is infinite: ebt (in 2 of 24 clips)." in " ".join(table.notes)
