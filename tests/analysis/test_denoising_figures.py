"""Figures of denoising sections: lines told apart, error bars, reference lines, example strips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.analysis.figures.denoising import denoising_figure
from harness.analysis.figures.examples import chosen, example_figures
from harness.analysis.figures.page import write_figure
from tests.analysis.drawn import assert_files, denoising_exhibit_of, labels, read


def test_denoising_csv_is_the_exhibit(tmp_path):
    drawing = denoising_figure(exhibit := denoising_exhibit_of())
    files = write_figure(drawing, tmp_path)
    assert_files(files)
    rows = read(files.csv)
    assert [float(r["psnr"]) for r in rows] == [r.psnr.value for r in exhibit.rows]
    assert [r["psnr_high"] for r in rows] == [str(r.psnr.high) for r in exhibit.rows]
    assert [r["nfe"] for r in rows] == ["" if r.nfe is None else str(r.nfe) for r in exhibit.rows]
    assert len(drawing.figure.axes) == 6
    assert labels(drawing) == [
        "dit: DDIM calls",
        "dit: recursions",
        "dit: DDIM calls, matched start",
        "dit: DDPM calls",
        "ebt: descent steps",
        "ebt: recursions",
        "noisy input",
        "best filter",
    ]
    grid = drawing.figure.axes
    assert [axes.get_ylabel().split("\n")[:2] for axes in grid[::3]] == [
        ["noise level 0.1", "in distribution"],
        ["noise level 0.2", "out of distribution"],
    ]
    assert [text.get_text() for text in grid[2].texts] == ["noisy\n17.0", "median\n19.5"]


def test_lines_of_one_model_differ_without_colour():
    drawing = denoising_figure(denoising_exhibit_of())
    (legend,) = drawing.figure.legends
    handles = legend.get_lines()
    looks = [
        (h.get_marker(), str(h.get_linestyle()), h.get_markerfacecolor(), h._dash_pattern)
        for h in handles
    ]
    assert len(set(map(str, looks))) == len(handles) == 8


def test_models_of_one_family_differ_with_and_without_colour():
    """The shipped suite has two EBTs beside a DiT; every way to think has a line of each."""
    exhibit = denoising_exhibit_of()
    more = [
        replace(row, adapter=name, family="ebt")
        for row in exhibit.models
        for name in ("ebt from noise", "a third ebt")
        if row.adapter == "ebt"
    ]
    drawing = denoising_figure(replace(exhibit, rows=(*exhibit.rows, *more)))
    (legend,) = drawing.figure.legends
    handles = legend.get_lines()
    assert len(handles) == 12
    shapes = [
        (h.get_marker(), str(h._dash_pattern), h.get_markerfacecolor() == h.get_color())
        for h in handles
    ]
    assert len(set(shapes)) == len(handles), "in black and white"
    colors = {h.get_label().partition(":")[0]: h.get_color() for h in handles[:-2]}
    assert len(set(colors.values())) == len(colors) == 4
    names = [row.adapter for row in exhibit.models]
    alone = denoising_figure(exhibit)
    (plain,) = alone.figure.legends
    same = {h.get_label().partition(":")[0]: h.get_color() for h in plain.get_lines()[:-2]}
    assert {name: colors[name] for name in names} == same, "a family's first has its own colour"


def test_error_bars_end_where_the_interval_does():
    axes = denoising_figure(denoising_exhibit_of()).figure.axes[0]
    (bars,) = [c for c in axes.containers if 21.8 in c.lines[0].get_ydata()]
    ends = [segment[:, 1] for segment in bars.lines[2][0].get_segments()]
    assert [tuple(e) for e in ends] == [pytest.approx((19.8, 20.3)), pytest.approx((21.6, 22.1))]


def test_examples_show_cheapest_best_and_dearest_settings(tmp_path):
    exhibit = denoising_exhibit_of(tmp_path)
    dit = [r for r in exhibit.at(exhibit.places[0]) if r.adapter == "dit"]
    # 21.4 dB is within 0.1 dB of 21.5 and cheaper; each sampler shows its best.
    shown = ["1 call", "50 calls, DDPM", "100 calls, matched start", "100 calls × 2"]
    assert [r.setting for r in chosen(dit)] == shown
    (drawing,) = example_figures(exhibit)
    assert drawing.name == "denoising-examples-0.1"
    assert_files(write_figure(drawing, tmp_path))
    axes = drawing.figure.axes[0]
    assert len(axes.images) == 10 * 2
    assert float(axes.images[0].get_array()[0, 0]) == 0.0
    assert float(axes.images[6].get_array()[0, 0]) == pytest.approx(0.25)
    strips = [r for r in drawing.data if r["image"] == 0]
    assert [r["model"] for r in strips[:3]] == ["clean", "noisy input", "median filter"]
    assert [r["thinking"] for r in strips if r["nfe"]] == [
        *shown,
        "1 step",
        "2 steps",
        "1 step × 3",
    ]
    assert drawing.data[0]["image_mse"] == 0.0
    said = " ".join(text.get_text() for text in drawing.figure.texts).replace("\n", " ")
    assert "mean of 2 training seeds" in said


def test_colour_images_keep_their_channels(tmp_path):
    exhibit = denoising_exhibit_of(tmp_path)
    for path in [example.path for example in exhibit.examples]:
        with np.load(path) as stored:
            colour = {name: np.repeat(stored[name], 3, axis=1) for name in stored.files}
        np.savez_compressed(path, **colour)
    (drawing,) = example_figures(exhibit)
    assert drawing.figure.axes[0].images[0].get_array().shape == (8, 8, 3)
