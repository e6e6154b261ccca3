"""Text into token shards: small sets at once, large ones in parts, side by side and resumable.

A large split is read once, as a stream cut into parts of about a megabyte. Each part is a file; one
that was finished before, by a process that was killed, is kept if it was made of the same text.
Parts follow from the text alone, so neither the number of processes nor interruptions change a
byte. Memory holds the parts that are being made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.data.corpora.crew import Crew
from harness.data.corpora.parts import LEFT_OUT, Header, make_part, part_digest, read_part
from harness.data.corpora.reading import Named
from harness.data.corpora.shards import Encoded, Identity, TextShards, ensure_shards, open_shards
from harness.data.corpora.streams import SplitSource, chunks, split_source, texts_of
from harness.data.datasets import load_documents
from harness.data.documents import Documents, TextDigest
from harness.data.effort import Effort, Meter, Workplace, cores, made_by_one
from harness.data.measured import (
    Measured,
    check_lock,
    check_unchanged,
    fingerprint,
    is_small,
    recall,
    remember,
)
from harness.data.names import is_source
from harness.data.tokenizer import BYTES, Tokenizer, load_tokenizer
from harness.errors import HarnessError

_PARTS_FORMAT = 1
_CHUNK_TEXTS = 1 << 10


@dataclass
class Progress:
    """How far it is: documents, bytes and tokens of finished parts.

    `kept` parts were made before, `made_bytes` and `made_tokens` are those of the others;
    `fraction` of the source was read, None where its size is not known; `processes` made parts.
    """

    documents: int = 0
    bytes: int = 0
    tokens: int = 0
    made_bytes: int = 0
    made_tokens: int = 0
    kept: int = 0
    fraction: float | None = None
    processes: int = 1


def prepare_text(
    name: str, split: str, *, tokenizer: str, cache: Path, effort: Effort | None = None
) -> TextShards:
    """Return the shards of a split, tokenizing it unless `cache` holds it already.

    The cache folder is named by what it holds (documents, tokenizer, format) and appears whole or
    not at all, so processes may prepare at once; a damaged one is rebuilt. Raises HarnessError for
    an unknown dataset, split or tokenizer, for text that is not what the lock file says, and when
    `cache` cannot be written.
    """
    loaded, effort = load_tokenizer(tokenizer), effort or Effort()
    found = split_source(name, split) if is_source(name) else None
    if found is None or is_small(found):
        documents = load_documents(name, split)
        check_lock(cache, name, split, documents.digest)
        identity = Identity(name, split, documents.digest, documents.size, loaded)
        return ensure_shards(identity, cache, lambda: _at_once(documents, loaded, effort))
    work = _Work(name, found, tokenizer, loaded, cache)
    return made_by_one(work.place.lock, work.ready, lambda: _prepare(work, effort), effort.on_wait)


@dataclass(frozen=True)
class _Work:
    """A large split to be tokenized, and where."""

    name: str
    found: SplitSource
    given: str
    tokenizer: Tokenizer
    cache: Path

    @property
    def place(self) -> Workplace:
        source, split = str(self.found.source), self.found.split
        here = str(Path.cwd()) if self.found.source.is_local else ""
        what = [_PARTS_FORMAT, source, split, here, self.tokenizer.digest]
        return Workplace.of(self.cache, what)

    def identity(self, measured: Measured) -> Identity:
        split, digest = self.found.split, measured.digest
        return Identity(self.name, split, digest, measured.bytes, self.tokenizer)

    def ready(self) -> TextShards | None:
        """What was prepared before, where the sources are still what they were."""
        measured = recall(self.found, self.cache)
        if measured is None:
            return None
        check_lock(self.cache, self.name, self.found.split, measured.digest)
        return open_shards(self.identity(measured), self.cache)


def _at_once(documents: Documents, tokenizer: Tokenizer, effort: Effort) -> Iterator[Encoded]:
    progress = Progress(documents=len(documents.texts), bytes=documents.size)
    for start in range(0, len(documents.texts), _CHUNK_TEXTS):
        places = slice(start, start + _CHUNK_TEXTS)
        with _naming(zip(documents.names[places], documents.texts[places], strict=True)):
            encoded = tokenizer.encode_documents(documents.texts[places])
        progress.tokens += len(encoded[0])
        progress.made_tokens += len(encoded[0])
        progress.made_bytes = documents.size
        yield encoded
    effort.on_progress(progress)


def _prepare(work: _Work, effort: Effort) -> TextShards:
    before = fingerprint(work.found)
    with work.place.open():
        measured, paths = _make_parts(work, effort)
    check_unchanged(work.found, before)
    if measured.items == 0:
        work.place.clear()
        raise work.found.nothing()
    check_lock(work.cache, work.name, work.found.split, measured.digest)
    shards = ensure_shards(
        work.identity(measured), work.cache, lambda: _joined(paths, work.tokenizer)
    )
    remember(work.found, before, measured, work.cache)
    work.place.clear()
    return shards


def _make_parts(work: _Work, effort: Effort) -> tuple[Measured, list[Path]]:
    """Every part of the split in its folder; those that are there already are only checked."""
    digest, paths, progress, meter = TextDigest(), [], Progress(), Meter()
    workers = effort.workers or cores()
    grams = work.found.held_out_grams
    waiting: deque[tuple[Path, list[Named], Future[Header] | None]] = deque()
    taken = settled = made = 0

    def settle() -> None:
        nonlocal settled
        path, chunk, future = waiting.popleft()
        texts = texts_of(chunk)
        settled += sum(map(len, texts))
        if future is not None:
            with _naming(chunk):
                future.result()
        part = read_part(path, work.tokenizer.vocab_size)
        if part is None:
            raise _damaged(path)
        header, lengths, _ = part
        for text, length in zip(texts, lengths, strict=True):
            if length != LEFT_OUT:
                digest.add(text)
        progress.documents, progress.bytes = digest.documents, digest.size
        progress.tokens += header.tokens
        progress.kept += future is None
        if future is not None:
            progress.made_tokens += header.tokens
            progress.made_bytes += sum(map(len, texts))
        if meter.total and taken:
            # Of what was read, some is still being made.
            progress.fraction = min(1.0, meter.done / meter.total) * settled / taken
        effort.on_progress(progress)

    apart = work.given != BYTES or grams is not None  # else sending the text costs as much
    with _makers(work, workers if apart else None) as make:
        for index, chunk in enumerate(chunks(work.found.candidates(meter))):
            path, texts = work.place.parts / f"{index:08d}", texts_of(chunk)
            paths.append(path)
            taken += sum(map(len, texts))
            known = read_part(path, work.tokenizer.vocab_size) if path.exists() else None
            done = known is not None and known[0].made_of == part_digest(texts, grams)
            waiting.append((path, chunk, None if done else make(path, texts)))
            made += not done
            progress.processes = max(1, min(made, workers)) if apart else 1
            if len(waiting) > 2 * workers:
                settle()
        meter.done = meter.total or 0  # also where not all of it was wanted
        while waiting:
            settle()
    return Measured(digest.hexdigest(), digest.documents, digest.size), paths


@contextmanager
def _makers(
    work: _Work, workers: int | None
) -> Iterator[Callable[[Path, list[bytes]], Future[Header]]]:
    """What makes a part: so many other processes, or this one."""
    grams = work.found.held_out_grams
    if workers is None:
        yield lambda path, texts: _done(make_part(path, texts, work.tokenizer, None))
        return
    path = None
    if grams is not None:
        path = work.place.parts / "grams.npy"
        np.save(path, grams.hashes)
    with Crew(work.given, workers, path) as crew:
        yield crew.make


@contextmanager
def _naming(documents: Iterable[Named]) -> Iterator[None]:
    """What a tokenizer refuses is told with the name of the document."""
    try:
        yield
    except HarnessError as error:
        for name, text in documents:
            try:
                text.decode()
            except UnicodeDecodeError:
                raise error.located(name) from error
        raise


def _done(header: Header) -> Future[Header]:
    future: Future[Header] = Future()
    future.set_result(header)
    return future


def _joined(paths: list[Path], tokenizer: Tokenizer) -> Iterator[Encoded]:
    for path in paths:
        part = read_part(path, tokenizer.vocab_size)
        if part is None:
            raise _damaged(path)
        _, lengths, tokens = part
        yield tokens, lengths[lengths != LEFT_OUT]


def _damaged(path: Path) -> HarnessError:
    return HarnessError(
        "a finished part cannot be read back",
        where=str(path),
        hint="check the disk; the same command makes it again",
    )
