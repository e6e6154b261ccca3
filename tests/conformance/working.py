"""Tiny adapters that keep the whole contract, and the records that count them by hand.

`Descender` (text) descends E(p) = |W p - c|^2 / 2 from noise, where c summarises the tokens seen.
`Replayer` trains on rows of its last batch too, with one or two steps by chance. `Slider` (video)
moves and fades the last frame. `Cleaner` (image) takes a noisy image through a few numbers, which
for a clean one are its features.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from harness.conformance.subject import Subject, subject_of
from harness.protocol import (
    AdapterRecord,
    Descent,
    FlopCount,
    Frozen,
    ParameterCount,
    ParamGroup,
    Passes,
    Prediction,
    Single,
    State,
    StepOutput,
)

STEPS = 2


class Config(Frozen):
    """A width."""

    width: int = Field(default=12, ge=1, description="of everything inside")


class Descender(nn.Module):
    """Text by descent; hooks named with an underscore are there to be broken."""

    def __init__(self, config, shape):
        super().__init__()
        self.vocabulary = shape.vocab_size
        self.embed = nn.Embedding(shape.vocab_size, config.width)
        self.mix = nn.Linear(config.width, config.width, bias=False)
        self.weight = nn.Parameter(torch.randn(config.width, shape.vocab_size))
        self.alpha = nn.Parameter(torch.tensor(1.0))

    def context(self, tokens):
        """c (B, S, D): a causal mean of embeddings, mixed, and the newest token's own."""
        embedded = self.embed(tokens)
        count = torch.arange(1, tokens.shape[1] + 1).to(embedded)[:, None]
        return self.mix(embedded.cumsum(1) / count).to(embedded) + embedded

    def _observed(self, tokens):
        return self.context(tokens)

    def _start(self, rows, length, noise):
        drawn = noise.normal(rows, (length, self.vocabulary), purpose="start")
        return drawn.to(self.alpha.dtype)

    def _energy(self, residual):
        return residual.to(self.alpha.dtype).square().sum(-1) / 2

    def residual(self, p, c):
        return F.linear(p, self.weight) - c

    def step(self, p, c):
        return p - self.alpha * (self.residual(p, c) @ self.weight).to(p)

    def _steps(self, batch, noise):
        return STEPS

    def training_loss(self, batch, noise):
        c = self.context(batch.tokens[:, :-1])
        logits = self._start(batch.rows, c.shape[1], noise)
        targets = batch.tokens[:, 1:].masked_fill(~batch.mask, -100).flatten()
        losses = []
        for _ in range(self._steps(batch, noise)):
            logits = self.step(logits.detach().softmax(-1), c)
            losses.append(F.cross_entropy(logits.flatten(0, 1), targets, reduction="sum"))
        loss, n = torch.stack(losses).mean(), int(batch.mask.sum())
        return StepOutput(loss, n, {"loss_last": (losses[-1].detach(), n)})

    def predict(self, batch, thinking, noise, on_state=None):
        with torch.inference_mode(False), torch.no_grad():
            c = self._observed(batch.tokens[:, :-1].clone())
            logits = self._start(batch.rows, c.shape[1], noise)
            for step in range(thinking.steps + 1):
                if on_state is not None:
                    energy = self._energy(self.residual(logits.softmax(-1), c))
                    on_state(State(step, range(1), logits[:, None], energy[:, None]))
                if step < thinking.steps:
                    logits = self.step(logits.softmax(-1), c)
        passes = Passes(nfe=thinking.steps, forward=thinking.steps, backward=thinking.steps)
        return Prediction(logits, None, passes)

    def param_groups(self):
        weights = [p for p in self.parameters() if p is not self.alpha]
        return [
            ParamGroup("weights", weights),
            ParamGroup("alpha", [self.alpha], 3.0, weight_decay=False),
        ]

    @torch.no_grad()
    def descent_energies(self, batch, noise, step_size):
        c = self._observed(batch.tokens[:, :-1])
        p = self._start(batch.rows, c.shape[1], noise).softmax(-1)
        before = self.residual(p, c)
        after = self.residual(p - step_size * (before @ self.weight), c)
        return self._energy(before), self._energy(after)

    def decoder(self, rows, thinking, noise):
        return Decoder(self, rows, thinking, noise)

    def compile_body(self):
        self.compiled = True


