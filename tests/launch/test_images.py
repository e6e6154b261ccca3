"""Suites on images of the user's own by the real command line."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harness import provenance
from harness.data.datasets import dataset_digest, load_images
from harness.data.pixels.array_shards import ArrayShards
from harness.records import read_json, read_jsonl
from tests.launch.room import HARNESS, Room

DATA = "file:{split}?size=8"
SIZE = {"depth": 1, "width": 16, "heads": 2, "patch_size": 4}
ADAPTERS = {
    "dit": {"adapter": "dit_image", "config": SIZE},
    "ebt": {"adapter": "ebt_image", "config": SIZE},
}


def images(folder: Path, first: int, count: int) -> None:
    """Smooth ones, larger than what is asked for."""
    folder.mkdir(parents=True)
    for seed in range(first, first + count):
        coarse = np.random.default_rng(seed).integers(0, 256, (3, 3, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((20, 24)).save(folder / f"{seed}.png")


def suite_on_images(room: Room, *labels: str, probed: Any = None, **given: Any) -> Path:
    task = {"kind": "denoising", "data": DATA}
    return room.suite(
        {label: ADAPTERS[label] | {"task": task} for label in labels},
        base={"batch_size": 4, "budget": {"steps": 3}, "optimizer": {"lr": 1e-3}},
        evaluations={
            "clean": {
                "kind": "denoising",
                "data": DATA,
                "levels": [0.1],
                "thinking": [
                    {"kind": "descent", "steps": [1]},
                    {"kind": "diffusion", "steps": [1]},
                ],
                "timing_repeats": 1,
                **given,
            }
        }
        | ({} if probed is None else {"probed": probed}),
    )


def facts(split: str, cache: Path) -> dict[str, str]:
    """What is recorded of a split."""
    made = load_images(DATA, split, cache=cache)
    assert isinstance(made.pixels, ArrayShards)
    return {
        f"{DATA}/{split}": dataset_digest(DATA, split, cache=cache),
        f"pixels of {DATA}/{split}": made.pixels.index["pixel_digest"],
        f"decoder of {DATA}/{split}": f"pillow {version('pillow')}",
    }


def test_a_suite_trains_and_is_evaluated_on_a_folder(room: Room) -> None:
    images(room.folder / "train", 0, 12)
    images(room.folder / "val", 100, 5)
    suite = suite_on_images(room, *ADAPTERS)
    code, summary = room.run(suite)
    assert code == 0, summary
    cache = room.results / "data"
    for label in ADAPTERS:
        folder = room.folder_of(suite, label)
        assert read_json(folder.provenance)["data"] == facts("train", cache)
        (evaluation,) = folder.path.glob("evals/*")
        recorded = read_json(evaluation / "done.json")["provenance"]["data"]
        assert recorded == facts("validation", cache)
        found = read_jsonl(evaluation / "measurements.jsonl")
        assert {line["n"] for line in found if line["name"] == "psnr"} == {5}
    assert not provenance.data_changed(recorded, cache)
    (room.folder / "val" / "100.png").unlink()
    provenance._digest_now.cache_clear()
    assert provenance.data_changed(recorded, cache)


def test_images_that_were_trained_on_are_not_evaluated_on(room: Room) -> None:
    images(room.folder / "train", 0, 12)
    images(room.folder / "val", 9, 5)
    code, summary = room.run(suite_on_images(room, "dit"))
    assert code == 1
    assert "3 of 5 images" in str(summary)


def test_images_that_were_trained_on_are_left_out_where_the_suite_says_so(room: Room) -> None:
    images(room.folder / "train" / "a", 0, 12)
    images(room.folder / "train" / "b", 20, 12)
    images(room.folder / "val" / "a", 9, 5)
    images(room.folder / "val" / "b", 30, 9)
    probe = {"kind": "probe", "data": DATA, "l2": [0.1], "holdout": 0.3, "timing_repeats": 1}
    suite = suite_on_images(room, *ADAPTERS, overlap="drop", probed=probe | {"overlap": "drop"})
    prepared = subprocess.run(
        [HARNESS, "prepare", suite.name], cwd=room.folder, text=True, capture_output=True
    )
    assert prepared.returncode == 0, prepared.stderr
    assert "5 of 14 images are in" in " ".join(prepared.stdout.split())
    code, summary = room.run(suite)
    assert code == 0, summary
    for label in ADAPTERS:
        for folder in room.folder_of(suite, label).path.glob("evals/*"):
            found = read_jsonl(folder / "measurements.jsonl")
            assert {line["tags"]["dropped"] for line in found} == {5}
            counts = {line["n"] for line in found if line["name"] in ("psnr", "top1")}
            assert counts == {9}
            kept = "answers.npz" if (folder / "answers.npz").exists() else "per_image.npz"
            with np.load(folder / kept) as stored:
                assert stored["rows"].tolist() == [2, 3, *range(7, 14)], "10 to 13, then 9"
