"""Next-frame suites on the user's videos, as pixels and as an autoencoder's latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data.datasets import dataset_digest
from harness.data.decoded import content_digests
from harness.data.pixels.autoencoders import autoencoder_digest
from harness.records import read_json, read_jsonl
from tests.data.pixels.made_videos import drawn, video_bytes
from tests.data.pixels.tiny_autoencoder import save_autoencoder
from tests.launch.room import Room

SIZE = {"depth": 1, "width": 32, "heads": 2}
ADAPTERS: dict[str, dict[str, Any]] = {
    "plain": {"adapter": "transformer_pp_video", "config": SIZE},
    "energy": {"adapter": "ebt_video", "config": SIZE | {"step_size": 30.0, "start": "zeros"}},
}
DATA = "file:videos?size=16&frames=3&holdout=0.4"


@pytest.fixture
def videos(room: Room) -> Room:
    """Six videos of nine frames, in `videos`."""
    pytest.importorskip("av", reason="PyAV is not installed")
    folder = room.folder / "videos"
    folder.mkdir()
    for seed in range(6):
        (folder / f"{seed}.mp4").write_bytes(video_bytes(drawn(9, seed=seed)))
    return room


def run(room: Room, autoencoder: str | None) -> dict[str, dict[str, float]]:
    """Train and evaluate every adapter for two steps; label -> measurement -> value."""
    task = {"kind": "next_frame", "data": DATA, "context": 2, "autoencoder": autoencoder}
    suite = room.suite(
        {label: own | {"task": task} for label, own in ADAPTERS.items()},
        base={"batch_size": 4, "budget": {"steps": 2}, "optimizer": {"lr": 1e-3}},
        evaluations={"validation": {"kind": "next_frame", "data": DATA, "timing_repeats": 1}},
    )
    code, summary = room.run(suite, "--workers", "1")  # one loads torch and diffusers, not two
    assert code == 0, summary
    cache = room.results / "data"
    data = content_digests(DATA, "train", cache=cache)
    assert data[f"{DATA}/train"] == dataset_digest(DATA, "train", cache=cache)
    if autoencoder is not None:
        data[f"autoencoder {autoencoder}"] = autoencoder_digest(autoencoder)
    found = {}
    for label in ADAPTERS:
        folder = room.folder_of(suite, label)
        (lines,) = [read_jsonl(f) for f in folder.path.glob("evals/*/measurements.jsonl")]
        found[label] = {line["name"]: line["value"] for line in lines}
        assert np.isfinite(found[label]["loss"])
        assert read_json(folder.provenance)["data"] == data
    return found


def test_a_suite_trains_on_videos(videos: Room) -> None:
    found = run(videos, None)
    assert found["plain"]["copy_last_loss"] == found["energy"]["copy_last_loss"] > 0


def test_a_suite_trains_on_their_latents(videos: Room) -> None:
    save_autoencoder(videos.folder / "vae")
    found = run(videos, "vae")
    for values in found.values():
        assert {"psnr", "reconstruction_psnr", "copy_last_psnr"} <= values.keys()
    assert found["plain"]["reconstruction_psnr"] == found["energy"]["reconstruction_psnr"]
    encoded = [path for path in Path("results/data").iterdir() if path.name.startswith("arrays-")]
    assert len(encoded) == 4, "pixels and latents of two splits, made once for both runs"
