"""Encoded images or videos into shards: decoded side by side in parts, once, and resumable.

A split is read once, as a stream cut into chunks, of which each becomes a part of about
CHUNK_BYTES, or several. A part is a file; one that was finished before, by a process that was
killed, is kept if it was made of the same bytes. Parts follow from the source alone, so neither the
number of threads nor interruptions change a byte, or what is refused. Memory holds the parts that
are being made.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.disk import writable
from harness.data.effort import Effort, Meter, Workplace, cores, made_by_one
from harness.data.measured import (
    Measured,
    check_lock,
    check_unchanged,
    fingerprint,
    recall,
    remember,
)
from harness.data.pixels import recipes
from harness.data.pixels.array_shards import (
    ArrayShards,
    open_shards,
    publish,
    read_index,
    read_part,
    shards_folder,
    write_part,
)
from harness.data.pixels.chunk_parts import ChunkParts, find_chunk, hashes_of, make_chunk
from harness.data.pixels.recipes import (
    Item,
    Loaded,
    PixelDigest,
    Recipe,
    chunks,
    load_items,
    pool,
)
from harness.errors import HarnessError

_FORMAT = 2


@dataclass
class PixelProgress:
    """How far it is: items, and encoded bytes of finished parts; `made` are those made now.

    `fraction` of the source was read, None where its size is not known.
    """

    items: int = 0
    bytes: int = 0
    made_items: int = 0
    made_bytes: int = 0
    kept: int = 0
    skipped: int = 0
    fraction: float | None = None


def prepare_pixels(recipe: Recipe, cache: Path, effort: Effort | None = None) -> ArrayShards:
    """The shards of a recipe, made unless `cache` holds them already.

    The folder is named by what it holds and appears whole or not at all; one process makes it,
    others wait. HarnessError for what cannot be read or decoded, for content that is not what the
    lock file says, and when `cache` cannot be written.
    """
    work, effort = _Work(recipe, cache), effort or Effort()
    return made_by_one(work.place.lock, work.ready, lambda: _prepare(work, effort), effort.on_wait)


def find_prepared(recipe: Recipe, cache: Path) -> ArrayShards | None:
    """What was prepared before, where the source is still what it was; reads none of it."""
    return _Work(recipe, cache).ready()


def find_index(recipe: Recipe, cache: Path) -> dict[str, Any] | None:
    """What is kept beside the shards of `find_prepared`, of which nothing else is opened."""
    measured = recall(recipe.found, cache)
    return None if measured is None else read_index(_Work(recipe, cache).folder(measured))


# --- one split -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """A split to be decoded, and where."""

    recipe: Recipe
    cache: Path

    @property
    def place(self) -> Workplace:
        found = self.recipe.found
        here = str(Path.cwd()) if found.source.is_local else ""
        name = str(replace(found.source, broken=None))
        how = [dict(self.recipe.identity), dict(self.recipe.decoder), recipes.CHUNK_BYTES]
        return Workplace.of(self.cache, [_FORMAT, name, found.split, here, *how])

    @property
    def name(self) -> str:
        return str(self.recipe.found.source)

    def folder(self, measured: Measured) -> Path:
        identity = {
            **self.recipe.identity,
            "format": _FORMAT,
            "digest": measured.digest,
            "item": list(self.recipe.item),
            "broken": self.recipe.found.source.broken,
        }
        return shards_folder(self.cache, identity)

    def ready(self) -> ArrayShards | None:
        measured = recall(self.recipe.found, self.cache)
        if measured is None:
            return None
        check_lock(self.cache, self.name, self.recipe.found.split, measured.digest)
        return open_shards(self.folder(measured))


@dataclass
class _Made:
    """What came of all parts so far."""

    digest: PixelDigest = field(default_factory=PixelDigest)
    paths: list[Path] = field(default_factory=list)
    hashes: list[NDArray[np.uint8]] = field(default_factory=list)
    labels: list[NDArray[np.int64]] = field(default_factory=list)
    videos: list[NDArray[np.int64]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    items: int = 0
    empty: int = 0


def _prepare(work: _Work, effort: Effort) -> ArrayShards:
    found = work.recipe.found
    before, classes = fingerprint(found), work.recipe.classes()
    with work.place.open():
        total = sum(size for _, size, *_ in before) or None
        made = _make_parts(work, effort, Meter(total=total))
    check_unchanged(found, before)
    if made.items == 0:
        work.place.clear()
        raise found.nothing()
    measured = made.digest.measured(classes)
    check_lock(work.cache, work.name, found.split, measured.digest)
    folder = work.folder(measured)
    with writable(work.cache):
        _publish(work, made, folder, {"digest": measured.digest, "classes": classes})
    shards = open_shards(folder)
    if shards is None:
        raise HarnessError(
            "the prepared data differ from what was written when they are read back",
            where=str(folder),
            hint="check the disk, or choose another cache folder",
        )
    remember(found, before, measured, work.cache)
    return shards


def _publish(work: _Work, made: _Made, folder: Path, content: dict[str, Any]) -> None:
    hashes = np.concatenate(made.hashes)
    beside: dict[str, NDArray[Any]] = {"hashes": hashes}
    if made.labels:
        beside["labels"] = np.concatenate(made.labels)
    if made.videos:
        beside["videos"] = np.concatenate(made.videos)
    index = content | {
        "pixel_digest": hashlib.sha256(hashes.tobytes()).hexdigest(),
        "encoded_bytes": made.digest.size,
        "sources": made.digest.items,
        "skipped": made.skipped,
        "empty": made.empty,
        "decoder": dict(work.recipe.decoder),
    }
    publish(work.place.parts, folder, made.paths, index, beside)


# --- parts -----------------------------------------------------------------------------------


def _make_parts(work: _Work, effort: Effort, meter: Meter) -> _Made:
    """Every part of the split in its folder; those that are there already are only checked."""
    recipe, made, progress = work.recipe, _Made(), PixelProgress()
    workers = effort.workers or cores()
    waiting: deque[tuple[list[Loaded], ChunkParts | Future[ChunkParts]]] = deque()
    taken = settled = 0

    def settle() -> None:
        nonlocal settled
        chunk, parts = waiting.popleft()
        size = sum(loaded.size for loaded in chunk)
        settled += size
        kept = isinstance(parts, ChunkParts)
        before = made.items
        _take(made, recipe, chunk, parts if isinstance(parts, ChunkParts) else parts.result())
        progress.items, progress.bytes = made.items, made.digest.size
        progress.skipped = len(made.skipped)
        progress.kept += kept
        if not kept:
            progress.made_items += made.items - before
            progress.made_bytes += size
        if meter.total and taken:
            # Of what was read, some is still being made.
            progress.fraction = min(1.0, meter.done / meter.total) * settled / taken
        effort.on_progress(progress)

    with pool(workers) as makers, pool(2 * workers) as readers:
        loaded = load_items(recipe, meter, readers, 4 * workers)
        for index, chunk in enumerate(_to_the_first_error(chunks(loaded, recipe.item))):
            if isinstance(chunk, HarnessError):
                # Whether it matters is known once all before it is made.
                while waiting and not _is_enough(made, recipe):
                    settle()
                if not _is_enough(made, recipe):
                    raise chunk
                break
            path = work.place.parts / f"{index:08d}"
            taken += sum(each.size for each in chunk)
            known = find_chunk(path, chunk)
            waiting.append((chunk, known or makers.submit(make_chunk, path, chunk, recipe)))
            if len(waiting) > workers + 1:
                settle()
            if _is_enough(made, recipe):
                break
        meter.done = meter.total or 0  # also where not all of it was wanted
        while waiting and not _is_enough(made, recipe):
            settle()
    return made


def _to_the_first_error(chunks: Iterator[list[Loaded]]) -> Iterator[list[Loaded] | HarnessError]:
    """The chunks; and last, where the source cannot be read on, why."""
    try:
        yield from chunks
    except HarnessError as error:
        yield error


def _is_enough(made: _Made, recipe: Recipe) -> bool:
    return recipe.limit is not None and made.items >= recipe.limit


def _take(made: _Made, recipe: Recipe, chunk: list[Loaded], parts: ChunkParts) -> None:
    """Count the parts of a chunk in; of the last one, only so many arrays as are asked for."""
    before = made.items
    labels: list[int] = []
    videos: list[int] = []
    for loaded, came in zip(chunk, parts.outcomes, strict=False):
        if _is_enough(made, recipe):
            break
        made.digest.add(loaded)
        if isinstance(came, str):
            if recipe.found.source.broken is None:
                raise _refusal(recipe, loaded.item, came)
            made.skipped.append((loaded.item.name, came))
            continue
        if recipe.limit is not None:
            came = min(came, recipe.limit - made.items)
        made.items += came
        made.empty += came == 0
        if loaded.item.label is not None:
            labels += [loaded.item.label] * came
        if recipe.found.source.frames is not None:
            videos += [made.digest.items - 1] * came
    for known, more in ((made.labels, labels), (made.videos, videos)):
        if more:
            known.append(np.asarray(more, np.int64))
    left = made.items - before
    for path, header in zip(parts.paths, parts.headers, strict=True):
        count = min(left, header.shape[0])
        left -= count
        if count:
            if count < header.shape[0]:
                _shorten(path, count)
            made.paths.append(path)
            made.hashes.append(hashes_of(header)[:count])


def _shorten(path: Path, count: int) -> None:
    found = read_part(path)
    if found is None:
        raise HarnessError(
            "a finished part cannot be read back",
            where=str(path),
            hint="check the disk; the same command makes it again",
        )
    write_part(path, found[1][:count], made_of="", extra={})


def _refusal(recipe: Recipe, item: Item, why: str) -> HarnessError:
    source = recipe.found.source
    what = "image" if source.frames is None else "clip"
    return HarnessError(
        f"the {what} cannot be decoded: {why}",
        where=item.where,
        hint=f"mend or remove it; {replace(source, broken='skip')} leaves out what is broken, and "
        "lists it",
    )
