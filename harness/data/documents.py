"""A set of text documents, and the digest that says which texts they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.errors import HarnessError


@dataclass(frozen=True)
class Documents:
    """The documents of one split: `names[i]` names the bytes `texts[i]`.

    digest: sha256 over the texts in order; source and licence: one line each.
    """

    name: str
    split: str
    names: tuple[str, ...]
    texts: tuple[bytes, ...]
    digest: str
    source: str
    licence: str

    @property
    def size(self) -> int:
        """Total bytes of text."""
        return sum(map(len, self.texts))


@dataclass
class TextDigest:
    """The digest, number and size in bytes of texts that come one after the other."""

    documents: int = 0
    size: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    def add(self, text: bytes) -> None:
        # The length comes first, so that borders between texts count.
        self._digest.update(len(text).to_bytes(8, "little"))
        self._digest.update(text)
        self.documents += 1
        self.size += len(text)

    def hexdigest(self) -> str:
        return str(self._digest.hexdigest())


def texts_digest(texts: Iterable[bytes]) -> str:
    """Return the sha256 of `texts`, each preceded by its length so that borders count."""
    digest = TextDigest()
    for text in texts:
        digest.add(text)
    return digest.hexdigest()


def check_split(name: str, *, split: str, splits: Sequence[str]) -> None:
    """Raise HarnessError unless dataset `name` has `split`."""
    if split not in splits:
        raise HarnessError(f"dataset {name} has no such split", allowed=splits, given=split)
