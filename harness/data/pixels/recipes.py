"""What is read of a source of pixels and how it is decoded, as one value; and the stream of it."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.data.effort import Meter, cores
from harness.data.measured import Measured, fingerprint, recall, remember
from harness.data.pixels.sources import SplitPixels
from harness.errors import HarnessError

#: Decoded bytes of a part, about; and the most encoded bytes that one is made of, about.
CHUNK_BYTES = 1 << 24
ENCODED_BYTES = 1 << 25

#: Why a file that is listed in its folder cannot be opened.
LINK_TO_NOTHING = "it is a link to a file that is not there"

A = TypeVar("A")
B = TypeVar("B")


class Broken(Exception):
    """An image or video that cannot be decoded, and why."""


@dataclass(frozen=True)
class Item:
    """An image or video of the source: what it is called, where it lies, its class, what loads.

    `broken` says why it cannot be decoded, where that is known before; there may be nothing to load
    then.
    """

    name: str
    where: str
    content: Any
    label: int | None = None
    broken: str | None = None


@dataclass(frozen=True)
class Loaded:
    """An item with what is decoded, the sha256 of its encoded bytes, and how many they are."""

    item: Item
    content: Any
    digest: bytes
    size: int


@dataclass(frozen=True)
class Recipe:
    """How a split becomes uint8 items of one shape.

    `items` yields all of the source in order, whichever split they belong to; `load` and `decode`
    are called side by side in threads. An item becomes any number of arrays: `decode` yields
    uint8[*item] each, or raises Broken. `identity` is what else the result depends
    on; `classes` the names of labels; at most `limit` are made. `decoder` is noted.
    """

    found: SplitPixels
    item: tuple[int, ...]
    identity: Mapping[str, Any]
    items: Callable[[Meter], Iterator[Item]]
    load: Callable[[Item], Loaded]
    decode: Callable[[Loaded], Iterable[NDArray[np.uint8]]]
    decoder: Mapping[str, str]
    classes: Callable[[], tuple[str, ...] | None] = lambda: None
    limit: int | None = None


@dataclass
class PixelDigest:
    """sha256 over the sha256 and label of each item, and at last the names of classes."""

    items: int = 0
    size: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    def add(self, loaded: Loaded) -> None:
        self._digest.update(_key(loaded))
        self.items += 1
        self.size += loaded.size

    def measured(self, classes: tuple[str, ...] | None) -> Measured:
        whole = self._digest.copy()
        whole.update(json.dumps(classes).encode())
        return Measured(whole.hexdigest(), self.items, self.size)


def _key(loaded: Loaded) -> bytes:
    label = -1 if loaded.item.label is None else loaded.item.label
    return loaded.digest + label.to_bytes(8, "little", signed=True)


def made_of(chunk: list[Loaded]) -> str:
    """What tells the items that a part was made of."""
    return hashlib.sha256(b"".join(map(_key, chunk))).hexdigest()


# --- measuring ------------------------------------------------------------------------------


def measure_pixels(recipe: Recipe, cache: Path | None) -> Measured:
    """The digest of what a recipe reads: as it was measured before, else by reading all of it.

    HarnessError for what cannot be read; and for what lies on the Hub and was not prepared yet.
    """
    found = recipe.found
    known = recall(found, cache)
    if known is not None:
        return known
    check_local(found)
    before, digest = fingerprint(found), PixelDigest()
    with pool(cores()) as readers:
        for loaded in load_items(recipe, Meter(), readers, 2 * cores()):
            digest.add(loaded)
    if digest.items == 0:
        raise found.nothing()
    measured = digest.measured(recipe.classes())
    remember(found, before, measured, cache)
    return measured


def check_local(found: SplitPixels) -> None:
    """HarnessError for what lies on the Hub: only `harness prepare` reads it."""
    if not found.source.is_local:
        raise HarnessError(
            "this dataset of the Hub is not prepared here",
            where=f"{found.source} ({found.split})",
            hint=f"harness prepare '{found.source}' --split {found.split}"
            + ("; or `split: test`, if there is none" if found.split == "validation" else ""),
        )


# --- the stream ------------------------------------------------------------------------------


def load_items(
    recipe: Recipe, meter: Meter, readers: ThreadPoolExecutor, ahead: int
) -> Iterator[Loaded]:
    """The items of the split with their bytes, in order."""

    def load(item: Item) -> Loaded:
        with naming(item):
            return recipe.load(item)

    held = recipe.found.source.holdout
    for loaded in _ahead(recipe.items(meter), load, readers, ahead):
        if held is None or _held_out(loaded, held) == (recipe.found.split == "validation"):
            yield loaded


def _held_out(loaded: Loaded, fraction: float) -> bool:
    return int.from_bytes(loaded.digest[:8], "big") / 2**64 < fraction


def _ahead(
    items: Iterable[A], do: Callable[[A], B], pool: ThreadPoolExecutor, ahead: int
) -> Iterator[B]:
    """What `do` makes of each, in order; so many are begun before they are asked for."""
    begun: deque[Future[B]] = deque()
    for item in items:
        begun.append(pool.submit(do, item))
        if len(begun) > ahead:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def chunks(loaded: Iterator[Loaded], item: tuple[int, ...]) -> Iterator[list[Loaded]]:
    """Successive items of CHUNK_BYTES once decoded, or of ENCODED_BYTES as they are."""
    most = max(1, CHUNK_BYTES // math.prod(item))
    chunk: list[Loaded] = []
    size = 0
    for each in loaded:
        chunk.append(each)
        size += each.size
        if len(chunk) >= most or size >= ENCODED_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


@contextmanager
def pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads; what they have not begun is dropped where the work ends early."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def size_of(path: str | Path) -> int | None:
    """Bytes of a file that its folder lists; None where it is a link to one that is not there."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(error, str(path)) from error


@contextmanager
def naming(item: Item) -> Iterator[None]:
    """A file that cannot be read is named, and not taken for a full cache."""
    try:
        yield
    except OSError as error:
        raise _unreadable(error, item.where) from error


def _unreadable(error: OSError, where: str) -> HarnessError:
    return HarnessError(f"the file cannot be read: {error.strerror or error}", where=where)
