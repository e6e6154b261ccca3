"""What tests that train share: one thread, and a small corpus to train on."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

# Before torch or a linear-algebra library starts its threads; child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

WORDS = ("energy", "step", "noise", "image", "token", "model", "learn", "descend", "think", "loss")
DOCUMENTS = {"train": 80, "validation": 12, "test": 6}


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with {split}.jsonl, one short document per line under `text`."""
    folder = tmp_path_factory.mktemp("corpus")
    for split, count in DOCUMENTS.items():
        chosen = random.Random(split)
        texts = (" ".join(chosen.choices(WORDS, k=chosen.randint(8, 30))) for _ in range(count))
        lines = (json.dumps({"text": text}) + "\n" for text in texts)
        (folder / f"{split}.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def corpus(corpus_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in the corpus folder, where `file:{split}.jsonl#text` is found."""
    monkeypatch.chdir(corpus_folder)
    return corpus_folder
