"""Items of one shape and type, such as images, in parts on disk: written once, memory-mapped.

A part is a file that says what it was made of, so that whoever prepares them keeps the parts of a
process that was killed. Once all are there, the folder is named by what it holds and gets an index.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError

_FORMAT = 1
_INDEX = "index.json"
_MAGIC = b"harness array part\n"


@dataclass(frozen=True, eq=False)
class ArrayShards:
    """Items of one shape, in order; behaves like a read-only array of shape (N, *item).

    `index` is what was written beside the parts, such as labels and the digest of the source.
    """

    folder: Path
    parts: tuple[NDArray[Any], ...]
    starts: NDArray[np.int64]
    index: dict[str, Any]

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), *self.parts[0].shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.parts[0].dtype

    def __getitem__(self, ids: int | slice | NDArray[np.int64]) -> NDArray[Any]:
        """A copy of the items `ids`: one, a slice of them, or an array of ids of any shape."""
        if isinstance(ids, slice):
            ids = np.arange(*ids.indices(len(self)))
        wanted = np.asarray(ids, np.int64)
        flat = wanted.reshape(-1)
        if flat.size and (flat.min() < 0 or flat.max() >= len(self)):
            raise IndexError(f"ids must be in [0, {len(self)})")
        found = np.empty((len(flat), *self.shape[1:]), self.dtype)
        places = np.searchsorted(self.starts, flat, side="right") - 1
        for part in np.unique(places):
            here = places == part
            found[here] = self.parts[part][flat[here] - self.starts[part]]
        return found.reshape(*wanted.shape, *self.shape[1:])


# --- parts -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class PartHeader:
    """`made_of` says what a part was made of; `extra` is kept beside its items, such as labels."""

    made_of: str
    shape: tuple[int, ...]
    dtype: str
    crc: int
    extra: dict[str, Any]


def write_part(
    path: Path, items: NDArray[Any], *, made_of: str, extra: dict[str, Any]
) -> PartHeader:
    """Write a part whole or not at all. OSError where the disk is full or not ours."""
    items = np.ascontiguousarray(items, items.dtype.newbyteorder("<"))
    header = PartHeader(made_of, items.shape, items.dtype.str, zlib.crc32(items.data), extra)
    content = json.dumps(header.__dict__).encode() + b"\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as out:
            out.write(_MAGIC + content)
            out.write(items.data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return header


def read_part(path: Path, *, check: bool = True) -> tuple[PartHeader, NDArray[Any]] | None:
    """A part's header and items, memory-mapped; None where it is absent, or not whole if `check`.

    Unchecked, only its length is looked at.
    """
    try:
        with path.open("rb") as file:
            if file.readline() != _MAGIC:
                return None
            read = json.loads(file.readline())
            header = PartHeader(**(read | {"shape": tuple(read["shape"])}))
            start = file.tell()
        shape, dtype = header.shape, np.dtype(header.dtype)
        if 0 in shape:
            return header, np.empty(shape, dtype)
        items = np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if path.stat().st_size != start + items.nbytes:
        return None
    return None if check and zlib.crc32(items.data) != header.crc else (header, items)


# --- the folder ------------------------------------------------------------------------------


def shards_folder(cache: Path, identity: dict[str, Any]) -> Path:
    """The folder of what `identity` describes: the source's digest, and how it was prepared."""
    key = json.dumps({"format": _FORMAT, **identity}, sort_keys=True).encode()
    return cache / f"arrays-{hashlib.sha256(key).hexdigest()[:32]}"


def publish(building: Path, folder: Path, parts: Sequence[Path], index: dict[str, Any]) -> None:
    """Make `building`, which holds `parts`, into `folder`, whole or not at all.

    Other files of `building` are removed. Where another process was first, its folder stays.
    """
    keep = {part.name for part in parts}
    for path in building.iterdir():
        if path.name not in keep:
            path.unlink()
    content = {"parts": [part.name for part in parts], **index}
    (building / _INDEX).write_text(json.dumps(content, indent=1) + "\n")
    building.chmod(0o755)
    try:
        building.rename(folder)
    except OSError:
        if open_shards(folder) is None:
            raise
        shutil.rmtree(building, ignore_errors=True)


def open_shards(folder: Path) -> ArrayShards | None:
    """Open a finished folder; None where there is none.

    HarnessError where a part of it is missing or cut short. Its items are not read.
    """
    try:
        index: dict[str, Any] = json.loads((folder / _INDEX).read_bytes())
        names: list[str] = index["parts"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    found = [(name, read_part(folder / name, check=False)) for name in names]
    for name, part in found:
        if part is None:
            raise HarnessError(
                "a part of the prepared data is missing or cut short",
                where=str(folder / name),
                hint=f"remove {folder}; the same command makes it again",
            )
    arrays = tuple(part[1] for _, part in found if part is not None)
    starts = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
    return ArrayShards(folder, arrays, starts, index)


def in_order(shards: ArrayShards, size: int, do: Callable[[NDArray[Any]], None]) -> None:
    """Hand all items to `do`, at most `size` at a time."""
    for start in range(0, len(shards), size):
        do(shards[start : start + size])
