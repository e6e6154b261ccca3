"""Arrays of a record's `.npz` file, each read where it is asked for."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.fields import remedy


class StoredArrays:
    """The arrays of one file by name; HarnessError for one that is damaged or not there."""

    def __init__(self, stored: Any, path: Path) -> None:
        self._stored = stored
        self._path = path
        self.files: list[str] = list(stored.files)

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def get(self, name: str) -> NDArray[Any] | None:
        """None where there is no array of that name."""
        if name not in self:
            return None
        return self[name]

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self:
            raise _damaged(self._path, f"there is no array {name!r}")
        try:
            array: NDArray[Any] = self._stored[name]
        except Exception as error:
            raise _damaged(self._path, f"array {name!r}: {error}") from error
        return array


@contextmanager
def stored_arrays(path: str | Path, content: bytes | None = None) -> Iterator[StoredArrays]:
    """Those of a file, or of the `content` that was read of it; HarnessError where it is none."""
    place = Path(path)
    try:
        opened = place.open("rb") if content is None else io.BytesIO(content)
    except OSError as error:
        problem = f"cannot read: {error.strerror or error}"
        raise HarnessError(problem, where=str(place), hint=remedy(place)) from error
    with opened:
        try:
            stored = np.load(opened, allow_pickle=False)
        except Exception as error:  # a damaged file can raise what it likes
            raise _damaged(place, str(error)) from error
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise _damaged(place, "it is one array alone")
        with stored:
            yield StoredArrays(stored, place)


def _damaged(path: Path, problem: str) -> HarnessError:
    where, hint = str(path), remedy(path)
    return HarnessError(f"not a file of arrays: {problem}", where=where, hint=hint)
