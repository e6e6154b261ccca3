"""From a video to clips of frames: decoding in order of presentation, and which frames are taken.

PyAV loads where a video file is decoded: it is an extra of its own.
"""

from __future__ import annotations

import heapq
import io
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.data.pixels.decoding import decode_image, square
from harness.data.pixels.recipes import Broken
from harness.data.pixels.sources import PixelSource
from harness.errors import HarnessError

if TYPE_CHECKING:
    from PIL.Image import Image

#: A video: its file, the bytes of one, or the files of its frames in order.
Video = Path | bytes | tuple[Path, ...]

#: No codec puts a frame further from its place.
_REORDERED = 16

Frame = TypeVar("Frame")


# --- which frames ----------------------------------------------------------------------------


def chosen_clips(
    timed: Iterable[tuple[Fraction, Frame]], *, frames: int, seconds: Fraction | None
) -> Iterator[list[Frame]]:
    """Clips of `frames` frames each, one after the other, that share none.

    At each time, `seconds` apart from the first frame on and not after the last one, stands the
    latest frame that is not after it; None takes every frame. What fills no clip is left out.
    `timed` frames come in order.
    """
    clip: list[Frame] = []
    last = -1
    for place, frame in _at_times(timed, seconds):
        if not clip and place == last:
            continue
        clip.append(frame)
        if len(clip) == frames:
            yield clip
            clip, last = [], place


def _at_times(
    timed: Iterable[tuple[Fraction, Frame]], seconds: Fraction | None
) -> Iterator[tuple[int, Frame]]:
    """(place in the video, frame) at each time."""
    if seconds is None:
        yield from ((place, frame) for place, (_, frame) in enumerate(timed))
        return
    shown: tuple[int, Frame] | None = None
    wanted = time = Fraction(0)
    for place, (time, frame) in enumerate(timed):
        if shown is None:
            wanted = time
        else:
            while wanted < time:
                yield shown
                wanted += seconds
        shown = place, frame
    if shown is not None and wanted <= time:
        yield shown


def in_order(timed: Iterable[tuple[Fraction, Frame]]) -> Iterator[tuple[Fraction, Frame]]:
    """The frames, which come as they are presented, each with the time that is next.

    An .avi of a codec that reorders frames gives each the time at which it was stored.
    """
    times: list[Fraction] = []
    frames: deque[Frame] = deque()
    for time, frame in timed:
        heapq.heappush(times, time)
        frames.append(frame)
        if len(frames) > _REORDERED:
            yield heapq.heappop(times), frames.popleft()
    while frames:
        yield heapq.heappop(times), frames.popleft()


# --- decoding --------------------------------------------------------------------------------


def decoded_clips(video: Video, source: PixelSource) -> Iterator[NDArray[np.uint8]]:
    """The clips of a video, uint8[F, C, size, size] each, as the options of `source` say.

    Raises Broken where it cannot be decoded, and HarnessError where PyAV is needed and not
    installed.
    """
    assert source.frames is not None
    apart = None if source.seconds is None else Fraction(str(source.seconds))
    if isinstance(video, tuple):
        rate = Fraction(1 if source.fps is None else str(source.fps))
        files = ((place / rate, path) for place, path in enumerate(video))
        for clip in chosen_clips(files, frames=source.frames, seconds=apart):
            yield np.stack([_opened(path, source) for path in clip])
        return
    decoded = in_order(_decoded(video))
    for frames in chosen_clips(decoded, frames=source.frames, seconds=apart):
        pictures = map(_picture, frames)
        size, channels = source.size, source.channels
        yield np.stack([square(each, size=size, channels=channels) for each in pictures])


def _opened(path: Path, source: PixelSource) -> NDArray[np.uint8]:
    try:
        return decode_image(path.read_bytes(), size=source.size, channels=source.channels)
    except Broken as error:
        raise Broken(f"{path.name}: {error}") from error


def _decoded(video: Path | bytes) -> Iterator[tuple[Fraction, Any]]:
    """(time of presentation in seconds, PyAV's frame) of the first stream of pictures."""
    av = _av()
    opened = io.BytesIO(video) if isinstance(video, bytes) else str(video)
    count = 0
    try:
        with av.open(opened) as container:
            if not container.streams.video:
                raise Broken("it holds no pictures")
            stream = container.streams.video[0]
            rate = stream.average_rate
            time = Fraction(0)
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise Broken(f"frame {count} is damaged")
                if frame.pts is not None:
                    time = frame.pts * frame.time_base
                elif count and rate:
                    time += 1 / rate
                yield time, frame
                count += 1
    except av.error.FFmpegError as error:
        raise Broken(error.strerror or type(error).__name__) from error
    if count == 0:
        raise Broken("it holds no frame")


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise HarnessError(
            "video files are decoded by PyAV, which is not installed",
            hint="pip install 'ebt-harness[video]'; folders of frames need nothing",
        ) from error
    return av


def _picture(frame: Any) -> Image:
    """The frame as it is to be seen: upright."""
    from PIL import Image

    picture: Image.Image = frame.to_image()
    # A phone's video lies on its side, and says by how much it is to be turned.
    turns = round(frame.rotation / 90) % 4
    upright = (
        None,
        Image.Transpose.ROTATE_90,
        Image.Transpose.ROTATE_180,
        Image.Transpose.ROTATE_270,
    )[turns]
    return picture if upright is None else picture.transpose(upright)
