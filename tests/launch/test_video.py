"""Next-frame suites by the real command line: on files of clips, and on real ones where given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from harness.data.datasets import dataset_digest
from harness.records import read_json, read_jsonl
from tests.launch.room import Room

REPO = Path(__file__).resolve().parents[2]
REAL = REPO / os.environ.get("HARNESS_SHARED", "../shared") / "data" / "video_clips"
SIZE = {"depth": 1, "width": 32, "heads": 2}
ADAPTERS: dict[str, dict[str, Any]] = {
    "plain": {"adapter": "transformer_pp_video", "config": SIZE},
    "energy": {"adapter": "ebt_video", "config": SIZE | {"step_size": 30.0, "start": "zeros"}},
    "thinking": {
        "adapter": "ebt_video",
        "config": SIZE | {"variant": "s2", "step_size": 3.0, "replay_records": 8},
    },
}
DATA = "file:{split}.npz#frames"


def run(room: Room, context: int, steps: int) -> dict[str, dict[str, float]]:
    """Train and evaluate every adapter on DATA; label -> measurement -> value."""
    task = {"kind": "next_frame", "data": DATA, "context": context}
    suite = room.suite(
        {label: own | {"task": task} for label, own in ADAPTERS.items()},
        base={"batch_size": 8, "budget": {"steps": steps}, "optimizer": {"lr": 3e-3}},
        evaluations={"validation": {"kind": "next_frame", "data": DATA, "timing_repeats": 1}},
    )
    code, summary = room.run(suite)
    assert code == 0, summary
    found = {}
    for label in ADAPTERS:
        folder = room.folder_of(suite, label)
        (lines,) = [read_jsonl(f) for f in folder.path.glob("evals/*/measurements.jsonl")]
        found[label] = {line["name"]: line["value"] for line in lines}
        assert all(np.isfinite(list(found[label].values())))
        recorded = read_json(folder.provenance)["data"]
        assert recorded == {f"{DATA}/train": dataset_digest(DATA, "train")}
    references = {(f["copy_last_loss"], f["copy_last_mse"]) for f in found.values()}
    assert len(references) == 1
    return found


def test_a_suite_trains_on_files_of_latents(room: Room) -> None:
    drawn = np.random.RandomState(0)
    for split, clips in (("train", 6), ("validation", 2)):
        still = drawn.randn(clips, 1, 4, 2, 2).repeat(9, axis=1)
        np.savez(f"{split}.npz", frames=still.astype(np.float16))
    found = run(room, context=4, steps=5)
    assert found["plain"]["copy_last_loss"] == 0, "nothing moves"
    assert all(found[label]["loss"] > 0 for label in ADAPTERS)


@pytest.mark.skipif(not REAL.is_dir(), reason="no real clips: HARNESS_SHARED is not there")
def test_a_suite_trains_on_latents_of_real_clips(room: Room) -> None:
    """Averages over patches stand in for an autoencoder's latents: 4 x 8 x 8 of a frame."""
    folders = sorted(path for path in REAL.iterdir() if path.is_dir())
    clips = np.concatenate([_windows(folder, frames=15) for folder in folders])
    assert len(clips) >= 20
    held_out = np.arange(len(clips)) % 5 == 0
    np.savez("train.npz", frames=clips[~held_out])
    np.savez("validation.npz", frames=clips[held_out])
    found = run(room, context=7, steps=200)
    constant = float(np.square(clips[held_out][:, 1:] - clips[~held_out].mean((0, 1))).mean())
    for label in ("plain", "energy"):
        assert found[label]["mse"] < 0.8 * constant, "more is known than the mean frame"


def _windows(folder: Path, *, frames: int) -> NDArray[np.float32]:
    """(n, frames, 4, 8, 8) in [-1, 1] of a folder of JPEGs: red, green, blue, their mean."""
    images = []
    for path in sorted(folder.glob("*.jpg")):
        with Image.open(path) as image:
            small = image.convert("RGB").resize((8, 8), Image.Resampling.BOX)
        color = np.asarray(small, np.float32).transpose(2, 0, 1) / 127.5 - 1
        images.append(np.concatenate([color, color.mean(0, keepdims=True)]))
    whole = len(images) // frames
    return np.stack(images[: whole * frames]).reshape(whole, frames, 4, 8, 8)
