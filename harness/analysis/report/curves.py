"""A run's training log, thinned to a curve that a page can hold."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.fields import COUNT, NUMBER, remedy

#: What of the log is drawn, where the log has it.
CURVES = ("loss", "grad_norm", "energy_gap")


@dataclass(frozen=True)
class Curve:
    """Some lines of a log, evenly spaced, the first and the last among them, of `logged` in all.

    A value that is missing or not finite is None.
    """

    steps: tuple[int, ...]
    values: Mapping[str, tuple[float | None, ...]]
    logged: int

    def last(self, name: str) -> float | None:
        """The value of the last line."""
        found = self.values.get(name)
        return found[-1] if found else None

    def thinned(self, points: int) -> Curve:
        """The same with at most so many points."""
        kept = evenly(len(self.steps), points)
        values = {name: tuple(own[i] for i in kept) for name, own in self.values.items()}
        return Curve(tuple(self.steps[i] for i in kept), values, self.logged)


def evenly(number: int, most: int) -> list[int]:
    """At most `most` (two or more) of the places 0 … number - 1, the first and last among them."""
    count = min(most, number)
    return sorted({round(i * (number - 1) / max(1, count - 1)) for i in range(count)})


def training_curve(log: Path, points: int) -> Curve | None:
    """At most `points` lines of a log; None where it has none.

    Only those lines are read as JSON, since a log may be long. HarnessError for one that is
    damaged.
    """
    if not log.exists():
        return None
    lines = _lines(log)
    if not lines:
        return None
    kept = [_line(log, place, lines[place]) for place in evenly(len(lines), points)]
    found = {
        name: tuple(_finite(line.get(name)) for line in kept)
        for name in CURVES
        if any(line.get(name) is not None for line in kept)
    }
    return Curve(tuple(int(line["step"]) for line in kept), found, len(lines))


def _lines(log: Path) -> list[bytes]:
    """Every complete line; a last line cut short by a crash is left out, as everywhere."""
    try:
        content = log.read_bytes()
        content = gzip.decompress(content) if log.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise HarnessError(f"cannot read: {error}", where=str(log), hint=remedy(log)) from error
    lines = [line for line in content.split(b"\n") if line]
    if lines and not content.endswith(b"\n"):
        try:
            json.loads(lines[-1])
        except ValueError:
            lines.pop()
    return lines


def _line(log: Path, place: int, text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or COUNT.fault([found.get("step")]) is not None:
        raise HarnessError("the line is not one of a training log", where=f"{log}:{place + 1}")
    return found


def _finite(value: Any) -> float | None:
    return float(value) if NUMBER.fault([value]) is None else None
