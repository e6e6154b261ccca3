"""Work on several things at once: in forked processes, where there are cores for it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from harness.errors import HarnessError

Item = TypeVar("Item")
Result = TypeVar("Result")

#: More processes than this need memory more than they save time.
_MOST = 4
#: What forked processes find: the work and its items. Sending items would cost more than some work.
_shared: tuple[Callable[[Any], Any], Sequence[Any]] | None = None
_is_forked = False


def spread(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    effort: Callable[[Item], float] = lambda item: 0.0,
) -> Iterator[Result]:
    """`work` of every item, in order, the ones of most effort begun first; results are pickled.

    Elsewhere than on Linux, on one core, and within such work, this process does all itself.
    """
    global _shared
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    processes = min(cores, len(items), _MOST)
    if processes < 2 or _is_forked:
        yield from map(work, items)
        return
    _shared = (work, items)
    # What is here already is no garbage; a collector that looks would copy all of it.
    gc.freeze()
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, context, initializer=_begin) as pool:
        order = sorted(range(len(items)), key=lambda index: -effort(items[index]))
        try:
            with whole():
                waiting = {index: pool.submit(_do, index) for index in order}
        finally:
            _shared = None
            gc.unfreeze()
        try:
            for index in range(len(items)):
                with whole():
                    result = waiting.pop(index).result()
                yield result
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def whole() -> Iterator[None]:
    """HarnessError where one of the processes that share the work was ended from outside."""
    try:
        yield
    except BrokenProcessPool as error:
        raise HarnessError(
            "a process that makes exhibits ended unexpectedly",
            hint="often the machine has no memory left: close other programs, or give fewer suites "
            "at a time",
        ) from error


def _begin() -> None:
    """Ctrl-C reaches all processes of a terminal; one message is enough."""
    global _is_forked
    _is_forked = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _do(index: int) -> Any:
    assert _shared is not None, "set before the fork"
    work, items = _shared
    return work(items[index])
