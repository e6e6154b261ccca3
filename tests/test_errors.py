"""The user's error says what, where, what is allowed and what was probably meant."""

from __future__ import annotations

import pickle

from harness.errors import HarnessError, nearest


def test_message_names_everything() -> None:
    error = HarnessError(
        "no such dataset.",
        where="suite.yaml:3",
        allowed=["builtin/docs", "builtin/dyck"],
        given="Builtin/doc",
        hint="see harness ls data",
    )
    assert str(error).splitlines() == [
        "suite.yaml:3: no such dataset",
        "  given: 'Builtin/doc'",
        "  allowed: builtin/docs, builtin/dyck",
        "  did you mean 'builtin/docs'?",
        "  see harness ls data",
    ]


def test_long_lists_are_shortened_but_searched_whole() -> None:
    names = [f"name{i:03d}" for i in range(100)]
    message = str(HarnessError("no such name", given="name_099", allowed=names))
    assert "(88 more)" in message
    assert "did you mean 'name099'?" in message


def test_nothing_close_suggests_nothing() -> None:
    assert nearest("zebra", ["builtin/docs"]) is None
    assert "did you mean" not in str(HarnessError("no", given="zebra", allowed=["docs"]))


def test_where_nothing_is_allowed_no_list_is_shown() -> None:
    assert (
        str(HarnessError("no such field", given="x", allowed=[])) == "no such field\n  given: 'x'"
    )


def test_survives_a_process_border() -> None:
    error = HarnessError("no", where="a:1", allowed=("x",), given="y", hint="z")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, HarnessError)
    assert str(copy) == str(error)
    assert copy.allowed == ("x",)
