"""Is an evaluation set disjoint from the text that was trained on? Looked at once for each pair.

Training text is read as a stream, so that it need not fit in memory, and what was found for a large
one is kept under the two digests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from harness.data.builtin import dataset_digest, load_documents
from harness.data.disjoint import GRAM_WORDS, Overlap, overlaps_with, refuse_overlap
from harness.data.documents import Documents
from harness.data.measured import is_small
from harness.data.reading import Named
from harness.data.sources import is_source, parse_source
from harness.data.streams import chunks, split_source, texts_of
from harness.records import write_json


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
    refuse_overlap(overlap, (name, "train"), evaluation)
    return overlap


def overlap_with_training(name: str, *, evaluation: Documents, cache: Path) -> Overlap:
    """What the train split of data set `name` shares with `evaluation`, whatever it is."""
    (overlap,) = find_overlaps(name, evaluations=[evaluation], cache=cache)
    return overlap


def find_overlaps(name: str, *, evaluations: Sequence[Documents], cache: Path) -> list[Overlap]:
    """What the train split of `name` shares with each set; it is read once, for those not known."""
    if all(_held_out_together(name, evaluation) for evaluation in evaluations):
        return [Overlap("", evaluation.digest, 0, 0, 0) for evaluation in evaluations]
    digest = dataset_digest(name, "train", cache=cache)
    paths = [_kept(name, digest, evaluation.digest, cache) for evaluation in evaluations]
    found = {
        evaluation.digest: overlap
        for evaluation, path in zip(evaluations, paths, strict=True)
        if (overlap := _recalled(path)) is not None
    }
    missing = [evaluation for evaluation in evaluations if evaluation.digest not in found]
    if missing:
        stream = map(texts_of, chunks(stream_documents(name, "train")))
        for overlap in overlaps_with(stream, train_digest=digest, evaluations=missing):
            found[overlap.evaluation_digest] = overlap
    for evaluation, path in zip(evaluations, paths, strict=True):
        if path is not None and evaluation in missing:
            write_json(path, asdict(found[evaluation.digest]))
    return [found[evaluation.digest] for evaluation in evaluations]


def _held_out_together(name: str, evaluation: Documents) -> bool:
    """Training documents that share anything with these were left out when they were read."""
    same = (evaluation.name, evaluation.split) == (name, "validation")
    return same and is_source(name) and parse_source(name).holdout is not None


def _kept(name: str, train: str, evaluation: str, cache: Path) -> Path | None:
    """Where the result is kept; None for training text that is soon read again."""
    if not is_source(name) or is_small(split_source(name, "train")):
        return None
    key = json.dumps([train, evaluation, GRAM_WORDS])
    return cache / "overlaps" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _recalled(path: Path | None) -> Overlap | None:
    if path is None or not path.is_file():
        return None
    try:
        return Overlap(**json.loads(path.read_bytes()))
    except (ValueError, TypeError):
        return None
