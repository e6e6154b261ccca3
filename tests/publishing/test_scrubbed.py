"""What is taken for a place on one machine, and what a command keeps of it."""

from __future__ import annotations

import getpass
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.publishing.scrubbed import is_private, private_texts, scrubbed_command

PRIVATE = (
    "/data/x.txt",
    "~/x.txt",
    "~",
    "~anna/x",
    "file:/data/x.txt",
    "file:~/x.txt?holdout=0.1",
    "hub:/data/gsm8k#{question} / {answer}",
    "hub:~/gsm8k/train",
    "tokenizer /data/bpe.json",
    "task mine of ~/tasks",
    "a,/b",
)
SHARED = (
    "builtin/docs",
    "file:data/x.txt",
    "file:../data/{split}/x.txt#text?holdout=0.1",
    "file:{split}/x.txt",
    "file:*/x.txt",
    "hub:openai/gsm8k:main#{question} / {answer}",
    "hub:openai/gsm8k:main#{question} /{answer}",
    "hub:a/b@v1.0#text",
    "tokenizer bytes",
    "AMD EPYC / 2",
    "a ~ b",
    "and/or",
    "",
)


@pytest.mark.parametrize("text", PRIVATE)
def test_places_of_one_machine_are_private(text: str) -> None:
    assert is_private(text)


@pytest.mark.parametrize("text", SHARED)
def test_names_that_hold_anywhere_are_not(text: str) -> None:
    assert not is_private(text)


def test_private_texts_are_found_with_their_place() -> None:
    document = {
        "task": {"data": "file:/a", "context": 3},
        "list": ["ok", {"x": "~/b"}],
        "/key": 1.0,
    }
    assert list(private_texts(document)) == [
        ("task.data", "file:/a"),
        ("list.x", "~/b"),
        ("", "/key"),
    ]


def test_prose_is_private_only_where_it_names_the_home_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    for key in ("prompt", "answer", "texts"):
        assert not list(private_texts({key: ["/etc is a folder", "~/x", "/home/annabel"]}))
        assert list(private_texts({key: ["see /home/anna/x"]})) == [(key, "see /home/anna/x")]


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("/home/anna/suites/cpu.yaml", "cpu.yaml"),
        ("--results=/scratch/anna/results/", "--results=results"),
        ("~/suite.yaml", "suite.yaml"),
        ("--out=~anna/x", "--out=x"),
        ("task.data=file:/a/b/{split}.txt#text", "task.data=file:{split}.txt#text"),
        ('a=["/x/y","/z"]', 'a=["y","z"]'),
        ("{data: /x/y, tokenizer: /z}", "{data: y, tokenizer: z}"),
        ("https://example.org/runs", "https:runs"),
        ("suites/cpu/text.yaml", "suites/cpu/text.yaml"),
        ("../shared/x.yaml", "../shared/x.yaml"),
        ("task.data=hub:a/b#{q} / {a}", "task.data=hub:a/b#{q} / {a}"),
        ("--redo-changed", "--redo-changed"),
    ],
)
def test_commands_keep_the_last_part_of_a_path(word: str, kept: str) -> None:
    assert scrubbed_command(["harness", "run", word]) == ["harness", "run", kept]


def test_commands_name_neither_machine_nor_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "run.lab.example")
    monkeypatch.setattr(getpass, "getuser", lambda: "anna")
    monkeypatch.setenv("HOME", "/home/a.b")
    words = ["harness", "run", "run.lab.example/x", "Anna.yaml", "a.b", "annabel", "rerun", "run"]
    assert scrubbed_command(words) == [
        "harness",
        "run",
        "…/x",
        "….yaml",
        "…",
        "annabel",
        "rerun",
        "…",
    ]


def test_a_user_without_a_name_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", unknown)
    assert scrubbed_command(["harness", "run", "x.yaml"]) == ["harness", "run", "x.yaml"]


@given(
    parts=st.lists(st.text("abcxyz019._-", min_size=1).filter(lambda s: s.strip(".")), min_size=2),
    before=st.sampled_from(["", "--results=", "a=b:", "[", '["', "x, ", "{a: ", "(", "file:"]),
    after=st.sampled_from(["", "]", '"]', ", y", "}", ")"]),
)
def test_no_folder_of_a_rooted_path_is_kept(parts: list[str], before: str, after: str) -> None:
    word = f"{before}/{'/'.join(parts)}{after}"
    (*_, kept) = scrubbed_command(["harness", "run", word])
    assert "/" not in kept
    assert not is_private(kept)
    assert scrubbed_command(["harness", "run", kept]) == ["harness", "run", kept]
    assert Path(kept).name == kept
