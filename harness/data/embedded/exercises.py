"""Documents of worked exercises, in the words of the tasks that ship with the harness.

A model trained on them can be asked for answers that it has not seen: no exercise has the question
of a task, few-shot examples included, or of builtin/dyck.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from harness.data.disjoint import documents_sharing
from harness.data.embedded.generated import DYCK_DOCUMENTS, dyck_word
from harness.data.keyed import Draws
from harness.data.task_sets import Item, arithmetic_items, copying_items, dyck_items, split

PER_DOCUMENT = 4
SIZES = {"validation": 250, "train": 4000}

_KINDS: tuple[tuple[Callable[[], Iterator[Item]], str], ...] = (
    (dyck_items, "Input: {question}\nOutput: {answer}\n"),
    (arithmetic_items, "{question} = {answer}\n"),
    (copying_items, "Input: {question}\nOutput: {answer}\n"),
)


@functools.cache
def exercise_documents() -> dict[str, list[str]]:
    """Each split's documents; training documents that share a word 13-gram with validation go."""
    streams = [_fresh(items) for items, _ in _KINDS]
    documents: dict[str, list[str]] = {}
    for name, size in SIZES.items():
        documents[name] = [_document(streams, name, index) for index in range(size)]
    held_out = [text.encode() for text in documents["validation"]]
    train = documents["train"]
    shared = set(documents_sharing([text.encode() for text in train], held_out).tolist())
    documents["train"] = [text for index, text in enumerate(train) if index not in shared]
    return documents


def _fresh(items: Callable[[], Iterator[Item]]) -> Iterator[Item]:
    """Endlessly: items whose question is no task's and was not given before."""
    seen = {item["question"] for own in split(items()).values() for item in own}
    seen |= {dyck_word(index)[0] for index in range(DYCK_DOCUMENTS)}
    for item in items():
        if item["question"] not in seen:
            seen.add(item["question"])
            yield item


def _document(streams: list[Iterator[Item]], name: str, index: int) -> str:
    draws = Draws("builtin/exercises", name, index)
    text = ""
    for _ in range(PER_DOCUMENT):
        kind = draws.below(len(streams))
        item = next(streams[kind])
        text += _KINDS[kind][1].format(question=item["question"], answer=item["answer"])
    return text
