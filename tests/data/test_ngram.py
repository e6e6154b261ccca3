"""N-grams against a count by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import ngram
from harness.data.ngram import fit_ngrams
from harness.data.text import RowKind, TextRows, TextShards, load_tokenizer
from harness.errors import HarnessError

V = 257


def rows_of(texts: list[bytes], context: int, kind: RowKind) -> TextRows:
    tokenizer = load_tokenizer("bytes")
    ids = [np.append(tokenizer.encode(text), 256) for text in texts]
    shards = TextShards(
        name="x",
        split="train",
        folder=Path(),
        tokens=np.concatenate(ids).astype(np.uint16),
        offsets=np.cumsum([0, *map(len, ids)]),
        vocab_size=V,
        end_of_text=256,
        token_bytes=tokenizer.token_bytes(),
        tokenizer_digest=tokenizer.digest,
        source_digest="",
        token_digest="",
    )
    return TextRows(shards, context=context, rows=kind)


def windows(texts: list[bytes], context: int, kind: RowKind) -> list[list[int]]:
    if kind == "first_window":
        return [[*text, 256][: context + 1] for text in texts if text]
    stream = [token for text in texts for token in (*text, 256)]
    return [stream[i : i + context + 1] for i in range(0, len(stream) - 1, context)]


def by_hand(train: list[list[int]], evaluation: list[list[int]]) -> dict[int, float]:
    counts: Counter[tuple[int, ...]] = Counter()
    contexts: Counter[tuple[int, ...]] = Counter()
    for row in train:
        for place in range(1, len(row)):
            for order in (1, 2, 3):
                if order <= place + 1:
                    gram = tuple(row[place - order + 1 : place + 1])
                    counts[gram] += 1
                    contexts[(order, *gram[:-1])] += 1
    sums = {1: 0.0, 2: 0.0, 3: 0.0}
    for row in evaluation:
        for place in range(1, len(row)):
            for order in (1, 2, 3):
                used = min(order, place + 1)
                gram = tuple(row[place - used + 1 : place + 1])
                sums[order] -= log((counts[gram] + 1) / (contexts[(used, *gram[:-1])] + V))
    return sums


TEXTS = st.lists(st.text("abc", min_size=2, max_size=30).map(str.encode), min_size=1, max_size=6)


@settings(deadline=None)
@given(
    train=TEXTS,
    evaluation=TEXTS,
    context=st.integers(1, 9),
    kind=st.sampled_from(["packed", "first_window"]),
)
def test_losses_equal_a_count_by_hand(
    train: list[bytes], evaluation: list[bytes], context: int, kind: RowKind
) -> None:
    losses = fit_ngrams(rows_of(train, context, kind)).loss(rows_of(evaluation, context, kind))
    rows = windows(evaluation, context, kind)
    expected = by_hand(windows(train, context, kind), rows)
    for order, (nats, n) in losses.items():
        assert n == sum(len(row) - 1 for row in rows)
        assert nats == pytest.approx(expected[order], rel=1e-12)


def test_probabilities_of_each_context_sum_to_one() -> None:
    grams = fit_ngrams(rows_of([b"abracadabra"], 20, "packed"))
    for order, context in ((1, 0), (2, ord("a")), (3, ord("a") * V + ord("b"))):
        hits = grams.grams[order].of(context * V + np.arange(V))
        assert hits.sum() == grams.contexts[order].of(np.array([context]))[0]


def test_a_long_text_is_fitted_on_its_first_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [b"abracadabra", b"simsalabim"] * 9
    assert fit_ngrams(rows_of(texts, 7, "packed")).fitted_tokens is None
    monkeypatch.setattr(ngram, "FITTED_TOKENS", 40)
    rows = rows_of(texts, 7, "packed")
    grams = fit_ngrams(rows)
    assert grams.fitted_tokens == 35, "whole rows of 7 targets"
    expected = by_hand(windows(texts, 7, "packed")[:5], windows(texts, 7, "packed"))
    assert grams.loss(rows)[3][0] == pytest.approx(expected[3], rel=1e-12)


def test_another_tokenizer_is_refused() -> None:
    rows = rows_of([b"abcabc"], 3, "packed")
    grams = fit_ngrams(rows)
    other = TextRows(replace(rows.shards, tokenizer_digest="other"), context=3)
    with pytest.raises(HarnessError, match="another tokenizer"):
        grams.loss(other)
