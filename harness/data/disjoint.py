"""Are training and evaluation text disjoint? By document hash and by word 13-grams.

A document's grams are all its windows of 13 words (lower case, punctuation ignored); a document
of fewer words is one gram, its whole word sequence, so short near duplicates are found too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.data.documents import Documents
from harness.data.keyed import keyed_words
from harness.errors import HarnessError

GRAM_WORDS = 13
_PORTION_BYTES = 1 << 22

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Overlap:
    """What two sets of documents share; a pure function of the two digests, so cacheable by them.

    documents: evaluation documents that are also training documents, byte for byte.
    grams: distinct word 13-grams found in both.
    touched: evaluation documents that hold at least one shared gram.
    compared: the evaluation documents that were looked at.
    shared: the places, from 0, of those that are training documents or hold a shared gram.
    """

    train_digest: str
    evaluation_digest: str
    documents: int
    grams: int
    touched: int
    compared: int
    shared: tuple[int, ...]

    @property
    def disjoint(self) -> bool:
        return self.documents == 0 and self.grams == 0


@dataclass(frozen=True)
class Grams:
    """Hashes of all grams of some documents: `hashes` uint64[G], and the document of each."""

    hashes: NDArray[np.uint64]
    owners: NDArray[np.int64]


@dataclass(frozen=True)
class GramSet:
    """Distinct hashes of grams, uint64[G], sorted."""

    hashes: NDArray[np.uint64]

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.hashes.tobytes()).hexdigest()

    def holds(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of `hashes` are among them."""
        if len(self.hashes) == 0:
            return np.zeros(len(hashes), bool)
        places = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return np.asarray(self.hashes[places] == hashes)

    def touching(self, texts: Sequence[bytes]) -> NDArray[np.bool_]:
        """Which of `texts` hold at least one of the grams."""
        grams = word_grams(texts)
        shared = np.zeros(len(texts), bool)
        shared[grams.owners[self.holds(grams.hashes)]] = True
        return shared


def word_grams(texts: Sequence[bytes]) -> Grams:
    """Return the word 13-grams of `texts`; equal grams have equal hashes in every call.

    Each word and gram is a 64-bit hash: for 10 million grams a false match has odds of 1e-5.
    """
    ids: dict[str, int] = {}
    flat: list[int] = []
    lengths = []
    for text in texts:
        words = _WORD.findall(text.decode("utf-8", "surrogateescape").lower())
        flat.extend([ids.setdefault(word, len(ids)) for word in words])
        lengths.append(len(words))
    table = np.frombuffer(b"".join(map(_word_hash, ids)), dtype=np.uint64)
    stream = table[np.asarray(flat, dtype=np.int64)] if flat else np.empty(0, np.uint64)
    return _window_hashes(stream, np.asarray(lengths, dtype=np.int64))


def _word_hash(word: str) -> bytes:
    return hashlib.blake2b(word.encode("utf-8", "surrogateescape"), digest_size=8).digest()


def _window_hashes(stream: NDArray[np.uint64], lengths: NDArray[np.int64]) -> Grams:
    owners_of_words = np.repeat(np.arange(len(lengths)), lengths)
    padded = np.concatenate([stream, np.zeros(GRAM_WORDS - 1, np.uint64)])
    owner_at = np.concatenate([owners_of_words, np.full(GRAM_WORDS - 1, -1)])
    multipliers = keyed_words(GRAM_WORDS, "word grams") | np.uint64(1)
    hashes = np.zeros(len(stream), np.uint64)
    for place, multiplier in enumerate(multipliers):
        # Words of the next document count as absent, so a short document hashes alone.
        inside = owner_at[place : place + len(stream)] == owners_of_words
        hashes += np.where(inside, padded[place : place + len(stream)] * multiplier, np.uint64(0))
    starts = np.cumsum(lengths) - lengths
    place_in_document = np.arange(len(stream)) - starts[owners_of_words]
    windows = np.maximum(lengths - GRAM_WORDS + 1, 1)[owners_of_words]
    keep = place_in_document < windows
    return Grams(hashes[keep], owners_of_words[keep])


