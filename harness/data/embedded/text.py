"""The embedded text: frozen documentation and code, what is made of them, and generated sets."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from harness.data.disjoint import documents_sharing
from harness.data.documents import Documents, texts_digest
from harness.data.embedded.corrupted import with_typos, with_words_shuffled
from harness.data.embedded.exercises import exercise_documents
from harness.data.embedded.generated import (
    DYCK_DOCUMENTS,
    arithmetic_problem,
    dyck_text,
    random_bytes,
)
from harness.errors import HarnessError

SNAPSHOTS = Path(__file__).parent / "snapshots"
DOCS_SHA256 = "5164b5d22ae96bc29bf9a53cdbf1c0f1833571ec79661c4c7bf6e53557f49576"
SOURCE_SHA256 = "67c73c57ee2e8e72b069651d4cc3f42429443b559b0ab5e033447f6990c4efcc"

DOCS_VALIDATION = 0.05

_PSF = "PSF-2.0"
_OWN = "Apache-2.0"
_TYPOS = "builtin/docs-typos-"


def read_snapshot(path: Path, *, sha256: str) -> dict[str, bytes]:
    """Return {name: text} of a frozen file. Raises HarnessError unless its sha256 matches."""
    hint = (
        "reinstall the package, or rebuild the file: python -m harness.data.embedded.snapshot OUT"
    )
    if not path.is_file():
        raise HarnessError("an embedded data file is missing", where=path.name, hint=hint)
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise HarnessError(
            f"an embedded data file is damaged: its sha256 is {found}, and must be {sha256}",
            where=path.name,
            hint=hint,
        )
    records = map(json.loads, gzip.decompress(content).splitlines())
    return {record["name"]: record["text"].encode() for record in records}


@functools.lru_cache(maxsize=16)
def embedded_documents(name: str, split: str) -> Documents:
    """The documents of a builtin text set that has this split."""
    generators: dict[str, tuple[int, Callable[[int], str | bytes]]] = {
        "builtin/arithmetic": (770, arithmetic_problem),
        "builtin/dyck": (DYCK_DOCUMENTS, dyck_text),
        "builtin/random-bytes": (100, random_bytes),
    }
    source, licence = "CPython 3.11.7", _PSF
    if name == "builtin/docs":
        named = _docs_splits()[split]
    elif name == "builtin/exercises":
        named = {f"{name}/{i}": t.encode() for i, t in enumerate(exercise_documents()[split])}
        source, licence = "generated", _OWN
    elif name == "builtin/docs-shuffled":
        held_out = _docs_splits()["validation"]
        named = {key: with_words_shuffled(text, key) for key, text in held_out.items()}
    elif name.startswith(_TYPOS):
        held_out, percent = _docs_splits()["validation"], int(name.removeprefix(_TYPOS))
        named = {key: with_typos(text, key, percent=percent) for key, text in held_out.items()}
    elif name == "builtin/source":
        named = read_snapshot(SNAPSHOTS / "source.jsonl.gz", sha256=SOURCE_SHA256)
    else:
        count, generate = generators[name]
        items = (generate(index) for index in range(count))
        texts = (item.encode() if isinstance(item, str) else item for item in items)
        named = {f"{name}/{index}": text for index, text in enumerate(texts)}
        source, licence = "generated", _OWN
    if name.startswith("builtin/docs-"):
        source += ", changed"
    values = tuple(named.values())
    return Documents(name, split, tuple(named), values, texts_digest(values), source, licence)


@functools.lru_cache(maxsize=1)
def _docs_splits() -> dict[str, dict[str, bytes]]:
    everything = read_snapshot(SNAPSHOTS / "docs.jsonl.gz", sha256=DOCS_SHA256)
    splits: dict[str, dict[str, bytes]] = {"train": {}, "validation": {}}
    for name, text in everything.items():
        fraction = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64
        splits["validation" if fraction < DOCS_VALIDATION else "train"][name] = text
    train = list(splits["train"])
    texts = [splits["train"][name] for name in train]
    for index in documents_sharing(texts, list(splits["validation"].values())):
        del splits["train"][train[index]]
    return splits
