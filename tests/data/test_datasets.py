"""Embedded datasets: frozen, verified, disjoint, and generated as they claim."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.data import datasets
from harness.data.datasets import (
    dataset_digest,
    list_datasets,
    load_clips,
    load_documents,
    load_images,
)
from harness.data.embedded import snapshot
from harness.data.embedded.exercises import PER_DOCUMENT
from harness.data.embedded.generated import DYCK_DOCUMENTS, dyck_word
from harness.data.embedded.text import DOCS_SHA256, SNAPSHOTS, read_snapshot
from harness.data.task_sets import arithmetic_items, copying_items, dyck_items, split
from harness.errors import HarnessError

ROOT = Path(datasets.__file__).parents[2]
CLOSES = {"(": ")", "[": "]", "{": "}", "<": ">"}


@pytest.mark.parametrize(
    ("name", "split", "digest"),
    [
        ("builtin/docs", "train", "e853c347e33be033"),
        ("builtin/docs", "validation", "54ac11d11a8314d8"),
        ("builtin/docs-typos-2", "test", "6788211eb205d2d1"),
        ("builtin/docs-typos-5", "test", "9d3103c7396e6d2f"),
        ("builtin/docs-typos-10", "test", "a2e266da5eb0500e"),
        ("builtin/docs-typos-20", "test", "1be977da041bfd1c"),
        ("builtin/docs-typos-40", "test", "edad13f8d8989e7f"),
        ("builtin/docs-shuffled", "test", "81d896ad66ef86ce"),
        ("builtin/exercises", "train", "374ede99b42d5b4d"),
        ("builtin/exercises", "validation", "f044f405f0882217"),
        ("builtin/source", "test", "f4155125a2f9da81"),
        ("builtin/arithmetic", "test", "30ef1064251342ee"),
        ("builtin/dyck", "test", "d94b3657187ac81f"),
        ("builtin/random-bytes", "test", "12d0382cbfe7ab6b"),
        ("builtin/digits", "train", "a1aa1781229bc8d9"),
        ("builtin/digits", "validation", "22214b17885a4d93"),
        ("builtin/moving-digits", "train", "49b72d869a513ea6"),
        ("builtin/moving-digits", "validation", "d6eeeb76f60bc37a"),
    ],
)
def test_content_has_not_changed(name: str, split: str, digest: str) -> None:
    assert dataset_digest(name, split).startswith(digest)


def test_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    content = bytearray((SNAPSHOTS / "docs.jsonl.gz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "docs.jsonl.gz").write_bytes(content)
    with pytest.raises(HarnessError, match=r"docs\.jsonl\.gz: .*damaged"):
        read_snapshot(tmp_path / "docs.jsonl.gz", sha256=DOCS_SHA256)
    with pytest.raises(HarnessError, match="missing"):
        read_snapshot(tmp_path / "absent.gz", sha256=DOCS_SHA256)


@pytest.mark.skipif(sys.version_info[:3] != snapshot.PYTHON, reason="needs CPython 3.11.7")
def test_snapshots_rebuild_from_the_library(tmp_path: Path) -> None:
    snapshot.main(tmp_path)
    for name in ("docs.jsonl.gz", "source.jsonl.gz"):
        rebuilt = gzip.decompress((tmp_path / name).read_bytes())
        assert rebuilt == gzip.decompress((SNAPSHOTS / name).read_bytes())


def test_packing_is_reproducible_and_undated() -> None:
    documents = [("a", "one\u2028two"), ("b", "three\r\n")]
    packed = snapshot.packed_lines(documents)
    assert packed == snapshot.packed_lines(list(documents))
    assert packed[4:8] == bytes(4), "the gzip header must hold no time"


def test_snapshot_lines_survive_unicode_line_ends(tmp_path: Path) -> None:
    import hashlib

    packed = snapshot.packed_lines([("a", "one\u2028two\x85"), ("b", "three\r\n")])
    (tmp_path / "x.gz").write_bytes(packed)
    found = read_snapshot(tmp_path / "x.gz", sha256=hashlib.sha256(packed).hexdigest())
    assert found == {"a": "one\u2028two\x85".encode(), "b": b"three\r\n"}


def test_source_holds_no_comments_or_docstrings() -> None:
    import ast
    import io
    import tokenize

    for text in load_documents("builtin/source", "test").texts:
        tree = ast.parse(text)
        scopes = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        assert not any(ast.get_docstring(n) for n in ast.walk(tree) if isinstance(n, scopes))
        tokens = tokenize.generate_tokens(io.StringIO(text.decode()).readline)
        assert tokenize.COMMENT not in {token.type for token in tokens}


def test_arithmetic_answers_are_right_and_distinct() -> None:
    texts = [text.decode() for text in load_documents("builtin/arithmetic", "test").texts]
    for text in texts:
        question, work, result = re.fullmatch(
            r"Question: (.*)\nAnswer: (.*) = (\d+)\n", text
        ).groups()  # type: ignore[union-attr]
        assert re.fullmatch(r"[0-9+\-*/ ]+", work)
        assert eval(work) == int(result)
        assert sorted(re.findall(r"\d+", question)) == sorted(re.findall(r"\d+", work))
    assert len(set(texts)) > 0.99 * len(texts)


def test_dyck_words_are_balanced() -> None:
    kinds, left_open = set(), set()
    for index in range(1000):
        prefix, completion = dyck_word(index)
        stack: list[str] = []
        for bracket in (prefix + " " + completion).split():
            if bracket in CLOSES:
                stack.append(CLOSES[bracket])
            else:
                assert stack.pop() == bracket
        assert stack == []
        assert completion
        assert not set(completion.split()) & set(CLOSES), "a completion only closes"
        kinds |= set(prefix.split())
        left_open.add(len(completion.split()))
    assert kinds == set("()[]{}<>")
    assert left_open == {1, 2, 3}


def test_digits_are_sklearns_and_split_once() -> None:
    from sklearn.datasets import load_digits

    truth = load_digits()
    splits = [load_images("builtin/digits", split) for split in ("train", "validation")]
    found = np.concatenate([images.pixels for images in splits])
    labels = np.concatenate([images.labels for images in splits])
    assert found.dtype == np.float32
    rows = sorted(
        map(tuple, np.c_[labels, (found * 8 + 8).reshape(len(found), 64)].astype(int).tolist())
    )
    assert rows == sorted(map(tuple, np.c_[truth.target, truth.data].astype(int).tolist()))
    assert 0.12 < len(splits[1].pixels) / len(found) < 0.18
    with pytest.raises(ValueError, match="read-only"):
        splits[0].pixels[0] = 0


def test_photo_patches_come_from_one_photo_each() -> None:
    from sklearn.datasets import load_sample_image

    photo = load_sample_image("flower.jpg").astype(np.float32) / 127.5 - 1
    patches = load_images("builtin/photos", "validation").pixels
    assert patches.shape == (26 * 40, 3, 16, 16)
    corner = photo[16:32, 32:48].transpose(2, 0, 1)
    np.testing.assert_allclose(patches[1 * 40 + 2], corner, atol=1e-6)
    train = load_images("builtin/photos", "train").pixels
    assert train.min() >= -1
    assert train.max() <= 1


def test_larger_photo_patches_come_from_the_two_sides_of_both_photos() -> None:
    from sklearn.datasets import load_sample_image

    photos = [load_sample_image(f) / np.float32(127.5) - 1 for f in ("china.jpg", "flower.jpg")]
    border = 480
    held_out = load_images("builtin/photos-32", "validation").pixels
    assert held_out.shape == (2 * 13 * 5, 3, 32, 32)
    corner = photos[1][32:64, border + 64 : border + 96].transpose(2, 0, 1)
    np.testing.assert_allclose(held_out[13 * 5 + 1 * 5 + 2], corner, atol=1e-6)
    train = load_images("builtin/photos-32", "train").pixels
    last = photos[0][:32, border - 32 : border].transpose(2, 0, 1)
    np.testing.assert_allclose(train[(border - 32) // 8], last, atol=1e-6)
    assert len(train) == 2 * 50 * 57


def test_moving_digits_keep_their_digit_and_move_by_its_speed() -> None:
    clips = load_clips("builtin/moving-digits", "validation", frames=5)
    longer = load_clips("builtin/moving-digits", "validation", frames=9)
    assert clips.pixels.shape == (128, 5, 1, 16, 16)
    np.testing.assert_array_equal(clips.pixels, longer.pixels[:, :5])
    ink = (clips.pixels > -1).sum(axis=(2, 3, 4))
    assert (ink > 0).all(), "digits never leave the frame"
    assert (clips.pixels[:, 1:] != clips.pixels[:, :-1]).any(axis=(2, 3, 4)).all()


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("builtin/doc", "train", "did you mean 'builtin/docs'"),
        ("builtin/docs", "valid", "did you mean 'validation'"),
        ("builtin/digits", "train", "no such text dataset"),
        ("builtin/dyck", "train", "allowed: test"),
    ],
)
def test_wrong_names_are_explained(name: str, split: str, message: str) -> None:
    with pytest.raises(HarnessError, match=re.escape(message)):
        load_documents(name, split)


def test_every_listed_dataset_loads() -> None:
    for record in list_datasets():
        digests = [dataset_digest(record.name, split) for split in record.splits]
        assert len(set(digests)) == len(record.splits)


def test_no_torch_anywhere_and_no_sklearn_for_the_listing() -> None:
    script = """
