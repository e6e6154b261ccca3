"""Prompt and answer tokenized as one text: the answer's tokens are those after as many as the
prompt alone has, as in lm-eval.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.corpora.questions import Questions
from harness.data.corpora.shards import TextShards, Tokens
from harness.data.tokenizer import load_tokenizer


def question_shards(
    questions: Questions, *, tokenizer: str, folder: Path
) -> tuple[TextShards, NDArray[np.bool_]]:
    """Tokens in memory, and which of them are an answer's: end of text never is."""
    loaded = load_tokenizer(tokenizer)
    streams, answers = [], []
    for text, prompt in zip(questions.documents.texts, questions.prompts, strict=True):
        tokens = loaded.encode(text)
        streams += [tokens, np.array([loaded.end_of_text], np.int64)]
        own = np.arange(len(tokens) + 1) >= len(loaded.encode(prompt))
        own[-1] = False
        answers.append(own)
    whole = np.concatenate(streams)
    flat: Tokens = whole.astype(np.uint16) if loaded.vocab_size <= 2**16 else whole.astype("u4")
    shards = TextShards(
        name=questions.documents.name,
        split=questions.documents.split,
        folder=folder,
        tokens=flat,
        offsets=np.cumsum([0, *map(len, answers)], dtype=np.int64),
        vocab_size=loaded.vocab_size,
        end_of_text=loaded.end_of_text,
        token_bytes=loaded.token_bytes(),
        tokenizer_digest=loaded.digest,
        source_digest=questions.documents.digest,
        token_digest=hashlib.sha256(flat.tobytes()).hexdigest(),
    )
    return shards, np.concatenate(answers)
