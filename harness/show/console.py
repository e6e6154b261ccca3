"""The console that every verb prints on."""

from __future__ import annotations

from rich.console import Console

_PIPE_WIDTH = 160


def terminal(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal; wide enough for every table where there is none."""
    console = Console(highlight=False, stderr=stderr)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console
