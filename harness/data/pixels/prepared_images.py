"""The user's own images, prepared: how they are read and decoded, and the set that comes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.effort import Effort
from harness.data.images import Images
from harness.data.pixels import decoding
from harness.data.pixels.array_shards import ArrayShards
from harness.data.pixels.decoding import decode_image, quiet
from harness.data.pixels.image_checks import check_images
from harness.data.pixels.preparing import find_prepared, prepare_pixels
from harness.data.pixels.reading import class_names, read_images
from harness.data.pixels.recipes import Item, Loaded, Recipe, check_local, measure_pixels
from harness.data.pixels.sources import split_pixels


def image_recipe(name: str, split: str) -> Recipe:
    """How the images of a split are read and decoded. HarnessError for a bad name or no files."""
    found = split_pixels(name, split)
    check_images(found)
    source = found.source

    def decode(loaded: Loaded) -> Iterator[NDArray[np.uint8]]:
        yield decode_image(loaded.content, size=source.size, channels=source.channels)

    return Recipe(
        found,
        item=source.shape,
        identity={"images": decoding.VERSION},
        items=partial(read_images, source, split),
        load=_load,
        decode=decode,
        decoder={"pillow": version("pillow")},
        classes=partial(class_names, source, split),
    )


def prepare_images(name: str, split: str, *, cache: Path, effort: Effort | None = None) -> Images:
    """The images of `file:…` or `hub:…`, decoded unless `cache` holds them already.

    Raises HarnessError as `prepare_pixels` does.
    """
    recipe = image_recipe(name, split)
    with quiet():
        return _images(name, recipe, prepare_pixels(recipe, cache, effort))


def load_prepared_images(name: str, split: str, *, cache: Path) -> Images:
    """The same, except that what lies on the Hub must have been prepared before."""
    recipe = image_recipe(name, split)
    ready = find_prepared(recipe, cache)
    if ready is not None:
        return _images(name, recipe, ready)
    check_local(recipe.found)
    return prepare_images(name, split, cache=cache)


def images_digest(name: str, split: str, *, cache: Path | None) -> str:
    """The digest of a split's encoded images and labels, of which none is decoded."""
    return measure_pixels(image_recipe(name, split), cache).digest


def _load(item: Item) -> Loaded:
    content = b"" if item.content is None else item.content
    content = content if isinstance(content, bytes) else _bytes_at(content)
    return Loaded(item, content, hashlib.sha256(content).digest(), len(content))


def _bytes_at(place: str) -> bytes:
    if "://" not in place:
        return Path(place).read_bytes()
    import fsspec  # imported here: it takes a moment

    with fsspec.open(place, "rb") as file:
        return bytes(file.read())


def _images(name: str, recipe: Recipe, shards: ArrayShards) -> Images:
    classes = shards.index["classes"]
    return Images(
        name,
        recipe.found.split,
        shards,
        shards.beside("labels"),
        shards.index["digest"],
        *recipe.found.source.origin,
        classes=None if classes is None else tuple(classes),
    )
