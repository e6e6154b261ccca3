"""Token shards: a split tokenized once, memory-mapped from a cache folder named by its content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.checked import is_checked, note_checked, set_aside
from harness.data.disk import writable
from harness.data.tokenizer import Tokenizer, token_dtype
from harness.data.tokenizer import Tokens as Tokens
from harness.errors import HarnessError

_FORMAT = 2
_TOKENS = "tokens.bin"
_OFFSETS = "offsets.bin"
_INDEX = "index.json"
#: Files that may be large.
_LARGE = (_TOKENS, _OFFSETS)
_ATTEMPTS = 5

#: What comes of a split: (tokens, lengths) of some of its documents, end of text included.
Encoded = tuple[Tokens, NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class TextShards:
    """One tokenized split. Document i is `tokens[offsets[i]:offsets[i + 1]]`, end of text included.

    tokens: uint16 or uint32 [T], memory-mapped, read-only. offsets: int64 [documents + 1].
    token_bytes: int64 [vocab_size], bytes of text per token, 0 for end of text.
    source_digest is of the split's documents, token_digest of the tokens; text_bytes, where known,
    the size of the documents.
    """

    name: str
    split: str
    folder: Path
    tokens: Tokens
    offsets: NDArray[np.int64]
    vocab_size: int
    end_of_text: int
    token_bytes: NDArray[np.int64]
    tokenizer_digest: str
    source_digest: str
    token_digest: str
    text_bytes: int | None = None

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.offsets) - 1

    def in_documents(self, dropped: Sequence[int]) -> NDArray[np.bool_]:
        """Which tokens (T,) are not of the documents `dropped`."""
        kept = np.ones(len(self), bool)
        kept[list(dropped)] = False
        return np.repeat(kept, np.diff(self.offsets))

    def without(self, dropped: Sequence[int]) -> TextShards:
        """The same in memory, where the documents `dropped` have no tokens but keep their place."""
        if not dropped:
            return self
        lengths = np.diff(self.offsets)
        lengths[list(dropped)] = 0
        tokens: Any = np.asarray(self.tokens[self.in_documents(dropped)])
        return replace(
            self,
            tokens=tokens,
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            token_digest=hashlib.sha256(tokens.tobytes()).hexdigest(),
            text_bytes=None,
        )


@dataclass(frozen=True)
class Identity:
    """What shards are made of, which names their folder, and what is served with them."""

    name: str
    split: str
    source_digest: str
    text_bytes: int
    tokenizer: Tokenizer

    @property
    def content(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "source_digest": self.source_digest,
            "tokenizer_digest": self.tokenizer.digest,
        }

    def folder(self, cache: Path) -> Path:
        key = json.dumps(self.content, sort_keys=True).encode()
        return cache / hashlib.sha256(key).hexdigest()[:32]


def ensure_shards(
    identity: Identity, cache: Path, encoded: Callable[[], Iterator[Encoded]]
) -> TextShards:
    """The shards of `identity`, written from what `encoded()` yields unless `cache` has them.

    The folder appears whole or not at all; a damaged one is made again. HarnessError when `cache`
    cannot be written, or gives back other bytes than were written.
    """
    folder = identity.folder(cache)
    for _ in range(_ATTEMPTS):
        shards = open_shards(identity, cache)
        if shards is not None:
            return shards
        with writable(cache):
            _publish(folder, identity=identity, cache=cache, encoded=encoded())
    raise HarnessError(
        "the prepared tokens differ from what was written, every time they are read back",
        where=str(folder),
        hint="check the disk, or choose another cache folder",
    )


def open_shards(identity: Identity, cache: Path) -> TextShards | None:
    """Open a finished folder; None when it is absent or is not what was written."""
    folder, tokenizer = identity.folder(cache), identity.tokenizer
    try:
        index: dict[str, Any] = json.loads((folder / _INDEX).read_text())
        dtype = np.dtype(index["dtype"])
        # Mapped before it is read: the bytes that are checked are the bytes that are served.
        tokens = np.memmap(folder / _TOKENS, dtype=dtype, mode="r")
        offsets = np.memmap(folder / _OFFSETS, dtype=np.int64, mode="r")
        if len(tokens) != index["tokens"] or len(offsets) != index["documents"] + 1:
            return None
        if not is_checked(folder, _LARGE):
            digests = [_hashed(mapped) for mapped in (tokens, offsets)]
            if digests != [index["token_digest"], index["offsets_digest"]]:
                return None
            note_checked(folder, _LARGE)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return TextShards(
        name=identity.name,
        split=identity.split,
        folder=folder,
        tokens=tokens,
        offsets=np.asarray(offsets),
        vocab_size=tokenizer.vocab_size,
        end_of_text=tokenizer.end_of_text,
        token_bytes=tokenizer.token_bytes(),
        tokenizer_digest=tokenizer.digest,
        source_digest=identity.source_digest,
        token_digest=index["token_digest"],
        text_bytes=identity.text_bytes,
    )


def _hashed(mapped: NDArray[Any]) -> str:
    return hashlib.sha256(mapped.data).hexdigest()


def _publish(folder: Path, *, identity: Identity, cache: Path, encoded: Iterator[Encoded]) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=cache))
    try:
        _write(building, identity=identity, encoded=encoded)
        building.chmod(0o755)
        # A rename that fails means that another process was first; the caller looks again.
        with contextlib.suppress(OSError):
            if open_shards(identity, cache) is None:
                set_aside(folder)
            building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _write(folder: Path, *, identity: Identity, encoded: Iterator[Encoded]) -> None:
    tokenizer = identity.tokenizer
    dtype = token_dtype(tokenizer.vocab_size)
    digest, offsets_digest = hashlib.sha256(), hashlib.sha256()
    count = documents = 0
    with (folder / _TOKENS).open("wb") as out, (folder / _OFFSETS).open("wb") as places:
        start = np.zeros(1, np.int64)
        places.write(start.tobytes())
        offsets_digest.update(start.tobytes())
        for tokens, lengths in encoded:
            assert tokens.dtype == dtype
            ends = count + np.cumsum(lengths, dtype=np.int64)
            for file, its_digest, numbers in (
                (out, digest, tokens),
                (places, offsets_digest, ends),
            ):
                content = numbers.tobytes()
                file.write(content)
                its_digest.update(content)
            count += len(tokens)
            documents += len(lengths)
    index = {
        **identity.content,
        "dtype": dtype.str,
        "tokens": count,
        "documents": documents,
        "vocab_size": tokenizer.vocab_size,
        "end_of_text": tokenizer.end_of_text,
        "tokenizer": tokenizer.name,
        "token_digest": digest.hexdigest(),
        "offsets_digest": offsets_digest.hexdigest(),
    }
    (folder / _INDEX).write_text(json.dumps(index, indent=1) + "\n")
