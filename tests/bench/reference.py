"""The same networks as other libraries write them: transformers' Llama and diffusers' DiT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


# --- diffusers -------------------------------------------------------------------------------


def diffusers_dit(adapter: Any, config: Any, shape: ImageShape) -> nn.Module:
    """diffusers' DiT with the weights of `adapter`, whose feed-forward is 4 widths; no labels."""
    model = _diffusers_model(config, shape, out_channels=2 * shape.channels)
    model.load_state_dict(dict(as_diffusers(adapter.network.state_dict())), strict=False)
    for block in model.transformer_blocks:
        embedding = block.norm1.emb
        nn.init.zeros_(embedding.class_embedder.embedding_table.weight)
        embedding.time_proj.downscale_freq_shift = 0  # DiT's own frequencies; diffusers shifts them
    return model


class DiffusersEnergy(nn.Module):
    """An image EBT made of diffusers' DiT, with the weights of `adapter` (feed-forward 4 widths).

    Of that DiT are the patches, the blocks and the final norm. Its embedders, one a block, would
    only cost time: here all blocks share the learned condition. `twice` is for training: attention
    written out, since the fused one has no second derivative.
    """

    def __init__(self, adapter: Any, config: Any, shape: ImageShape, *, twice: bool) -> None:
        from diffusers.models.attention_processor import AttnProcessor

        super().__init__()
        weights = adapter.network.state_dict()
        self.alpha = nn.Parameter(weights["alpha"].clone())
        self.condition = _Condition(weights["condition.weight"])
        self.model = _diffusers_model(config, shape, out_channels=1)
        self.model.proj_out_2 = nn.Linear(config.width, 1, bias=False)
        self.model.load_state_dict(dict(as_diffusers(weights)), strict=False)
        for block in self.model.transformer_blocks:
            block.norm1.emb = self.condition
            if twice:
                block.attn1.set_processor(AttnProcessor())
        self.twice = twice
        self.requires_grad_(twice)

    def energy(self, images: Tensor) -> Tensor:
        """(B,) energies of images (B, C, H, W)."""
        model = self.model
        h = model.pos_embed(images)
        for block in model.transformer_blocks:
            h = block(h)
        shift, scale = model.proj_out_1(F.silu(self.condition())).chunk(2, dim=1)
        h = model.norm_out(h) * (1 + scale[:, None]) + shift[:, None]
        return model.proj_out_2(h).mean(dim=(1, 2))

    def stepped(self, images: Tensor) -> Tensor:
        """The images after one optimization step."""
        start = images.detach().requires_grad_()
        energy = self.energy(start).sum()
        (slope,) = torch.autograd.grad(energy, start, create_graph=self.twice)
        return start - self.alpha.clamp(min=1e-4) * slope


class _Condition(nn.Module):
    """One learned vector, whatever timestep and label an embedder is called with."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())

    def forward(self, *_: Any, **__: Any) -> Tensor:
        return self.weight


def _diffusers_model(config: Any, shape: ImageShape, *, out_channels: int) -> Any:
    from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel

    return DiTTransformer2DModel(
        num_attention_heads=config.heads,
        attention_head_dim=config.width // config.heads,
        in_channels=shape.channels,
        out_channels=out_channels,
        num_layers=config.depth,
        sample_size=shape.height,
        patch_size=config.patch_size,
        num_embeds_ada_norm=10,
        norm_eps=1e-6,
    ).eval()


def as_diffusers(w: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Our network's weights (or gradients) by diffusers' names."""
    names = {
        "pos_embed.proj": "x_embedder.proj",
        "proj_out_1": "final_layer.adaLN_modulation.1",
        "proj_out_2": "final_layer.linear",
    }
    for i in range(sum(name.endswith("attn.qkv.bias") for name in w)):
        block, mine = f"transformer_blocks.{i}", f"blocks.{i}"
        for j, number in enumerate((0, 2), 1):
            names[f"{block}.norm1.emb.timestep_embedder.linear_{j}"] = f"t_embedder.mlp.{number}"
        names[f"{block}.norm1.linear"] = f"{mine}.adaLN_modulation.1"
        names[f"{block}.attn1.to_out.0"] = f"{mine}.attn.proj"
        names[f"{block}.ff.net.0.proj"] = f"{mine}.mlp.fc1"
        names[f"{block}.ff.net.2"] = f"{mine}.mlp.fc2"
        for kind in ("weight", "bias"):
            for part, tensor in zip("qkv", w[f"{mine}.attn.qkv.{kind}"].chunk(3), strict=True):
                yield f"{block}.attn1.to_{part}.{kind}", tensor
    for theirs, mine in names.items():
        for kind in ("weight", "bias"):
            if f"{mine}.{kind}" in w:
                yield f"{theirs}.{kind}", w[f"{mine}.{kind}"]


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
