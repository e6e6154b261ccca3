"""Generated task data: Dyck words, arithmetic chains, copying; for `harness/data/tasks/*.yaml`.

Each item has its own key, as in `harness.data.embedded.generated`. Few-shot examples (`train`) and
tested items never share a question.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product
from typing import Any

from harness.data.embedded.generated import dyck_word
from harness.data.keyed import Draws

SIZES = {"train": 50, "test": 500}
CHOICES = 4
_WORDS = (
    "amber", "bell", "cedar", "drum", "ember", "fern", "glass", "harp", "iron", "jade", "kite",
    "lamp", "moss", "nail", "oak", "pearl", "quill", "reed", "salt", "tin", "urn", "vine", "wool",
    "yarn",
)  # fmt: skip
#: Dyck words far from those of builtin/dyck, and short enough for a context of 128 bytes.
_FIRST_DYCK, _LONGEST_DYCK = 1_000_000, 95

Item = dict[str, Any]


def dyck(**_: Any) -> Any:
    """Prefixes, the brackets that close them, and wrong closings of the same length."""
    return _dataset(dyck_items())


def arithmetic(**_: Any) -> Any:
    """Sums and differences of three to five numbers, and near misses of the result."""
    return _dataset(arithmetic_items())


def copying(**_: Any) -> Any:
    """Three to eight random words, to be repeated."""
    return _dataset(copying_items())


def split(items: Iterator[Item]) -> dict[str, list[Item]]:
    """The first items whose question is new: few-shot examples, then what is tested."""
    seen: set[str] = set()

    def fresh() -> Iterator[Item]:
        for item in items:
            if item["question"] not in seen:
                seen.add(item["question"])
                yield item

    stream = fresh()
    return {name: list(islice(stream, size)) for name, size in SIZES.items()}


def _dataset(items: Iterator[Item]) -> Any:
    from datasets import Dataset, DatasetDict  # imported here: it takes a second

    return DatasetDict({name: Dataset.from_list(own) for name, own in split(items).items()})


def _with_choices(draws: Draws, question: str, answer: str, wrong: list[str]) -> Item:
    """An item with its choices in random order: the answer, and some of the wrong ones."""
    pool = list(dict.fromkeys(text for text in wrong if text != answer))
    choices = [pool.pop(draws.below(len(pool))) for _ in range(min(CHOICES - 1, len(pool)))]
    gold = draws.below(len(choices) + 1)
    choices.insert(gold, answer)
    return {"question": question, "answer": answer, "choices": choices, "gold": gold}


def dyck_items() -> Iterator[Item]:
    """Endlessly: prefix, completion, and closings that are wrong."""
    index = _FIRST_DYCK
    while True:
        prefix, completion = dyck_word(index)
        if len(prefix) <= _LONGEST_DYCK:
            closers = product(")]}>", repeat=len(completion.split()))
            wrong = [" ".join(each) for each in closers]
            yield _with_choices(Draws("tasks/dyck", index), prefix, completion, wrong)
        index += 1


def arithmetic_items() -> Iterator[Item]:
    """Endlessly: chain, result, and results that are near."""
    index = 0
    while True:
        draws = Draws("tasks/arithmetic", index)
        result = draws.between(1, 20)
        question = str(result)
        for _ in range(draws.between(2, 4)):
            number = draws.between(1, 20)
            minus = draws.below(2) == 1 and number <= result
            question += f" - {number}" if minus else f" + {number}"
            result += -number if minus else number
        misses = (-10, -2, -1, 1, 2, 10)
        wrong = [str(result + miss) for miss in misses if result + miss >= 0]
        yield _with_choices(draws, question, str(result), wrong)
        index += 1


def copying_items() -> Iterator[Item]:
    """Endlessly: words to copy."""
    index = 0
    while True:
        draws = Draws("tasks/copy", index)
        words = [_WORDS[draws.below(len(_WORDS))] for _ in range(draws.between(3, 8))]
        yield {"question": " ".join(words), "answer": " ".join(words)}
        index += 1
