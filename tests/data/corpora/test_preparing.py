"""Large sets: parts side by side, resumed, shared and refused; every byte as tokenized alone."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data import checked, measured
from harness.data.corpora import parts, preparing, reading, shards, streams
from harness.data.corpora.overlap import check_disjoint_from, known_overlap, split_overlap
from harness.data.corpora.preparing import Progress, prepare_text
from harness.data.corpora.shards import TextShards
from harness.data.datasets import dataset_digest, load_documents
from harness.data.effort import Effort
from harness.data.measured import LOCK, Measured, check_lock, prepared_digest, write_lock
from harness.data.tokenizer import load_tokenizer
from harness.data.trained_tokenizer import train_tokenizer
from harness.errors import HarnessError
from tests.data.killed import assert_made_once, cut_short, fill_disk, killed, started

WORDS = ["energy", "noise", " token", "\n", "ä", "model", "x" * 9, "descend ", "13", " (think)"]


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets of a few kilobytes are prepared as corpora are: in parts of 2 kB."""
    monkeypatch.setattr(measured, "SMALL_BYTES", 0)
    monkeypatch.setattr(measured, "_SETTLED_SECONDS", 0.0)
    monkeypatch.setattr(streams, "CHUNK_BYTES", 2000)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """40 kB of documents in some 20 parts, one of them empty, one as long as three parts."""
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    texts = ["".join(draw.choices(WORDS, k=draw.randint(1, 120))) for _ in range(120)]
    texts[50], texts[60] = "", "long " * 1200
    lines = (json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / "a.jsonl").write_text("".join(lines))
    return "file:a.jsonl#text"


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small byte-level BPE."""
    path = tmp_path_factory.mktemp("bpe") / "bpe.json"
    train_tokenizer("builtin/arithmetic", "test", vocab_size=300, out=path)
    return str(path)


def prepared(name: str, tokenizer: str, cache: Path, workers: int = 1) -> TextShards:
    return prepare_text(
        name, "train", tokenizer=tokenizer, cache=cache, effort=Effort(workers=workers)
    )


def alone(name: str, tokenizer: str) -> tuple[list[int], list[int]]:
    """Tokens and offsets as one call per document gives them."""
    loaded = load_tokenizer(tokenizer)
    texts = load_documents(name, "train").texts
    ids = [[*loaded.encode(text).tolist(), loaded.end_of_text] for text in texts]
    return [i for one in ids for i in one], [0, *np.cumsum([len(one) for one in ids]).tolist()]


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe"])
@pytest.mark.parametrize("options", ["", "?holdout=0.2", "?documents=60"])
def test_parts_are_what_one_after_the_other_gives(
    data: str, bpe: str, tmp_path: Path, tokenizer: str, options: str
) -> None:
    given = bpe if tokenizer == "bpe" else tokenizer
    found = prepared(data + options, given, tmp_path / "c")
    tokens, offsets = alone(data + options, given)
    assert found.tokens.tolist() == tokens
    assert found.offsets.tolist() == offsets
    documents = load_documents(data + options, "train")
    assert found.source_digest == documents.digest
    assert found.text_bytes == documents.size
    assert len(found) == len(documents.texts)


def test_no_byte_depends_on_the_number_of_workers(data: str, bpe: str, tmp_path: Path) -> None:
    found = [prepared(data, bpe, tmp_path / str(n), workers=n) for n in (1, 2)]
    assert found[0].folder.name == found[1].folder.name
    files = [{p.name: p.read_bytes() for p in f.folder.iterdir()} for f in found]
    assert files[0] == files[1]
    assert set(files[0]) == {"tokens.bin", "offsets.bin", "index.json"}


def test_what_is_prepared_is_found_without_reading_or_tokenizing(
    data: str, bpe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepared(data, bpe, tmp_path / "c")

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the source is read again")

    with monkeypatch.context() as patched:
        patched.setattr(streams, "read_source", never)
        again = prepared(data, bpe, tmp_path / "c")
        assert dataset_digest(data, "train", cache=tmp_path / "c") == first.source_digest
    assert again.token_digest == first.token_digest
    assert again.text_bytes == first.text_bytes
    assert not list((tmp_path / "c").glob(".*")), "parts are gone"


SCRIPT = """
import sys
from pathlib import Path
from harness.data import measured
from harness.data.corpora import streams
from harness.data.effort import Effort
from harness.data.corpora.preparing import prepare_text
measured.SMALL_BYTES = 0
measured._SETTLED_SECONDS = 0.0
streams.CHUNK_BYTES = 2000
def tell(progress):
    print(progress.kept, progress.documents, flush=True)
