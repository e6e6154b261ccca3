"""Transformer++ against transformers' Llama with the same weights."""

from __future__ import annotations

import torch

from tests.baselines.tiny_text import LENGTH, VOCAB, transformer
from tests.bench.reference import llama


def test_transformer_is_llama() -> None:
    model = transformer(torch.float32)
    theirs = llama(model)
    ids = torch.randint(VOCAB, (3, LENGTH))
    with torch.no_grad():
        ours = model.network(ids)
        torch.testing.assert_close(ours, theirs(ids).logits, rtol=1e-5, atol=1e-5)
