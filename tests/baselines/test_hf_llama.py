"""Transformer++ against the Llama that transformers builds from what we hand it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from baselines.adapters.text import EBTText, TransformerPPText
from baselines.text_settings import EBTTextConfig, TransformerPPTextConfig
from harness.capabilities import Exports
from harness.protocol import TextShape

CONFIGS: list[dict[str, Any]] = [
    {"depth": 2, "width": 16, "heads": 2},
    {"depth": 1, "width": 24, "heads": 4, "ffn_width": 40},  # head_dim 6
    {"depth": 3, "width": 10, "heads": 5, "ffn_width": 7},  # head_dim 2
    {"depth": 2, "width": 18, "heads": 1, "rope_theta": 500.0, "norm_eps": 1e-2},
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_llama_has_the_same_logits(config: dict[str, Any], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, LlamaForCausalLM

    torch.manual_seed(1)
    model = TransformerPPText(TransformerPPTextConfig(**config), TextShape(37, 29))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:  # ones would hide one norm put in another's place
                parameter.uniform_(0.5, 2.0)
    settings, weights = model.hugging_face()
    (tmp_path / "config.json").write_text(json.dumps(settings))
    save_file(dict(weights), tmp_path / "model.safetensors", metadata={"format": "pt"})

    llama = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(llama, LlamaForCausalLM)
    assert sum(p.numel() for p in llama.parameters()) == sum(p.numel() for p in model.parameters())
    ids = torch.randint(37, (3, 29))
    with torch.no_grad():
        torch.testing.assert_close(model.network(ids), llama(ids).logits, rtol=1e-5, atol=1e-5)


def test_only_what_llama_computes_is_exported() -> None:
    shape = TextShape(37, 29)
    assert isinstance(TransformerPPText(TransformerPPTextConfig(**CONFIGS[0]), shape), Exports)
    assert not isinstance(EBTText(EBTTextConfig(**CONFIGS[0]), shape), Exports)