found = prepare_text("file:a.jsonl#text", "train", tokenizer=sys.argv[1], cache=Path(sys.argv[2]),
                     effort=Effort(1, tell))
print(found.token_digest, flush=True)
"""


def test_killed_midway_it_goes_on_to_the_same_bytes(data: str, bpe: str, tmp_path: Path) -> None:
    whole = prepared(data, bpe, tmp_path / "whole")
    process = started(SCRIPT, tmp_path, bpe, str(tmp_path / "c"))
    finished = killed(process, tmp_path / "c", after=4)
    assert 4 <= len(finished) < 20
    cut_short(finished[1])
    kept: list[int] = []
    effort = Effort(2, lambda progress: kept.append(progress.kept))
    again = prepare_text(data, "train", tokenizer=bpe, cache=tmp_path / "c", effort=effort)
    assert len(finished) - 1 <= kept[-1] < len(kept)
    assert again.token_digest == whole.token_digest
    assert again.tokens.tobytes() == whole.tokens.tobytes()
    assert not list((tmp_path / "c").glob(".*"))


def test_two_at_once_make_it_once(data: str, bpe: str, tmp_path: Path) -> None:
    both = [started(SCRIPT, tmp_path, bpe, str(tmp_path / "c")) for _ in range(2)]
    assert_made_once(both, tmp_path / "c")


def test_a_file_that_changed_since_it_was_cut_off_keeps_no_old_part(
    data: str, bpe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def never(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(preparing, "ensure_shards", never)
        with pytest.raises(KeyboardInterrupt):
            prepared(data, bpe, tmp_path / "c")
    assert list((tmp_path / "c").glob(".parts-*"))
    path = tmp_path / "a.jsonl"
    path.write_text(path.read_text().replace("noise", "voice"))
    tokens, _ = alone(data, bpe)
    assert prepared(data, bpe, tmp_path / "c").tokens.tolist() == tokens


def test_what_is_cut_off_in_another_folder_stays_for_it(
    data: str, bpe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One name in two folders is two files, and the cache is one."""

    def cut_off(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_text(data, "train", tokenizer=bpe, cache=tmp_path / "c", effort=Effort(1, cut_off))
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.jsonl").write_text('{"text": "elsewhere"}\n' * 400)
    with monkeypatch.context() as patched:
        patched.chdir(other)
        prepared(data, bpe, tmp_path / "c")
    told: list[int] = []
    effort = Effort(1, lambda progress: told.append(progress.kept))
    prepare_text(data, "train", tokenizer=bpe, cache=tmp_path / "c", effort=effort)
    assert told[-1] > 0


def test_a_full_disk_leaves_nothing_half_written(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        fill_disk(patched, after=3)
        with pytest.raises(HarnessError, match=r"No space left(.|\n)*make room"):
            prepared(data, "bytes", tmp_path / "c")
    (left,) = (tmp_path / "c").glob(".parts-*")
    assert sorted(path.name for path in left.iterdir()) == ["00000000", "00000001", "00000002"]
    tokens, _ = alone(data, "bytes")
    assert prepared(data, "bytes", tmp_path / "c").tokens.tolist() == tokens


def test_what_a_process_meets_is_told_as_it_is(bpe: str, tmp_path: Path) -> None:
    """A document that is not UTF-8: the tokenizer's own words, and nothing waits or is left."""
    for index in range(40):
        (tmp_path / f"{index:02}.txt").write_bytes(b"\xff" * 300 if index == 30 else b"fine " * 99)
    with pytest.raises(HarnessError, match="use tokenizer: bytes"):
        prepared(f"file:{tmp_path}/*.txt", bpe, tmp_path / "c")


def test_a_process_that_is_killed_is_noticed(
    data: str, bpe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.data.corpora import crew

    begun = subprocess.Popen

    def doomed(*arguments: Any, **settings: Any) -> Any:
        process = begun(*arguments, **settings)
        process.kill()
        return process

    monkeypatch.setattr(crew.subprocess, "Popen", doomed)
    with pytest.raises(HarnessError, match=r"exit code -9(.|\n)*fewer --workers"):
        prepared(data, bpe, tmp_path / "c")


# --- the same name, other content ----------------------------------------------------------------


def test_a_name_that_stands_for_other_text_now_is_refused(data: str, tmp_path: Path) -> None:
    cache = tmp_path / "results" / "data"
    found = prepared(data, "bytes", cache)
    assert found.text_bytes is not None
    write_lock(cache, data, "train", Measured(found.source_digest, len(found), found.text_bytes))
    path = tmp_path / "a.jsonl"
    before = path.read_text()
    path.write_text(before.replace("noise", "voice"))  # of the same size
    with pytest.raises(HarnessError, match=f"the data changed(.|\n)*{found.source_digest[:12]}"):
        prepared(data, "bytes", cache)
    path.write_text(before)
    assert prepared(data, "bytes", cache).token_digest == found.token_digest
    path.write_text(before.replace("noise", "voice"))
    lock = cache.parent / LOCK
    lock.write_text("{}")
    assert prepared(data, "bytes", cache).token_digest != found.token_digest


def test_a_name_is_the_same_in_whatever_form(data: str, tmp_path: Path) -> None:
    cache = tmp_path / "results" / "data"
    found = Measured("0" * 64, 1, 1)
    write_lock(cache, f"{data}?documents=5&holdout=0.10", "train", found)
    write_lock(cache, data, "train", found)
    for same in (
        "documents=5&holdout=0.10",
        "holdout=0.1&documents=5",
        "holdout=1e-1&documents=05",
    ):
        check_lock(cache, f"{data}?{same}", "train", found.digest)
        with pytest.raises(HarnessError, match="the data changed"):
            check_lock(cache, f"{data}?{same}", "train", "1" * 64)
    check_lock(cache, f"{data}?documents=5&holdout=0.2", "train", "1" * 64)
    assert len(json.loads((cache.parent / LOCK).read_text())) == 2


def test_a_changed_file_has_another_digest_although_it_was_measured(
    data: str, tmp_path: Path
) -> None:
    cache, path = tmp_path / "c", tmp_path / "a.jsonl"
    first = dataset_digest(data, "train", cache=cache)
    assert list((cache / "measured").iterdir())
    stat = path.stat()
    path.write_text(path.read_text().replace("noise", "voice"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as some tools set it back
    assert dataset_digest(data, "train", cache=cache) != first
    assert dataset_digest(data, "train", cache=cache) == load_documents(data, "train").digest


def test_a_file_from_the_future_is_remembered(data: str, tmp_path: Path) -> None:
    """As an archive or another machine's clock may leave it."""
    later = time.time_ns() + 10**15
    os.utime(tmp_path / "a.jsonl", ns=(later, later))
    dataset_digest(data, "train", cache=tmp_path / "c")
    assert prepared_digest(data, "train", tmp_path / "c") == load_documents(data, "train").digest


def test_a_hub_set_is_measured_by_preparing_it(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="harness prepare 'hub:owner/name#text'"):
        dataset_digest("hub:owner/name#text", "train", cache=tmp_path)


# --- large shards are hashed once ----------------------------------------------------------------


def test_large_shards_are_hashed_once_and_whenever_they_changed(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked, "LARGE_BYTES", 1000)
    monkeypatch.setattr(checked, "SETTLED_SECONDS", 0.0)
    good = prepared(data, "bytes", tmp_path / "c")
    expected = good.tokens.tobytes()
    assert (good.folder / "checked.json").is_file()
    with monkeypatch.context() as patched:
        patched.setattr(shards, "_hashed", lambda _: pytest.fail("it is hashed again"))
        assert prepared(data, "bytes", tmp_path / "c").tokens.tobytes() == expected
    path, stat = good.folder / "tokens.bin", (good.folder / "tokens.bin").stat()
    path.write_bytes(expected[:-2] + b"\xff\xff")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert prepared(data, "bytes", tmp_path / "c").tokens.tobytes() == expected
    shutil.copy(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)  # the same bytes in another file
    assert prepared(data, "bytes", tmp_path / "c").tokens.tobytes() == expected


# --- overlap -------------------------------------------------------------------------------------


def test_overlap_with_a_stream_is_kept_by_content(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = " ".join(f"own{i}" for i in range(20))
    (tmp_path / "e.jsonl").write_text(json.dumps({"text": line}) + "\n")
    evaluation = load_documents("file:e.jsonl#text", "test")
    found = check_disjoint_from(data, evaluation=evaluation, cache=tmp_path / "c")
    assert found.disjoint
    assert found.train_digest == load_documents(data, "train").digest
    monkeypatch.setattr(streams, "read_source", lambda *_: pytest.fail("it is read again"))
    assert check_disjoint_from(data, evaluation=evaluation, cache=tmp_path / "c") == found
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measured, "SMALL_BYTES", 0)
    with (tmp_path / "a.jsonl").open("a") as more:
        more.write(json.dumps({"text": f"and {line}"}) + "\n")
    with pytest.raises(HarnessError, match="0 equal documents, 8 shared word 13-grams in 1 of 1"):
        check_disjoint_from(data, evaluation=evaluation, cache=tmp_path / "c")
    assert check_disjoint_from(
        f"{data}?holdout=0.2",
        evaluation=load_documents(f"{data}?holdout=0.2", "validation"),
        cache=tmp_path / "c",
    ).disjoint


def test_what_was_prepared_and_compared_is_read_no_more(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine without network: of a set of the Hub, only what was prepared is there."""
    line = " ".join(f"own{i}" for i in range(20))
    (tmp_path / "e.jsonl").write_text(json.dumps({"text": line}) + "\n")
    cache, pairs = tmp_path / "c", [(data, "file:e.jsonl#text", "test")]
    pairs.append((f"{data}?holdout=0.2", f"{data}?holdout=0.2", "validation"))
    for train, evaluation, split in pairs:
        prepared(train, "bytes", cache)
        prepare_text(evaluation, split, tokenizer="bytes", cache=cache)
    first = [split_overlap(t, data=e, split=s, cache=cache) for t, e, s in pairs]
    assert [each.disjoint for each in first] == [True, True]
    assert first[0].compared == 1
    for module in (streams, reading):
        monkeypatch.setattr(module, "read_source", lambda *_: pytest.fail("it is read again"))
    assert [split_overlap(t, data=e, split=s, cache=cache) for t, e, s in pairs] == first
    assert known_overlap(data, data="file:a.jsonl#text", split="test", cache=cache) is None


def test_progress_ends_with_everything(data: str, tmp_path: Path) -> None:
    last: list[Progress] = []
    began = time.monotonic()
    effort = Effort(1, lambda progress: last.append(Progress(**vars(progress))))
    found = prepare_text(data, "train", tokenizer="bytes", cache=tmp_path / "c", effort=effort)
    assert time.monotonic() - began < 30
    assert last[-1].documents == len(found)
    assert last[-1].tokens == last[-1].made_tokens == len(found.tokens)
    assert last[-1].bytes == last[-1].made_bytes == found.text_bytes
    assert last[-1].fraction == 1.0
    shares = [progress.fraction for progress in last]
    assert all(share is not None and 0 < share <= 1 for share in shares)


@pytest.mark.parametrize("large", [True, False])
def test_a_document_that_is_not_text_is_named(
    large: bool, bpe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "SMALL_BYTES", 0 if large else 1 << 22)
    rows = ["fine " * 300, "\ud800" if large else "also fine", "\ud801"]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in rows))
    with pytest.raises(HarnessError, match=rf"b\.jsonl:{2 if large else 3}: tokenizer .* UTF-8"):
        prepared(f"file:{tmp_path}/b.jsonl#text", bpe, tmp_path / "c")


def test_progress_counts_the_processes_that_worked(data: str, bpe: str, tmp_path: Path) -> None:
    for tokenizer, name, expected in (
        ("bytes", data, 1),
        (bpe, data, 3),
        ("bytes", f"{data}?holdout=0.2", 3),
        (bpe, f"{data}?documents=3", 1),
    ):
        told: list[int] = []
        effort = Effort(3, lambda progress, told=told: told.append(progress.processes))
        prepare_text(name, "train", tokenizer=tokenizer, cache=tmp_path / "c", effort=effort)
        assert told[-1] == expected, (tokenizer, name)


def test_a_part_says_what_it_was_made_of(tmp_path: Path) -> None:
    tokenizer = load_tokenizer("bytes")
    path = tmp_path / "part"
    header = parts.make_part(path, [b"ab", b""], tokenizer, None)
    read = parts.read_part(path, tokenizer.vocab_size)
    assert read is not None
    assert read[0] == header
    assert (read[1].tolist(), read[2].tolist()) == ([3, 1], [97, 98, 256, 256])
    content = path.read_bytes()
    for damaged in (content[:-1], content[:-1] + b"\x07", content[:20], b""):
        path.write_bytes(damaged)
        assert parts.read_part(path, tokenizer.vocab_size) is None
