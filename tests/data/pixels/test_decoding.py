"""Encoded images to squares of pixels, against arithmetic of our own and images made here."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from harness.data.pixels.decoding import decode_image, quiet
from harness.data.pixels.recipes import Broken


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(shape).integers(0, 256, shape).astype(np.uint8)


def decoded(content: bytes, size: int = 8, channels: int = 3) -> NDArray[np.uint8]:
    return decode_image(content, size=size, channels=channels)


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]
)
def test_an_image_of_that_size_is_kept_exactly(kind: str, options: dict[str, Any]) -> None:
    pixels = noise(8, 8, 3)
    found = decoded(encoded(Image.fromarray(pixels), kind, **options))
    np.testing.assert_array_equal(found, pixels.transpose(2, 0, 1))
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous


def test_gray_is_one_channel_or_three_that_are_equal() -> None:
    pixels = noise(8, 8)
    content = encoded(Image.fromarray(pixels))
    np.testing.assert_array_equal(decoded(content, channels=1), pixels[None])
    np.testing.assert_array_equal(decoded(content, channels=3), np.stack([pixels] * 3))


@pytest.mark.parametrize(("height", "width"), [(8, 13), (12, 8), (8, 9)])
def test_the_middle_is_kept(height: int, width: int) -> None:
    pixels = noise(height, width, 3)
    top, left = (height - 8) // 2, (width - 8) // 2
    kept = pixels[top : top + 8, left : left + 8].transpose(2, 0, 1)
    np.testing.assert_array_equal(decoded(encoded(Image.fromarray(pixels))), kept)


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel with a = -1/2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def weights(total: int, begin: int, side: int, size: int) -> NDArray[np.float64]:
    """[size, total]: each new pixel's share of the old; the kernel is as wide as what it covers."""
    scale = side / size
    centres = begin + (np.arange(size) + 0.5) * scale
    spread = max(scale, 1.0)
    found = cubic((np.arange(total)[None] + 0.5 - centres[:, None]) / spread)
    return found / found.sum(1, keepdims=True)


@pytest.mark.parametrize(("height", "width", "size"), [(31, 50, 8), (40, 24, 9), (6, 9, 16)])
def test_scaling_is_cubic_and_averages(height: int, width: int, size: int) -> None:
    pixels = noise(height, width)
    side = min(height, width)
    down = weights(height, (height - side) // 2, side, size)
    across = weights(width, (width - side) // 2, side, size)
    rows = np.rint(np.clip(pixels @ across.T, 0, 255))  # levels again, after each direction
    expected = np.clip(down @ rows, 0, 255)
    found = decoded(encoded(Image.fromarray(pixels)), size, channels=1)[0]
    assert np.abs(found - expected).max() < 1.1


@pytest.mark.parametrize("turned", range(1, 9))
def test_an_image_is_turned_upright(turned: int) -> None:
    pixels = noise(8, 8)
    exif = Image.Exif()
    exif[0x0112] = turned
    content = encoded(Image.fromarray(pixels), exif=exif)
    # How a stored image is brought upright, by the EXIF standard's table.
    upright = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.T,
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].T,
        8: np.rot90(pixels),
    }[turned]
    np.testing.assert_array_equal(decoded(content, channels=1)[0], upright)


@pytest.mark.parametrize("value", [struct.pack("<I", 70_000), struct.pack("<I", 2**32 - 1)])
def test_odd_metadata_do_not_break_an_image(value: bytes) -> None:
    """A tag of shorts whose number needs more, beside an orientation."""
    pixels = noise(8, 8)
    # TIFF's directory: orientation 6; ISO speed, stored as a LONG where readers expect a SHORT.
    entries = struct.pack("<HHI", 0x0112, 3, 1) + struct.pack("<HH", 6, 0)
    entries += struct.pack("<HHI", 0x0100, 9, 1) + value
    entries += struct.pack("<HHI", 0x8827, 4, 1) + value
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 3) + entries + struct.pack("<I", 0)
    content = encoded(Image.fromarray(pixels), exif=exif)
    np.testing.assert_array_equal(decoded(content, channels=1)[0], np.rot90(pixels, -1))


