"""The data that a run began with: what it records of them, and when it does not go on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import provenance
from harness.data import decoded, measured
from harness.data.datasets import dataset_digest, load_clips, load_images
from harness.data.pixels import prepared_clips, prepared_images, preparing
from harness.errors import HarnessError
from harness.launch.preconditions import check_data, data_digests
from harness.planning.spec import Budget, DenoisingTask, NextFrameTask, Optimizer, TrainSpec
from harness.records import RunFolder, write_json
from tests.data.pixels.made_videos import drawn, write_frames

IMAGES = "file:train?size=8"
CLIPS = "file:train?size=16&frames=3"
MODULES = {IMAGES: prepared_images, CLIPS: prepared_clips}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three videos of seven frames, which are images too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measured, "_SETTLED_SECONDS", 0.0)
    for video in range(3):
        write_frames(tmp_path / "train" / f"{video}", drawn(7, seed=video))
    return tmp_path


def spec(data: str) -> TrainSpec:
    task = NextFrameTask(data=data, context=2) if "frames" in data else DenoisingTask(data=data)
    return TrainSpec(
        adapter="a",
        adapter_version="1",
        config={},
        task=task,
        batch_size=1,
        budget=Budget(steps=1),
        optimizer=Optimizer(lr=1e-3),
        seed=0,
    )


def decoded_by(monkeypatch: pytest.MonkeyPatch, data: str, version: str, change: int) -> None:
    """From now on another Pillow decodes, whose levels differ."""
    provenance._digest_now.cache_clear()
    module: Any = MODULES[data]
    name = {IMAGES: "decode_image", CLIPS: "decoded_clips"}[data]
    decode = getattr(module, name)

    def changed(*given: Any, **options: Any) -> Any:
        made = decode(*given, **options)
        levels = np.uint8(change)
        return made + levels if isinstance(made, np.ndarray) else (each + levels for each in made)

    monkeypatch.setattr(module, name, changed)
    monkeypatch.setattr(module, "version", lambda package: version)
    shutil.rmtree("results/data")


@pytest.mark.parametrize("data", MODULES)
def test_pixels_of_another_decoder_are_other_data(
    data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = RunFolder(Path("results"), "r"), Path("results/data")
    begun = data_digests(spec(data), cache)
    load = load_images if data == IMAGES else load_clips
    made = load(data, "train", cache=cache)
    assert begun[f"{data}/train"] == made.digest == dataset_digest(data, "train")
    assert begun[f"pixels of {data}/train"] == made.pixels.index["pixel_digest"]
    assert begun[f"decoder of {data}/train"].startswith("pillow ")
    write_json(folder.provenance, {"data": begun})
    write_json(folder.training, {})
    check_data(folder, data_digests(spec(data), cache))
    assert not provenance.data_changed(begun, cache)

    with monkeypatch.context() as patched:
        decoded_by(patched, data, "99", change=0)
        now = data_digests(spec(data), cache)
        assert now[f"decoder of {data}/train"].startswith("pillow 99")
        check_data(folder, now)
        assert not provenance.data_changed(begun, cache), "the same pixels, whoever made them"

    decoded_by(monkeypatch, data, "99", change=1)
    now = data_digests(spec(data), cache)
    assert now[f"{data}/train"] == made.digest
    with pytest.raises(HarnessError, match=r"pixels of file:train(.|\n)*by pillow 99"):
        check_data(folder, now)
    assert provenance.data_changed(begun, cache)


@pytest.mark.parametrize("data", [CLIPS, f"{CLIPS}&clips=2"])
def test_a_look_at_provenance_decodes_nothing(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Path("results/data")
    recorded = data_digests(spec(data), cache)
    provenance._digest_now.cache_clear()
    shutil.rmtree(cache)
    monkeypatch.setattr(preparing, "make_chunk", lambda *_: pytest.fail("it is decoded"))
    assert not provenance.data_changed(recorded, cache)
    assert not list(cache.glob("arrays-*"))
    shutil.rmtree("train")
    provenance._digest_now.cache_clear()
    assert provenance.data_changed(recorded, cache)


def test_videos_are_read_by_one_process_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """What reads them holds a lock, and what it found is not read again for its digest."""
    read: list[str] = []
    load = prepared_clips._loaded

    def loaded(item: Any) -> Any:
        read.append(item.name)
        return load(item)

    monkeypatch.setattr(prepared_clips, "_loaded", loaded)
    for _ in range(2):
        data_digests(spec(CLIPS), Path("results/data"))
    assert sorted(read) == ["0", "1", "2"]


def test_other_data_have_their_digest_alone() -> None:
    found = decoded.content_digests("builtin/digits", "train", cache=Path("c"))
    assert found == {"builtin/digits/train": dataset_digest("builtin/digits", "train")}
