"""Sets of videos: how they lie on disk, and clips of them prepared once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.data import measured
from harness.data.clips import Clips, shared_clips
from harness.data.datasets import check_file, dataset_digest, find_dataset, frame_shape, load_clips
from harness.data.effort import Effort
from harness.data.pixels import preparing, recipes
from harness.data.pixels.prepared_clips import prepare_clips
from harness.data.video import ClipRows
from harness.errors import HarnessError
from tests.data.pixels.made_videos import drawn, video_bytes, write_frames

REPO = Path(__file__).resolve().parents[3]
REAL = REPO / os.environ.get("HARNESS_SHARED", "../shared") / "data" / "video_clips"
real = pytest.mark.skipif(not REAL.is_dir(), reason="no real clips: HARNESS_SHARED is not there")

FRAMES = {"one": 7, "two": 3, "ten": 6, "few": 2}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder where `file:frames` holds four videos as frames."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measured, "_SETTLED_SECONDS", 0.0)
    for seed, (name, count) in enumerate(FRAMES.items()):
        write_frames(tmp_path / "frames" / name, drawn(count, seed=seed))
    return tmp_path


def loaded(name: str, split: str = "train", cache: str = "c") -> Clips:
    return load_clips(name, split, cache=Path(cache))


def pixels(clips: Clips) -> NDArray[np.uint8]:
    """(N, F, H, W, C)."""
    return np.asarray(clips.pixels[:]).transpose(0, 1, 3, 4, 2)


def expected_clips(frames: int, names: list[str]) -> NDArray[np.uint8]:
    """Of the videos in that order, the windows that a look at the files gives."""
    clips = []
    for name in names:
        made = drawn(FRAMES[name], seed=list(FRAMES).index(name))
        clips += [made[i : i + frames] for i in range(0, len(made) - frames + 1, frames)]
    return np.array(clips)


def videos(clips: Clips) -> list[int]:
    assert clips.videos is not None
    return [int(video) for video in clips.videos]


# --- folders of frames -----------------------------------------------------------------------


def test_folders_of_frames_become_clips(folder: Path) -> None:
    name = "file:frames?size=32&frames=3"
    assert find_dataset(name).modality == "video"
    check_file(name, "train", "video")
    assert frame_shape(name, "train") == (3, 3, 32, 32)
    found = loaded(name)
    np.testing.assert_array_equal(pixels(found), expected_clips(3, ["one", "ten", "two"]))
    assert found.pixels.index["empty"] == 1, "one is shorter than a clip"
    rows = ClipRows(found, context=2)
    expected = found.pixels[np.array([4, 0])].astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(rows.get(np.array([4, 0])), expected, atol=1e-6)
    gray = loaded("file:frames?size=16&frames=3&channels=1")
    assert gray.pixels.shape == (5, 3, 1, 16, 16)
    assert gray.digest == found.digest, "of what is encoded"


def test_frames_are_in_the_order_of_their_numbers(folder: Path) -> None:
    made = drawn(12, seed=9)
    write_frames(folder / "long" / "v", made)  # 0.png, 1.png, 10.png, 11.png, 2.png
    found = pixels(loaded("file:long?size=32&frames=12"))
    np.testing.assert_array_equal(found[0], made)
    found = pixels(loaded("file:long/v?size=32&frames=3&seconds=0.5&fps=6"))
    np.testing.assert_array_equal(found[0], made[[0, 3, 6]])


def test_some_clips_are_the_first_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = pixels(loaded("file:frames?size=32&frames=1"))
    monkeypatch.setattr(recipes, "CHUNK_BYTES", 1)  # one video a part
    for count in (1, 4, 8, 99):
        name = f"file:frames?size=32&frames=1&clips={count}"
        found = loaded(name)
        np.testing.assert_array_equal(pixels(found), every[:count])
        assert dataset_digest(name, "train", cache=Path("c")) == found.digest


@pytest.mark.parametrize("bytes_", [1, 1 << 24], ids=["a video a part", "one part"])
def test_clips_know_which_video_they_are_of(
    folder: Path, bytes_: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "CHUNK_BYTES", bytes_)
    name = "file:frames?size=32&frames=3"  # few is too short, and its number stands for none
    for _ in "made", "found":
        assert videos(loaded(name)) == [1, 1, 2, 2, 3]
    assert videos(loaded(f"{name}&clips=4")) == [1, 1, 2, 2]
    path = folder / "frames" / "ten" / "4.png"
    path.write_bytes(path.read_bytes()[:40])
    assert videos(loaded(f"{name}&broken=skip", cache="skipping")) == [1, 1, 3]


def test_whole_videos_are_held_out(folder: Path) -> None:
    for seed in range(20):
        write_frames(folder / "many" / f"{seed:02}", drawn(3, seed=100 + seed))
    name = "file:many?size=32&frames=1&holdout=0.3"
    train, validation = loaded(name), loaded(name, "validation")
    assert len(train.pixels) + len(validation.pixels) == 60
    assert len(train.pixels) % 3 == len(validation.pixels) % 3 == 0
    assert 3 <= len(validation.pixels) <= 36
    assert not shared_clips(train, validation).size
    assert len(shared_clips(train, loaded("file:many?size=32&frames=1"))) == len(train.pixels)
    assert train.digest != validation.digest


def test_paths_with_a_split_in_them(folder: Path) -> None:
    for seed, split in enumerate(("train", "val")):
        write_frames(folder / split / "v", drawn(2, seed=seed))
    name = "file:{split}?size=32&frames=2"
    for seed, split in enumerate(("train", "validation")):
        np.testing.assert_array_equal(pixels(loaded(name, split))[0], drawn(2, seed=seed))
    with pytest.raises(HarnessError, match=r"no such folder(.|\n)*looked for test, t10k"):
        loaded(name, "test")


# --- files of videos -------------------------------------------------------------------------


def test_video_files_become_clips_however_deep_they_lie(folder: Path) -> None:
    pytest.importorskip("av")
    made = [drawn(4, seed=seed) for seed in range(3)]
    (folder / "v" / "b").mkdir(parents=True)
    for path, frames in zip(("a.mp4", "c.MKV", "b/a.mov"), made, strict=True):
        (folder / "v" / path).write_bytes(video_bytes(frames))
    (folder / "v" / "notes.txt").write_text("no video")
    found = pixels(loaded("file:v?size=32&frames=2"))
    expected = np.concatenate(made).reshape(-1, 2, 32, 32, 3)
    np.testing.assert_array_equal(found, expected)
    found = pixels(loaded("file:v?size=32&frames=2&seconds=0.08"))
    np.testing.assert_array_equal(found, [frames[::2] for frames in made])


@real
def test_real_videos_and_their_frames_are_nearly_the_same_clips(folder: Path) -> None:
    pytest.importorskip("av")
    name = "kinetics_demo"
    for place, source in (("v", f"{name}.mp4"), ("f", name)):
        (folder / place).mkdir()
        (folder / place / source).symlink_to(REAL / source)
    options = "size=32&frames=6&seconds=0.25&clips=3"
    decoded = pixels(loaded(f"file:v?{options}")).astype(float)
    frames = pixels(loaded(f"file:f?{options}&fps=28")).astype(float)
    assert decoded.shape == (3, 6, 32, 32, 3)
    assert np.abs(decoded - frames).mean() < 3
    assert np.abs(decoded[:, 1:] - frames[:, :-1]).mean() > 3


# --- Something-Something v2 ------------------------------------------------------------------


def something(folder: Path, form: str, place: str) -> dict[str, NDArray[np.uint8]]:
    """A root in the layout of Something-Something v2; id -> frames."""
    pytest.importorskip("av")
    videos = {str(90 - seed): drawn(3, seed=seed) for seed in range(5)}
    inside = folder / "ssv2" / place
    inside.mkdir(parents=True)
    for number, frames in videos.items():
        # The suffix says webm, and the lossless bytes are of its parent format.
        (inside / f"{number}.webm").write_bytes(video_bytes(frames, form="matroska"))
    (inside / "1.webm").write_bytes(b"not listed")
    ids = list(videos)
    for split, chosen in {"train": ids[:3], "validation": ids[3:], "test": ["90"]}.items():
        path = folder / "ssv2" / form.format(split)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps([{"id": number, "label": "moving"} for number in chosen]))
    return videos


@pytest.mark.parametrize("form", ["labels/{}.json", "something-something-v2-{}.json"])
@pytest.mark.parametrize("place", ["20bn-something-something-v2", "."])
def test_lists_of_ids_say_which_videos_are_in_a_split(folder: Path, form: str, place: str) -> None:
    videos = something(folder, form, place)
    name = "file:ssv2?size=32&frames=3"
    for split, ids in {"train": ["90", "89", "88"], "validation": ["87", "86"]}.items():
        check_file(name, split, "video")
        found = pixels(loaded(name, split))
        np.testing.assert_array_equal(found, [videos[number] for number in ids])
    (folder / "ssv2" / form.format("test")).unlink()
    with pytest.raises(HarnessError, match="no list of the split test"):
        check_file(name, "test", "video")
    with pytest.raises(HarnessError, match="lists of its own splits"):
        check_file(f"{name}&holdout=0.1", "train", "video")


def test_a_real_webm_is_decoded(folder: Path) -> None:
    av = pytest.importorskip("av")
    path, made = folder / "w" / "1.webm", drawn(4)
    path.parent.mkdir()
    with av.open(str(path), "w") as container:
        try:
            stream = container.add_stream("libvpx-vp9", rate=12)
        except (av.error.FFmpegError, ValueError):
            pytest.skip("this build of PyAV encodes no VP9")
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for frame in made:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    found = pixels(loaded("file:w?size=32&frames=2&seconds=0.16")).astype(float)
    near = [np.abs(found[0, 1] - frame).mean() for frame in made.astype(float)]
    assert int(np.argmin(near)) == 1, "at 0.083 s, the latest before 0.16"


def test_a_listed_video_that_is_not_there_is_named_or_left_out(folder: Path) -> None:
    videos = something(folder, "labels/{}.json", "20bn-something-something-v2")
    (folder / "ssv2" / "20bn-something-something-v2" / "89.webm").unlink()
    name = "file:ssv2?size=32&frames=3"
    with pytest.raises(HarnessError, match=r"1 of 3 listed(.|\n)*'89.webm'(.|\n)*broken=skip"):
        loaded(name)
    found = loaded(f"{name}&broken=skip")
    np.testing.assert_array_equal(pixels(found), [videos["90"], videos["88"]])
    assert found.pixels.index["skipped"] == [["89.webm", "it is listed, and not there"]]


@pytest.mark.parametrize("listed", ["nothing", '{"90": 1}', '[{"name": "90"}]', '[{"id": "../9"}]'])
def test_lists_that_are_none_are_messages(folder: Path, listed: str) -> None:
    something(folder, "labels/{}.json", "20bn-something-something-v2")
    (folder / "ssv2" / "labels" / "train.json").write_text(listed)
    with pytest.raises(HarnessError, match="list of videos") as caught:
        loaded("file:ssv2?size=32&frames=3")
    assert caught.value.where is not None
    assert "train.json" in caught.value.where


# --- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file:frames?size=32&frames=3&seconds=0.25", "do not say how many(.|\n)*&fps=N"),
        ("file:v?size=32&frames=3&fps=25", "fps is for folders of frames"),
        ("file:empty?size=32&frames=3", "holds no video and no frames"),
        ("file:absent?size=32&frames=3", "no such folder"),
    ],
)
def test_what_cannot_be_read_is_told_when_it_is_planned(
    folder: Path, name: str, message: str
) -> None:
    (folder / "empty").mkdir()
    (folder / "v").mkdir()
    (folder / "v" / "a.mp4").write_bytes(b"")
    with pytest.raises(HarnessError, match=message):
        check_file(name, "train", "video")


def test_videos_beside_frames_are_refused(folder: Path) -> None:
    (folder / "frames" / "ten" / "a.mp4").write_bytes(b"")
    with pytest.raises(HarnessError, match=r"both(.|\n)*ten/a.mp4, (few|ten)/0.png"):
        loaded("file:frames?size=32&frames=1")


def test_videos_that_are_all_too_short_are_no_set(folder: Path) -> None:
    with pytest.raises(HarnessError, match=r"not one clip(.|\n)*fewer than 8 frames"):
        loaded("file:frames?size=32&frames=8")


def test_a_broken_video_is_named_or_left_out(folder: Path) -> None:
    path = folder / "frames" / "ten" / "4.png"
    path.write_bytes(path.read_bytes()[:50])
    name = "file:frames?size=32&frames=3"
    with pytest.raises(HarnessError, match=r"4\.png(.|\n)*broken=skip") as caught:
        loaded(name)
    assert caught.value.where == "frames/ten"
    found = loaded(f"{name}&broken=skip")
    np.testing.assert_array_equal(pixels(found), expected_clips(3, ["one", "two"]))
    ((skipped, why),) = found.pixels.index["skipped"]
    assert skipped == "ten"
    assert why.startswith("4.png: ")


def test_without_pyav_it_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "v").mkdir()
    (folder / "v" / "a.mp4").write_bytes(b"a video")
    monkeypatch.setitem(sys.modules, "av", None)
    for broken in ("", "&broken=skip"):
        with pytest.raises(HarnessError, match=r"pip install 'ebt-harness\[video\]'"):
            loaded(f"file:v?size=32&frames=1{broken}")
    assert len(loaded("file:frames?size=32&frames=1").pixels) == 18


# --- once ------------------------------------------------------------------------------------


def test_a_second_time_nothing_is_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "file:frames?size=32&frames=3"
    found = loaded(name)
    with monkeypatch.context() as patched:
        patched.setattr(preparing, "_make_part", lambda *_: pytest.fail("it is made again"))
        again = loaded(name)
    assert again.digest == found.digest
    write_frames(folder / "frames" / "new", drawn(3, seed=50))
    more = loaded(name)
    assert len(more.pixels) == len(found.pixels) + 1
    assert more.digest != found.digest


def test_options_that_change_pixels_have_folders_of_their_own(folder: Path) -> None:
    options = ("", "&clips=2", "&channels=1", "&seconds=0.5&fps=4", "&seconds=0.5&fps=6")
    names = [f"file:frames?size=32&frames=2{more}" for more in options]
    assert len({loaded(name).pixels.folder for name in names}) == len(names)


SCRIPT = """
import sys
from pathlib import Path
from harness.data import measured
from harness.data.pixels import recipes
from harness.data.effort import Effort
from harness.data.pixels.prepared_clips import prepare_clips
measured._SETTLED_SECONDS, recipes.CHUNK_BYTES = 0.0, 1
effort = Effort(1, lambda progress: print(progress.items, flush=True))
prepare_clips(sys.argv[1], "train", cache=Path(sys.argv[2]), effort=effort)
"""


def test_killed_midway_it_goes_on_to_the_same_bytes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(40):
        write_frames(folder / "many" / f"{seed:02}", drawn(4, seed=100 + seed))
    name = "file:many?size=32&frames=2"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, name, "c"],
        env=os.environ | {"PYTHONPATH": str(REPO)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    (left,) = (folder / "c").glob(".parts-*")
    finished = [path for path in left.iterdir() if not path.name.startswith(".")]
    assert 3 <= len(finished) < 40
    monkeypatch.setattr(recipes, "CHUNK_BYTES", 1)
    kept: list[Any] = []
    effort = Effort(2, lambda progress: kept.append(progress.kept))
    again = prepare_clips(name, "train", cache=Path("c"), effort=effort)
    assert kept[-1] == len(finished)
    whole = loaded(name, cache="whole")
    np.testing.assert_array_equal(again.pixels[:], whole.pixels[:])
    assert again.digest == whole.digest
    assert videos(again) == videos(whole) == sorted(2 * list(range(40)))
    shutil.rmtree(folder / "c")


def test_shared_clips_are_found_between_prepared_and_other_clips(folder: Path) -> None:
    found = loaded("file:frames?size=32&frames=3")
    np.save(folder / "a.npy", found.pixels[1:3].astype(np.float32) / np.float32(127.5) - 1)
    array = loaded("file:a.npy")
    assert shared_clips(found, array).tolist() == [0, 1]
    assert shared_clips(array, found).tolist() == [1, 2]
    np.save(folder / "a.npy", np.zeros((1, 3, 3, 32, 32), np.float32))
    assert not shared_clips(found, loaded("file:a.npy")).size