import sys, tempfile, pathlib
from harness.data import disjoint, images, ngram, text
from harness.data.datasets import *
list_datasets()
assert "sklearn" not in sys.modules
docs = {split: load_documents("builtin/docs", split) for split in ("train", "validation")}
disjoint.check_disjoint(docs["train"], evaluation=docs["validation"])
cache = pathlib.Path(tempfile.mkdtemp())
rows = [text.TextRows(text.prepare_text("builtin/docs", split, tokenizer="bytes", cache=cache),
        context=64) for split in docs]
ngram.fit_ngrams(rows[1]).loss(rows[1])
images.ImageRows(load_images("builtin/digits", "train")).get([0, 1])
load_clips("builtin/moving-digits", "validation")
assert "torch" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_exercises_are_right_and_no_tasks() -> None:
    tasks = {
        item["question"]
        for items in (dyck_items, arithmetic_items, copying_items)
        for own in split(items()).values()
        for item in own
    }
    texts = [
        t.decode()
        for s in ("train", "validation")
        for t in load_documents("builtin/exercises", s).texts
    ]
    found = re.findall(r"Input: (.*)\nOutput: (.*)\n|(.*) = (.*)\n", "".join(texts))
    assert len(found) == PER_DOCUMENT * len(texts)
    questions = [word or chain for word, _, chain, _ in found]
    assert not tasks & set(questions)
    assert not {dyck_word(index)[0] for index in range(DYCK_DOCUMENTS)} & set(questions)
    assert len(set(questions)) == len(questions)
    for words, output, chain, result in found:
        if chain:
            assert eval(chain) == int(result), chain
        elif words[0].isalpha():
            assert output == words
        else:
            assert _closes(f"{words} {output}".split()), words


def _closes(brackets: list[str]) -> bool:
    stack: list[str] = []
    for bracket in brackets:
        if bracket in CLOSES:
            stack.append(CLOSES[bracket])
        elif not stack or stack.pop() != bracket:
            return False
    return not stack
