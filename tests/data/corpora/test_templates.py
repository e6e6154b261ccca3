"""Texts made of a record's fields."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.corpora.templates import Template
from harness.errors import HarnessError

FIELDS = st.dictionaries(
    st.text("abcxyz_", min_size=1, max_size=3), st.text(max_size=5) | st.integers(), min_size=1
)


@given(FIELDS, st.data())
@settings(max_examples=60, deadline=None)
def test_templates_of_plain_fields_are_pythons_own_format(
    record: dict[str, Any], data: Any
) -> None:
    piece = st.sampled_from(["{{", "}}", "a ", "\n", "0", *("{" + f + "}" for f in record)])
    text = "".join(data.draw(st.lists(piece, max_size=8)))
    assert Template.parse(text).render(record) == text.format(**record)


def test_templates_reach_into_lists_and_mappings() -> None:
    record = {
        "answers": {"text": ["first", "second"]},
        "spans": [{"text": "a"}],
        "choices": ["A", "B"],
        "gold": 1,
        "none": [],
    }
    for template, expected in {
        "{answers.text[1]}": "second",
        "{spans[0].text}": "a",
        "{choices[gold]}": "B",
        "{gold}%": "1%",
        "{none[0]}": None,
        "{choices[5]}": None,
    }.items():
        assert Template.parse(template).render(record) == expected, template


@given(st.text(max_size=8), st.text(st.characters(exclude_characters="{}"), min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_an_ending_is_left_out_once_where_it_is_there(start: str, ending: str) -> None:
    template = Template.parse("<{a.b%" + ending + "}>")
    for value in (start, start + ending, start + ending + ending):
        expected = value.removesuffix(ending)
        assert template.render({"a": {"b": value}}) == f"<{expected}>"
    assert template.render({"a": {"b": None}}) is None


def test_the_papers_bigbench_inputs_lose_their_question() -> None:
    template = Template.parse("{inputs% Answer:}\nA: {n%0}")
    record = {"inputs": "Q: ( [ Answer: ) Answer:", "n": 10}
    assert template.render(record) == "Q: ( [ Answer: )\nA: 1"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{answer", "without its other half"),
        ("answer}", "without its other half"),
        ("{}", "not the name of a field"),
        ("{a!r}", "not the name of a field"),
        ("{a.}", "not the name of a field"),
        ("{a[0}", "not the name of a field"),
        ("{answer%}", "not the name of a field"),
        ("{%x}", "not the name of a field"),
        ("{many%x}", "holds a list"),
        ("{answr}", "did you mean 'answer'"),
        ("{answer.text}", "no such field in answer.text"),
        ("{answer[0]}", "only a list has places"),
        ("{many}", "holds a list"),
        ("{answer.__class__}", "no such field"),
    ],
)
def test_template_mistakes(template: str, problem: str) -> None:
    with pytest.raises(HarnessError, match=problem):
        Template.parse(template).render({"answer": "yes", "many": ["a"]})
