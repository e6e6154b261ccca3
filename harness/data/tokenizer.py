"""Tokenizers: bytes, and byte-level BPE from files: `tokenizers` JSON, or GPT-2's pair of files."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.data.named_tokenizers import NAMED, named_file
from harness.errors import HarnessError

BYTES = "bytes"
END_OF_TEXT = "<|endoftext|>"
PAIR = ("vocab.json", "merges.txt")
_ALLOWED = (BYTES, *NAMED, "path/to/tokenizer.json", "folder with vocab.json and merges.txt")
_BATCH_TEXTS = 256
#: Longer documents are encoded in pieces: the library keeps some hundred bytes for each byte.
_PIECE_CHARACTERS = 1 << 20
#: Where a piece may end: pre-tokenizers of byte-level BPE split there whatever surrounds it, so the
#: tokens are those of the whole.
_BORDER = re.compile(r"(?<=\w)(?= \w)|(?<=\S\n)(?=\w)")

Tokens = NDArray[np.uint16] | NDArray[np.uint32]


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

    def encode_documents(self, texts: Sequence[bytes]) -> tuple[Tokens, NDArray[np.int64]]:
        """Return the stream of all `texts`, each followed by end of text, and their lengths."""

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

    def encode_documents(self, texts: Sequence[bytes]) -> tuple[Tokens, NDArray[np.int64]]:
        lengths = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
        joined = b"".join(itertools.chain.from_iterable((text, b"\0") for text in texts))
        tokens = np.frombuffer(joined, dtype=np.uint8).astype(np.uint16)
        tokens[np.cumsum(lengths) - 1] = self.end_of_text
        return tokens, lengths

    def decode(self, tokens: NDArray[np.int64]) -> bytes:
        return tokens[tokens < 256].astype(np.uint8).tobytes()

    def token_bytes(self) -> NDArray[np.int64]:
        return np.append(np.ones(256, np.int64), 0)


@dataclass(frozen=True)
class _Files:
    """What the files of a tokenizer say; `encoder` makes the `tokenizers` object of it."""

    name: str
    where: Path
    digest: str
    vocabulary: Mapping[str, int]
    added: Mapping[str, int]
    encoder: Callable[[], Any]


class FileTokenizer:
    """A byte-level BPE (GPT-2, GPT-NeoX, Llama 3) read from files.

    Only byte-level files are read, because only there does each token stand for a fixed number of
    bytes, which bits per byte needs. Text that spells a special token stays text.
    """

    def __init__(self, files: _Files) -> None:
        self.name = files.name
        self.digest = files.digest
        self._make_encoder = files.encoder
        self._where = files.where
        ids = {**files.vocabulary, **files.added}
        if END_OF_TEXT not in ids:
            raise HarnessError(f"the tokenizer has no {END_OF_TEXT} token", where=str(files.where))
        self.end_of_text = ids[END_OF_TEXT]
        self.vocab_size = max(ids.values()) + 1
        self._sizes = np.zeros(self.vocab_size, np.int64)
        # A byte-level vocabulary writes every byte as one character; added tokens are plain text.
        for token, index in files.vocabulary.items():
            self._sizes[index] = len(token)
        for token, index in files.added.items():
            self._sizes[index] = len(token.encode())
        self._sizes[self.end_of_text] = 0

    @functools.cached_property
    def _encoder(self) -> Any:
        encoder = self._make_encoder()
        encoder.encode_special_tokens = True
        encoder.no_truncation()
        encoder.no_padding()
        return encoder

    def encode(self, text: bytes) -> NDArray[np.int64]:
        decoded = self._decoded(text)
        return np.asarray(self._encoder.encode(decoded, add_special_tokens=False).ids, np.int64)

    def encode_documents(self, texts: Sequence[bytes]) -> tuple[Tokens, NDArray[np.int64]]:
        dtype, end = token_dtype(self.vocab_size), [self.end_of_text]
        streams: list[Tokens] = [np.empty(0, dtype)]
        lengths: list[int] = []
        for batch in _batches(texts):
            if len(batch) == 1 and len(batch[0]) > _PIECE_CHARACTERS:
                pieces = list(self._in_pieces(self._decoded(batch[0]), dtype))
                streams += pieces
                own = [sum(map(len, pieces))]
            else:
                # Fast: without the places of tokens in the text, which nothing here needs.
                found = self._encoder.encode_batch_fast(
                    list(map(self._decoded, batch)), add_special_tokens=False
                )
                ids = [encoding.ids for encoding in found]
                own = [len(of_one) + 1 for of_one in ids]
                flat = itertools.chain.from_iterable(itertools.chain(of_one, end) for of_one in ids)
                streams.append(np.fromiter(flat, dtype, sum(own)))
            lengths += own
        tokens: Any = np.concatenate(streams)
        return tokens, np.asarray(lengths, np.int64)

    def _in_pieces(self, text: str, dtype: Any) -> Iterator[Tokens]:
        """The tokens of a long document, end of text included."""
        start = 0
        while start < len(text):
            border = _BORDER.search(text, start + _PIECE_CHARACTERS)
            stop = len(text) if border is None else border.start()
            piece = [text[start:stop]]
            (found,) = self._encoder.encode_batch_fast(piece, add_special_tokens=False)
            yield np.asarray(found.ids, dtype)
            start = stop
        yield np.asarray([self.end_of_text], dtype)

    def _decoded(self, text: bytes) -> str:
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            raise HarnessError(
                f"tokenizer {self.name} reads UTF-8 text only, and this document is not: {error}",
                hint="use tokenizer: bytes for data that are not text",
            ) from error

    def decode(self, tokens: NDArray[np.int64]) -> bytes:
        kept = tokens[tokens != self.end_of_text].tolist()
        return str(self._encoder.decode(kept, skip_special_tokens=False)).encode()

    def token_bytes(self) -> NDArray[np.int64]:
        return self._sizes.copy()

    def to_json(self) -> str:
        """The `tokenizers` JSON of it: the file itself where it was read from one."""
        if self._where.is_file():
            return self._where.read_text(encoding="utf-8")
        return str(self._make_encoder().to_str())


def _batches(texts: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Texts to be encoded together; a long one alone."""
    batch: list[bytes] = []
    for text in texts:
        alone = len(text) > _PIECE_CHARACTERS
        if batch and (alone or len(batch) == _BATCH_TEXTS):
            yield batch
            batch = []
        batch.append(text)
        if alone:
            yield batch
            batch = []
    if batch:
        yield batch


