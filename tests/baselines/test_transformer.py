"""Transformer++ against transformers' Llama with the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from baselines.text_records import TransformerPPTextConfig
from baselines.transformer import Transformer

VOCAB = 23
SIZES: dict[str, Any] = {"depth": 2, "width": 16, "heads": 2, "ffn_width": 24}


def test_transformer_is_llama() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(3)
    network = Transformer(TransformerPPTextConfig(**SIZES), VOCAB)
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=SIZES["width"],
            intermediate_size=SIZES["ffn_width"],
            num_hidden_layers=SIZES["depth"],
            num_attention_heads=SIZES["heads"],
            rms_norm_eps=1e-5,
            max_position_embeddings=64,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        )
    )
    llama.load_state_dict(dict(_as_llama(network.state_dict())))
    ids = torch.randint(VOCAB, (3, 9))
    with torch.no_grad():
        torch.testing.assert_close(network(ids), llama(ids).logits, rtol=1e-5, atol=1e-5)


def _as_llama(weights: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """transformers' names; rows of q and k go from interleaved pairs to halves."""
    names = {
        "embed": "model.embed_tokens",
        "norm": "model.norm",
        "output": "lm_head",
        "attention.wq": "self_attn.q_proj",
        "attention.wk": "self_attn.k_proj",
        "attention.wv": "self_attn.v_proj",
        "attention.wo": "self_attn.o_proj",
        "attention_norm": "input_layernorm",
        "ffn.gate": "mlp.gate_proj",
        "ffn.up": "mlp.up_proj",
        "ffn.down": "mlp.down_proj",
        "ffn_norm": "post_attention_layernorm",
    }
    for name, weight in weights.items():
        stem, layer = name.removesuffix(".weight"), ""
        if stem.startswith("layers."):
            _, index, stem = stem.split(".", 2)
            layer = f"model.layers.{index}."
        if stem in ("attention.wq", "attention.wk"):
            pairs = weight.unflatten(0, (SIZES["heads"], -1, 2))
            weight = pairs.transpose(1, 2).reshape(weight.shape)
        yield f"{layer}{names[stem]}.weight", weight
