"""Tokenizers against the library and against the bytes they stand for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.data import tokenizer as tokenizer_module
from harness.data.datasets import load_documents
from harness.data.named_tokenizers import NAMED, named_file
from harness.data.text import TextRows, prepare_text
from harness.data.tokenizer import load_tokenizer, vocabulary_size
from harness.data.trained_tokenizer import train_tokenizer
from harness.errors import HarnessError

SHARED = Path(os.environ.get("HARNESS_SHARED", "../shared"), "data")
NEOX = SHARED / "tokenizer_neox" / "20B_tokenizer.json"
GPT2 = SHARED / "tokenizer_gpt2"
here = pytest.mark.skipif(not NEOX.is_file(), reason="the shared tokenizers are not here")
TEXT = "naïve “quotes”, \t tabs,\n\n    runs of spaces, 漢字, <|endoftext|> as text"


@pytest.fixture
def bpe(tmp_path: Path) -> Path:
    """A small byte-level BPE file with truncation set, as published ones sometimes have."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("h", "e"), ("Ġ", "t"), ("Ġt", "he")]
    vocabulary = [*alphabet, *("".join(pair) for pair in merges)]
    model = models.BPE(vocab={t: i for i, t in enumerate(vocabulary)}, merges=merges)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.add_tokens([AddedToken("    ", normalized=False)])
    tokenizer.enable_truncation(max_length=2)
    tokenizer.save(str(tmp_path / "bpe.json"))
    return tmp_path / "bpe.json"


def check_round_trip(path: Path) -> None:
    tokenizer = load_tokenizer(str(path))
    text = TEXT.encode()
    ids = tokenizer.encode(text)
    assert tokenizer.end_of_text not in ids, "text that spells a special token stays text"
    assert tokenizer.decode(np.append(ids, tokenizer.end_of_text)) == text
    sizes = tokenizer.token_bytes()
    assert len(sizes) == tokenizer.vocab_size > ids.max()
    assert sizes[ids].sum() == len(text)
    assert sizes[tokenizer.end_of_text] == 0


def test_byte_tokenizer_round_trip() -> None:
    tokenizer = load_tokenizer("bytes")
    every = bytes(range(256))
    assert tokenizer.decode(np.append(tokenizer.encode(every), 256)) == every
    assert tokenizer.token_bytes().tolist() == [1] * 256 + [0]


def test_file_tokenizer_counts_the_bytes_it_stands_for(bpe: Path) -> None:
    check_round_trip(bpe)


@here
@pytest.mark.parametrize(
    ("path", "name", "end"), [(NEOX, "gpt-neox-20b", 0), (GPT2, "gpt2", 50256)]
)
def test_published_tokenizers_count_the_bytes_they_stand_for(
    path: Path, name: str, end: int
) -> None:
    check_round_trip(path)
    loaded = load_tokenizer(str(path))
    assert loaded.end_of_text == end
    assert loaded.vocab_size == NAMED[name].vocab_size == vocabulary_size(name)


@here
def test_ids_of_real_text_are_those_of_other_libraries() -> None:
    from tokenizers import Tokenizer
    from transformers import GPT2Tokenizer

    files = ["gutenberg_en/pg2554.txt", "wikitext2/wiki.test.raw", "code_corpus/java_train.txt"]
    parts = [(SHARED / file).read_bytes()[:30_000].decode(errors="ignore") for file in files]
    text = "\n".join(parts)
    gpt2 = GPT2Tokenizer(str(GPT2 / "vocab.json"), str(GPT2 / "merges.txt"))
    others = {
        str(NEOX): Tokenizer.from_file(str(NEOX)).encode(text, add_special_tokens=False).ids,
        str(GPT2): gpt2(text, add_special_tokens=False)["input_ids"],
    }
    for path, expected in others.items():
        loaded = load_tokenizer(path)
        ids = loaded.encode(text.encode())
        assert ids.tolist() == expected
        assert loaded.decode(ids) == text.encode()
        assert loaded.token_bytes()[ids].sum() == len(text.encode())


@here
def test_gpt2_is_the_same_by_its_folder_and_by_its_vocabulary(tmp_path: Path) -> None:
    folder, file = load_tokenizer(str(GPT2)), load_tokenizer(str(GPT2 / "vocab.json"))
    assert folder.digest == file.digest
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((GPT2 / name).read_bytes())
    assert load_tokenizer(str(tmp_path)).digest == folder.digest
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(HarnessError, match=r"merges\.txt(.|\n)*a folder holds"):
        load_tokenizer(str(tmp_path))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(max_size=12).map(str.encode), max_size=5), from_file=st.booleans())
def test_documents_together_are_what_each_is_alone(
    bpe: Path, texts: list[bytes], from_file: bool
) -> None:
    tokenizer = load_tokenizer(str(bpe) if from_file else "bytes")
    tokens, lengths = tokenizer.encode_documents(texts)
    each = [[*tokenizer.encode(text).tolist(), tokenizer.end_of_text] for text in texts]
    assert tokens.tolist() == [token for one in each for token in one]
    assert lengths.tolist() == [len(one) for one in each]
    assert tokens.dtype == np.uint16


WORDY = st.lists(
    st.sampled_from(["the", " ", "\n", "é", "it's", "(x)", "\u0301", "12"]), max_size=12
)


