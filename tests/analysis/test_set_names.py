"""Data sets are called by short names that stay apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.set_names import short_names


def test_short_names() -> None:
    gsm8k = "hub:openai/gsm8k@abc:main#Question: {question}\nAnswer: {answer}"
    names = [
        "builtin/docs",
        gsm8k,
        "file:/data/squad/dev.json#x?documents=3",
        "hub:a/wikitext#text",
        "file:data/gsm8k/{split}.jsonl#question",
        "file:data/web/{split}.jsonl.gz#text",
        "file:coco2014/{split}2014?size=32",
        "file:mine/wiki-{split}.txt",
        "file:{split}.txt",
    ]
    assert list(short_names(names).values()) == [
        "builtin/docs",
        "gsm8k:main",
        "squad/dev.json",
        "wikitext",
        "gsm8k",
        "web",
        "coco2014",
        "mine/wiki-{split}.txt",
        "{split}.txt",
    ]


def test_names_that_would_be_one_stay_whole() -> None:
    one, other = "hub:a/wikitext#text", "hub:b/wikitext#text"
    assert short_names([one, other]) == {one: one, other: other}


@given(
    st.lists(
        st.sampled_from(["file:", "hub:", ""]).flatmap(
            lambda p: st.text("ab/#?:@.").map(lambda t: p + t)
        )
    )
)
def test_sets_stay_apart(names: list[str]) -> None:
    short = short_names(names)
    assert len(set(short.values())) == len(set(names))
