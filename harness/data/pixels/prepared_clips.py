"""The user's own videos, prepared: how they are read and decoded, and the clips that come of it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.clips import Clips
from harness.data.effort import Effort, Meter
from harness.data.pixels import decoding
from harness.data.pixels.decoding import quiet
from harness.data.pixels.preparing import prepare_pixels
from harness.data.pixels.recipes import (
    LINK_TO_NOTHING,
    Item,
    Loaded,
    Recipe,
    measure_pixels,
    size_of,
)
from harness.data.pixels.sources import SplitPixels, split_pixels
from harness.data.pixels.video_files import find_videos
from harness.data.pixels.video_frames import decoded_clips

#: Raised where the same videos become other clips than before, or more is kept beside them.
VERSION = 2
_BLOCK = 1 << 20


def prepare_clips(name: str, split: str, *, cache: Path, effort: Effort | None = None) -> Clips:
    """The clips of `file:FOLDER?size=…&frames=…`, decoded unless `cache` holds them already.

    Raises HarnessError as `prepare_pixels` does, and where PyAV is needed and not installed.
    """
    recipe = clip_recipe(name, split)
    with quiet():
        shards = prepare_pixels(recipe, cache, effort)
    origin, digest = recipe.found.source.origin, shards.index["digest"]
    hashes, videos = shards.beside("hashes"), shards.beside("videos")
    return Clips(name, split, shards, digest, *origin, hashes=hashes, videos=videos)


def prepared_clips_digest(name: str, split: str, *, cache: Path | None) -> str:
    """The digest of a split's encoded videos: of all, or of those that the first clips are of."""
    recipe = clip_recipe(name, split)
    if recipe.limit is None:
        return measure_pixels(recipe, cache).digest
    # Which videos the first clips are of is known once they are decoded.
    with tempfile.TemporaryDirectory() if cache is None else nullcontext(cache) as folder:
        return prepare_clips(name, split, cache=Path(folder)).digest


def clip_recipe(name: str, split: str) -> Recipe:
    """How the videos of a split become clips. HarnessError for a bad name or no files.

    One that is longer than a clip becomes several, which share no frame; a shorter one none. Its
    digest is that of its bytes, or of those of its frames joined, and so is the split it is in.
    """
    found = split_pixels(name, split)
    source = found.source
    assert source.frames is not None

    def decode(loaded: Loaded) -> Iterator[NDArray[np.uint8]]:
        return decoded_clips(loaded.content, source)

    return Recipe(
        found=found,
        item=(source.frames, *source.shape),
        identity={
            "clips": VERSION,
            "pixels": decoding.VERSION,
            "seconds": source.seconds,
            "fps": source.fps,
            "limit": source.clips,
        },
        items=lambda meter: _items(found, meter),
        load=_loaded,
        decode=decode,
        decoder={"pillow": version("pillow"), "av": _installed("av")},
        limit=source.clips,
    )


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _items(found: SplitPixels, meter: Meter) -> Iterator[Item]:
    for video in find_videos(found):
        files = _files(video.video)
        sizes = list(map(size_of, files))
        missing = [path.name for path, size in zip(files, sizes, strict=True) if size is None]
        broken = "it is listed, and not there" if video.video is None else None
        if missing:
            broken = f"{missing[0]}: {LINK_TO_NOTHING}"
        content = None if broken else video.video
        yield Item(video.name, str(video.where), content, broken=broken)
        meter.done += sum(size or 0 for size in sizes)


def _files(video: Path | tuple[Path, ...] | None) -> tuple[Path, ...]:
    return video if isinstance(video, tuple) else () if video is None else (video,)


def _loaded(item: Item) -> Loaded:
    """With its digest; the video itself, which may be long, is not kept in memory."""
    digest, size = hashlib.sha256(), 0
    for path in _files(item.content):
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                size += len(block)
    return Loaded(item, item.content, digest.digest(), size)
