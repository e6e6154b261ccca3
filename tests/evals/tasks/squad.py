"""SQuAD's own JSON as questions, and its two scores."""

import re
import string
from collections import Counter
from collections.abc import Iterator
from typing import Any

import datasets


def questions(articles: Any) -> datasets.Dataset:
    """One row per question."""
    return datasets.Dataset.from_list(list(_questions(articles)))


def _questions(articles: Any) -> Iterator[dict[str, Any]]:
    for article in articles:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                answers = [answer["text"] for answer in asked["answers"]]
                yield {
                    "context": paragraph["context"],
                    "question": asked["question"],
                    "answers": answers,
                }


def scores(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Exact match and F1 of words, the better over the answers."""
    written = _words(results[0])
    return {
        "em": max(float(written == _words(answer)) for answer in doc["answers"]),
        "f1": max(_f1(written, _words(answer)) for answer in doc["answers"]),
    }


def _words(text: str) -> list[str]:
    plain = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def _f1(written: list[str], answer: list[str]) -> float:
    shared = sum((Counter(written) & Counter(answer)).values())
    return 2 * shared / (len(written) + len(answer)) if shared else 0.0
