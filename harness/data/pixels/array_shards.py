"""Items of one shape and type, such as images, in parts on disk: written once, memory-mapped.

A part is a file that says what it was made of, so that whoever prepares them keeps the parts of a
process that was killed. Once all are there, the folder is named by what it holds and gets an index.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from harness.data.checked import note_checked, set_aside, unchecked
from harness.errors import HarnessError

_FORMAT = 2
_INDEX = "index.json"
_MAGIC = b"harness array part\n"
#: What is raised for a file that is not there, and for one that is not what was written.
_ABSENT = (FileNotFoundError, NotADirectoryError)
_DAMAGED = (ValueError, TypeError, KeyError)
#: Parts of all sets that are mapped at a time: each holds a file open.
MAPPED = 64


@dataclass(frozen=True, eq=False)
class ArrayShards:
    """Items of one shape, in order; behaves like a read-only array of shape (N, *item).

    `index` is what was written beside the parts, such as the digest of the source; `starts`
    int64[parts + 1] the number of the first item of each part, and N.
    """

    folder: Path
    starts: NDArray[np.int64]
    item: tuple[int, ...]
    dtype: np.dtype[Any]
    index: dict[str, Any]

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), *self.item

    def __getitem__(self, ids: int | slice | NDArray[np.int64]) -> NDArray[Any]:
        """A copy of the items `ids`: one, a slice of them, or an array of ids of any shape."""
        if isinstance(ids, slice):
            ids = np.arange(*ids.indices(len(self)))
        wanted = np.asarray(ids, np.int64)
        flat = wanted.reshape(-1)
        if flat.size and (flat.min() < 0 or flat.max() >= len(self)):
            raise IndexError(f"ids must be in [0, {len(self)})")
        found = np.empty((len(flat), *self.item), self.dtype)
        places = np.searchsorted(self.starts, flat, side="right") - 1
        for place in np.unique(places):
            here = places == place
            found[here] = _mapped(self, int(place))[flat[here] - self.starts[place]]
        return found.reshape(*wanted.shape, *self.item)

    def beside(self, name: str) -> NDArray[Any] | None:
        """The array of that name that was published with the items; None where there is none."""
        if name not in self.index["beside"]:
            return None
        return np.asarray(np.load(self.folder / f"{name}.npy", allow_pickle=False))

    def part(self, place: int) -> NDArray[Any]:
        """The items of one part, memory-mapped for as long as the array is held."""
        part = self.index["parts"][place]
        shape = (part["items"], *self.item)
        if 0 in shape:
            return np.empty(shape, self.dtype)
        path = self.folder / part["name"]
        return np.memmap(path, dtype=self.dtype, mode="r", offset=part["begin"], shape=shape)


@functools.lru_cache(MAPPED)
def _mapped(shards: ArrayShards, place: int) -> NDArray[Any]:
    return shards.part(place)


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
    header = PartHeader(made_of, items.shape, items.dtype.str, _crc(items), extra)
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

    Unchecked, only its length is looked at. HarnessError where it is there and cannot be opened.
    """
    try:
        with _opening(path), path.open("rb") as file:
            header, start = _header(file), file.tell()
        if header is None:
            return None
        shape, dtype = header.shape, np.dtype(header.dtype)
        if 0 in shape:
            return header, np.empty(shape, dtype)
        with _opening(path):
            items = np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape)
    except HarnessError:
        raise
    except (*_ABSENT, *_DAMAGED):
        return None
    if path.stat().st_size != start + items.nbytes:
        return None
    return None if check and _crc(items) != header.crc else (header, items)


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    """HarnessError for what is there and cannot be opened: that does not tell whether it is whole.

    What is not there stays a FileNotFoundError.
    """
    try:
        yield
    except _ABSENT:
        raise
    except OSError as error:
        raise HarnessError(
            f"prepared data cannot be read: {error.strerror or error}",
            where=str(error.filename or path),
            hint="they stay as they are; the same command goes on once they can be read",
        ) from error


def _header(file: IO[bytes]) -> PartHeader | None:
    """The header of a part that is read from its beginning; ValueError where it is damaged."""
    if file.readline() != _MAGIC:
        return None
    read = json.loads(file.readline())
    return PartHeader(**(read | {"shape": tuple(read["shape"])}))


def _crc(items: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(items).data) if items.size else 0


