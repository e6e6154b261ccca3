"""Text cases: the EBT adapter against its textbook form, and what they are held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from baselines.catalogue import EBT_TEXT, TRANSFORMER_PP_TEXT
from harness.capabilities import Compiles, Decoder, Generates
from harness.noise import NoiseSource
from harness.protocol import Descent, TextBatch, TextShape
from tests.baselines.naive_ebt import Naive
from tests.bench.case import Case, NotYet, Pair, Setting, made

Variant = Literal["S1", "S2"]
THINKING = Descent(steps=3, samples=5)
NOISE = NoiseSource(seed=1)
TINY: dict[str, Any] = {"depth": 2, "width": 16, "heads": 2, "ffn_width": 24}


@dataclass(frozen=True)
class Load:
    """What is trained or thought about: `size` of the model, vocabulary, rows and context."""

    size: str
    vocab: int
    batch: int
    context: int = 256

    def __str__(self) -> str:
        return f"{self.size} V={self.vocab} B={self.batch}"

    def within(self, setting: Setting) -> tuple[dict[str, Any], int, int, int]:
        """Sizes, vocabulary, batch and context: the load's own, or a test's."""
        if setting.tiny:
            return TINY, 23, 2, 9
        return {"size": self.size}, self.vocab, self.batch, self.context


@dataclass(frozen=True)
class Text:
    """An adapter, its textbook form on the same weights, and a batch."""

    adapter: Any
    naive: Naive
    batch: TextBatch
    config: Any
    vocab: int

    def parameters(self) -> list[nn.Parameter]:
        return [p for p in self.adapter.parameters() if p.requires_grad]

    def starts(self, count: int) -> list[Tensor]:
        """Fresh normal draws (B, S, V), as the textbook would make them."""
        shape = (*self.batch.mask.shape, self.vocab)
        return [torch.randn(shape, device=self.batch.mask.device) for _ in range(count)]


def s2_config(sizes: dict[str, Any]) -> Any:
    """S2 with its steps pinned to three and no replay; raises NotYet before there is an S2."""
    if "variant" not in EBT_TEXT.config.model_fields:
        raise NotYet("ebt_text has no S2 variant")
    given = sizes | {"variant": "s2", "steps": 3, "min_steps": 3, "langevin_noise": 3.0}
    given |= {"random_step_size": 2.0, "step_size": 5.0, "replay_records": 0}
    return EBT_TEXT.config(**given)


def random_batch(vocab: int, batch: int, context: int, device: torch.device) -> TextBatch:
    """Random tokens, every target valid."""
    generator = torch.Generator().manual_seed(11)
    tokens = torch.randint(vocab, (batch, context + 1), generator=generator)
    mask = torch.ones(batch, context, dtype=torch.bool)
    rows = torch.arange(batch) + 40
    return TextBatch(tokens.to(device), mask.to(device), rows.to(device))


def build(
    load: Load, variant: Variant, setting: Setting, dtype: torch.dtype = torch.float32
) -> Text:
    """The adapter and its textbook form at `load`."""
    sizes, vocab, batch, context = load.within(setting)
    config = s2_config(sizes) if variant == "S2" else EBT_TEXT.config(**sizes, steps=2)
    if setting.tiny:  # a step size under which rounding does not grow
        config = type(config)(**(config.model_dump() | {"step_size": 2.0}))
    torch.manual_seed(3)
    adapter = made(EBT_TEXT, config, TextShape(vocab_size=vocab, context=context))
    adapter = adapter.to(device=setting.device, dtype=dtype)
    naive = Naive(dict(adapter.network.named_parameters()), config.heads)
    return Text(adapter, naive, random_batch(vocab, batch, context, setting.device), config, vocab)


# --- training --------------------------------------------------------------------------------


def training(
    load: Load, variant: Variant, *, compiled: bool = False, dtype: torch.dtype = torch.float32
) -> Any:
    """Build a training step: zero gradients, loss, backward, drawing fresh noise on both sides."""

    def pair(setting: Setting) -> Pair:
        text = build(load, variant, setting, dtype)
        eager = our_step(text, setting)
        if compiled:
            if not isinstance(text.adapter, Compiles):
                raise NotYet("ebt_text cannot be compiled")
            counted = build(load, variant, setting, dtype)
            eager = our_step(counted, setting)
            if not setting.tiny:
                text.adapter.compile_body()
        return Pair(
            ours=our_step(text, setting),
            theirs=naive_step(text, variant, setting),
            tokens=text.batch.mask.numel(),
            minimum=training_minimum(text, variant),
            gap=lambda: training_gap(text, variant),
            count=eager if compiled else None,
        )

    return pair


def our_step(text: Text, setting: Setting) -> Any:
    """One training step of the adapter, under the harness's keyed noise."""
    step = 0

    def run() -> None:
        nonlocal step
        step += 1
        text.adapter.zero_grad()
        with setting.autocast():
            loss = text.adapter.training_loss(text.batch, NOISE.within("step", step)).loss_sum
        loss.backward()

    return run


