"""Records of every source, what questions are made of them, and their digest."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from harness import provenance
from harness.data import measured
from harness.data.corpora import questions as module
from harness.data.corpora.questions import load_questions, questions_digest
from harness.data.corpora.reading import Record, read_records
from harness.data.corpora.sources import parse_records
from harness.errors import HarnessError
from tests.data.corpora.asked import ANSWER, PROMPT, ROWS, write_questions


@pytest.fixture
def questions(tmp_path: Path) -> str:
    return write_questions(tmp_path)


def records(name: str, split: str = "test") -> list[Record]:
    return list(read_records(parse_records(name), split))


def test_the_same_records_come_from_every_kind_of_file(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    table = pa.Table.from_pylist(ROWS)
    (tmp_path / "a.jsonl").write_text(lines + "\n")
    (tmp_path / "z.jsonl").write_text(lines)
    (tmp_path / "b.json").write_text(json.dumps(ROWS))
    (tmp_path / "c.json").write_text(lines)
    (tmp_path / "d.json.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "f.json").write_text(json.dumps({"version": 1, "data": ROWS}))
    (tmp_path / "j.json").write_text("\n" + json.dumps(ROWS, indent=1))
    (tmp_path / "k.json.gz").write_bytes(gzip.compress(json.dumps({"data": ROWS}).encode()))
    for name, text in (("l.jsonl.zst", lines), ("m.json.zst", json.dumps(ROWS))):
        (tmp_path / name).write_bytes(pa.Codec("zstd").compress(text.encode(), asbytes=True))
    pyarrow.parquet.write_table(table, tmp_path / "g.parquet")
    for name, writer in (("h.arrow", pa.ipc.new_stream), ("i.arrow", pa.ipc.new_file)):
        with writer(tmp_path / name, table.schema) as out:
            out.write_table(table)
    paths = sorted(tmp_path.iterdir())
    for path in paths:
        found = records(f"file:{path}")
        assert [row for _, row in found] == ROWS, path.name
        assert found[3][0] == f"{path}:4"
    assert len({questions_digest(f"file:{path}", "test") for path in paths}) == 1
    together = records(f"file:{tmp_path}/?.jsonl")
    assert [row for _, row in together] == [*ROWS, *ROWS]
    assert [where for where, _ in together][4:6] == [
        f"{tmp_path}/a.jsonl:5",
        f"{tmp_path}/z.jsonl:1",
    ]


def test_lines_keep_their_numbers_and_one_line_is_one_record(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('\n{"a": 1}\n\n{"a": 2}\n')
    (tmp_path / "b.json").write_text('{"a": 1, "data": 3}\n')
    assert records(f"file:{tmp_path}/a.json") == [
        (f"{tmp_path}/a.json:2", {"a": 1}),
        (f"{tmp_path}/a.json:4", {"a": 2}),
    ]
    assert records(f"file:{tmp_path}/b.json") == [(f"{tmp_path}/b.json:1", {"a": 1, "data": 3})]


def test_the_first_records_are_taken_where_so_many_are_asked_for(questions: str) -> None:
    loaded = load_questions(f"{questions}?documents=4", "test", PROMPT, ANSWER)
    assert (len(loaded.prompts), loaded.skipped) == (2, 2)
    few = questions_digest(f"{questions}?documents=4", "test")
    assert few not in (questions_digest(questions, "test"), few[:0])
    assert questions_digest(f"{questions}?documents=5", "test") == questions_digest(
        questions, "test"
    )


def test_nested_questions_become_rows(tmp_path: Path) -> None:
    asked_of = [
        {"question": "q1", "answers": [{"text": "one"}], "id": "1"},
        {"question": "q2", "answers": [], "id": "2"},
    ]
    nested = {"data": [{"title": "T", "paragraphs": [{"context": "C", "qas": asked_of}]}]}
    (tmp_path / "squad.json").write_text(json.dumps(nested))
    data = f"file:{tmp_path}/squad.json"
    loaded = load_questions(
        data, "test", "Question: {context}\n{question}\nA: ", "{answers[0].text}"
    )
    assert loaded.documents.texts == (b"Question: C\nq1\nA: one",)
    assert loaded.prompts == (b"Question: C\nq1\nA:",)
    assert loaded.skipped == 1


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.jsonl", "{", r"a.jsonl:1: not JSON"),
        ("a.jsonl", "3", r"a.jsonl:1: not a record"),
        ("a.json", "3", r"a.json: holds no list"),
        ("a.jsonl", '{"question": "q"}', r"a.jsonl:1: no such field"),
        ("a.jsonl", '{"question": null, "answer": "a"}', r"a.jsonl:1: a field of the prompt"),
        ("a.jsonl", '{"question": "q", "answer": ""}', r"no record has an answer"),
        ("a.jsonl.gz", "not gzip", r"cannot be read"),
        ("a.parquet", "not parquet", r"cannot be read"),
        ("a.arrow", "not arrow", r"cannot be read"),
        ("a.jsonl.zst", "not zstd", r"cannot be read"),
        ("a.json", '{"question": "q", "answer": "a"}\n{', r"a.json:2: not JSON"),
        ("a.json", '{"data": [{"paragraphs": [{"context": "c"}]}]}', r"unlike SQuAD's: KeyError"),
        ("a.json", '{"data": [{"paragraphs": ["c"]}]}', r"unlike SQuAD's: TypeError"),
        ("a.txt", "text", r"templates need records"),
    ],
)
def test_bad_files(name: str, content: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(HarnessError, match=problem):
        load_questions(f"file:{tmp_path}/{name}", "test", PROMPT, ANSWER)


def test_the_digest_is_of_every_record_whatever_is_made_of_them(
    questions: str, tmp_path: Path
) -> None:
    before = questions_digest(questions, "test")
    with (tmp_path / "qa.jsonl").open("a") as file:
        file.write('\n{"answer": null}\n')
    assert questions_digest(questions, "test") != before


def test_a_large_file_is_read_again_only_once_it_changed(
    questions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "SMALL_BYTES", 10)
    path, cache = tmp_path / "qa.jsonl", tmp_path / "cache"
    before = path.stat().st_mtime_ns - 10**10
    os.utime(path, ns=(before, before))
    monkeypatch.setattr(measured, "_SETTLED_SECONDS", 0.0)
    load_questions(questions, "test", PROMPT, ANSWER, cache=cache)
    recorded = {f"{questions}/test": questions_digest(questions, "test", cache=None)}
    with monkeypatch.context() as patched:
        patched.setattr(module, "read_records", None)  # nothing is read
        assert questions_digest(questions, "test", cache=cache) == recorded[f"{questions}/test"]
        provenance._digest_now.cache_clear()
        assert not provenance.data_changed(recorded, cache)
    path.write_text(path.read_text() + "{}\n")
    provenance._digest_now.cache_clear()
    assert provenance.data_changed(recorded, cache)
    path.unlink()
    provenance._digest_now.cache_clear()
    assert provenance.data_changed(recorded, cache)


def test_a_changed_file_is_read_again_by_the_same_process(questions: str, tmp_path: Path) -> None:
    path = tmp_path / "qa.jsonl"
    before = load_questions(questions, "test", PROMPT, ANSWER).documents
    path.write_text(path.read_text() + '\n{"question": "and now", "answer": "this"}\n')
    after = load_questions(questions, "test", PROMPT, ANSWER).documents
    assert len(after.texts) == len(before.texts) + 1


def test_a_file_that_changes_while_it_is_read_is_refused(
    questions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = module.read_records

    def changing(*given: Any) -> Iterator[Record]:
        yield from read(*given)
        with (tmp_path / "qa.jsonl").open("a") as file:
            file.write("{}\n")

    monkeypatch.setattr(module, "read_records", changing)
    with pytest.raises(HarnessError, match="changed while it was read"):
        load_questions(questions, "test", PROMPT, ANSWER)
