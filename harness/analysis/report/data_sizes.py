"""How large a training set is, so that passes over it can be counted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.analysis.report.runs import ReportedRun
from harness.data.datasets import find_dataset, load_documents
from harness.data.names import is_source
from harness.data.tokenizer import BYTES
from harness.errors import HarnessError
from harness.planning.spec import NextTokenTask
from harness.records import read_json


@dataclass(frozen=True)
class SetSize:
    """`items` of a training split; `at_most` where all splits together are that many."""

    items: float
    unit: str
    at_most: bool = False


def set_size(run: ReportedRun, results: Path) -> SetSize | None:
    """Of the run's training set; None where nothing here says it."""
    task = run.planned.spec.task
    if isinstance(task, NextTokenTask):
        tokens = _prepared(run, results)
        if tokens is None and not is_source(task.data) and task.tokenizer == BYTES:
            tokens = _embedded(task.data)
        return None if tokens is None else SetSize(tokens, "tokens")
    return _of_record(task.data)


def _prepared(run: ReportedRun, results: Path) -> int | None:
    """Tokens of what was prepared here under the digests that the run recorded."""
    recorded = run.provenance.get("data", {})
    texts = {digest for name, digest in recorded.items() if name.endswith("/train")}
    tokenizers = {digest for name, digest in recorded.items() if name.startswith("tokenizer ")}
    return next(
        (
            tokens
            for text, tokenizer, tokens in _prepared_here(results)
            if text in texts and tokenizer in tokenizers
        ),
        None,
    )


@cache
def _prepared_here(results: Path) -> list[tuple[str, str, int]]:
    """(source digest, tokenizer digest, tokens) of every tokenized split in the cache."""
    found = []
    for path in sorted((results / "data").glob("*/index.json")):
        try:
            index = read_json(path)
            found.append((index["source_digest"], index["tokenizer_digest"], int(index["tokens"])))
        except (HarnessError, KeyError, TypeError, ValueError):
            continue
    return found


@cache
def _embedded(data: str) -> int:
    """Bytes, and an end of text for each document."""
    documents = load_documents(data, "train")
    return documents.size + len(documents.texts)


def _of_record(data: str) -> SetSize | None:
    """What the record of an embedded set says of all its splits."""
    try:
        found = re.fullmatch(r"([\d,]+) (images|patches|clips)", find_dataset(data).size)
    except HarnessError:
        return None
    return None if found is None else SetSize(int(found[1].replace(",", "")), found[2], True)
