"""From a video to clips of frames: decoding in order of presentation, and which frames are taken.

PyAV loads where a video file is decoded: it is an extra of its own.
"""

from __future__ import annotations

import hashlib
import heapq
import io
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness.errors import HarnessError

if TYPE_CHECKING:
    from PIL.Image import Image

_BLOCK = 1 << 20
#: No codec puts a frame further from its place.
_REORDERED = 16

Frame = TypeVar("Frame")


class BrokenVideo(Exception):
    """A video that cannot be decoded, and why."""


@dataclass(frozen=True)
class Video:
    """A video: its file, the bytes of one, or the files of its frames in order. `name` is shown."""

    name: str
    content: Path | bytes | tuple[Path, ...]

    def digest(self) -> bytes:
        """sha256 of the encoded bytes, those of frames joined."""
        if isinstance(self.content, bytes):
            return hashlib.sha256(self.content).digest()
        digest = hashlib.sha256()
        for path in [self.content] if isinstance(self.content, Path) else self.content:
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
        return digest.digest()

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files it lies in, none for bytes."""
        if isinstance(self.content, bytes):
            return ()
        return (self.content,) if isinstance(self.content, Path) else self.content


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


def decoded_clips(
    video: Video, *, frames: int, seconds: float | None, fps: float | None
) -> Iterator[list[Image]]:
    """The clips of a video as pictures; `fps` are the frames a second of one that lies in frames.

    Raises BrokenVideo, and HarnessError where PyAV is needed and not installed.
    """
    apart = None if seconds is None else Fraction(str(seconds))
    if isinstance(video.content, tuple):
        rate = Fraction(str(fps)) if fps is not None else Fraction(1)
        timed = ((place / rate, path) for place, path in enumerate(video.content))
        for clip in chosen_clips(timed, frames=frames, seconds=apart):
            yield [_opened(path) for path in clip]
        return
    decoded_in_order = in_order(_decoded(video.content))
    for decoded in chosen_clips(decoded_in_order, frames=frames, seconds=apart):
        yield [_picture(frame) for frame in decoded]


def decoder_version() -> str:
    """`PyAV 18.1.0`: pixels may depend on it. HarnessError where it is not installed."""
    return f"PyAV {_av().__version__}"


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise HarnessError(
            "video files are decoded by PyAV, which is not installed",
            hint="pip install 'ebt-harness[video]'; folders of frames need nothing",
        ) from error
    return av


def _decoded(content: Path | bytes) -> Iterator[tuple[Fraction, Any]]:
    """(time of presentation in seconds, PyAV's frame) of the first stream of pictures."""
    av = _av()
    opened = io.BytesIO(content) if isinstance(content, bytes) else str(content)
    count = 0
    try:
        with av.open(opened) as container:
            if not container.streams.video:
                raise BrokenVideo("it holds no pictures")
            stream = container.streams.video[0]
            rate = stream.average_rate
            time = Fraction(0)
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise BrokenVideo(f"frame {count} is damaged")
                if frame.pts is not None:
                    time = frame.pts * frame.time_base
                elif count and rate:
                    time += 1 / rate
                yield time, frame
                count += 1
    except av.error.FFmpegError as error:
        raise BrokenVideo(error.strerror or type(error).__name__) from error
    if count == 0:
        raise BrokenVideo("it holds no frame")


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


def _opened(path: Path) -> Image:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BrokenVideo(f"{path.name}: {str(error).strip() or type(error).__name__}") from error
