"""`harness prepare` on videos: one set, and a suite that predicts latents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from harness.cli import app
from harness.data import measured
from harness.data.measured import LOCK
from harness.data.pixels.latents import Autoencoder
from harness.errors import HarnessError
from tests.data.pixels.made_videos import drawn, write_frames
from tests.data.pixels.tiny_autoencoder import save_autoencoder

FRAMES = "file:{split}?size=16&frames=3"


def harness(*arguments: str) -> Result:
    """The verb's exit code and output; what `main` would print as an error is raised."""
    result = CliRunner().invoke(app, ["prepare", *arguments])
    if isinstance(result.exception, HarnessError):
        raise result.exception
    return result


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with two splits of videos as frames; the last of each is too short."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measured, "_SETTLED_SECONDS", 0.0)
    for begin, (split, count) in enumerate({"train": 4, "val": 2}.items()):
        for video in range(count):
            frames = drawn(2 if video == count - 1 else 7, seed=10 * begin + video)
            write_frames(tmp_path / split / f"{video}", frames)
    return tmp_path


def suite(path: Path, *, autoencoder: str | None, evaluated: str = "validation") -> str:
    task = {"kind": "next_frame", "data": FRAMES, "context": 2, "autoencoder": autoencoder}
    size = {"depth": 1, "width": 32, "heads": 2}
    experiment = {
        "base": {"batch_size": 2, "budget": {"steps": 1}, "optimizer": {"lr": 1e-3}, "task": task},
        "adapters": {"plain": {"adapter": "transformer_pp_video", "config": size}},
        "evaluations": {"v": {"kind": "next_frame", "data": FRAMES, "split": evaluated}},
    }
    path.write_text(yaml.safe_dump({"suite": "s", "experiments": {"e": experiment}}))
    return str(path)


def test_a_set_of_videos_is_prepared_and_summed_up(folder: Path) -> None:
    path = folder / "train" / "1" / "0.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(HarnessError, match=r"train/1: the clip cannot be decoded: 0\.png: "):
        harness(FRAMES)
    said = harness(f"{FRAMES}&broken=skip").output
    assert "4 clips of 3 x 3 x 16 x 16, " in said
    assert "too short for a clip: 1 of 4 videos" in said
    assert "left out, because broken: 1\n    1: 0.png: " in said
    assert "found prepared" in harness(f"{FRAMES}&broken=skip").output
    known = json.loads((folder / "results" / LOCK).read_text())
    (entry,) = known.values()
    assert entry["items"] == 4


def test_a_suite_of_latents_is_decoded_and_encoded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_autoencoder(folder / "vae")
    path = suite(folder / "s.yaml", autoencoder="vae")
    result = harness(path, "--json")
    assert result.exit_code == 0, result.output
    prepared = json.loads(result.stdout)["prepared"]
    shapes = {(each["split"], tuple(each["shape"])): each["items"] for each in prepared}
    assert shapes == {
        ("train", (3, 3, 16, 16)): 6,
        ("validation", (3, 3, 16, 16)): 2,
        ("train", (3, 2, 8, 8)): 6,
        ("validation", (3, 2, 8, 8)): 2,
    }
    monkeypatch.setattr(Autoencoder, "encode", lambda *_: pytest.fail("it is encoded again"))
    said = harness(path).output
    assert said.count("found prepared") == said.count("found encoded") == 2


def test_clips_that_two_splits_share_are_found(folder: Path) -> None:
    write_frames(folder / "val" / "copy", drawn(7, seed=1))
    result = harness(suite(folder / "s.yaml", autoencoder=None))
    assert result.exit_code == 1
    assert "2 of 4 clips of file:{split}?size=16&frames=3 (validation) are in" in result.output
    trained_on = harness(suite(folder / "s.yaml", autoencoder=None, evaluated="train"))
    assert trained_on.exit_code == 0, "who names the training split means it"


def test_a_name_that_stands_for_other_videos_now_is_refused(folder: Path) -> None:
    assert harness(FRAMES).exit_code == 0
    write_frames(folder / "train" / "more", drawn(3, seed=99))
    with pytest.raises(HarnessError, match="the data changed since they were prepared"):
        harness(FRAMES)
