"""Prompts and answers made of the records of a file, for losses of an answer's tokens alone.

White space at a prompt's end belongs to its answer, as in lm-eval.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.documents import (
    FILE_PREFIX,
    FILE_SPLITS,
    Documents,
    check_split,
    texts_digest,
)
from harness.data.sources import HUB_PREFIX
from harness.data.templates import Template
from harness.errors import HarnessError

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet", ".arrow")

_Row = Mapping[str, Any]


@dataclass(frozen=True)
class Questions:
    """Documents that are prompt and answer joined; `prompts` (bytes) begin each document's text.

    `skipped` counts the records that have no answer.
    """

    documents: Documents
    prompts: tuple[bytes, ...]
    skipped: int


def is_question_file(name: str) -> bool:
    """`file:PATH` of records, of which no single field is named."""
    return name.startswith(FILE_PREFIX) and "#" not in name and name.endswith(SUFFIXES)


def find_questions(name: str, split: str) -> Path:
    """The path of a `file:` of records; HarnessError where it is none or is not there."""
    if not is_question_file(name):
        hint = "without #FIELD: the templates name the fields" if "#" in name else None
        if name.startswith(HUB_PREFIX):
            hint = "download the dataset's files: hf download --repo-type dataset OWNER/NAME"
        raise HarnessError(
            "templates need a file of records",
            given=name,
            allowed=[f"{FILE_PREFIX}PATH{suffix}" for suffix in SUFFIXES],
            hint=hint,
        )
    check_split(name, split=split, splits=FILE_SPLITS)
    path = Path(name.removeprefix(FILE_PREFIX).replace("{split}", split)).expanduser()
    if not path.is_file():
        raise HarnessError("no such file", given=str(path))
    return path


def questions_digest(name: str, split: str) -> str:
    """The sha256 of the file, whatever is made of its records."""
    with find_questions(name, split).open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@functools.lru_cache(maxsize=8)
def load_questions(name: str, split: str, prompt: str, answer: str) -> Questions:
    """Every record that has an answer, as a document.

    A record whose answer is null, empty or beyond the end of its list has none. HarnessError for
    what cannot be read, a field that does not exist, or a file without one answer.
    """
    path = find_questions(name, split)
    templates = Template.parse(prompt), Template.parse(answer)
    names, prompts, texts, skipped = [], [], [], 0
    for where, record in read_records(path):
        pair = _pair(record, templates, where)
        if pair is None:
            skipped += 1
            continue
        names.append(where)
        prompts.append(pair[0])
        texts.append(pair[0] + pair[1])
    if not texts:
        raise HarnessError("no record of the file has an answer", where=str(path), given=answer)
    documents = Documents(
        name,
        split,
        tuple(names),
        tuple(texts),
        texts_digest([*texts, *prompts]),
        "the user's file",
        "the user's own",
    )
    return Questions(documents, tuple(prompts), skipped)


def first_record(name: str, split: str) -> tuple[str, _Row]:
    """The first record and where it is; HarnessError where there is none, or it cannot be read."""
    path = find_questions(name, split)
    for where, record in read_records(path):
        return where, record
    raise HarnessError("the file holds no record", where=str(path))


def _pair(
    record: _Row, templates: tuple[Template, Template], where: str
) -> tuple[bytes, bytes] | None:
    try:
        prompt, answer = (template.render(record) for template in templates)
    except HarnessError as error:
        raise error.located(where) from error
    if not answer:
        return None
    if prompt is None:
        raise HarnessError("a field of the prompt is empty", where=where, given=templates[0].text)
    stripped = prompt.rstrip()
    moved = prompt[len(stripped) :] + answer
    return stripped.encode("utf-8", "surrogatepass"), moved.encode("utf-8", "surrogatepass")


# --- records ---------------------------------------------------------------------------------


def read_records(path: Path) -> Iterator[tuple[str, _Row]]:
    """(`file:number`, record) of a file of records, numbered from 1.

    JSON lines, a JSON list, SQuAD's nested JSON (a row per question with its context and title),
    Parquet, or an Arrow stream or file. HarnessError for what is none of them.
    """
    rows = _tables(path) if path.suffix in (".parquet", ".arrow") else _json(path)
    for number, row in enumerate(rows, start=1):
        where = f"{path}:{number}"
        if not isinstance(row, dict):
            raise HarnessError("not a record with named fields", where=where)
        yield where, row


def _json(path: Path) -> Iterator[Any]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            if ".jsonl" in path.suffixes:
                yield from _lines(file, path)
                return
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"the file cannot be read: {error}", where=str(path)) from error
    try:
        yield from _rows(json.loads(text), path)
    except json.JSONDecodeError:
        # `.json` is also what files of JSON lines are called.
        yield from _lines(text.splitlines(), path)


def _lines(lines: Any, path: Path) -> Iterator[Any]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise HarnessError(f"not JSON: {error}", where=f"{path}:{number}") from error


def _rows(document: Any, path: Path) -> Iterator[Any]:
    rows = document.get("data", document) if isinstance(document, dict) else document
    if isinstance(rows, dict):
        rows = [rows]
    if not isinstance(rows, list):
        raise HarnessError("holds no list of records", where=str(path))
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("paragraphs"), list):
            yield row
            continue
        for paragraph in row["paragraphs"]:
            for question in paragraph["qas"]:
                yield {"title": row.get("title"), "context": paragraph["context"], **question}


def _tables(path: Path) -> Iterator[Any]:
    import pyarrow as pa  # imported here: it takes a moment
    import pyarrow.parquet

    try:
        if path.suffix == ".parquet":
            batches = pyarrow.parquet.ParquetFile(path).iter_batches()
        else:
            with pa.memory_map(str(path)) as source:
                try:
                    batches = list(pa.ipc.open_stream(source))
                except pa.ArrowInvalid:
                    stored = pa.ipc.open_file(source)
                    batches = [stored.get_batch(i) for i in range(stored.num_record_batches)]
        for batch in batches:
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise HarnessError(f"the file cannot be read: {error}", where=str(path)) from error
