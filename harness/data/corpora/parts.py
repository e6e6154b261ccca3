"""A part of a split, tokenized: a file that says what it was made of and is checked when read.

`python -m harness.data.corpora.parts TOKENIZER [GRAMS]` makes parts for the process that started
it, which sends (path, texts) and is answered with the fields of each part, or an exception.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import sys
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from harness.data.corpora.streams import kept_by
from harness.data.disjoint import GramSet
from harness.data.documents import texts_digest
from harness.data.tokenizer import Tokenizer, Tokens, load_tokenizer, token_dtype
from harness.errors import HarnessError, reason_of

#: The length of a document that is left out because it resembles a held-out one.
LEFT_OUT = -1


@dataclass(frozen=True)
class Header:
    """`made_of` is `part_digest` of what the part was made of; `crc` is of what follows."""

    made_of: str
    documents: int
    tokens: int
    crc: int


def part_digest(texts: Sequence[bytes], known: GramSet | None) -> str:
    """The digest of a part's documents, left-out ones too, and of what they are compared to."""
    digest = texts_digest(texts)
    return digest if known is None else f"{digest} {known.digest}"


def make_part(
    path: Path, texts: Sequence[bytes], tokenizer: Tokenizer, known: GramSet | None
) -> Header:
    """Tokenize the documents that share nothing with `known` and write the part, whole or not."""
    kept = kept_by(known, texts)
    chosen = [text for text, keep in zip(texts, kept, strict=True) if keep]
    tokens, of_kept = tokenizer.encode_documents(chosen)
    lengths = np.full(len(texts), LEFT_OUT, np.int64)
    lengths[kept] = of_kept
    content = lengths.tobytes() + tokens.tobytes()
    header = Header(part_digest(texts, known), len(texts), len(tokens), zlib.crc32(content))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as out:
            out.write(json.dumps(asdict(header)).encode() + b"\n")
            out.write(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return header


def read_part(path: Path, vocab_size: int) -> tuple[Header, NDArray[np.int64], Tokens] | None:
    """Header, length of each document (or LEFT_OUT) and tokens; None for no whole part."""
    try:
        with path.open("rb") as file:
            header = Header(**json.loads(file.readline()))
            content = file.read()
        if zlib.crc32(content) != header.crc:
            return None
    except (OSError, ValueError, TypeError):
        return None
    lengths = np.frombuffer(content, np.int64, header.documents)
    tokens = np.frombuffer(content, token_dtype(vocab_size), offset=lengths.nbytes)
    return header, lengths, tokens


def main(given: str, grams: str | None) -> None:
    """Answer each task until there are no more."""
    tasks, answers = sys.stdin.buffer, _own_output()
    known = None if grams is None else GramSet(np.load(grams))
    tokenizer: Tokenizer | None = None
    while (task := _next_task(tasks)) is not None:
        path, texts = task
        try:
            tokenizer = tokenizer or load_tokenizer(given)
            answer: Any = asdict(make_part(Path(path), texts, tokenizer, known))
        except (HarnessError, OSError) as error:
            answer = error
        except Exception as error:
            answer = RuntimeError(reason_of(error))
        pickle.dump(answer, answers)
        answers.flush()


def _own_output() -> BinaryIO:
    """Standard output for answers alone: whatever else prints, prints to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _next_task(tasks: BinaryIO) -> tuple[str, list[bytes]] | None:
    try:
        task: tuple[str, list[bytes]] = pickle.load(tasks)
    except (EOFError, pickle.UnpicklingError):  # whoever asked is done, or is gone
        return None
    return task


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
