"""How and where exhibits are written: CSV, and one error of the user's for whatever goes wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

from harness.errors import HarnessError

#: Below this every whole number is a float.
_EXACT = 2**53
#: What arithmetic adds to a whole number, relative to it.
_NOISE = 1e-12


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


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows under all their keys, missing ones empty.

    Whole numbers in full where a float tells them apart, others to ten significant digits: what
    comes after the twelfth depends on the order in which a processor sums, and files should be the
    same wherever they are made.
    """
    text = io.StringIO()
    keys = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, keys, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _shortened(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _shortened(value: Any) -> Any:
    if not isinstance(value, float) or not isfinite(value):
        return value
    whole = round(value)
    if abs(whole) < _EXACT and abs(value - whole) <= _NOISE * abs(value):
        return float(whole)
    shortened = float(f"{value:.10g}")
    return shortened if isfinite(shortened) else value