def documents_sharing(texts: Sequence[bytes], others: Sequence[bytes]) -> NDArray[np.int64]:
    """Return the sorted indices of those `texts` that share a gram with any of `others`."""
    grams = word_grams(texts)
    shared = np.isin(grams.hashes, word_grams(others).hashes)
    return np.unique(grams.owners[shared])


def measure_overlap(train: Documents, *, evaluation: Documents) -> Overlap:
    """Count the documents and word 13-grams that `train` and `evaluation` share."""
    (found,) = overlaps_with([train.texts], train_digest=train.digest, evaluations=[evaluation])
    return found


class Search:
    """Looks for what one evaluation set shares with training documents that come in chunks.

    Of the set's own grams it holds the distinct hashes alone, 8 bytes each and a flag.
    """

    def __init__(self, evaluation: Documents) -> None:
        self.evaluation = evaluation
        self._texts = set(evaluation.texts)
        self._equal: set[bytes] = set()
        distinct = _distinct([word_grams(p).hashes for p in _portions(evaluation.texts)])
        self._asked = GramSet(distinct)
        self._met = np.zeros(len(distinct), bool)

    def add(self, texts: Sequence[bytes], hashes: NDArray[np.uint64]) -> None:
        """Some training documents, and the hashes of their grams."""
        self._equal.update(self._texts.intersection(texts))
        met = hashes[self._asked.holds(hashes)]
        self._met[np.searchsorted(self._asked.hashes, met)] = True

    def overlap(self, train_digest: str) -> Overlap:
        """What was found in all of them."""
        shared, texts = GramSet(self._asked.hashes[self._met]), self.evaluation.texts
        equal = np.fromiter((text in self._equal for text in texts), bool, len(texts))
        # Hashed once more: the document of each gram would take as much again as the grams.
        found = [np.zeros(0, bool), *map(shared.touching, _portions(texts))]
        touched = np.concatenate(found)
        return Overlap(
            train_digest=train_digest,
            evaluation_digest=self.evaluation.digest,
            documents=int(equal.sum()),
            grams=len(shared.hashes),
            touched=int(touched.sum()),
            compared=len(texts),
            shared=tuple(np.flatnonzero(equal | touched).tolist()),
        )


def _distinct(parts: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """The distinct numbers, sorted; `numpy.unique` would take several times their memory."""
    numbers = np.concatenate([np.empty(0, np.uint64), *parts])
    numbers.sort()
    first = np.ones(len(numbers), bool)
    np.not_equal(numbers[1:], numbers[:-1], out=first[1:])
    return numbers if first.all() else numbers[first]


def _portions(texts: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Successive texts of _PORTION_BYTES together, or one that has more."""
    start = size = 0
    for end, text in enumerate(texts, start=1):
        size += len(text)
        if size >= _PORTION_BYTES:
            yield texts[start:end]
            start, size = end, 0
    if start < len(texts):
        yield texts[start:]


def overlaps_with(
    train: Iterable[Sequence[bytes]], *, train_digest: str, evaluations: Sequence[Documents]
) -> list[Overlap]:
    """What each of several sets shares with training documents, which are read once, in chunks."""
    searches = list(map(Search, evaluations))
    for chunk in train:
        hashes = word_grams(chunk).hashes
        for search in searches:
            search.add(chunk, hashes)
    return [search.overlap(train_digest) for search in searches]


def check_disjoint(train: Documents, *, evaluation: Documents) -> Overlap:
    """Return the overlap, which is zero; raise HarnessError with the counts when it is not."""
    overlap = measure_overlap(train, evaluation=evaluation)
    refuse_overlap(overlap, (train.name, train.split), (evaluation.name, evaluation.split))
    return overlap


def refuse_overlap(overlap: Overlap, train: tuple[str, str], evaluation: tuple[str, str]) -> None:
    """HarnessError unless the overlap of two splits, by name and split, is zero."""
    if not overlap.disjoint:
        raise HarnessError(
            f"training data {train[0]} ({train[1]}) and evaluation data {evaluation[0]} "
            f"({evaluation[1]}) are not disjoint: {overlap.documents} equal documents, "
            f"{overlap.grams} shared word {GRAM_WORDS}-grams in {overlap.touched} of "
            f"{overlap.compared} evaluation documents",
            hint="evaluate on other data, remove the shared documents from the training data, or "
            "do without them in the evaluation of a loss: `overlap: drop`",
        )
