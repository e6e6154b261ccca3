"""Rows of clips, and clips from the user's files."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from harness.data.clips import Clips, shared_clips
from harness.data.datasets import dataset_digest, find_dataset, frame_shape, load_clips
from harness.data.video import ClipRows
from harness.errors import HarnessError

WRITE: dict[str, Callable[[Path, NDArray[Any]], None]] = {
    ".npy": np.save,
    ".npz": lambda path, array: np.savez_compressed(path, latents=array),
    ".safetensors": lambda path, array: save_file({"latents": array}, path),
}


def latents(clips: int = 3, frames: int = 9, dtype: Any = np.float32) -> NDArray[Any]:
    return np.random.RandomState(0).randn(clips, frames, 2, 3, 4).astype(dtype)


def clips_of(array: NDArray[Any]) -> Clips:
    return Clips("mine", "train", array, "digest", "made here", "none")


@pytest.mark.parametrize(("frames", "context"), [(9, 4), (10, 4), (9, 8), (5, 1)])
def test_every_frame_of_a_whole_window_is_a_target_once(frames: int, context: int) -> None:
    array = latents(frames=frames)
    rows = ClipRows(clips_of(array), context=context)
    expected = []
    for clip in array:
        start = 0
        while start + context < frames:
            expected.append(clip[start : start + context + 1])
            start += context
    assert len(rows) == len(expected)
    np.testing.assert_array_equal(rows.get(np.arange(len(rows))), expected)
    np.testing.assert_array_equal(
        rows.get(np.array([len(rows) - 1, 0])), [expected[-1], expected[0]]
    )


def test_rows_are_copies_in_float32() -> None:
    array = latents(dtype=np.float16)
    batch = ClipRows(clips_of(array), context=4).get(np.array([0]))
    assert batch.dtype == np.float32
    batch[:] = 0
    assert array[0].any()


def test_rows_out_of_range_and_short_clips_are_refused() -> None:
    rows = ClipRows(clips_of(latents()), context=4)
    for bad in (-1, len(rows)):
        with pytest.raises(IndexError):
            rows.get(np.array([bad]))
    with pytest.raises(HarnessError, match="clips of 9 frames, too few for a context of 9"):
        ClipRows(clips_of(latents()), context=9)


# --- the user's files ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_kinds_of_file_hold_the_same_clips(tmp_path: Path, dtype: Any) -> None:
    array, digests = latents(dtype=dtype), set()
    for suffix, write in WRITE.items():
        write(tmp_path / f"train{suffix}", array)
        name = f"file:{tmp_path}/{{split}}{suffix}"
        assert find_dataset(name).modality == "video"
        assert frame_shape(name, "train") == array.shape[1:]
        loaded = load_clips(name, "train")
        np.testing.assert_array_equal(loaded.pixels, array)
        assert not loaded.pixels.flags.writeable
        digests.add(dataset_digest(name, "train"))
    assert len(digests) == 1


def test_one_array_among_several_is_named(tmp_path: Path) -> None:
    path = tmp_path / "clips.npz"
    np.savez(path, latents=latents(), labels=np.arange(3))
    np.testing.assert_array_equal(load_clips(f"file:{path}#latents", "test").pixels, latents())
    with pytest.raises(HarnessError, match=r"(?s)the file holds 2 arrays.*latents, labels"):
        frame_shape(f"file:{path}", "test")
    with pytest.raises(HarnessError, match="did you mean 'latents'"):
        frame_shape(f"file:{path}#latent", "test")


def test_a_changed_file_has_another_digest(tmp_path: Path) -> None:
    path = tmp_path / "clips.npy"
    np.save(path, latents())
    before = dataset_digest(f"file:{path}", "train")
    time.sleep(0.02)  # the clock of a file system may be coarse
    changed = latents()
    changed[-1, -1, -1, -1, -1] += 1
    np.save(path, changed)
    assert dataset_digest(f"file:{path}", "train") != before


@pytest.mark.parametrize("suffix", WRITE)
@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 9, 4, 4), np.float32), r"(?s)\(clips, frames, .*shape \(3, 9, 4, 4\)"),
        (np.zeros((0, 9, 1, 4, 4), np.float32), "none of them empty"),
        (np.zeros((3, 9, 1, 4, 4), np.uint8), "(?s)floating-point numbers.*scale pixels"),
    ],
)
def test_arrays_that_are_no_clips_are_refused(
    tmp_path: Path, suffix: str, array: NDArray[Any], message: str
) -> None:
    path = tmp_path / f"clips{suffix}"
    WRITE[suffix](path, array)
    with pytest.raises(HarnessError, match=message) as caught:
        frame_shape(f"file:{path}", "train")
    assert caught.value.where == str(path)


@pytest.mark.parametrize("suffix", WRITE)
def test_a_damaged_file_is_a_message(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clips{suffix}"
    WRITE[suffix](path, latents())
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(HarnessError, match="cannot be read") as caught:
        load_clips(f"file:{path}", "train")
    assert caught.value.where == str(path)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    array = latents()
    array[1, 2, 0, 0, 0] = np.nan
    np.save(tmp_path / "clips.npy", array)
    with pytest.raises(HarnessError, match=r"not finite\s+given: 'clip 1'"):
        load_clips(f"file:{tmp_path}/clips.npy", "train")


def test_missing_files_and_splits_are_messages(tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", latents())
    with pytest.raises(HarnessError, match=r"no such file of clips\s+given: '.*validation.npy'"):
        load_clips(f"file:{tmp_path}/{{split}}.npy", "validation")
    with pytest.raises(HarnessError, match="no such split"):
        load_clips(f"file:{tmp_path}/{{split}}.npy", "dev")


def test_a_clip_in_both_splits_is_found() -> None:
    training = latents()
    other = np.stack([training[0] + 1, training[2]])
    assert shared_clips(clips_of(training), clips_of(other)).tolist() == [1]
    assert not shared_clips(clips_of(training), clips_of(other[:1])).size
