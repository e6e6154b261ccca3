"""The same networks as other libraries write them: transformers' Llama and diffusers' DiT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.catalogue import TRANSFORMER_PP_TEXT
from harness.protocol import ImageShape, Single, TextShape
from tests.bench.case import Case, Pair, Setting, made
from tests.bench.text import NOISE, Load, random_batch, relative


def llama(model: Any) -> nn.Module:
    """transformers' Llama with the weights of `model`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    settings, weights = model.hugging_face()
    network = LlamaForCausalLM(LlamaConfig(**settings, attn_implementation="sdpa", use_cache=False))
    network.load_state_dict(dict(weights))
    return network


def transformer(load: Load, *, training: bool) -> Any:
    """Build a Transformer++ step or prediction against transformers' Llama."""

    def pair(setting: Setting) -> Pair:
        sizes, vocab, rows, context = load.within(setting)
        config = TRANSFORMER_PP_TEXT.config(**sizes)
        shape = TextShape(vocab_size=vocab, context=context)
        torch.manual_seed(3)
        ours = made(TRANSFORMER_PP_TEXT, config, shape)
        theirs = llama(ours).to(setting.device)
        ours.to(setting.device)
        batch = random_batch(vocab, rows, context, setting.device)
        inputs, targets = batch.tokens[:, :-1], batch.tokens[:, 1:]

        def our_step() -> None:
            ours.zero_grad()
            with setting.autocast():
                loss = ours.training_loss(batch, NOISE).loss_sum
            loss.backward()

        def their_step() -> None:
            theirs.zero_grad()
            with setting.autocast():
                logits = theirs(input_ids=inputs).logits
            F.cross_entropy(
                logits.float().flatten(0, 1), targets.flatten(), reduction="sum"
            ).backward()

        def our_logits() -> Tensor:
            with setting.autocast():
                return ours.predict(batch, Single(), NOISE).value

        def their_logits() -> Tensor:
            with torch.no_grad(), setting.autocast():
                return theirs(input_ids=inputs).logits

        return Pair(
            ours=our_step if training else our_logits,
            theirs=their_step if training else their_logits,
            tokens=inputs.numel(),
            gap=lambda: relative(our_logits(), their_logits()),
        )

    return pair


def diffusers_dit(adapter: Any, config: Any, shape: ImageShape) -> nn.Module:
    """diffusers' DiT with the weights of `adapter`, whose feed-forward is 4 widths; no labels."""
    from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel

    model = DiTTransformer2DModel(
        num_attention_heads=config.heads,
        attention_head_dim=config.width // config.heads,
        in_channels=shape.channels,
        out_channels=2 * shape.channels,
        num_layers=config.depth,
        sample_size=shape.height,
        patch_size=config.patch_size,
        num_embeds_ada_norm=10,
        norm_eps=1e-6,
    ).eval()
    model.load_state_dict(dict(_as_diffusers(adapter.network.state_dict())), strict=False)
    for block in model.transformer_blocks:
        embedding = block.norm1.emb
        nn.init.zeros_(embedding.class_embedder.embedding_table.weight)
        embedding.time_proj.downscale_freq_shift = 0  # DiT's own frequencies; diffusers shifts them
    return model


def _as_diffusers(w: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    depth = sum(name.endswith("attn.qkv.bias") for name in w)
    for kind in ("weight", "bias"):
        yield f"pos_embed.proj.{kind}", w[f"x_embedder.proj.{kind}"]
        yield f"proj_out_1.{kind}", w[f"final_layer.adaLN_modulation.1.{kind}"]
        yield f"proj_out_2.{kind}", w[f"final_layer.linear.{kind}"]
        for i in range(depth):
            block, mine = f"transformer_blocks.{i}", f"blocks.{i}"
            for j, number in enumerate(("0", "2"), 1):
                name = f"{block}.norm1.emb.timestep_embedder.linear_{j}.{kind}"
                yield name, w[f"t_embedder.mlp.{number}.{kind}"]
            yield f"{block}.norm1.linear.{kind}", w[f"{mine}.adaLN_modulation.1.{kind}"]
            for part, tensor in zip("qkv", w[f"{mine}.attn.qkv.{kind}"].chunk(3), strict=True):
                yield f"{block}.attn1.to_{part}.{kind}", tensor
            yield f"{block}.attn1.to_out.0.{kind}", w[f"{mine}.attn.proj.{kind}"]
            yield f"{block}.ff.net.0.proj.{kind}", w[f"{mine}.mlp.fc1.{kind}"]
            yield f"{block}.ff.net.2.{kind}", w[f"{mine}.mlp.fc2.{kind}"]


def cases(device: torch.device) -> list[Case]:
    """Transformer++ against transformers, at the sizes that suit the device."""
    if device.type == "cuda":
        loads = [Load("xxs", 50277, 32), Load("small", 50277, 16)]
    else:
        loads = [Load("4xs", 256, 4), Load("3xs", 256, 4), Load("xxs", 256, 4)]
    return [
        Case(
            f"Transformer++ {'training' if training else 'inference'}, {load}",
            "transformer++",
            "transformers' Llama",
            transformer(load, training=training),
            1.0,
            bf16_tolerance=2e-2,
        )
        for training in (True, False)
        for load in loads
    ]
