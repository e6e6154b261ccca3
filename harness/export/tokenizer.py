"""A run's tokenizer as the files that transformers' `AutoTokenizer` reads, with the same ids."""

from __future__ import annotations

import json
from typing import Any

from harness.data.tokenizer import END_OF_TEXT, FileTokenizer, load_tokenizer

TOKENIZER = "tokenizer.json"
SETTINGS = "tokenizer_config.json"


def tokenizer_files(tokenizer: str, context: int) -> dict[str, str]:
    """File name -> content for the tokenizer that a task names.

    Text is encoded as training saw it: nothing is put before or after, and text that spells a
    special token stays text. A `tokenizers` JSON file is copied as it is, but for a post-processor
    that adds tokens.
    """
    loaded = load_tokenizer(tokenizer)
    if isinstance(loaded, FileTokenizer):
        content = _without_added(loaded.to_json())
    else:
        content = json.dumps(_byte_level(), ensure_ascii=False, indent=1)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "padding_side": "left",
        "model_max_length": context,
        "split_special_tokens": True,
        "clean_up_tokenization_spaces": False,
    }
    return {TOKENIZER: content, SETTINGS: json.dumps(settings, indent=1) + "\n"}


def _byte_level() -> dict[str, Any]:
    """A BPE without merges: one token per byte, whose id is the byte; end of text is 256."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": 256,
                "content": END_OF_TEXT,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
        ],
        "normalizer": None,
        "pre_tokenizer": level | {"use_regex": False},
        "post_processor": None,
        "decoder": level | {"use_regex": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {character: byte for byte, character in enumerate(_byte_characters())},
            "merges": [],
        },
    }


def _byte_characters() -> list[str]:
    """The character that stands for each byte in a byte-level vocabulary (GPT-2's encoder.py).

    A byte that prints stands for itself, the others for the characters from U+0100 on.
    """
    printing = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printing else next(others)) for byte in range(256)]


def _without_added(content: str) -> str:
    """The file's text, without a post-processor that would put tokens around every document."""
    parts: dict[str, Any] = json.loads(content)
    processor = parts.get("post_processor")
    if processor is None or processor.get("type") == "ByteLevel":
        return content
    return json.dumps(parts | {"post_processor": None}, ensure_ascii=False)
