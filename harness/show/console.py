"""The console and how numbers and runs are written on it."""

from __future__ import annotations

from rich.console import Console

_PIPE_WIDTH = 160
_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def terminal(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal; wide enough for every table where there is none."""
    console = Console(highlight=False, stderr=stderr)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console


def si(value: float | None) -> str:
    """Three significant digits with an SI prefix: 1234567 is `1.23 M`; empty where missing."""
    if value is None:
        return ""
    for size, prefix in _PREFIXES:
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g} "
