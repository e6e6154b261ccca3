"""Prompts and answers made of records, for losses of an answer's tokens alone.

White space at a prompt's end belongs to its answer, as in lm-eval.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from harness.data.corpora.reading import Record, read_records
from harness.data.corpora.streams import SplitSource, split_records
from harness.data.corpora.templates import Template
from harness.data.documents import Documents, TextDigest, texts_digest
from harness.data.measured import Measured, fingerprint, recall, remember
from harness.errors import HarnessError


@dataclass(frozen=True)
class Questions:
    """Documents that are prompt and answer joined; `prompts` (bytes) begin each document's text.

    `skipped` counts the records that have no answer.
    """

    documents: Documents
    prompts: tuple[bytes, ...]
    skipped: int


def questions_digest(name: str, split: str, *, cache: Path | None = None) -> str:
    """The sha256 over the records of a split, whatever is made of them and however they are stored.

    That of large files is kept in `cache` until one of them changes; that of the Hub's records is
    the one they had when they were last read. HarnessError for what cannot be read.
    """
    found = split_records(name, split)
    known = recall(found, cache)
    if known is None:
        before, digest = fingerprint(found), _RecordsDigest()
        for _, record in _records(found):
            digest.add(record)
        known = digest.measured()
        remember(found, before, known, cache)
    return known.digest


def load_questions(
    name: str, split: str, prompt: str, answer: str, *, cache: Path | None = None
) -> Questions:
    """Every record that has an answer, as a document; the records' digest goes into `cache`.

    A record whose answer is null, empty or beyond the end of its list has none. HarnessError for
    what cannot be read, a field that does not exist, or records without one answer.
    """
    found = split_records(name, split)
    templates = Template.parse(prompt), Template.parse(answer)
    before, digest = fingerprint(found), _RecordsDigest()
    names, prompts, texts, skipped = [], [], [], 0
    for where, record in _records(found):
        digest.add(record)
        pair = _pair(record, templates, where)
        if pair is None:
            skipped += 1
            continue
        names.append(where)
        prompts.append(pair[0])
        texts.append(pair[0] + pair[1])
    if not texts:
        raise HarnessError("no record has an answer", where=f"{name} ({split})", given=answer)
    if fingerprint(found) != before:
        raise HarnessError(
            "a file changed while it was read",
            where=f"{name} ({split})",
            hint="run the same command again",
        )
    remember(found, before, digest.measured(), cache)
    documents = Documents(
        name,
        split,
        tuple(names),
        tuple(texts),
        texts_digest([*texts, *prompts]),
        *found.source.origin,
    )
    return Questions(documents, tuple(prompts), skipped)


def first_record(name: str, split: str) -> Record | None:
    """The first record and where it is; None of the Hub's kind, which nothing is read of to plan.

    HarnessError where there is none, or it cannot be read.
    """
    found = split_records(name, split)
    if found.source.kind == "hub":
        return None
    for where, record in _records(found):
        return where, record
    raise HarnessError("there is not one record", where=f"{name} ({split})")


def _records(found: SplitSource) -> Iterator[Record]:
    return islice(read_records(found.source, found.split), found.source.documents)


class _RecordsDigest:
    """That of the records as JSON, with their fields in order of their names."""

    def __init__(self) -> None:
        self._digest = TextDigest()

    def add(self, record: Mapping[str, Any]) -> None:
        self._digest.add(json.dumps(record, sort_keys=True, default=repr).encode())

    def measured(self) -> Measured:
        return Measured(self._digest.hexdigest(), self._digest.documents, self._digest.size)


def _pair(
    record: Mapping[str, Any], templates: tuple[Template, Template], where: str
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