def naive_step(text: Text, variant: Variant, setting: Setting) -> Any:
    """One training step of the textbook; `inputs` spares it the gradient of its starting point."""
    inputs = text.parameters()

    def run() -> None:
        text.adapter.zero_grad()
        with setting.autocast():
            if variant == "S1":
                loss = naive_s1(text, text.starts(1)[0])
            else:
                start, *noise = text.starts(1 + text.config.steps)
                alpha = torch.rand_like(start[..., :1])
                loss = naive_s2(text, start, [3.0 * x for x in noise], alpha)
        loss.backward(inputs=inputs)

    return run


def naive_s1(text: Text, start: Tensor) -> Tensor:
    batch = text.batch
    return text.naive.training_loss(batch.tokens, batch.mask, start, text.config.steps)


def naive_s2(text: Text, start: Tensor, noise: Sequence[Tensor], uniform: Tensor) -> Tensor:
    """S2 where the step size is uniform between half and twice its value, for each position."""
    factor = 0.5 + 1.5 * uniform  # in float32, as it is drawn
    alpha = text.naive.weights["alpha"].detach() * factor.to(text.parameters()[0].dtype)
    return text.naive.truncated_loss(text.batch.tokens, text.batch.mask, start, noise, alpha)


class Recorder:
    """Passes draws on and keeps them, so that the textbook can be given the same."""

    def __init__(self, source: NoiseSource) -> None:
        self.source = source
        self.normals: list[Tensor] = []
        self.uniforms: list[Tensor] = []

    def normal(self, *args: Any, **kwargs: Any) -> Tensor:
        drawn = self.source.normal(*args, **kwargs)
        self.normals.append(drawn.clone())  # the adapter may write into its draws
        return drawn

    def uniform(self, *args: Any, **kwargs: Any) -> Tensor:
        drawn = self.source.uniform(*args, **kwargs)
        self.uniforms.append(drawn.clone())  # the adapter may write into its draws
        return drawn


def training_gap(text: Text, variant: Variant) -> float:
    """Largest relative error of a parameter's gradient between adapter and textbook, uncompiled.

    In float32, at a hundredth of the step size: with all of it rounding grows about tenfold a step.
    """
    alpha = text.naive.weights["alpha"]
    whole = alpha.detach().clone()
    try:
        with torch.no_grad():
            alpha.mul_(0.01)
        return _gap(text, variant)
    finally:
        with torch.no_grad():
            alpha.copy_(whole)


def _gap(text: Text, variant: Variant) -> float:
    recorder, named = Recorder(NOISE), text.parameters()
    dtype = named[0].dtype
    text.adapter.zero_grad()
    text.adapter.training_loss(text.batch, recorder).loss_sum.backward()
    ours = [p.grad.clone() for p in named if p.grad is not None]
    text.adapter.zero_grad()
    start, *noise = (x.clone().to(dtype) for x in recorder.normals)
    if variant == "S1":
        loss = naive_s1(text, start)
    else:
        (uniform,) = (u for u in recorder.uniforms if u.shape[:2] == text.batch.mask.shape)
        alpha = uniform.reshape(*text.batch.mask.shape, 1)
        loss = naive_s2(text, start, [text.config.langevin_noise * x for x in noise], alpha)
    theirs = torch.autograd.grad(loss, named)
    return max(relative(a, b) for a, b in zip(ours, theirs, strict=True))


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference over the norm of `theirs`."""
    return float((ours - theirs).norm() / theirs.norm().clamp(min=1e-30))


def training_minimum(text: Text, variant: Variant) -> float:
    """FLOPs of an exact gradient, attention left out, without anything computed twice.

    A token and linear weight: 12 per differentiated step of the prediction stream (4 without a
    graph), 6 per landscape of the observed stream; the vocabulary 3n + 2 or 2(n - 1) + 5 products.
    """
    config, tokens = text.config, text.batch.mask.numel()
    n = linear_weights(config)
    product = 2.0 * text.vocab * config.width
    if variant == "S1":
        per_token = (12 * config.steps + 6 * config.landscapes) * n
        vocabulary = 3 * config.steps + 2
    else:
        per_token = (12 + 4 * (config.steps - 1) + 6) * n
        vocabulary = 2 * (config.steps - 1) + 5
    return tokens * (per_token + vocabulary * product)


def linear_weights(config: Any) -> int:
    """Weights of the blocks' linears: N of the cost formulas."""
    d, f = config.width, config.ffn_width
    return config.depth * (4 * d * d + 3 * d * f)


# --- prediction ------------------------------------------------------------------------------


def thinking(load: Load, *, dtype: torch.dtype = torch.float32) -> Any:
    """Build best-of-M predictions of a whole batch."""

    def pair(setting: Setting) -> Pair:
        text = build(load, "S1", setting, dtype)

        def ours() -> object:
            with setting.autocast():
                return text.adapter.predict(text.batch, THINKING, NOISE)

        n, tokens = linear_weights(text.config), text.batch.mask.numel()
        each = THINKING.samples * (2 * THINKING.steps + 1)
        product = 2.0 * text.vocab * text.config.width
        used = len(set(naive_schedule(text)))
        return Pair(
            ours=ours,
            theirs=naive_thinking(text, setting),
            tokens=tokens,
            minimum=tokens * ((2 * used + 2 * each) * n + each * product),
            gap=(lambda: thinking_gap(text)) if setting.tiny else None,
        )

    return pair


