"""Token shards: a split tokenized once, memory-mapped from a cache folder named by its content."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.builtin import load_documents
from harness.data.documents import Documents
from harness.data.tokenizer import Tokenizer, load_tokenizer
from harness.errors import HarnessError

_FORMAT = 1
_TOKENS = "tokens.bin"
_INDEX = "index.json"
_ATTEMPTS = 5

Tokens = NDArray[np.uint16] | NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class TextShards:
    """One tokenized split. Document i is `tokens[offsets[i]:offsets[i + 1]]`, end of text included.

    tokens: uint16 or uint32 [T], memory-mapped, read-only. offsets: int64 [documents + 1].
    token_bytes: int64 [vocab_size], bytes of text per token, 0 for end of text.
    source_digest is of the documents, token_digest of the file of tokens.
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

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.offsets) - 1


def prepare_text(name: str, split: str, *, tokenizer: str, cache: Path) -> TextShards:
    """Return the shards of a split, tokenizing it unless `cache` holds it already.

    The cache folder is named by what it holds (documents, tokenizer, format) and appears whole or
    not at all, so processes may prepare at once; a damaged one is rebuilt. Raises HarnessError for
    an unknown dataset, split or tokenizer, and when `cache` cannot be written.
    """
    documents = load_documents(name, split)
    loaded = load_tokenizer(tokenizer)
    identity = {
        "format": _FORMAT,
        "source_digest": documents.digest,
        "tokenizer_digest": loaded.digest,
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    folder = cache / key
    for _ in range(_ATTEMPTS):
        shards = _opened(folder, documents=documents, tokenizer=loaded)
        if shards is not None:
            return shards
        try:
            _publish(folder, documents=documents, tokenizer=loaded, identity=identity)
        except OSError as error:
            raise HarnessError(
                f"the data cache cannot be written: {error}", where=str(cache)
            ) from error
    raise HarnessError(
        "the prepared tokens differ from what was written, every time they are read back",
        where=str(folder),
        hint="check the disk, or choose another cache folder",
    )


def _opened(folder: Path, *, documents: Documents, tokenizer: Tokenizer) -> TextShards | None:
    """Open a finished shard folder; None when it is absent or is not what was written."""
    try:
        index: dict[str, Any] = json.loads((folder / _INDEX).read_text())
        path = folder / _TOKENS
        dtype = np.dtype(index["dtype"])
        if path.stat().st_size != index["tokens"] * dtype.itemsize:
            return None
        # Mapped before it is read: the bytes that are checked are the bytes that are served.
        tokens = np.memmap(path, dtype=dtype, mode="r")
        if hashlib.sha256(tokens.data).hexdigest() != index["token_digest"]:
            return None
        offsets = np.asarray(index["offsets"], np.int64)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return TextShards(
        name=documents.name,
        split=documents.split,
        folder=folder,
        tokens=tokens,
        offsets=offsets,
        vocab_size=tokenizer.vocab_size,
        end_of_text=tokenizer.end_of_text,
        token_bytes=tokenizer.token_bytes(),
        tokenizer_digest=tokenizer.digest,
        source_digest=documents.digest,
        token_digest=index["token_digest"],
    )


def _publish(
    folder: Path, *, documents: Documents, tokenizer: Tokenizer, identity: dict[str, Any]
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        _write(building, documents=documents, tokenizer=tokenizer, identity=identity)
        building.chmod(0o755)
        # A rename that fails means that another process was first; the caller looks again.
        with contextlib.suppress(OSError):
            if _opened(folder, documents=documents, tokenizer=tokenizer) is None:
                _set_aside(folder)
            building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _set_aside(folder: Path) -> None:
    if folder.exists():
        damaged = Path(tempfile.mkdtemp(prefix=".damaged-", dir=folder.parent))
        try:
            folder.rename(damaged / folder.name)
        finally:
            shutil.rmtree(damaged, ignore_errors=True)


def _write(
    folder: Path, *, documents: Documents, tokenizer: Tokenizer, identity: dict[str, Any]
) -> None:
    dtype = np.dtype("<u2" if tokenizer.vocab_size <= 2**16 else "<u4")
    digest = hashlib.sha256()
    offsets = [0]
    with (folder / _TOKENS).open("wb") as out:
        for text in documents.texts:
            ids = np.append(tokenizer.encode(text), tokenizer.end_of_text).astype(dtype)
            out.write(ids.tobytes())
            digest.update(ids.tobytes())
            offsets.append(offsets[-1] + len(ids))
    index = {
        **identity,
        "dtype": dtype.str,
        "tokens": offsets[-1],
        "vocab_size": tokenizer.vocab_size,
        "end_of_text": tokenizer.end_of_text,
        "tokenizer": tokenizer.name,
        "token_digest": digest.hexdigest(),
        "offsets": offsets,
    }
    (folder / _INDEX).write_text(json.dumps(index))
