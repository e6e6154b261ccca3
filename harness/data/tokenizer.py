"""Tokenizers: bytes, and byte-level BPE from a `tokenizers` JSON file."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError

BYTES = "bytes"
END_OF_TEXT = "<|endoftext|>"


class Tokenizer(Protocol):
    """What data preparation needs of a tokenizer; `digest` is its identity."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def vocab_size(self) -> int: ...

    @property
    def end_of_text(self) -> int: ...

    def encode(self, text: bytes) -> NDArray[np.int64]:
        """Return the token ids int64[n] of one document, without end of text."""

    def decode(self, tokens: NDArray[np.int64]) -> bytes:
        """Return the text of `tokens`; end of text decodes to nothing."""

    def token_bytes(self) -> NDArray[np.int64]:
        """Return int64[V]: how many bytes of text each token stands for; 0 for end of text."""


class ByteTokenizer:
    """One token per byte, and id 256 for end of text."""

    name = BYTES
    vocab_size = 257
    end_of_text = 256
    digest = hashlib.sha256(b"bytes, end of text 256").hexdigest()

    def encode(self, text: bytes) -> NDArray[np.int64]:
        return np.frombuffer(text, dtype=np.uint8).astype(np.int64)

    def decode(self, tokens: NDArray[np.int64]) -> bytes:
        return tokens[tokens < 256].astype(np.uint8).tobytes()

    def token_bytes(self) -> NDArray[np.int64]:
        return np.append(np.ones(256, np.int64), 0)


class FileTokenizer:
    """A byte-level BPE (GPT-2, GPT-NeoX, Llama 3) read from a `tokenizers` JSON file.

    Only byte-level files are read, because only there does each token stand for a fixed number of
    bytes, which bits per byte needs. Text that spells a special token stays text.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise HarnessError("no such tokenizer file", given=str(path))
        self.name = path.name
        self._content = path.read_bytes()
        self.digest = hashlib.sha256(self._content).hexdigest()
        try:
            parts: dict[str, Any] = json.loads(self._content)
            vocabulary: dict[str, int] = parts["model"]["vocab"]
            added: dict[str, int] = {
                token["content"]: token["id"] for token in parts.get("added_tokens") or ()
            }
            ids = {**vocabulary, **added}
            if not all(isinstance(index, int) for index in ids.values()):
                raise TypeError("ids are whole numbers")
        except (ValueError, KeyError, TypeError) as error:
            raise HarnessError("not a `tokenizers` JSON file", where=str(path)) from error
        if '"ByteLevel"' not in json.dumps(parts.get("decoder")):
            raise HarnessError("the tokenizer is not byte-level", where=str(path))
        if END_OF_TEXT not in ids:
            raise HarnessError(f"the tokenizer has no {END_OF_TEXT} token", where=str(path))
        self.end_of_text = ids[END_OF_TEXT]
        self.vocab_size = max(ids.values()) + 1
        self._sizes = np.zeros(self.vocab_size, np.int64)
        # A byte-level vocabulary writes every byte as one character; added tokens are plain text.
        for token, index in vocabulary.items():
            self._sizes[index] = len(token)
        for token, index in added.items():
            self._sizes[index] = len(token.encode())
        self._sizes[self.end_of_text] = 0

    @functools.cached_property
    def _encoder(self) -> Any:
        from tokenizers import Tokenizer as Encoder  # imported here: cached shards need none

        encoder = Encoder.from_buffer(self._content)
        encoder.encode_special_tokens = True
        encoder.no_truncation()
        encoder.no_padding()
        return encoder

    def encode(self, text: bytes) -> NDArray[np.int64]:
        try:
            decoded = text.decode()
        except UnicodeDecodeError as error:
            raise HarnessError(
                f"tokenizer {self.name} reads UTF-8 text only, and this document is not: {error}",
                hint="use tokenizer: bytes for data that are not text",
            ) from error
        return np.asarray(self._encoder.encode(decoded, add_special_tokens=False).ids, np.int64)

    def decode(self, tokens: NDArray[np.int64]) -> bytes:
        kept = tokens[tokens != self.end_of_text].tolist()
        return str(self._encoder.decode(kept, skip_special_tokens=False)).encode()

    def token_bytes(self) -> NDArray[np.int64]:
        return self._sizes.copy()


def load_tokenizer(given: str) -> Tokenizer:
    """Return the tokenizer `bytes`, or the one in a `.json` file.

    Raises HarnessError for another name, a missing file or one that is not byte-level.
    """
    if given == BYTES:
        return ByteTokenizer()
    if given.endswith(".json"):
        return FileTokenizer(Path(given).expanduser())
    raise HarnessError("no such tokenizer", given=given, allowed=(BYTES, "path/to/tokenizer.json"))
