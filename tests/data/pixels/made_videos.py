"""Videos and folders of frames for tests, small and lossless."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def video_bytes(
    frames: NDArray[np.uint8], times: list[int] | None = None, *, form: str = "mp4"
) -> bytes:
    """A lossless video of frames (F, H, W, 3), `times` in hundredths of a second (25 a second)."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream = container.add_stream("libx264rgb", rate=25, options={"crf": "0", "bf": "0"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb24"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 100)
        for place, frame in enumerate(frames):
            encoded = av.VideoFrame.from_ndarray(frame, format="rgb24")
            encoded.pts = 4 * place if times is None else times[place]
            encoded.time_base = Fraction(1, 100)
            container.mux(stream.encode(encoded))
        container.mux(stream.encode())
    return out.getvalue()


def drawn(count: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """(count, 32, 32, 3) of patches in random colours."""
    patches = np.random.RandomState(seed).randint(0, 256, (count, 4, 4, 3), np.uint8)
    return patches.repeat(8, axis=1).repeat(8, axis=2)


def write_frames(folder: Path, frames: NDArray[np.uint8]) -> None:
    """Frames (F, H, W, 3) as PNG files in a folder of their own."""
    folder.mkdir(parents=True)
    for place, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{place}.png")
