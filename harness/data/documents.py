"""A set of text documents, and the ones that come from the user's own files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError

FILE_PREFIX = "file:"
FILE_SPLITS = ("train", "validation", "test")


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


def texts_digest(texts: Sequence[bytes]) -> str:
    """Return the sha256 of `texts`, each preceded by its length so that borders count."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text)
    return digest.hexdigest()


def check_split(name: str, *, split: str, splits: Sequence[str]) -> None:
    """Raise HarnessError unless dataset `name` has `split`."""
    if split not in splits:
        raise HarnessError(f"dataset {name} has no such split", allowed=splits, given=split)


def find_file(name: str, *, split: str) -> tuple[Path, str]:
    """The path, and the field of a .jsonl file, of a `file:` dataset; reads nothing.

    Raises HarnessError for a missing file, or a name that is not of a kind that can be read.
    """
    check_split(name, split=split, splits=FILE_SPLITS)
    given, _, field = name.removeprefix(FILE_PREFIX).partition("#")
    path = Path(given.replace("{split}", split)).expanduser()
    if not path.is_file():
        raise HarnessError(
            "no such text file",
            given=str(path),
            hint="give file:path.txt, or file:path.jsonl#field, relative to the current folder",
        )
    if path.suffix == ".jsonl" and not field:
        raise HarnessError(
            "a .jsonl dataset needs the name of its text field",
            where=str(path),
            hint=f"write {FILE_PREFIX}{path}#text if the field is called text",
        )
    if path.suffix not in (".txt", ".jsonl") or (path.suffix == ".txt" and field):
        raise HarnessError(
            "only .txt and .jsonl#field files are read",
            given=name,
            allowed=("file:path.txt", "file:path.jsonl#field"),
        )
    return path, field


def load_file_documents(name: str, *, split: str) -> Documents:
    """Load `file:path.txt` (one document) or `file:path.jsonl#field` (one document per line).

    A file is one split; `{split}` in the path names a file per split. Empty texts are left out.
    Raises HarnessError for a missing file, a bad line, or a file without text.
    """
    path, field = find_file(name, split=split)
    named = _json_lines(path, field=field) if field else {path.name: path.read_bytes()}
    named = {key: text for key, text in named.items() if text}
    if not named:
        raise HarnessError("the file holds no text", where=str(path))
    texts = tuple(named.values())
    return Documents(
        name, split, tuple(named), texts, texts_digest(texts), "the user's file", "the user's own"
    )


def _json_lines(path: Path, *, field: str) -> dict[str, bytes]:
    texts = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise HarnessError(f"not JSON: {error}", where=where) from error
            if not isinstance(record, dict) or not isinstance(record.get(field), str):
                fields = sorted(record) if isinstance(record, dict) else []
                raise HarnessError(
                    "the line has no text in this field", where=where, given=field, allowed=fields
                )
            texts[f"{path.name}:{number}"] = record[field].encode("utf-8", "surrogatepass")
    return texts