@pytest.mark.parametrize("file", ["bpe", pytest.param(str(NEOX), marks=here), str(GPT2)])
def test_a_long_document_in_pieces_is_what_it_is_whole(
    file: str, bpe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if file == str(GPT2) and not GPT2.is_dir():
        pytest.skip("the shared tokenizers are not here")
    monkeypatch.setattr(tokenizer_module, "_PIECE_CHARACTERS", 3)
    tokenizer: Any = load_tokenizer(str(bpe) if file == "bpe" else file)
    pieces = 0

    @settings(deadline=None, max_examples=200)
    @given(texts=st.lists(WORDY.map("".join), max_size=3))
    def check(texts: list[str]) -> None:
        nonlocal pieces
        tokens, lengths = tokenizer.encode_documents([text.encode() for text in texts])
        each = [
            [*tokenizer.encode(text.encode()).tolist(), tokenizer.end_of_text] for text in texts
        ]
        assert tokens.tolist() == [token for one in each for token in one]
        assert lengths.tolist() == [len(one) for one in each]
        pieces += sum(len(list(tokenizer._in_pieces(text, np.int64))) > 2 for text in texts)

    check()
    assert pieces > 20, "some are cut"


def test_a_named_tokenizer_is_planned_with_and_its_absence_explained(
    monkeypatch: pytest.MonkeyPatch, bpe: Path, tmp_path: Path
) -> None:
    import huggingface_hub

    def offline(*_: Any, local_files_only: bool = False) -> str:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    named_file.cache_clear()
    assert vocabulary_size("gpt2") == 50257
    with pytest.raises(HarnessError, match=r"hf download openai-community/gpt2 tokenizer.json"):
        load_tokenizer("gpt2")
    asked: list[tuple[str, str]] = []

    def other(repository: str, file: str, **_: Any) -> str:
        asked.append((repository, file))
        return str(bpe)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", other)
    with pytest.raises(HarnessError, match="is not the tokenizer gpt-neox-20b: it has 261 tokens"):
        load_tokenizer("gpt-neox-20b")
    assert asked == [("EleutherAI/gpt-neox-20b", "tokenizer.json")]
    if NEOX.is_file():
        named_file.cache_clear()
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(NEOX))
        assert load_tokenizer("gpt-neox-20b").digest == load_tokenizer(str(NEOX)).digest
    named_file.cache_clear()


def test_a_tokenizer_trained_here_is_the_same_every_time(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; "
        "from harness.data.trained_tokenizer import train_tokenizer; "
        "train_tokenizer('builtin/arithmetic', 'test', vocab_size=400, out=Path(sys.argv[1]))"
    )
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, threads in zip(files, ("1", "2"), strict=True):
        environment = os.environ | {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        subprocess.run([sys.executable, "-c", script, str(file)], check=True, env=environment)
    assert files[0].read_bytes() == files[1].read_bytes()
    check_round_trip(files[0])
    trained = load_tokenizer(str(files[0]))
    assert trained.vocab_size == 400
    texts = load_documents("builtin/arithmetic", "test").texts
    tokens, _ = trained.encode_documents(texts)
    size = sum(map(len, texts))
    assert trained.token_bytes()[tokens].sum() == size
    assert size / len(tokens) > 1.5, "it learnt to put bytes together"


def test_training_a_tokenizer_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    def train(name: str, split: str, size: int, file: str) -> None:
        train_tokenizer(name, split, vocab_size=size, out=tmp_path / file)

    with pytest.raises(HarnessError, match="257 or more"):
        train("builtin/dyck", "test", 256, "a.json")
    with pytest.raises(HarnessError, match=r"is called \.json"):
        train("builtin/dyck", "test", 300, "a.txt")
    with pytest.raises(HarnessError, match="use tokenizer: bytes"):
        train("builtin/random-bytes", "test", 300, "a.json")
    train("builtin/dyck", "test", 270, "a.json")
    train("builtin/dyck", "test", 270, "a.json")
    with pytest.raises(HarnessError, match="another file already"):
        train("builtin/dyck", "test", 271, "a.json")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_bits_per_byte_has_one_denominator_for_all_tokenizers(bpe: Path, tmp_path: Path) -> None:
    total = {}
    for tokenizer in ("bytes", str(bpe)):
        shards = prepare_text("builtin/dyck", "test", tokenizer=tokenizer, cache=tmp_path / "c")
        rows = TextRows(shards, context=32)
        total[tokenizer] = rows.target_bytes() + shards.token_bytes[shards.tokens[0]]
    assert total["bytes"] == total[str(bpe)]


def test_refusals_are_explained(bpe: Path, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="did you mean 'bytes'"):
        load_tokenizer("byte")
    with pytest.raises(HarnessError, match="no such tokenizer file"):
        load_tokenizer(str(tmp_path / "absent.json"))
    wordpiece = tmp_path / "wordpiece.json"
    wordpiece.write_text(bpe.read_text().replace("ByteLevel", "WordPiece"))
    with pytest.raises(HarnessError, match="not byte-level"):
        load_tokenizer(str(wordpiece))
    no_end = tmp_path / "no_end.json"
    no_end.write_text(bpe.read_text().replace("<|endoftext|>", "</s>"))
    with pytest.raises(HarnessError, match="endoftext"):
        load_tokenizer(str(no_end))
    with pytest.raises(HarnessError, match="use tokenizer: bytes"):
        load_tokenizer(str(bpe)).encode(b"\xff")


def test_a_space_that_no_text_has_is_refused(bpe: Path) -> None:
    spaced = bpe.with_name("spaced.json")
    parts = json.loads(bpe.read_text())
    assert parts["pre_tokenizer"]["add_prefix_space"] is False
    parts["pre_tokenizer"]["add_prefix_space"] = True
    spaced.write_text(json.dumps(parts))
    with pytest.raises(HarnessError, match=r"spaced\.json: the tokenizer puts a space before"):
        load_tokenizer(str(spaced))
