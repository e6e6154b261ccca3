"""What a disk refuses, told alike whatever reads or writes: damaged files, full folders."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from harness.errors import HarnessError

#: pyarrow's are of these too.
_DAMAGED = (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile, SafetensorError)


@contextmanager
def readable(path: Path, what: str = "the file") -> Iterator[None]:
    """HarnessError where what lies at `path` is damaged or cannot be opened."""
    try:
        yield
    except HarnessError:
        raise
    except _DAMAGED as error:
        raise HarnessError(
            f"{what} cannot be read: {str(error).strip() or type(error).__name__}", where=str(path)
        ) from error


@contextmanager
def writable(cache: Path) -> Iterator[None]:
    """HarnessError where the disk is full, or the folder is not ours."""
    try:
        yield
    except OSError as error:
        raise HarnessError(
            f"the data cache cannot be written: {error}",
            where=str(cache),
            hint="make room, or choose another --results; the same command then goes on",
        ) from error
