"""A chunk of encoded images or videos, decoded into parts on disk of about CHUNK_BYTES each.

One that becomes more than fills a part, such as a long video, has parts of its own, so that memory
holds two of them. The last part of a chunk says what came of each of its items.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.pixels import recipes
from harness.data.pixels.array_shards import PartHeader, read_part, write_part
from harness.data.pixels.recipes import Broken, Loaded, Recipe, made_of, naming

_OUTCOMES = "outcomes"
_HASHES = "hashes"

Arrays = list[NDArray[np.uint8]]


@dataclass
class ChunkParts:
    """The parts of a chunk in order. `outcomes` are how many arrays came of each item, or why it is
    broken; the last items have none where the limit was reached before them.
    """

    paths: list[Path] = field(default_factory=list)
    headers: list[PartHeader] = field(default_factory=list)
    outcomes: list[int | str] = field(default_factory=list)


def find_chunk(path: Path, chunk: list[Loaded]) -> ChunkParts | None:
    """The parts that were made of this chunk before; None unless all are there and whole."""
    found, key = ChunkParts(), made_of(chunk)
    while not found.outcomes:
        part = _numbered(path, len(found.paths))
        known = read_part(part)
        if known is None or known[0].made_of != key:
            return None
        found.paths.append(part)
        found.headers.append(known[0])
        found.outcomes = known[0].extra.get(_OUTCOMES, [])
    return found


def make_chunk(path: Path, chunk: list[Loaded], recipe: Recipe) -> ChunkParts:
    """Decode a chunk, no further than to the recipe's limit, and write its parts.

    What is broken has the reason for its outcome, and no array of it is kept. HarnessError where a
    file cannot be read.
    """
    most = max(1, recipes.CHUNK_BYTES // math.prod(recipe.item))
    parts = _Parts(path, made_of(chunk), recipe)
    held: Arrays = []
    count = 0
    for loaded in chunk:
        own: Arrays = []
        begun, came = len(parts.made.headers), 0
        try:
            for array in _decoded(loaded, recipe):
                own.append(array)
                came += 1
                if len(own) == most:
                    if held:
                        parts.write(held)
                        held, begun = [], begun + 1
                    parts.write(own)
                    own = []
                if count + came == recipe.limit:
                    break
        except Broken as error:
            parts.drop(begun)
            parts.made.outcomes.append(str(error))
            continue
        if len(held) + len(own) > most:
            parts.write(held)
            held = []
        held += own
        count += came
        parts.made.outcomes.append(came)
        if count == recipe.limit:
            break
    parts.write(held, {_OUTCOMES: parts.made.outcomes})
    return parts.made


def hashes_of(header: PartHeader) -> NDArray[np.uint8]:
    """sha256 of each array of a part (n, 32)."""
    return np.frombuffer(bytes.fromhex(header.extra[_HASHES]), np.uint8).reshape(-1, 32)


@dataclass
class _Parts:
    """Those that are written, one after the other."""

    path: Path
    made_of: str
    recipe: Recipe
    made: ChunkParts = field(default_factory=ChunkParts)

    def write(self, arrays: Arrays, extra: dict[str, Any] | None = None) -> None:
        items = np.stack(arrays) if arrays else np.empty((0, *self.recipe.item), np.uint8)
        hashes = b"".join(hashlib.sha256(each.tobytes()).digest() for each in items)
        about = {_HASHES: hashes.hex()} | (extra or {})
        path = _numbered(self.path, len(self.made.paths))
        self.made.headers.append(write_part(path, items, made_of=self.made_of, extra=about))
        self.made.paths.append(path)

    def drop(self, begun: int) -> None:
        """Without the parts from that one on; their files are written over, or left behind."""
        del self.made.headers[begun:], self.made.paths[begun:]


def _decoded(loaded: Loaded, recipe: Recipe) -> Iterator[NDArray[np.uint8]]:
    if loaded.item.broken is not None:
        raise Broken(loaded.item.broken)
    with naming(loaded.item):
        yield from recipe.decode(loaded)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}-{number}") if number else path
