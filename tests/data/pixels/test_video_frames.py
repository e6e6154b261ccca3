"""Which frames clips are made of, and what decoding gives, on real videos where there are some."""

from __future__ import annotations

import io
import os
import sys
from bisect import bisect_right
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from harness.data.pixels.recipes import Broken
from harness.data.pixels.sources import parse_pixels
from harness.data.pixels.video_frames import chosen_clips, decoded_clips
from harness.errors import HarnessError
from tests.data.pixels.made_videos import drawn, video_bytes

av = pytest.importorskip("av", reason="PyAV is not installed")

REPO = Path(__file__).resolve().parents[3]
REAL = REPO / os.environ.get("HARNESS_SHARED", "../shared") / "data" / "video_clips"
FILES = ("bikes.mp4", "kinetics_demo.mp4", "ucf101_v_ApplyEyeMakeup_g01_c01.avi")
real = pytest.mark.skipif(not REAL.is_dir(), reason="no real clips: HARNESS_SHARED is not there")


def frames_of(
    video: Any, *, frames: int = 1, size: int = 32, options: str = ""
) -> NDArray[np.uint8]:
    """(clips, frames, height, width, channels); frames of that size are not scaled."""
    source = parse_pixels(f"file:videos?size={size}&frames={frames}{options}")
    found = [clip.transpose(0, 2, 3, 1) for clip in decoded_clips(video, source)]
    return np.array(found)


# --- which frames ----------------------------------------------------------------------------

gaps = st.lists(st.fractions(min_value="1/60", max_value=2, max_denominator=60), max_size=40)


@given(
    first=st.fractions(min_value=-1, max_value=1, max_denominator=50),
    gaps=gaps,
    frames=st.integers(1, 5),
    seconds=st.fractions(min_value="1/30", max_value=1, max_denominator=60),
)
def test_frames_are_the_latest_at_each_time(
    first: Fraction, gaps: list[Fraction], frames: int, seconds: Fraction
) -> None:
    times = [first]
    for gap in gaps:
        times.append(times[-1] + gap)
    expected: list[list[int]] = [[]]
    at = first
    while at <= times[-1]:
        place = bisect_right(times, at) - 1
        begins = not expected[-1] and len(expected) > 1
        if not begins or place != expected[-2][-1]:
            expected[-1].append(place)
        if len(expected[-1]) == frames:
            expected.append([])
        at += seconds
    found = list(chosen_clips(zip(times, range(99), strict=False), frames=frames, seconds=seconds))
    assert found == [clip for clip in expected if len(clip) == frames]
    for one, other in pairwise(found):
        assert one[-1] < other[0], "consecutive clips share no frame"


@pytest.mark.parametrize(("count", "frames"), [(10, 3), (9, 3), (2, 3), (0, 1)])
def test_without_a_time_between_them_every_frame_is_taken(count: int, frames: int) -> None:
    timed = ((Fraction(place, 7), place) for place in range(count))
    found = list(chosen_clips(timed, frames=frames, seconds=None))
    assert found == [
        list(range(start, start + frames)) for start in range(0, count - frames + 1, frames)
    ]


# --- decoding --------------------------------------------------------------------------------


def test_a_lossless_video_gives_back_its_frames() -> None:
    made = drawn(7)
    np.testing.assert_array_equal(frames_of(video_bytes(made))[:, 0], made)
    np.testing.assert_array_equal(
        frames_of(video_bytes(made), frames=3), [made[:3], made[3:6]], "what fills no clip goes"
    )


def test_a_varying_rate_is_followed(tmp_path: Path) -> None:
    made, times = drawn(6), [0, 5, 30, 32, 80, 100]
    (tmp_path / "v.mkv").write_bytes(video_bytes(made, times, form="matroska"))
    found = frames_of(tmp_path / "v.mkv", options="&seconds=0.25")
    #           0.00 0.25 0.50 0.75 1.00
    np.testing.assert_array_equal(found[:, 0], made[[0, 1, 3, 3, 5]][[0, 1, 2, 4]])


def test_a_video_on_its_side_is_turned() -> None:
    """The matrix of an mp4's track header, as QuickTime defines it: x, y -> -y, x and so on."""
    made = drawn(2)
    content = video_bytes(made)
    place = content.index(b"tkhd") + 4 + 40
    for matrix, turns in (((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)):
        a, b, c, d = (value << 16 for value in matrix)
        numbers = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
        turned = b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)
        found = frames_of(content[:place] + turned + content[place + 36 :])
        np.testing.assert_array_equal(found[:, 0], np.rot90(made, turns, axes=(1, 2)))


@real
@pytest.mark.parametrize("name", FILES[1:])  # the frames of the first were squeezed
def test_folders_of_frames_are_what_is_decoded_of_the_real_videos(name: str) -> None:
    folder = tuple(sorted((REAL / name).with_suffix("").glob("*.jpg")))
    with Image.open(folder[0]) as first:
        side = min(first.size)
    decoded = frames_of(REAL / name, frames=40, size=side)[0].astype(float)
    frames = frames_of(folder, frames=40, size=side)[0].astype(float)
    errors = np.abs(decoded - frames).mean(axis=(1, 2, 3))
    assert errors.max() < 4, "JPEG's error, and that of another way to scale"
    shifted = np.abs(decoded[1:] - frames[:-1]).mean(axis=(1, 2, 3))
    assert (errors[1:] < shifted).mean() > 0.9, "these very frames, not those beside them"


@real
def test_real_times_are_followed() -> None:
    """UCF101's .avi stores frames at times 1, 2, 4, 3, 5, 7, 6 and so on, of 25 a second."""
    path = REAL / FILES[2]
    with av.open(str(path)) as container:
        # 240 x 240 of 320 x 240.
        frames = [(f.time, np.asarray(f.to_image())[:, 40:-40]) for f in container.decode(video=0)]
    times = [round(time * 25) for time, _ in frames]
    assert min(np.diff(times)) < 0
    assert sorted(times) == list(range(1, 165))
    for every in (1, 3):
        found = frames_of(path, frames=4, size=240, options=f"&seconds={every / 25}")
        whole = len(range(0, 164, every)) // 4
        expected = [picture for _, picture in frames[::every]][: 4 * whole]
        np.testing.assert_array_equal(found.reshape(-1, 240, 240, 3), expected)


# --- what cannot be decoded ------------------------------------------------------------------


def test_broken_videos_say_why(tmp_path: Path) -> None:
    whole = video_bytes(drawn(20))
    for content in (b"", b"no video at all" * 50, whole[: len(whole) // 2]):
        with pytest.raises(Broken):
            frames_of(content)
    audio = io.BytesIO()
    with av.open(audio, "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(Broken, match="no pictures"):
        frames_of(audio.getvalue())
    Image.fromarray(drawn(1)[0]).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    paths = (tmp_path / "0.png", tmp_path / "1.png")
    with pytest.raises(Broken, match=r"^1\.png: "):
        frames_of(paths, frames=2)


@real
def test_a_real_video_cut_short_is_broken(tmp_path: Path) -> None:
    for name in FILES:
        content = (REAL / name).read_bytes()
        with pytest.raises(Broken):
            frames_of(content[: len(content) // 2])


def test_without_pyav_files_are_refused_and_frames_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = video_bytes(drawn(2))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(HarnessError, match=r"pip install 'ebt-harness\[video\]'"):
        frames_of(content)
    Image.fromarray(drawn(1)[0]).save(tmp_path / "0.png")
    np.testing.assert_array_equal(frames_of((tmp_path / "0.png",))[0], drawn(1))
