"""The ladder of changed documents: rates, nesting and order counted letter by letter."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from math import log
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.datasets import load_documents
from harness.data.embedded.corrupted import TYPO_PERCENTS, with_typos, with_words_shuffled
from harness.data.ngram import fit_ngrams
from harness.data.text import TextRows, prepare_text

LADDER = [f"builtin/docs-typos-{percent}" for percent in TYPO_PERCENTS]


def changed(one: bytes, other: bytes) -> set[int]:
    assert len(one) == len(other)
    return {i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b}


@given(st.binary(max_size=300), st.text(max_size=5), st.integers(0, 100))
def test_exactly_the_share_of_letters_changes_and_keeps_its_case(
    text: bytes, name: str, percent: int
) -> None:
    typed = with_typos(text, name, percent=percent)
    letters = [i for i, c in enumerate(text) if chr(c) in ALPHABET]
    places = changed(text, typed)
    assert len(places) == int(len(letters) * percent / 100 + 0.5)
    for place in places:
        before, after = chr(text[place]), chr(typed[place])
        assert before in ALPHABET
        assert after in ALPHABET
        assert before.isupper() == after.isupper()
    assert typed == with_typos(text, name, percent=percent)


ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def test_what_changes_at_one_rate_changes_likewise_at_every_higher_one() -> None:
    docs = load_documents("builtin/docs", "validation")
    sets = [load_documents(name, "test") for name in LADDER]
    for index, text in enumerate(docs.texts):
        places: set[int] = set()
        versions = [each.texts[index] for each in sets]
        for lower, higher in pairwise(versions):
            places = changed(text, lower)
            assert all(lower[i] == higher[i] for i in places)
    assert places, "the last document has letters"
    assert [each.names for each in sets] == [docs.names] * len(sets)


def test_every_other_letter_is_as_likely() -> None:
    typed = with_typos(b"e" * 25_000, "x", percent=100)
    counts = Counter(typed)
    assert set(counts) == set(b"abcdfghijklmnopqrstuvwxyz")
    # 24 degrees of freedom: a chi-square of 51 has odds of 0.001.
    assert sum((n - 1000) ** 2 / 1000 for n in counts.values()) < 51


@given(st.lists(st.sampled_from([b"a", b"bc", b" ", b"\n", b"\t", "é".encode()])).map(b"".join))
def test_shuffling_keeps_the_words_and_the_white_space(text: bytes) -> None:
    shuffled = with_words_shuffled(text, "name")
    assert Counter(shuffled.split()) == Counter(text.split())
    assert re.findall(rb"\s+", shuffled) == re.findall(rb"\s+", text)


def test_every_order_of_words_is_as_likely() -> None:
    orders = Counter(with_words_shuffled(b"a b c", str(i)) for i in range(6000))
    assert len(orders) == 6
    # 5 degrees of freedom: a chi-square of 20.5 has odds of 0.001.
    assert sum((n - 1000) ** 2 / 1000 for n in orders.values()) < 20.5


@pytest.mark.parametrize("order", [2, 3])
def test_the_ladder_climbs_under_n_grams_of_the_training_set(order: int, tmp_path: Path) -> None:
    def rows(name: str, split: str) -> TextRows:
        shards = prepare_text(name, split, tokenizer="bytes", cache=tmp_path)
        return TextRows(shards, context=64)

    fitted = fit_ngrams(rows("builtin/docs", "train"))
    sets = [("builtin/docs", "validation"), *((name, "test") for name in LADDER)]
    losses = []
    for name, split in sets:
        nats, n = fitted.loss(rows(name, split))[order]
        losses.append(nats / n)
    assert losses == sorted(losses)
    assert losses[0] < losses[-1] < log(256)
