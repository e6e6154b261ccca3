"""Names of the user's own text, and that every form of a file holds the same documents."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.corpora.overlap import stream_documents
from harness.data.corpora.sources import TextSource, parse_source
from harness.data.datasets import check_file, dataset_digest, find_dataset, load_documents
from harness.data.disjoint import measure_overlap
from harness.errors import HarnessError

#: A gzip file cut short; its time is fixed, since it names a test in every process alike.
TORN = gzip.compress(b'{"text": "x"}\n' * 99, mtime=0)[:-9]

SHARED = Path(os.environ.get("HARNESS_SHARED", "../shared"), "data")
WORD = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,8}", fullmatch=True)
OPTIONS = {
    "holdout": st.none() | st.floats(1e-9, 1, exclude_max=True),
    "documents": st.none() | st.integers(1, 10**12),
}
FILES = st.builds(
    lambda path, suffix, **options: TextSource(
        "file", path + suffix, "" if "txt" in suffix else "te.xt", **options
    ),
    st.from_regex(r"[a-z/*?.~ä -]{1,12}", fullmatch=True),
    st.sampled_from([".txt", ".txt.gz", ".jsonl", ".json.gz", ".jsonl.zst", ".parquet", ".arrow"]),
    **OPTIONS,
)
HUB = st.builds(
    lambda place, **parts: TextSource("hub", place, **parts),
    st.builds("/".join, st.lists(WORD, min_size=1, max_size=2))
    | st.from_regex(r"[./~][a-z/. -]{1,9}", fullmatch=True),
    field=st.from_regex(r"[a-z][a-z.]{0,5}", fullmatch=True),
    revision=st.none() | st.from_regex(r"[0-9a-f]{4,40}|refs/pr/1", fullmatch=True),
    config=st.none() | WORD,
    **OPTIONS,
)


@settings(deadline=None)
@given(FILES | HUB)
def test_a_source_is_what_its_name_says(source: TextSource) -> None:
    assert parse_source(str(source)) == source


@pytest.mark.parametrize("place", ["file:a.jsonl", "file:x/{split}1?.parquet", "hub:o/n@0a:c"])
@pytest.mark.parametrize("options", ["", "?documents=3"])
@pytest.mark.parametrize(
    "template",
    ["Is {q}? {a}", "Q: {q}?\nA: {a}", "{q} # {a}", "#{q}", "{q}? Answer = {a}", "# {q}?#{a}?"],
)
def test_a_template_may_hold_what_begins_a_field_or_options(
    place: str, options: str, template: str
) -> None:
    source = parse_source(f"{place}#{template}{options}")
    assert source.field == template
    assert source.documents == (3 if options else None)
    assert str(source) == f"{place}#{template}{options}"


def test_the_parts_of_a_hub_name() -> None:
    name = "hub:HuggingFaceFW/fineweb@9bb295d:sample-10BT#text?holdout=0.001&documents=2000000"
    assert parse_source(name) == TextSource(
        "hub", "HuggingFaceFW/fineweb", "text", "9bb295d", "sample-10BT", 0.001, 2_000_000
    )
    record = find_dataset(name)  # no network is needed to plan with it
    assert (record.modality, record.splits) == ("text", ("train", "validation"))
    check_file(name, "train", "text")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("file:a.csv#text", "convert other tables"),
        ("file:a.jsonl", "needs the name of its text field"),
        ("file:a.parquet", "write file:a.parquet#text"),
        ("file:a.txt#text", "has no fields"),
        ("file:a.jsonl#text?holduot=0.1", "did you mean 'holdout'"),
        ("file:a.jsonl#{q}?holduot=0.1", "did you mean 'holdout'"),
        ("file:a.jsonl#text?holdout=1", "between 0 and 1"),
        ("file:a.jsonl#text?holdout=x", "between 0 and 1"),
        ("file:a.jsonl#text?documents=0", "whole number from 1"),
        ("file:a.jsonl#text?documents=1&documents=2", "given twice"),
        ("file:{split}.jsonl#text?holdout=0.1", "leave out either"),
        ("file:", "no text is read"),
        ("hub:a/b", "needs the name of its text field"),
        ("hub:a/b/c#text", "OWNER/NAME"),
        ("hub:#text", "OWNER/NAME"),
        ("hub:./absent-folder#text", "no such folder"),
        ("file:absent-*.jsonl#text", "no file has such a path"),
        ("file:absent.jsonl#text", "no such file"),
    ],
)
def test_wrong_names_are_explained(name: str, said: str) -> None:
    with pytest.raises(HarnessError, match=said):
        check_file(name, "train", "text")


def test_held_out_sets_have_no_test_split() -> None:
    with pytest.raises(HarnessError, match="allowed: train, validation"):
        check_file("file:a.jsonl#text?holdout=0.1", "test", "text")


# --- every form of a file ------------------------------------------------------------------------

TEXTS = ["one", "zwei ä\n", "", "three " * 900, "漢字 \u2028 line"]
NAMES = {
    "plain": "plain.jsonl#body.text",
    "gz": "text.jsonl.gz#body.text",
    "json.gz": "text.json.gz#body.text",
    "zst": "text.jsonl.zst#body.text",
    "parquet": "text.parquet#body.text",
    "stream": "stream.arrow#body.text",
    "file": "file.arrow#body.text",
    "pattern": "parts/*.parquet#flat",
    "flat": "parts/all.arrow#flat",
}


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same documents in every kind of file that is read."""
    folder = tmp_path_factory.mktemp("forms")
    rows: list[dict[str, Any]] = [{"id": i, "body": {"text": t}} for i, t in enumerate(TEXTS)]
    lines = [json.dumps(row, ensure_ascii=bool(i % 2)) + "\n" for i, row in enumerate(rows)]
    plain = "\n".join(["", *lines]).encode()
    (folder / "plain.jsonl").write_bytes(plain)
    for name in ("text.jsonl.gz", "text.json.gz"):
        (folder / name).write_bytes(gzip.compress(plain))
    # Two frames one after the other, as `cat` and parallel compressors leave them.
    halves = ["".join(lines[:2]).encode(), "".join(lines[2:]).encode()]
    codec = pa.Codec("zstd")
    frames = [bytes(codec.compress(half)) for half in halves]
    (folder / "text.jsonl.zst").write_bytes(b"".join(frames))
    table = pa.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, folder / "text.parquet", row_group_size=2)
    for name, opened in (("stream", pa.ipc.new_stream), ("file", pa.ipc.new_file)):
        with opened(folder / f"{name}.arrow", table.schema) as out:
            out.write_table(table, max_chunksize=2)
    (folder / "parts").mkdir()
    flat = pa.table({"flat": TEXTS})
    for index, part in enumerate((flat[:3], flat[3:])):
        pyarrow.parquet.write_table(part, folder / "parts" / f"{index}.parquet")
    large = flat.cast(pa.schema([("flat", pa.large_string())]))
    with pa.ipc.new_stream(folder / "parts" / "all.arrow", large.schema) as out:
        out.write_table(large)
    return folder


