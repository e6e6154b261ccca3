"""Is an evaluation set disjoint from the text that was trained on? Looked at once for each pair.

Training text is read as a stream, so that it need not fit in memory, and what was found for a large
one is kept under the two digests.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.data.corpora.reading import Named
from harness.data.corpora.sources import parse_source
from harness.data.corpora.streams import chunks, split_named, split_source, texts_of
from harness.data.datasets import dataset_digest, load_documents
from harness.data.disjoint import GRAM_WORDS, Overlap, overlaps_with, refuse_overlap
from harness.data.documents import Documents
from harness.data.measured import is_small, prepared_digest
from harness.data.names import is_source
from harness.records import locked, write_json


def stream_documents(name: str, split: str) -> Iterator[Named]:
    """(name, text) of each of the documents that `load_documents` returns, not held in memory."""
    if is_source(name):
        yield from split_source(name, split).documents()
        return
    documents = load_documents(name, split)
    yield from zip(documents.names, documents.texts, strict=True)


def check_disjoint_from(name: str, *, evaluation: Documents, cache: Path) -> Overlap:
    """What the train split of data set `name` shares with `evaluation`, which is nothing.

    HarnessError with the counts where they share a document or a word 13-gram.
    """
    overlap = overlap_with_training(name, evaluation=evaluation, cache=cache)
    refuse_overlap(overlap, (name, "train"), (evaluation.name, evaluation.split))
    return overlap


def split_overlap(name: str, *, data: str, split: str, cache: Path) -> Overlap:
    """What the train split of `name` shares with a split of text, which is read if need be."""
    known = known_overlap(name, data=data, split=split, cache=cache)
    if known is not None:
        return known
    return overlap_with_training(name, evaluation=load_documents(data, split), cache=cache)


def known_overlap(name: str, *, data: str, split: str, cache: Path) -> Overlap | None:
    """The same as it was found before, by the digests that both splits were prepared with.

    Neither is read; None where nothing is known.
    """
    if not is_source(data):
        return None
    digest = prepared_digest(data, split, cache)
    if _held_out_together(name, data, split):
        return _nothing_shared(digest or "")
    if digest is None:
        return None
    train = dataset_digest(name, "train", cache=cache)
    return _recalled(_kept(name, train, (data, split), digest, cache))


def overlap_with_training(name: str, *, evaluation: Documents, cache: Path) -> Overlap:
    """What the train split of data set `name` shares with `evaluation`, whatever it is."""
    (overlap,) = find_overlaps(name, evaluations=[evaluation], cache=cache)
    return overlap


def find_overlaps(name: str, *, evaluations: Sequence[Documents], cache: Path) -> list[Overlap]:
    """What the train split of `name` shares with each set; it is read once, for those not known.

    Where the result is kept, other processes that ask about the same training text wait for it.
    """
    found = {
        each.digest: _nothing_shared(each.digest)
        for each in evaluations
        if _held_out_together(name, each.name, each.split)
    }
    if all(each.digest in found for each in evaluations):
        return [found[each.digest] for each in evaluations]
    train = dataset_digest(name, "train", cache=cache)
    kept = {e.digest: _kept(name, train, (e.name, e.split), e.digest, cache) for e in evaluations}

    def missing() -> list[Documents]:
        recalled = {digest: _recalled(kept[digest]) for digest in kept.keys() - found.keys()}
        found.update((digest, overlap) for digest, overlap in recalled.items() if overlap)
        return [each for each in evaluations if each.digest not in found]

    def search(asked: Sequence[Documents]) -> None:
        stream = map(texts_of, chunks(stream_documents(name, "train")))
        for overlap in overlaps_with(stream, train_digest=train, evaluations=asked):
            found[overlap.evaluation_digest] = overlap
            path = kept[overlap.evaluation_digest]
            if path is not None:
                write_json(path, asdict(overlap))

    if any(kept[each.digest] for each in missing()):
        lock = cache / "overlaps" / f"{train[:32]}.lock"
        with locked(lock, wait_seconds=math.inf):
            if asked := missing():
                search(asked)
    elif asked := missing():
        search(asked)
    return [found[each.digest] for each in evaluations]


def _held_out_together(name: str, data: str, split: str) -> bool:
    """Training documents that share anything with these were left out when they were read."""
    same = (data, split) == (name, "validation")
    return same and is_source(name) and parse_source(name).holdout is not None


def _nothing_shared(digest: str) -> Overlap:
    return Overlap("", digest, documents=0, grams=0, touched=0, compared=0, shared=())


def _kept(
    name: str, train: str, evaluation: tuple[str, str], digest: str, cache: Path
) -> Path | None:
    """Where the result is kept; None where both are soon read again."""
    if not _is_large(name, "train") and not _is_large(*evaluation):
        return None
    key = json.dumps([train, digest, GRAM_WORDS])
    return cache / "overlaps" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _is_large(name: str, split: str) -> bool:
    return is_source(name) and not is_small(split_named(name, split))


def _recalled(path: Path | None) -> Overlap | None:
    if path is None or not path.is_file():
        return None
    try:
        note: dict[str, Any] = json.loads(path.read_bytes())
        return Overlap(**note | {"shared": tuple(note["shared"])})
    except (ValueError, TypeError, KeyError):
        return None
