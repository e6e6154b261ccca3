"""Preparing text, against the bare tokenizer on the same cores and the same documents.

Ours reads a JSON-lines file, tokenizes it in processes of its own, digests and writes shards. The
reference holds the documents in memory and keeps nothing: `tokenizers`' own threads.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from harness.data.corpora.preparing import prepare_text
from harness.data.datasets import load_documents
from harness.data.effort import Effort
from harness.data.tokenizer import load_tokenizer
from tests.bench.case import Case, NotYet, Pair, Setting

SHARED = Path(os.environ.get("HARNESS_SHARED", "../shared"), "data")
NEOX = SHARED / "tokenizer_neox" / "20B_tokenizer.json"
FILES = ("gutenberg_en/pg2554.txt", "gutenberg_en/pg2600.txt", "wikitext2/wiki.test.raw")
FILES += ("code_corpus/java_train.txt",)
DOCUMENT_CHARACTERS = 3000
COPIES = 8


def cases(device: torch.device) -> Sequence[Case]:
    """On the processor, whatever the device."""
    name = "prepare, GPT-NeoX"
    return [Case(name, "data", "bare tokenizer on as many threads", preparing, target=0.9)]


def preparing(setting: Setting) -> Pair:
    """Real English and code, each document different, by as many processes as threads."""
    if not setting.tiny and not NEOX.is_file():
        raise NotYet("the shared text and tokenizer are not here (HARNESS_SHARED)")
    texts = _texts(setting.tiny)
    scratch = Path(tempfile.mkdtemp(prefix="bench-prepare-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    source = scratch / "text.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    given = str(NEOX) if NEOX.is_file() else "bytes"
    workers = torch.get_num_threads()
    tokens = [0]

    def ours() -> None:
        shutil.rmtree(scratch / "cache", ignore_errors=True)
        shards = prepare_text(
            f"file:{source}#text",
            "train",
            tokenizer=given,
            cache=scratch / "cache",
            effort=Effort(workers),
        )
        tokens[0] = len(shards.tokens)

    ours()
    bare = _bare(given, texts, workers)
    return Pair(ours, bare, tokens=tokens[0], gap=lambda: abs(bare() + len(texts) - tokens[0]))


def _texts(tiny: bool) -> list[str]:
    if tiny:
        return [text.decode() for text in load_documents("builtin/dyck", "test").texts[:20]]
    pieces: list[str] = []
    for file in FILES:
        text = (SHARED / file).read_text()
        starts = range(0, len(text), DOCUMENT_CHARACTERS)
        pieces += [text[start : start + DOCUMENT_CHARACTERS] for start in starts]
    random.Random(0).shuffle(pieces)
    return [f"{copy} {piece}" for copy in range(COPIES) for piece in pieces]


def _bare(given: str, texts: list[str], workers: int) -> Any:
    if given == "bytes":
        loaded = load_tokenizer(given)
        return lambda: sum(len(loaded.encode(text.encode())) for text in texts)
    # Read by the library when it first runs side by side.
    os.environ["RAYON_NUM_THREADS"] = str(workers)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    encoder = _encoder(given)

    def bare() -> int:
        count = 0
        for start in range(0, len(texts), 1024):
            batch = texts[start : start + 1024]
            found = encoder.encode_batch_fast(batch, add_special_tokens=False)
            count += sum(len(encoding.ids) for encoding in found)
        return count

    return bare


@cache
def _encoder(given: str) -> Any:
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(given)
    encoder.encode_special_tokens = True
    return encoder