@pytest.mark.parametrize("form", NAMES)
def test_every_form_holds_the_same_documents(
    forms: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(forms)
    found = load_documents(f"file:{NAMES[form]}", "train")
    assert [text.decode() for text in found.texts] == [text for text in TEXTS if text]
    # Frozen: run ids and records refer to digests made this way.
    assert found.digest.startswith("aa58ba16")
    assert dataset_digest(f"file:{NAMES[form]}", "train") == found.digest
    assert len(set(found.names)) == len(found.names)


def test_a_folder_of_the_hubs_kind_is_streamed_by_datasets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for split, texts in {"train": TEXTS, "validation": ["held"]}.items():
        (tmp_path / "own" / "sub").mkdir(parents=True, exist_ok=True)
        path = tmp_path / "own" / "sub" / f"{split}-00000-of-00001.parquet"
        pyarrow.parquet.write_table(pa.table({"text": texts, "n": [1] * len(texts)}), path)
    card = "configs:\n- config_name: sub\n  data_files:\n" + "".join(
        f"  - split: {split}\n    path: sub/{split}-*.parquet\n"
        for split in ("train", "validation")
    )
    (tmp_path / "own" / "README.md").write_text(f"---\n{card}---\n")
    name = f"hub:{tmp_path}/own:sub#text"
    found = load_documents(name, "train")
    assert [text.decode() for text in found.texts] == [text for text in TEXTS if text]
    assert load_documents(name, "validation").texts == (b"held",)
    assert [n for n, _ in stream_documents(f"{name}?documents=2", "train")] == [
        f"{tmp_path}/own:1",
        f"{tmp_path}/own:2",
    ]
    for wrong, said in (
        (name.replace("#text", "#txet"), "did you mean 'text'"),
        (name.replace(":sub", ":sbu"), "cannot be read"),
        (name.replace("#text", "#n"), "it holds int"),
    ):
        with pytest.raises(HarnessError, match=said):
            load_documents(wrong, "train")
    with pytest.raises(HarnessError, match=r"has no such split(.|\n)*`split: validation`"):
        load_documents(name, "test")


@pytest.mark.parametrize(
    ("file", "content", "field", "said"),
    [
        (
            "a.jsonl",
            b'{"text": "x"}\n{"text": null}\n',
            "text",
            r"a\.jsonl:2: the line has no text",
        ),
        ("a.jsonl", b'{"text": "x"}\n["x"]\n', "text", r"a\.jsonl:2: the line has no text"),
        ("a.jsonl", b'{"text": "x"}\n{"text"\n', "text", r"a\.jsonl:2: not JSON"),
        ("a.jsonl", b'{"text": "\xff"}\n', "text", r"a\.jsonl:1: not JSON"),
        ("a.jsonl", b'{"a": {"b": 1}}\n', "a.b", r"a\.jsonl:1: the line has no text"),
        ("a.jsonl", b"\n", "text", "holds no text"),
        ("a.jsonl.gz", b"not gzip", "text", "cannot be read"),
        ("a.jsonl.gz", TORN, "text", "cannot be read"),
        ("a.jsonl.zst", b"not zstd", "text", "cannot be read"),
        ("a.parquet", b"PAR1 not", "text", "cannot be read"),
        ("a.arrow", b"not arrow", "text", "cannot be read"),
    ],
)
def test_what_cannot_be_read_says_where(
    tmp_path: Path, file: str, content: bytes, field: str, said: str
) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(HarnessError, match=said):
        load_documents(f"file:{tmp_path}/{file}#{field}", "train")


def test_a_null_in_a_table_names_its_row(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"text": ["x", None]}), tmp_path / "a.parquet")
    with pytest.raises(HarnessError, match=r"a\.parquet:2: the row has no text(.|\n)*holds null"):
        load_documents(f"file:{tmp_path}/a.parquet#text", "train")


