"""The documents of one split of the user's own text, as a stream or whole.

Where a source holds documents out, the hash of each says which split it belongs to, and training
documents that share a word 13-gram with the held-out ones are left out, as in `builtin/docs`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from harness.data.corpora.reading import Named, read_source
from harness.data.corpora.sources import TextSource, names_records, parse_records, parse_source
from harness.data.disjoint import GramSet, word_grams
from harness.data.documents import Documents, check_split, texts_digest
from harness.data.effort import Meter
from harness.errors import HarnessError

#: Text that is looked at together.
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class SplitSource:
    """One split of a source."""

    source: TextSource
    split: str

    def candidates(self, meter: Meter | None = None) -> Iterator[Named]:
        """The split's documents, training ones that resemble held-out ones among them."""
        source = self.source
        found = read_source(source, self.split, meter or Meter())
        for name, text in islice(found, source.documents):
            if source.holdout is None or held_out(text, source.holdout) == (
                self.split == "validation"
            ):
                yield name, text

    @cached_property
    def held_out_grams(self) -> GramSet | None:
        """The 13-grams of the held-out documents, where training documents are to have none."""
        if self.source.holdout is None or self.split != "train":
            return None
        others = SplitSource(self.source, "validation").candidates()
        parts = [np.empty(0, np.uint64)]
        parts += [np.unique(word_grams(texts_of(chunk)).hashes) for chunk in chunks(others)]
        return GramSet(np.unique(np.concatenate(parts)))

    def documents(self, meter: Meter | None = None) -> Iterator[Named]:
        """The split's documents, in order."""
        known = self.held_out_grams
        if known is None:
            yield from self.candidates(meter)
            return
        for chunk in chunks(self.candidates(meter)):
            shared = known.touching(texts_of(chunk))
            yield from (named for named, drop in zip(chunk, shared, strict=True) if not drop)

    def nothing(self) -> HarnessError:
        """Why there is not one document."""
        held = self.source.holdout
        problem = "the file holds no text" if self.source.kind == "file" else "there is no text"
        if held is None:
            return HarnessError(problem, where=str(self.source))
        return HarnessError(
            f"not one document is in the {self.split} split",
            where=str(self.source),
            given=f"holdout={held:g}",
            hint="documents are drawn by their hash, each with this chance to be held out; text "
            "files are one document each",
        )


def held_out(text: bytes, fraction: float) -> bool:
    """Whether the hash of a document puts it into the held-out fraction."""
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64 < fraction


def split_source(name: str, split: str) -> SplitSource:
    """The split of `file:…` or `hub:…`. HarnessError for a bad name, split or missing file."""
    return _split_of(parse_source(name), name, split)


def split_records(name: str, split: str) -> SplitSource:
    """The split of a source of whole records, of which no field is named; raises as above."""
    return _split_of(parse_records(name), name, split)


def split_named(name: str, split: str) -> SplitSource:
    """The split of texts or of whole records, whichever the name is of."""
    return split_records(name, split) if names_records(name) else split_source(name, split)


def _split_of(source: TextSource, name: str, split: str) -> SplitSource:
    check_split(name, split=split, splits=source.splits)
    source.files(split)
    return SplitSource(source, split)


def load_source_documents(name: str, split: str) -> Documents:
    """Every document of a split in memory. Raises HarnessError as reading does, or for none."""
    found = split_source(name, split)
    named = list(found.documents())
    if not named:
        raise found.nothing()
    names, texts = zip(*named, strict=True)
    return Documents(name, split, names, texts, texts_digest(texts), *found.source.origin)


def chunks(documents: Iterator[Named]) -> Iterator[list[Named]]:
    """Successive documents of CHUNK_BYTES together, or one that has more."""
    chunk: list[Named] = []
    held = 0
    for named in documents:
        chunk.append(named)
        held += len(named[1])
        if held >= CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def texts_of(chunk: Sequence[Named]) -> list[bytes]:
    return [text for _, text in chunk]


def kept_by(known: GramSet | None, texts: Sequence[bytes]) -> NDArray[np.bool_]:
    """Which of `texts` share no gram with what is known."""
    return np.ones(len(texts), bool) if known is None else ~known.touching(texts)
