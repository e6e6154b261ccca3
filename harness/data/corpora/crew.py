"""Processes that tokenize parts side by side, each on one core.

They are started as programs of their own: a fork would copy a process that may hold torch, threads
and devices, and Python's own pool would import the caller's main module again.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.data.corpora.parts import Header
from harness.errors import HarnessError


class Crew:
    """`workers` processes with a tokenizer each; use as a context. They start when first asked."""

    def __init__(self, tokenizer: str, workers: int, grams: Path | None) -> None:
        self._command = [sys.executable, "-m", "harness.data.corpora.parts", tokenizer]
        self._command += [] if grams is None else [str(grams)]
        self._threads = ThreadPoolExecutor(workers)
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            for process in self._started:
                process.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for process in self._started:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(OSError):
                process.stdin.close()
            process.wait()
            process.stdout.close()

    def make(self, path: Path, texts: Sequence[bytes]) -> Future[Header]:
        """The part's header, once it is written; the future raises what went wrong."""
        return self._threads.submit(self._make, path, list(texts))

    def _make(self, path: Path, texts: list[bytes]) -> Header:
        process = self._process()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump((str(path), texts), process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            code = process.wait()
            raise HarnessError(
                f"a process that tokenizes ended unexpectedly (exit code {code})",
                hint="-9 is often a lack of memory: give fewer --workers. What is finished is "
                "kept; the same command goes on from there",
            ) from error
        self._idle.put(process)
        if isinstance(answer, BaseException):
            raise answer
        return Header(**answer)

    def _process(self) -> subprocess.Popen[bytes]:
        with suppress(queue.Empty):
            return self._idle.get_nowait()
        package = str(Path(__file__).parents[3])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        # One thread each: side by side they keep all cores busy, and nothing waits for Python.
        alone = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | alone | {"PYTHONPATH": os.pathsep.join(paths)},
        )
        self._started.append(process)
        return process