# --- held out ------------------------------------------------------------------------------------


def test_what_is_held_out_shares_nothing_with_what_is_left(tmp_path: Path) -> None:
    lines = [" ".join(f"w{i}{j}" for j in range(20)) for i in range(300)]
    lines += [f"{line} again" for line in lines[::3]]  # near duplicates fall to either side
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in lines))
    name = f"file:{tmp_path}/a.jsonl#text?holdout=0.2"
    train, held = (load_documents(name, split) for split in ("train", "validation"))
    assert measure_overlap(train, evaluation=held).disjoint
    assert 40 < len(held.texts) < 130
    near = {text.removesuffix(b" again") for text in held.texts}
    left = {t.encode() for t in lines if t.removesuffix(" again").encode() not in near}
    assert set(train.texts) == left, "only what resembles a held-out document is dropped"
    few = name.replace("holdout=0.2", "holdout=0.2&documents=50")
    kept = [*load_documents(few, "train").texts, *load_documents(few, "validation").texts]
    assert sorted(kept) == sorted(t.encode() for t in lines[:50])
    with pytest.raises(HarnessError, match="not one document is in the validation split"):
        load_documents(name.replace("0.2", "0.00001"), "validation")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
def test_real_files_are_read() -> None:
    pattern = f"file:{SHARED}/web_c4_sample/c4-sample.*.json.gz#text"
    assert len(load_documents(pattern, "train").texts) == 30
    arc = load_documents(f"file:{SHARED}/arc/ARC-Easy.validation.arrow#question", "validation")
    assert len(arc.texts) == 570
    lines = f"file:{SHARED}/code_corpus/human_eval.jsonl#prompt"
    assert len(load_documents(lines, "test").texts) == 164


def test_a_template_makes_documents_of_records(tmp_path: Path) -> None:
    records = [
        {"question": "1 + 1", "answers": {"text": ["2", "two"]}},
        {"question": "unanswerable", "answers": {"text": []}},
        {"question": "2 + 2", "answers": {"text": ["4"]}},
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    name = f"file:{path}#Question: {{question}}\nAnswer: {{answers.text[0]}}"
    assert str(parse_source(name)) == name
    made = load_documents(name, "test")
    assert made.texts == (b"Question: 1 + 1\nAnswer: 2", b"Question: 2 + 2\nAnswer: 4")
    assert made.names == (f"{path}:1", f"{path}:3")
    assert load_documents(f"{name}?documents=1", "test").texts == made.texts[:1]
    assert dataset_digest(name, "test") == made.digest
    with pytest.raises(HarnessError, match="without its other half"):
        parse_source(f"file:{path}#{{question")
    with pytest.raises(HarnessError, match=r"questions\.jsonl:1: no such field"):
        load_documents(f"file:{path}#{{quest}}", "test")
