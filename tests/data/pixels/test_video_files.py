"""Sets of videos: how they lie on disk, and clips of them prepared once."""

from __future__ import annotations

import errno
import json
import os
import shutil
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
from harness.data.pixels import prepared_clips, preparing, recipes, video_frames
from harness.data.pixels.prepared_clips import prepare_clips, prepared_clips_digest
from harness.data.pixels.recipes import Item, Loaded
from harness.data.video import ClipRows
from harness.errors import HarnessError
from tests.data.killed import killed, started
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
    found = pixels(loaded("file:long?size=32&frames=3&seconds=0.5&fps=6"))
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
        ("file:frames/ten?size=32&frames=3", "are no video(.|\n)*a folder of its own"),
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


def test_an_error_does_not_depend_on_the_number_of_workers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "CHUNK_BYTES", 1)  # one video a chunk
    for seed in range(9):
        write_frames(folder / "many" / f"{seed}", drawn(2, seed=100 + seed))
    for broken in ("6/0.png", "7/1.png"):
        (folder / "many" / broken).write_bytes(b"")
    load = prepared_clips._loaded

    def failing(item: Item) -> Loaded:
        if item.name == "8":
            raise OSError(errno.EIO, "Input/output error")
        return load(item)

    monkeypatch.setattr(prepared_clips, "_loaded", failing)
    name = "file:many?size=32&frames=1"
    found = set()
    for workers in (1, 2, 8):
        effort, cache = Effort(workers), Path(f"c{workers}")
        for count in (3, 11, 12):
            clips = prepare_clips(f"{name}&clips={count}", "train", cache=cache, effort=effort)
            assert len(clips.pixels) == count
            found.add((count, clips.digest))
        for count in ("&clips=13", ""):
            with pytest.raises(HarnessError, match="it is empty") as caught:
                prepare_clips(f"{name}{count}", "train", cache=cache, effort=effort)
            assert caught.value.where == "many/6"
        skipping = f"{name}&clips=14&broken=skip"
        with pytest.raises(HarnessError, match="many/8: the file cannot be read: Input"):
            prepare_clips(skipping, "train", cache=cache, effort=effort)
    assert len(found) == 3
    assert prepared_clips_digest(f"{name}&clips=12", "train", cache=None) == dict(found)[12]


def test_the_digest_is_of_the_videos_that_clips_were_taken_of(folder: Path) -> None:
    name = "file:frames?size=32&frames=3"
    found = loaded(f"{name}&clips=3")  # few, one, ten
    (folder / "frames" / "two" / "0.png").write_bytes(b"")
    assert loaded(f"{name}&clips=3", cache="other").digest == found.digest
    assert found.pixels.index["sources"] == 3
    (folder / "frames" / "ten" / "0.png").write_bytes((folder / "frames/ten/1.png").read_bytes())
    assert loaded(f"{name}&clips=3", cache="third").digest != found.digest


def test_a_long_video_is_decoded_in_parts_and_no_further_than_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    made = {"a": drawn(2, seed=1), "b": drawn(25, seed=2), "c": drawn(3, seed=3)}
    (folder / "v").mkdir()
    for video, frames in made.items():
        (folder / "v" / f"{video}.mp4").write_bytes(video_bytes(frames))
    monkeypatch.setattr(recipes, "CHUNK_BYTES", 7 * 3 * 32 * 32)
    held = []
    stack = np.stack
    monkeypatch.setattr(np, "stack", lambda arrays: held.append(len(arrays)) or stack(arrays))
    found = loaded("file:v?size=32&frames=1")
    assert max(held) <= 7
    expected = np.concatenate(list(made.values()))[:, None]
    np.testing.assert_array_equal(pixels(found), expected)
    assert [part["items"] for part in found.pixels.index["parts"]] == [2, 7, 7, 7, 7]
    assert videos(found) == [0] * 2 + [1] * 25 + [2] * 3

    decoded = []
    square = video_frames.square
    monkeypatch.setattr(
        video_frames, "square", lambda *a, **k: decoded.append(1) or square(*a, **k)
    )
    for count in (1, 4, 11, 27):
        decoded.clear()
        some = loaded(f"file:v?size=32&frames=1&clips={count}")
        np.testing.assert_array_equal(pixels(some), expected[:count])
        assert len(decoded) == count


@pytest.mark.parametrize("frames", [3, 12, 20])
def test_of_a_video_that_breaks_off_nothing_is_kept(
    frames: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "CHUNK_BYTES", 5 * 3 * 32 * 32)
    made = {"a": drawn(2, seed=1), "b": drawn(frames, seed=2), "c": drawn(4, seed=3)}
    for video, content in made.items():
        write_frames(folder / "v" / video, content)
    (folder / "v" / "b" / f"{frames - 1}.png").write_bytes(b"junk")
    monkeypatch.setattr(recipes, "chunks", lambda loaded, item: iter([list(loaded)]))
    monkeypatch.setattr(preparing, "chunks", recipes.chunks)
    found = loaded("file:v?size=32&frames=1&broken=skip")
    expected = np.concatenate([made["a"], made["c"]])[:, None]
    np.testing.assert_array_equal(pixels(found), expected)
    assert [name for name, _ in found.pixels.index["skipped"]] == ["b"]
    assert videos(found) == [0, 0, 2, 2, 2, 2]


def test_links_to_nothing_are_named_or_left_out(folder: Path) -> None:
    (folder / "frames" / "ten" / "9.png").symlink_to("gone.png")
    name = "file:frames?size=32&frames=3"
    with pytest.raises(HarnessError, match=r"9\.png: it is a link to a file that is not there"):
        loaded(name)
    found = loaded(f"{name}&broken=skip")
    np.testing.assert_array_equal(pixels(found), expected_clips(3, ["one", "two"]))
    (folder / "v").mkdir()
    (folder / "v" / "a.mp4").symlink_to("gone.mp4")
    with pytest.raises(HarnessError, match=r"a\.mp4: it is a link to a file that is not there"):
        loaded("file:v?size=32&frames=3")


def test_what_is_hidden_is_no_video(folder: Path) -> None:
    write_frames(folder / "frames" / ".thumbnails", drawn(3, seed=8))
    found = loaded("file:frames?size=32&frames=3")
    np.testing.assert_array_equal(pixels(found), expected_clips(3, ["one", "ten", "two"]))


def test_a_folder_that_leads_into_itself_is_told(folder: Path) -> None:
    (folder / "frames" / "ten" / "up").symlink_to(folder / "frames")
    with pytest.raises(HarnessError, match="leads into itself"):
        loaded("file:frames?size=32&frames=3")


# --- once ------------------------------------------------------------------------------------


def test_a_second_time_nothing_is_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "file:frames?size=32&frames=3"
    found = loaded(name)
    with monkeypatch.context() as patched:
        patched.setattr(preparing, "make_chunk", lambda *_: pytest.fail("it is made again"))
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
from harness.data.pixels.prepared_clips import prepare_clips, prepared_clips_digest
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
    finished = killed(started(SCRIPT, folder, name, "c"), folder / "c", after=3)
    finished = [path for path in finished if path.name.endswith("-2")]  # two of a clip, and the end
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
