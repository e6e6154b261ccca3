"""A model's answers on disk, so that an evaluation that was cut off goes on where it was.

One file per setting, whose name is the hash of everything that an answer depends on besides the
request: first among them the weights. Answers are appended batch by batch.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import HarnessError
from harness.evals.context import EvalContext
from harness.provenance import source_digest
from harness.records import locked

#: Rises when what a request's key or an answer means changes.
FORMAT = 2
FOLDER = "lm_responses"
_PATIENCE_SECONDS = 120.0


def responses_of(
    context: EvalContext, thinking: Any, *, noise_seed: int, tokenizer: str
) -> Responses | None:
    """The answers so far of this model under this setting; None for a model without weights.

    `tokenizer` is its digest. The code's digest is part of the setting too: an adapter that was
    mended does not answer as it did before.
    """
    if context.weights is None:
        return None
    setting = {
        "format": FORMAT,
        "weights": context.weights,
        "adapter": context.record.name,
        "source": source_digest(context.record),
        "thinking": thinking.model_dump(mode="json"),
        "noise_seed": noise_seed,
        "tokenizer": tokenizer,
        "context": getattr(context.shape, "context", None),
        "precision": context.spec.precision,
        "device": context.device.type,
    }
    return Responses(context.cache / FOLDER, setting)


class Responses:
    """Answers by key, those of other processes up to the moment of opening included."""

    def __init__(self, folder: Path, setting: Mapping[str, Any]) -> None:
        self.setting = dict(setting)
        canonical = json.dumps(self.setting, sort_keys=True).encode()
        self.path = folder / f"{hashlib.sha256(canonical).hexdigest()[:24]}.jsonl"
        self._known: dict[str, Any] = {}
        self._open()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str) -> Any | None:
        """The answer to a request, or None where there is none yet."""
        return self._known.get(key)

    def add(self, answers: Mapping[str, Any]) -> None:
        """Keep new answers, on disk before this returns."""
        if not answers:
            return
        lines = "".join(json.dumps([key, answer]) + "\n" for key, answer in answers.items())
        with self._held(), self.path.open("ab+") as handle:
            if handle.tell() == 0:  # another process found the file damaged
                handle.write(json.dumps(self.setting).encode() + b"\n")
            elif not _ends_a_line(handle):  # another process was killed in the middle of one
                handle.write(b"\n")
            handle.write(lines.encode())
        self._known |= answers

    def _open(self) -> None:
        with self._held():
            content = self.path.read_bytes() if self.path.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            if whole:
                try:
                    self._known = _read(whole, self.setting)
                except ValueError as error:
                    print(
                        f"answers kept in {self.path} are damaged ({error}); they are asked again",
                        file=sys.stderr,
                    )
                    self.path.unlink()
                    return
            if whole != content:  # a crash cut the last line short
                os.truncate(self.path, len(whole))

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The file for this process alone."""
        with locked(self.path.with_suffix(".lock"), wait_seconds=_PATIENCE_SECONDS) as held:
            if not held:
                raise HarnessError(
                    f"another process has been writing here for {_PATIENCE_SECONDS:g} s",
                    where=str(self.path),
                    hint="wait for it, or end it",
                )
            yield


def _ends_a_line(handle: BinaryIO) -> bool:
    handle.seek(-1, os.SEEK_END)
    return handle.read(1) == b"\n"


def _read(content: bytes, setting: Mapping[str, Any]) -> dict[str, Any]:
    """The answers of a file, but for lines cut short; ValueError where it is of another setting."""
    first, *lines = content.splitlines()
    if json.loads(first) != setting:
        raise ValueError("they are of another setting")
    known: dict[str, Any] = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str):
            known[entry[0]] = entry[1]
    return known