class Decoder:
    """Keeps the running mean of the embeddings it was fed."""

    def __init__(self, model, rows, thinking, noise):
        self.model, self.rows, self.thinking, self.noise = model, rows, thinking, noise
        self.total, self.length = 0.0, 0

    def feed(self, tokens):
        model = self.model
        embedded = model.embed(tokens)
        self.total = self.total + embedded.sum(1)
        self.length += tokens.shape[1]
        c = model.mix(self.total / self.length) + embedded[:, -1]
        drawn = self.noise.normal(
            self.rows, (model.vocabulary,), purpose="start", position=self.length
        )
        logits = drawn.to(c)
        for _ in range(self.thinking.steps):
            logits = model.step(logits.softmax(-1), c)
        return Prediction(logits, None, Passes(self.thinking.steps, 1, 1))


class Replayer(Descender):
    """Half of the last batch's rows come again; one or two steps, drawn for the batch."""

    def __init__(self, config, shape):
        super().__init__(config, shape)
        self.last = {}

    def _steps(self, batch, noise):
        return 1 + int(noise.uniform(batch.rows[:1], (), purpose="steps") < 0.5)

    def work(self, batch, noise):
        return self._steps(batch, noise), len(self.last.get("rows", ()))

    def training_loss(self, batch, noise):
        fields = {name: getattr(batch, name) for name in ("tokens", "mask", "rows")}
        joined = {
            name: torch.cat([value, self.last[name]]) if self.last else value
            for name, value in fields.items()
        }
        output = super().training_loss(replace(batch, **joined), noise)
        self.last = {name: value[: len(value) // 2].clone() for name, value in fields.items()}
        return replace(output, n=int(batch.mask.sum()))

    def replay_state(self):
        return self.last

    def load_replay_state(self, state):
        self.last = dict(state)


class Slider(nn.Module):
    """The next frame is the last one, each pixel weighted, and a constant."""

    def __init__(self, config, shape):
        super().__init__()
        self.mix = nn.Linear(shape.numbers, shape.numbers)

    def _frames(self, frames):
        seen = frames[:, :-1]
        return self.mix(seen.flatten(2)).view(seen.shape)

    def training_loss(self, batch, noise):
        error = (self._frames(batch.frames) - batch.frames[:, 1:]).square().mean((2, 3, 4))
        return StepOutput(error.sum(), error.numel())

    def predict(self, batch, thinking, noise, on_state=None):
        with torch.inference_mode(False), torch.no_grad():
            value = self._frames(batch.frames.clone()).to(batch.frames)
            if on_state is not None:
                on_state(State(1, range(1), value[:, None], None))
        return Prediction(value, None, Passes(nfe=1, forward=1, backward=0))

    def param_groups(self):
        return [ParamGroup("mix", list(self.parameters()))]


class Cleaner(nn.Module):
    """The clean image is a linear function of `width` numbers of the noisy one."""

    def __init__(self, config, shape):
        super().__init__()
        numbers = shape.channels * shape.height * shape.width
        self.down, self.up = nn.Linear(numbers, config.width), nn.Linear(config.width, numbers)

    def _cleaned(self, noisy):
        return self.up(self.down(noisy.flatten(1))).view(noisy.shape).to(noisy)

    def training_loss(self, batch, noise):
        images = batch.images
        drawn = noise.normal(batch.rows, images.shape[1:], purpose="noising").to(images)
        error = (self._cleaned(images + 0.3 * drawn) - images).square().flatten(1).mean(1)
        return StepOutput(error.sum(), len(error))

    def predict(self, batch, thinking, noise, on_state=None):
        with torch.inference_mode(False), torch.no_grad():
            value = self._cleaned(batch.noisy.clone())
            if on_state is not None:
                on_state(State(1, range(1), value[:, None], None))
        return Prediction(value, None, Passes(nfe=1, forward=1, backward=0))

    @torch.no_grad()
    def features(self, batch):
        return self.down(batch.images.flatten(1))

    def param_groups(self):
        return [ParamGroup("weights", list(self.parameters()))]


# --- records ---------------------------------------------------------------------------------


def _text_products(config, shape):
    """FLOPs of the (S, D, D) product and of one (S, V, D) product."""
    mixed = 2.0 * shape.context * config.width**2
    return mixed, 2.0 * shape.context * config.width * shape.vocab_size


def text_parameters(config, shape):
    own = config.width**2 + 1
    return ParameterCount(own + 2 * config.width * shape.vocab_size, own)


def text_training(config, shape, steps=STEPS, rows=1.0):
    """Per step W p and its transpose forward; backward the slope's, and W's two."""
    mixed, product = _text_products(config, shape)
    vocabulary = rows * 5 * steps * product
    return FlopCount(rows * 3 * mixed + vocabulary, vocabulary)


def text_prediction(config, shape, thinking):
    mixed, product = _text_products(config, shape)
    return FlopCount(mixed + 2 * thinking.steps * product, 2 * thinking.steps * product)


DESCENDER = AdapterRecord(
    name="descender",
    version="1",
    family="toy",
    modality="text",
    description="a quadratic energy",
    config=Config,
    factory="tests.conformance.working:Descender",
    thinking=("descent",),
    trained_thinking=lambda config: Descent(steps=STEPS),
    parameters=text_parameters,
    training_flops=text_training,
    prediction_flops=text_prediction,
    source="tests",
    compiles=True,
)
REPLAYER = replace(
    DESCENDER,
    name="replayer",
    factory="tests.conformance.working:Replayer",
    training_flops=lambda config, shape: text_training(config, shape, steps=1.5, rows=1.5),
    replay_bytes=lambda config, shape: 2 * (8 * (shape.context + 1) + shape.context + 8),
)
SLIDER = AdapterRecord(
    name="slider",
    version="1",
    family="toy",
    modality="video",
    description="a linear next frame",
    config=Config,
    factory="tests.conformance.working:Slider",
    thinking=("single",),
    trained_thinking=lambda config: Single(),
    parameters=lambda config, shape: ParameterCount(*[shape.numbers * (shape.numbers + 1)] * 2),
    training_flops=lambda config, shape: FlopCount(4.0 * shape.context * shape.numbers**2),
    prediction_flops=lambda config, shape, t: FlopCount(2.0 * shape.context * shape.numbers**2),
    source="tests",
)


def _image_product(config, shape):
    """FLOPs of a (numbers, width) product."""
    return 2.0 * shape.channels * shape.height * shape.width * config.width


def image_parameters(config, shape):
    numbers = shape.channels * shape.height * shape.width
    return ParameterCount(*[2 * numbers * config.width + numbers + config.width] * 2)


CLEANER = AdapterRecord(
    name="cleaner",
    version="1",
    family="toy",
    modality="image",
    description="a linear bottleneck",
    config=Config,
    factory="tests.conformance.working:Cleaner",
    thinking=("single",),
    trained_thinking=lambda config: Single(),
    parameters=image_parameters,
    training_flops=lambda config, shape: FlopCount(5 * _image_product(config, shape)),
    prediction_flops=lambda config, shape, t: FlopCount(2 * _image_product(config, shape)),
    source="tests",
    features=True,
)


def subject(record: AdapterRecord, model: type | None = None, **changes: Any) -> Subject:
    """The record's subject, with another class or other fields."""
    if model is not None:
        changes["factory"] = f"{model.__module__}:{model.__qualname__}"
    return subject_of(replace(record, **changes), Config())
