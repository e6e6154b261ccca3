"""Tokenizers against the library and against the bytes they stand for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from harness.data.text import TextRows, prepare_text
from harness.data.tokenizer import load_tokenizer
from harness.errors import HarnessError

NEOX = Path(os.environ.get("HARNESS_SHARED", "../shared"), "data/tokenizer_neox/20B_tokenizer.json")
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


@pytest.mark.skipif(not NEOX.is_file(), reason="the shared GPT-NeoX tokenizer is not here")
def test_gpt_neox_counts_the_bytes_it_stands_for() -> None:
    check_round_trip(NEOX)
    assert load_tokenizer(str(NEOX)).end_of_text == 0


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
