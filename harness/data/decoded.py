"""The content of a split as a run's provenance keeps it: encoded, and decoded by which packages."""

from __future__ import annotations

from pathlib import Path

from harness.data.clips import Clips
from harness.data.datasets import dataset_digest, load_clips, load_images
from harness.data.images import Images
from harness.data.pixels.array_shards import ArrayShards
from harness.data.pixels.prepared_clips import clip_recipe
from harness.data.pixels.prepared_images import image_recipe
from harness.data.pixels.preparing import find_index
from harness.data.pixels.sources import names_pixels, parse_pixels

#: What begins the key of a digest of decoded pixels, and of the packages that decoded them.
PIXELS = "pixels of "
DECODER = "decoder of "


def content_digests(name: str, split: str, *, cache: Path) -> dict[str, str]:
    """`NAME/SPLIT` -> digest, as of now; and of images and clips that are decoded, of their pixels,
    and by what.

    Those are prepared into `cache` first: one process reads them, for all.
    """
    key = f"{name}/{split}"
    if not names_pixels(name):
        return {key: dataset_digest(name, split, cache=cache)}
    made: Images | Clips
    if parse_pixels(name).modality == "image":
        made = load_images(name, split, cache=cache)
    else:
        made = load_clips(name, split, cache=cache)
    assert isinstance(made.pixels, ArrayShards)
    index = made.pixels.index
    decoder = ", ".join(f"{package} {version}" for package, version in index["decoder"].items())
    return {
        key: made.digest,
        f"{PIXELS}{key}": index["pixel_digest"],
        f"{DECODER}{key}": decoder,
    }


def pixel_digest_now(key: str, cache: Path | None) -> str | None:
    """The digest of `pixels of NAME/SPLIT` as `cache` holds them; None where it holds none.

    Decodes and reads no pixels. HarnessError where the files are gone.
    """
    name, _, split = key.removeprefix(PIXELS).rpartition("/")
    make = image_recipe if parse_pixels(name).modality == "image" else clip_recipe
    recipe = make(name, split)
    index = None if cache is None else find_index(recipe, cache)
    return None if index is None else index.get("pixel_digest")
