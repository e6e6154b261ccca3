"""Where exhibits are written: whatever goes wrong there is one error of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import HarnessError


@contextmanager
def written_to(place: Path) -> Iterator[None]:
    """HarnessError for an error of the file system, such as a full disk or a name too long."""
    try:
        yield
    except OSError as error:
        raise HarnessError(
            f"cannot write here: {error.strerror or error}",
            where=str(place),
            hint="no file is left half-written; make room, or give another place with --out",
        ) from error
