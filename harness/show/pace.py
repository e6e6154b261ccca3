"""How far preparing is, as it is told: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from harness.data.effort import Effort

_PLAIN_SECONDS = 10.0

T = TypeVar("T")


@dataclass(frozen=True)
class Telling:
    """How it is told: on `console`, under `title`; `hint` follows an interruption."""

    console: Console
    title: str
    line: Line
    hint: str | None = None


class Progress(Protocol):
    """What every kind of preparing tells: the share that was read, None where that is unknown."""

    @property
    def fraction(self) -> float | None: ...
    @property
    def made_bytes(self) -> int: ...


class Line(Protocol):
    """What a progress says of its own; given the seconds since the first part that was made now,
    with its rates. They are None before.
    """

    def __call__(self, progress: Any, seconds: float | None) -> str: ...


@dataclass
class _Pace:
    """Rates since the first part that was made now; those found finished cost nothing."""

    line: Line
    began: float
    share: float = 0.0

    def told(self, progress: Progress) -> str:
        """`1,200 documents  5.2 MB  2.3 MB/s  0.58 M tokens/s  2 min left`."""
        now = time.monotonic()
        if progress.made_bytes == 0:
            self.began, self.share = now, progress.fraction or 0.0
            return self.line(progress, None)
        seconds = max(now - self.began, 1e-9)
        text = self.line(progress, seconds)
        if progress.fraction is not None and progress.fraction > self.share:
            left = seconds * (1 - progress.fraction) / (progress.fraction - self.share)
            text += f"  {_duration(left)} left"
        return text


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def telling(console: Console, title: str, line: Line) -> Iterator[Any]:
    """A function that shows progress: a bar on a terminal, else a line now and then."""
    pace, told = _Pace(line, time.monotonic()), [time.monotonic()]
    if not console.is_terminal:

        def say(progress: Progress) -> None:
            line = pace.told(progress)
            if time.monotonic() - told[0] >= _PLAIN_SECONDS:
                told[0] = time.monotonic()
                share = "" if progress.fraction is None else f"{100 * progress.fraction:.0f} %  "
                console.print(f"{escape(title)}: {share}{line}", soft_wrap=True)

        yield say
        return
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[line]}")
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(escape(title), total=None, line="")

        def show(progress: Progress) -> None:
            total = None if progress.fraction is None else 1.0
            done = progress.fraction or 0.0
            bar.update(task, total=total, completed=done, line=pace.told(progress))

        yield show


def made(
    telling_as: Telling, workers: int | None, make: Callable[[Effort], T]
) -> tuple[T, Any, float]:
    """What `make` makes while it is told how far that is, its last progress, and the seconds.

    There is no progress where it was found made. Ctrl-C ends the command with 130.
    """
    console, began = telling_as.console, time.monotonic()
    last: list[Any] = []

    def on_wait() -> None:
        console.print("Another process prepares it already; waiting.")

    with telling(console, telling_as.title, telling_as.line) as tell:

        def on_progress(progress: Any) -> None:
            last[:] = [progress]
            tell(progress)

        try:
            found = make(Effort(workers, on_progress, on_wait))
        except KeyboardInterrupt:
            console.print("Interrupted. The same command goes on from what is finished.")
            if telling_as.hint is not None:
                console.print(telling_as.hint, soft_wrap=True, markup=False)
            raise SystemExit(130) from None
    return found, last[0] if last else None, time.monotonic() - began
