"""From an encoded image to a square of pixels. Pillow loads where it is used.

Upright by its EXIF orientation; transparent pixels over white; CMYK, palettes and 16-bit gray
brought to 8-bit gray or RGB; then the largest square in the middle, scaled to the size by Pillow's
bicubic filter, which averages where it shrinks. A square of that size already is kept exactly.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.data.pixels.recipes import Broken

if TYPE_CHECKING:
    from PIL.Image import Image

#: Raised where the same bytes become other pixels than before.
VERSION = 1
_SIXTEEN_BITS = 65535
#: The EXIF tag of how an image is to be turned.
_ORIENTATION = 0x0112


def decode_image(content: bytes, *, size: int, channels: int) -> NDArray[np.uint8]:
    """Pixels uint8[channels, size, size] of an encoded image; Broken where it cannot be decoded."""
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise Broken("it is empty")
    try:
        with Image.open(io.BytesIO(content)) as opened:
            opened.load()
            return square(_upright(opened), size=size, channels=channels)
    except Broken:
        raise
    except UnidentifiedImageError as error:
        raise Broken("it is not an image of a known format") from error
    # Of damaged bytes, Pillow's decoders raise whatever they meet.
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise Broken(lines[0].rstrip(".") if lines else type(error).__name__) from error


def square(image: Image, *, size: int, channels: int) -> NDArray[np.uint8]:
    """The middle of an image as pixels uint8[channels, size, size]; Broken for unknown colours."""
    from PIL import Image

    plain = _plain(image).convert("L" if channels == 1 else "RGB")
    width, height = plain.size
    side = min(width, height)
    if side == 0:
        raise Broken("it has no pixels")
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    if side == size:
        cut = plain.crop(box)
    else:
        cut = plain.resize((size, size), Image.Resampling.BICUBIC, box=box)
    pixels = np.asarray(cut, np.uint8).reshape(size, size, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _upright(image: Image) -> Image:
    """The image as its EXIF orientation says that it is to be seen.

    Pillow's own `exif_transpose` writes all tags anew, and fails where one of the others is odd.
    """
    from PIL import Image

    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # the metadata are damaged, and the pixels are not
        return image
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


@contextmanager
def quiet() -> Iterator[None]:
    """Without Pillow's warnings, as of odd metadata: an image is decoded, or it is broken.

    Around all threads: Python's filters are the process's.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")
        from PIL import Image

        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _plain(image: Image) -> Image:
    """The image without transparency, of 8 bits a channel."""
    from PIL import Image

    if image.mode.startswith("I"):
        return _of_sixteen_bits(image)
    if image.mode == "F":
        raise Broken("it holds floating-point numbers, whose range is not known")
    if not image.has_transparency_data:
        return image
    layered = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)


def _of_sixteen_bits(image: Image) -> Image:
    from PIL import Image

    levels = np.asarray(image).astype(np.int64)
    if levels.min() < 0 or levels.max() > _SIXTEEN_BITS:
        raise Broken("its numbers are not those of 16 bits")
    rounded = (levels * 255 + _SIXTEEN_BITS // 2) // _SIXTEEN_BITS
    return Image.fromarray(rounded.astype(np.uint8))