def naive_schedule(text: Text) -> list[int]:
    """The landscape of each step: the last one again beyond the trained steps."""
    return [min(step, text.naive.landscapes - 1) for step in range(THINKING.steps)]


def naive_thinking(text: Text, setting: Setting) -> Any:
    """The textbook's best of M over the batch."""
    inputs, alpha = text.batch.tokens[:, :-1], text.adapter.network.alpha.detach()
    schedule = naive_schedule(text)

    def run() -> Tensor:
        with setting.autocast():
            return text.naive.best_of(inputs, text.starts(THINKING.samples), schedule, alpha)

    return run


def thinking_gap(text: Text) -> float:
    """Relative error of the chosen logits under the same starts."""
    recorder, alpha = Recorder(NOISE), text.adapter.network.alpha.detach()
    ours = text.adapter.predict(text.batch, THINKING, recorder).value
    starts = [x.clone().to(ours.dtype) for x in recorder.normals]
    schedule = naive_schedule(text)
    return relative(ours, text.naive.best_of(text.batch.tokens[:, :-1], starts, schedule, alpha))


def generation(load: Load, *, dtype: torch.dtype = torch.float32) -> Any:
    """Build one more token behind a cached context, against recomputing the whole row."""

    def pair(setting: Setting) -> Pair:
        text = build(load, "S1", setting, dtype)
        adapter, tokens = text.adapter, text.batch.tokens[:, :-1]
        if not isinstance(adapter, Generates):
            raise NotYet("ebt_text cannot generate")
        held: list[Decoder] = []

        def prepare() -> None:
            held[:] = [adapter.decoder(text.batch.rows, THINKING, NOISE)]
            with setting.autocast():
                held[0].feed(tokens[:, :-1])

        def ours() -> object:
            with setting.autocast():
                return held[0].feed(tokens[:, -1:])

        return Pair(
            ours=ours,
            theirs=naive_thinking(text, setting),
            tokens=len(tokens),
            prepare=prepare,
        )

    return pair


# --- rates -----------------------------------------------------------------------------------


def against_transformer(load: Load) -> Any:
    """Build an S1 step beside a Transformer++ step of the same size, for their FLOPs a second."""

    def pair(setting: Setting) -> Pair:
        text = build(load, "S1", setting)
        sizes, vocab, _, context = load.within(setting)
        config = TRANSFORMER_PP_TEXT.config(**sizes)
        shape = TextShape(vocab_size=vocab, context=context)
        model = made(TRANSFORMER_PP_TEXT, config, shape).to(setting.device)

        def theirs() -> None:
            model.zero_grad()
            with setting.autocast():
                loss = model.training_loss(text.batch, NOISE).loss_sum
            loss.backward()

        return Pair(our_step(text, setting), theirs, tokens=text.batch.mask.numel())

    return pair


# --- the list --------------------------------------------------------------------------------

_NAIVE = "textbook EBT"


def cases(device: torch.device) -> list[Case]:
    """Text cases that suit the device: what two CPU cores, or one GPU, are held to."""
    if device.type == "cuda":
        loads = [Load("xxs", 50277, 32), Load("small", 50277, 16)]
        small, memory, single = loads, loads[:1], [Load("xxs", 50277, 1)]
        wide: list[Load] = []
        thoughts = [Load("xxs", 50277, 8)]
    else:
        small = [Load("4xs", 256, 4), Load("3xs", 256, 4)]
        wide = [Load("4xs", 50277, 2), Load("3xs", 50277, 2)]
        memory = [Load("3xs", 256, 4), Load("4xs", 50277, 2)]
        thoughts, single = small, [Load("4xs", 256, 1), Load("3xs", 256, 1)]
    variants: tuple[Variant, ...] = ("S1", "S2")
    found = []
    for variant in variants:
        for load, target in [*((x, 1.7) for x in small), *((x, 2.2) for x in wide)]:
            name = f"{variant} training, {load}"
            step = training(load, variant)
            found.append(Case(name, "text-training", _NAIVE, step, target, memory=True))
    for variant in variants:
        for load in small if device.type == "cuda" else small[:1]:
            name = f"{variant} training compiled, {load}"
            step = training(load, variant, compiled=True)
            found.append(Case(name, "text-compiled", f"{_NAIVE}, eager", step, 2.2))
    for load in memory:
        name = f"S1 step memory, {load}"
        found.append(Case(name, "memory", _NAIVE, training(load, "S1"), 2.5, "memory"))
    for load in thoughts:
        name = f"thinking 3 × 5, {load}"
        found.append(Case(name, "thinking", _NAIVE, thinking(load), 2.2, memory=True))
    for load in single:
        name = f"one token, best of 5, {load}"
        found.append(Case(name, "generation", _NAIVE, generation(load), 40.0))
    for load in small:
        name = f"S1 FLOP rate, {load}"
        step = against_transformer(load)
        found.append(Case(name, "rate", "Transformer++ step", step, 0.8, "rate"))
    return found
