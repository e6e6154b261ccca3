"""Transformer++ as transformers' Llama: the same network under other names.

Llama-2's own weights pair neighbouring coordinates for rotary positions, as ours do; transformers
pairs the first half of a head with the second, so rows of the query and key projections move.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from baselines.autoregressive import TransformerPPConfig
from harness.protocol import TextShape

if TYPE_CHECKING:
    from torch import Tensor

#: Our names to theirs; those of a block are below `model.layers.<index>`.
_OUTSIDE = {"embed": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}
_IN_BLOCK = {
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


def llama_config(config: TransformerPPConfig, shape: TextShape) -> dict[str, Any]:
    """The config.json of `LlamaForCausalLM`, token ids apart; transformers 4 and 5 read it."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocab_size,
        "max_position_embeddings": shape.context,
        "hidden_size": config.width,
        "intermediate_size": config.ffn_width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.heads,
        "head_dim": config.width // config.heads,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": None,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
    }


def llama_weights(weights: Mapping[str, Tensor], heads: int) -> dict[str, Tensor]:
    """The state dict of a `Transformer` under the names of `LlamaForCausalLM`."""
    return {_renamed(name): _rearranged(name, weight, heads) for name, weight in weights.items()}


def _renamed(name: str) -> str:
    stem = name.removesuffix(".weight")
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.weight"
    layers, index, part = stem.split(".", 2)
    assert layers == "layers", name
    return f"model.layers.{index}.{_IN_BLOCK[part]}.weight"


def _rearranged(name: str, weight: Tensor, heads: int) -> Tensor:
    """Rows of queries and keys go from interleaved pairs to halves."""
    if name.endswith(("attention.wq.weight", "attention.wk.weight")):
        pairs = weight.unflatten(0, (heads, -1, 2))  # (H, D/H/2, 2, D)
        weight = pairs.transpose(1, 2).reshape(weight.shape)
    return weight.contiguous()