def test_metadata_that_are_damaged_turn_nothing() -> None:
    pixels = noise(8, 8)
    content = encoded(Image.fromarray(pixels), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    np.testing.assert_array_equal(decoded(content, channels=1), pixels[None])


def test_what_is_transparent_is_white() -> None:
    pixels = noise(8, 8, 4)
    alpha = pixels[..., 3:] / 255
    over = pixels[..., :3] * alpha + 255 * (1 - alpha)
    found = decoded(encoded(Image.fromarray(pixels))).transpose(1, 2, 0)
    assert np.abs(found - over).max() < 1
    gray = Image.fromarray(noise(8, 8, 2), "LA")
    np.testing.assert_array_equal(
        decoded(encoded(gray), channels=1), decoded(encoded(gray.convert("RGBA")), channels=1)
    )


def test_palettes_are_their_colours() -> None:
    indices = noise(8, 8) % 4
    palette = noise(4, 3)
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    expected = palette[indices].transpose(2, 0, 1)
    np.testing.assert_array_equal(decoded(encoded(image)), expected)
    expected[:, indices == 2] = 255
    np.testing.assert_array_equal(decoded(encoded(image, transparency=2)), expected)


def test_sixteen_bits_become_eight_by_rounding() -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (8, 8)).astype(np.uint16)
    levels[0, :2] = 0, 65535
    expected = np.rint(levels / 65535 * 255)[None]
    for kind in ("PNG", "TIFF"):
        found = decoded(encoded(Image.fromarray(levels), kind), channels=1)
        np.testing.assert_array_equal(found, expected)


def test_inks_and_bits_are_converted() -> None:
    pure = np.zeros((8, 8, 4), np.uint8)
    pure[..., 0] = 255  # cyan alone
    found = decoded(encoded(Image.fromarray(pure, "CMYK"), "TIFF"))
    assert found[:, 0, 0].tolist() == [0, 255, 255]
    bits = noise(8, 8) > 127
    found = decoded(encoded(Image.fromarray(bits)), channels=1)
    np.testing.assert_array_equal(found[0], np.where(bits, 255, 0))


def huge() -> bytes:
    """A PNG of 20,000 x 20,000 pixels in a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


WHOLE = encoded(Image.fromarray(noise(64, 64, 3)), "JPEG")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"not an image", "not an image of a known format"),
        (WHOLE[: len(WHOLE) // 2], "truncated"),
        (encoded(Image.fromarray(noise(90, 90)))[:4000], "truncated"),
        (huge(), "decompression bomb"),
        (encoded(Image.fromarray(noise(8, 8).astype(np.float32)), "TIFF"), "floating-point"),
        (encoded(Image.fromarray(noise(8, 8).astype(np.int32) - 9), "TIFF"), "16 bits"),
    ],
    ids=["empty", "text", "truncated JPEG", "truncated PNG", "bomb", "floats", "negative"],
)
def test_what_is_broken_is_said(content: bytes, why: str) -> None:
    with pytest.raises(Broken, match=why):
        decoded(content)


def test_damage_anywhere_is_broken_or_decoded_and_nothing_else() -> None:
    draw = np.random.default_rng(0)
    for whole in (WHOLE, encoded(Image.fromarray(noise(16, 16, 4)))):
        for _ in range(150):
            damaged = bytearray(whole)
            for place in draw.integers(0, len(whole), 3):
                damaged[place] = draw.integers(256)
            with quiet(), suppress(Broken):
                assert decoded(bytes(damaged)).shape == (3, 8, 8)


def test_odd_metadata_are_no_reason_to_warn() -> None:
    content = encoded(Image.fromarray(noise(8, 8, 3)), "JPEG", exif=b"Exif\x00\x00II*\x00\xff")
    with warnings.catch_warnings(record=True) as caught, quiet():
        decoded(content)
    assert not caught
