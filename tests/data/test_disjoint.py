"""Disjointness against sets of word tuples."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.data import disjoint
from harness.data.datasets import list_datasets, load_documents
from harness.data.disjoint import check_disjoint, documents_sharing, measure_overlap
from harness.data.documents import Documents, texts_digest
from harness.errors import HarnessError


def documents(*texts: str) -> Documents:
    encoded = tuple(text.encode() for text in texts)
    names = tuple(map(str, range(len(encoded))))
    return Documents("x", "train", names, encoded, texts_digest(encoded), "", "")


def grams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    if not words:
        return set()
    return {tuple(words[i : i + 13]) for i in range(max(1, len(words) - 12))}


SENTENCES = st.lists(
    st.lists(st.sampled_from(["a", "B", "b.", "-"]), max_size=40).map(" ".join), max_size=4
)


@pytest.mark.parametrize("portion", [1, 20, 1 << 22])
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(train=SENTENCES, evaluation=SENTENCES)
def test_overlap_equals_sets_of_words(
    portion: int, monkeypatch: pytest.MonkeyPatch, train: list[str], evaluation: list[str]
) -> None:
    known = set().union(*map(grams, train))
    monkeypatch.setattr(disjoint, "_PORTION_BYTES", portion)
    overlap = measure_overlap(documents(*train), evaluation=documents(*evaluation))
    assert overlap.grams == len(known & set().union(*map(grams, evaluation)))
    assert overlap.touched == sum(bool(known & grams(text)) for text in evaluation)
    assert overlap.documents == sum(text in train for text in evaluation)
    assert overlap.compared == len(evaluation)
    both = [i for i, t in enumerate(evaluation) if known & grams(t) or t in train]
    assert overlap.shared == tuple(both)
    sharing = documents_sharing([t.encode() for t in evaluation], [t.encode() for t in train])
    assert sharing.tolist() == [i for i, t in enumerate(evaluation) if known & grams(t)]


def test_training_text_shares_nothing_with_any_evaluation_set() -> None:
    train = load_documents("builtin/docs", "train")
    known = set().union(*(grams(text.decode()) for text in train.texts))
    sets = [(r.name, "test") for r in list_datasets() if r.splits == ("test",)]
    for name, split in [("builtin/docs", "validation"), *sets]:
        evaluation = load_documents(name, split)
        assert check_disjoint(train, evaluation=evaluation).disjoint
        assert not set(train.texts) & set(evaluation.texts)
        for text in evaluation.texts:
            assert not known & grams(text.decode(errors="surrogateescape"))


def test_overlap_is_refused_with_its_counts() -> None:
    shared = " ".join(f"word{i}" for i in range(14))
    train = documents("other", f"before {shared}", "the same")
    with pytest.raises(HarnessError, match="1 equal documents, 3 shared word 13-grams in 2 of 3"):
        check_disjoint(train, evaluation=documents(f"{shared.upper()}!", "the same", "new"))
