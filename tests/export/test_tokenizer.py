"""The tokenizers that transformers loads from an export, against those that training used."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.tokenizer import load_tokenizer
from harness.export.tokenizer import tokenizer_files

SHARED = Path(__file__).parents[2] / os.environ.get("HARNESS_SHARED", "../shared")
NEOX = SHARED / "data" / "tokenizer_neox" / "20B_tokenizer.json"
GPT2 = SHARED / "data" / "tokenizer_gpt2"
WIKITEXT = SHARED / "data" / "wikitext2" / "test.txt"
AWKWARD = (
    "naïve “quotes”, \t tabs,\r\n\n    runs   of spaces , don't , e\u0301 and é, 漢字 😀, "
    "<|endoftext|> as text, \x00\x7f\x80 controls, <|padding|> "
)


def loaded(tokenizer: str, folder: Path) -> Any:
    """What AutoTokenizer makes of the files, beside a Llama's config."""
    from transformers import AutoTokenizer

    for name, text in tokenizer_files(tokenizer, 10**6).items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return loaded("bytes", tmp_path_factory.mktemp("bytes"))


def test_every_byte_of_text_is_the_token_of_its_number(byte_level: Any) -> None:
    # All of UTF-8's lead and continuation bytes occur; 0xC0, 0xC1 and 0xF5 to 0xFF never do.
    points = [*range(0x800), *range(0x800, 0xD800, 61), *range(0xE000, 0x110000, 997)]
    text = "".join(map(chr, points))
    assert set(text.encode()) == set(range(256)) - {0xC0, 0xC1, *range(0xF5, 0x100)}
    ids = byte_level(text).input_ids
    assert ids == list(text.encode())
    assert byte_level.decode(ids) == text


def test_bytes_that_are_no_text_decode_as_ours_do(byte_level: Any) -> None:
    ours = load_tokenizer("bytes")
    for ids in ([0xC0], [0xE2, 0x82], [0xFF, 65, 0xF0, 0x9F, 0x98], [66, 0xF0, 0x9F, 65]):
        expected = bytes(ids).decode(errors="replace")
        assert byte_level.decode(ids, skip_special_tokens=True) == expected
    assert byte_level.decode([72, 105, ours.end_of_text], skip_special_tokens=True) == "Hi"


@given(st.text())
def test_any_text_is_its_bytes(byte_level: Any, text: str) -> None:
    assert byte_level(text).input_ids == list(text.encode())


def test_end_of_text_is_every_special_token(byte_level: Any) -> None:
    assert len(byte_level) == load_tokenizer("bytes").vocab_size
    assert byte_level.eos_token_id == byte_level.bos_token_id == byte_level.pad_token_id == 256
    assert byte_level.convert_tokens_to_ids("<|endoftext|>") == 256


def test_our_own_reader_of_tokenizer_files_agrees(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer_files("bytes", 8)["tokenizer.json"], encoding="utf-8")
    ours, read = load_tokenizer("bytes"), load_tokenizer(str(path))
    assert read.vocab_size == ours.vocab_size
    assert read.end_of_text == ours.end_of_text
    assert read.token_bytes().tolist() == ours.token_bytes().tolist()
    assert read.encode(AWKWARD.encode()).tolist() == ours.encode(AWKWARD.encode()).tolist()


def test_a_post_processor_that_adds_tokens_is_left_out(tmp_path: Path) -> None:
    parts = json.loads(tokenizer_files("bytes", 8)["tokenizer.json"])
    special = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    parts["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [special, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [special, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {
            "<|endoftext|>": {"id": "<|endoftext|>", "ids": [256], "tokens": ["<|endoftext|>"]}
        },
    }
    given_file = tmp_path / "given.json"
    given_file.write_text(json.dumps(parts))
    theirs = loaded(str(given_file), tmp_path)
    assert theirs(AWKWARD).input_ids == list(AWKWARD.encode())


@pytest.mark.skipif(not NEOX.is_file(), reason="the shared GPT-NeoX tokenizer is not here")
def test_gpt_neox_is_copied_and_gives_the_same_ids(tmp_path: Path) -> None:
    theirs, ours = loaded(str(NEOX), tmp_path), load_tokenizer(str(NEOX))
    assert (tmp_path / "tokenizer.json").read_bytes() == NEOX.read_bytes()
    text = AWKWARD + WIKITEXT.read_text(encoding="utf-8")[:200_000]
    assert theirs(text).input_ids == ours.encode(text.encode()).tolist()
    assert len(theirs) == ours.vocab_size
    assert theirs.eos_token_id == theirs.bos_token_id == ours.end_of_text


@pytest.mark.skipif(not GPT2.is_dir(), reason="the shared GPT-2 tokenizer is not here")
def test_gpt_2s_pair_of_files_becomes_one(tmp_path: Path) -> None:
    theirs, ours = loaded(str(GPT2), tmp_path), load_tokenizer(str(GPT2))
    text = AWKWARD + WIKITEXT.read_text(encoding="utf-8")[:200_000]
    assert theirs(text).input_ids == ours.encode(text.encode()).tolist()
    assert len(theirs) == ours.vocab_size
    assert theirs.eos_token_id == theirs.bos_token_id == ours.end_of_text == 50256
    assert theirs.decode([*theirs("over").input_ids, 50256], skip_special_tokens=True) == "over"