def token_dtype(vocab_size: int) -> Any:
    """The numpy type that token files of such a vocabulary hold."""
    return np.dtype("<u2") if vocab_size <= 2**16 else np.dtype("<u4")


def load_tokenizer(given: str) -> Tokenizer:
    """Return the tokenizer `bytes`, a named one, or that of a `.json` file or a folder.

    A folder holds `tokenizer.json`, or GPT-2's `vocab.json` and `merges.txt`. A named one comes
    from the Hub, once. Raises HarnessError for another name, a missing file, one that is not
    byte-level, or a named one that is neither here nor to be had.
    """
    if given == BYTES:
        return ByteTokenizer()
    if given in NAMED:
        loaded = FileTokenizer(_json_file(named_file(given), given))
        if loaded.vocab_size != NAMED[given].vocab_size:
            raise HarnessError(
                f"this file is not the tokenizer {given}: it has {loaded.vocab_size} tokens, and "
                f"{given} has {NAMED[given].vocab_size}",
                where=str(named_file(given)),
                hint="remove the file, so that it is downloaded again",
            )
        return loaded
    path = Path(given).expanduser()
    if path.is_dir():
        json_file = path / "tokenizer.json"
        return FileTokenizer(_json_file(json_file) if json_file.is_file() else _pair(path))
    if path.suffix == ".json":
        if path.name == PAIR[0] and (path.parent / PAIR[1]).is_file():
            return FileTokenizer(_pair(path.parent))
        return FileTokenizer(_json_file(path))
    raise HarnessError("no such tokenizer", given=given, allowed=_ALLOWED)


def vocabulary_size(given: str) -> int:
    """The number of token ids, for which a named tokenizer need not be on this machine.

    Raises HarnessError as `load_tokenizer` does.
    """
    return NAMED[given].vocab_size if given in NAMED else load_tokenizer(given).vocab_size


def _json_file(path: Path, name: str | None = None) -> _Files:
    """A file of the `tokenizers` library, byte-level."""
    if not path.is_file():
        raise HarnessError("no such tokenizer file", given=str(path))
    content = path.read_bytes()
    try:
        parts: dict[str, Any] = json.loads(content)
        vocabulary: dict[str, int] = parts["model"]["vocab"]
        added: dict[str, int] = {
            token["content"]: token["id"] for token in parts.get("added_tokens") or ()
        }
        _check_ids({**vocabulary, **added})
    except (ValueError, KeyError, TypeError) as error:
        raise HarnessError("not a `tokenizers` JSON file", where=str(path)) from error
    if '"ByteLevel"' not in json.dumps(parts.get("decoder")):
        raise HarnessError("the tokenizer is not byte-level", where=str(path))
    if '"add_prefix_space": true' in json.dumps(parts.get("pre_tokenizer")):
        raise HarnessError(
            "the tokenizer puts a space before every text, so its tokens are of more bytes than "
            "the text has",
            where=str(path),
            hint="set add_prefix_space of its pre_tokenizer to false",
        )

    def encoder() -> Any:
        from tokenizers import Tokenizer as Encoder  # imported here: cached shards need none

        return Encoder.from_buffer(content)

    digest = hashlib.sha256(content).hexdigest()
    return _Files(name or path.name, path, digest, vocabulary, added, encoder)


def _pair(folder: Path) -> _Files:
    """GPT-2's two files; all that is not in them is as GPT-2 has it."""
    paths = [folder / name for name in PAIR]
    for path in paths:
        if not path.is_file():
            raise HarnessError(
                "no such tokenizer file",
                given=str(path),
                hint="a folder holds tokenizer.json, or vocab.json and merges.txt",
            )
    contents = [path.read_bytes() for path in paths]
    try:
        vocabulary: dict[str, int] = json.loads(contents[0])
        _check_ids(vocabulary)
    except (ValueError, TypeError) as error:
        raise HarnessError("not a JSON object of tokens and ids", where=str(paths[0])) from error

    def encoder() -> Any:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        encoder = Tokenizer(models.BPE.from_file(*map(str, paths)))
        encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        encoder.decoder = decoders.ByteLevel()
        return encoder

    digest = hashlib.sha256(b"".join(hashlib.sha256(c).digest() for c in contents)).hexdigest()
    return _Files(folder.name, folder, digest, vocabulary, {}, encoder)


def _check_ids(ids: Mapping[str, int]) -> None:
    """TypeError unless ids are whole numbers."""
    if not ids or not all(isinstance(index, int) for index in ids.values()):
        raise TypeError("ids are whole numbers")
