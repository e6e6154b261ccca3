"""The wish to stop, as signals bring it: training looks for it, other work is interrupted by it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """A signal asked for an end outside training."""


class StopFlag:
    """Set by a signal; `signals` are those that came, in order."""

    def __init__(self) -> None:
        self.asked = False
        self.interrupt = False
        self.signals: list[signal.Signals] = []

    def install(self, *signals: signal.Signals) -> None:
        """Listen to `signals`; to SIGINT and SIGTERM where none are given."""
        for number in signals or (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self.signals.append(signal.Signals(number))
        if self.interrupt:
            self.interrupt = False
            raise Stopped

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let a signal end the work inside at once (it writes its result last)."""
        self.interrupt = True
        try:
            if self.asked:
                raise Stopped
            yield
        finally:
            self.interrupt = False