# --- the folder ------------------------------------------------------------------------------


def shards_folder(cache: Path, identity: dict[str, Any]) -> Path:
    """The folder of what `identity` describes: the source's digest, and how it was prepared."""
    key = json.dumps({"format": _FORMAT, **identity}, sort_keys=True).encode()
    return cache / f"arrays-{hashlib.sha256(key).hexdigest()[:32]}"


def publish(
    building: Path,
    folder: Path,
    parts: Sequence[Path],
    index: dict[str, Any],
    beside: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Make `building`, which holds `parts`, into `folder`, whole or not at all.

    The arrays `beside` are kept with the items. Other files of `building` are removed, and so is a
    damaged `folder`; where another process was first, its folder stays. The parts must be as this
    process wrote or checked them. OSError where the disk is full or not ours; ValueError where a
    part cannot be read back, or there is none.
    """
    keep = {part.name for part in parts}
    for path in building.iterdir():
        if path.name not in keep:
            path.unlink()
    found = [_described(part) for part in parts]
    (shape,) = {(tuple(header.shape[1:]), header.dtype) for header, _ in found}
    checks = {}
    for name, array in (beside or {}).items():
        np.save(building / f"{name}.npy", array)
        checks[name] = zlib.crc32((building / f"{name}.npy").read_bytes())
    content = {
        "item": shape[0],
        "dtype": shape[1],
        "parts": [
            {"name": path.name, "items": header.shape[0], "begin": begin, "crc": header.crc}
            for path, (header, begin) in zip(parts, found, strict=True)
        ],
        "beside": checks,
    }
    (building / _INDEX).write_text(json.dumps(content | index, indent=1) + "\n")
    building.chmod(0o755)
    note_checked(building, _names(content))
    if open_shards(folder) is None:
        with suppress(OSError):
            set_aside(folder)
    try:
        building.rename(folder)
    except OSError:
        if open_shards(folder) is None:
            raise
        shutil.rmtree(building, ignore_errors=True)


def open_shards(folder: Path) -> ArrayShards | None:
    """Open a finished folder; None where there is none, or it is not what was written.

    It is read through once; that it was whole is known from then on until a file of it changes.
    HarnessError where it is there and cannot be read, so that nobody takes it for damaged.
    """
    try:
        with _opening(folder):
            index: dict[str, Any] = json.loads((folder / _INDEX).read_bytes())
            item, dtype = tuple(index["item"]), np.dtype(index["dtype"])
            starts = np.cumsum([0, *(part["items"] for part in index["parts"])], dtype=np.int64)
            shards, names = ArrayShards(folder, starts, item, dtype, index), _names(index)
            to_read = unchecked(folder, names)
            if to_read:
                if not _is_whole(shards, set(to_read)):
                    return None
                note_checked(folder, names)
    except HarnessError:
        raise
    except (*_ABSENT, *_DAMAGED):
        return None
    return shards


def read_index(folder: Path) -> dict[str, Any] | None:
    """The index of a finished folder; None where there is none."""
    try:
        with _opening(folder):
            index: dict[str, Any] = json.loads((folder / _INDEX).read_bytes())
    except HarnessError:
        raise
    except (*_ABSENT, *_DAMAGED):
        return None
    return index


def _names(index: Mapping[str, Any]) -> list[str]:
    """The files of a folder besides its index."""
    return [part["name"] for part in index["parts"]] + [f"{name}.npy" for name in index["beside"]]


def _is_whole(shards: ArrayShards, names: set[str]) -> bool:
    """Whether the files of these names hold what was written into them."""
    folder = shards.folder
    for place, part in enumerate(shards.index["parts"]):
        if part["name"] not in names:
            continue
        items = shards.part(place)
        size = part["begin"] + items.nbytes
        if (folder / part["name"]).stat().st_size != size or _crc(items) != part["crc"]:
            return False
    return all(
        zlib.crc32((folder / f"{name}.npy").read_bytes()) == crc
        for name, crc in shards.index["beside"].items()
        if f"{name}.npy" in names
    )


def _described(path: Path) -> tuple[PartHeader, int]:
    """A part's header, and where its items begin."""
    with path.open("rb") as file:
        header = _header(file)
        if header is None:
            raise ValueError(f"{path} is not a part")
        return header, file.tell()
