"""What is checked: one adapter under one config, and made-up batches of its modality.

No data set is read. Row i of a batch is the same in every batch that holds it, as in training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from harness.capabilities import Replays
from harness.noise import NoiseSource
from harness.protocol import (
    AdapterRecord,
    Batch,
    Diffusion,
    Frozen,
    ImageBatch,
    ImageShape,
    Noise,
    NoisyBatch,
    OnState,
    Prediction,
    Shape,
    TextBatch,
    TextShape,
    VideoBatch,
    VideoShape,
)
from harness.registry import load_factory

#: Rows of a whole batch.
ROWS = 4
NOISE = NoiseSource(seed=11, scope=("conformance",))
OTHER_NOISE = NoiseSource(seed=12, scope=("conformance",))
#: Prime, so that no other dimension is taken for a vocabulary; and no size that anybody chooses.
VOCABULARY = 61
CONTEXT = {"text": 12, "video": 5}
#: Sides of images and frames, tried in turn: a patch size has to divide them.
SIDES = (8, 12, 16, 20, 24, 28, 32, 48, 64)
#: Network calls of a diffusion: the trained hundred would only be slow.
DIFFUSION_STEPS = 4
#: What float32 leaves of two equal computations done in different order, a few steps deep.
ROUNDING = {torch.float64: 1e-7, torch.float32: 1e-3}


@dataclass(frozen=True)
class Subject:
    """An adapter's record with a config it accepts, for a small shape."""

    record: AdapterRecord
    config: Frozen
    shape: Shape

    def build(self, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
        """A fresh adapter as the harness builds it; equal for equal seeds."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return load_factory(self.record)(self.config, self.shape).to(dtype)

    def stirred(self, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
        """`build`, with every weight moved a little: nothing hides behind a zero-initialised layer.

        Scalars, such as a step size, stay.
        """
        model = self.build(seed=seed)
        generator = torch.Generator().manual_seed(1000 + seed)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim():
                    parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        return model.to(dtype)

    @cached_property
    def dtype(self) -> torch.dtype:
        """float64 where the adapter computes in it, so that rounding hides nothing; else float32.

        The contract asks for float32 alone.
        """
        try:
            prediction = self.predict(self.stirred(dtype=torch.float64))
        except (RuntimeError, TypeError, ValueError):
            return torch.float32
        return torch.float64 if prediction.value.dtype == torch.float64 else torch.float32

    @property
    def rounding(self) -> float:
        """Relative difference allowed between equal computations in `dtype`."""
        return ROUNDING[self.dtype]

    @cached_property
    def thinking(self) -> Any:
        """The thinking that training prepares for; a diffusion in a few calls."""
        trained = self.record.trained_thinking(self.config)
        if isinstance(trained, Diffusion):
            return trained.model_copy(update={"steps": min(trained.steps, DIFFUSION_STEPS)})
        return trained

    def predict(
        self,
        model: Any,
        batch: Batch | None = None,
        *,
        noise: Noise = NOISE,
        on_state: OnState | None = None,
    ) -> Prediction:
        """`predict` with the trained thinking, as evaluators do; on the first rows by default."""
        model.eval()
        batch = self.given(dtype=_dtype(model)) if batch is None else batch
        prediction: Prediction = model.predict(batch, self.thinking, noise, on_state)
        return prediction

    def loss(self, model: Any, batch: Batch | None = None, *, noise: Noise = NOISE) -> Tensor:
        """Summed training loss, as the loop calls it; on the first rows unless given a batch."""
        model.train()
        batch = self.batch(dtype=_dtype(model)) if batch is None else batch
        loss: Tensor = model.training_loss(batch, noise).loss_sum
        return loss

    def fresh_loss(self, model: Any) -> Tensor:
        """The same as from an adapter that has not been trained: nothing to replay."""
        if isinstance(model, Replays):
            model.load_replay_state({})
        return self.loss(model, self.batch(dtype=_dtype(model)))

    # --- batches -----------------------------------------------------------------------------

    def batch(
        self, first: int = 0, rows: int = ROWS, *, dtype: torch.dtype = torch.float32
    ) -> Batch:
        """Rows `first` to `first + rows` as training meets them."""
        each = [self._row(index) for index in range(first, first + rows)]
        content = torch.stack(each)
        ids = torch.arange(first, first + rows) + 100
        if isinstance(self.shape, TextShape):
            mask = torch.ones(rows, self.shape.context, dtype=torch.bool)
            mask[::2, 2] = False
            return TextBatch(content, mask, ids)
        if isinstance(self.shape, VideoShape):
            return VideoBatch(content.to(dtype), ids)
        return ImageBatch(content.to(dtype), ids)

    def given(
        self, first: int = 0, rows: int = ROWS, *, dtype: torch.dtype = torch.float32
    ) -> Batch:
        """The same rows as an evaluator gives them: noisy where the task is denoising."""
        batch = self.batch(first, rows, dtype=dtype)
        if not isinstance(batch, ImageBatch):
            return batch
        assert isinstance(self.shape, ImageShape)
        drawn = NOISE.normal(batch.rows, batch.images.shape[1:], purpose="conformance noisy")
        noisy = 0.9 * batch.images + 0.3 * drawn.to(dtype)
        return NoisyBatch(noisy, self.shape.train_timesteps - 1, batch.rows)

    def _row(self, index: int) -> Tensor:
        """Tokens (S + 1), an image (C, H, W), or frames (S + 1, C, H, W) that slide sideways."""
        generator = torch.Generator().manual_seed(index)
        shape = self.shape
        if isinstance(shape, TextShape):
            return torch.randint(shape.vocab_size, (shape.context + 1,), generator=generator)
        phases = torch.rand(shape.channels, 2, generator=generator) * 6.0
        rows, columns = torch.arange(shape.height), torch.arange(shape.width)
        vertical = torch.sin(0.7 * rows + phases[:, :1])  # (C, H)
        horizontal = torch.sin(0.9 * columns + phases[:, 1:])  # (C, W)
        image = vertical[:, :, None] * horizontal[:, None, :]
        if isinstance(shape, ImageShape):
            return image
        return torch.stack([image.roll(step, dims=-1) for step in range(shape.context + 1)])


def subject_of(record: AdapterRecord, config: Frozen) -> Subject:
    """A subject of the first small shape that the record's formulas accept.

    Raises the formulas' own ValueError or ArithmeticError where none will do.
    """
    refusal: Exception | None = None
    for shape in _shapes(record, config):
        try:
            record.parameters(config, shape)
            record.training_flops(config, shape)
        except (ValueError, ArithmeticError) as error:
            refusal = refusal or error
            continue
        return Subject(record, config, shape)
    assert refusal is not None
    raise refusal


def _shapes(record: AdapterRecord, config: Frozen) -> Sequence[Shape]:
    if record.modality == "text":
        taken = config.model_dump().values()
        vocabulary = next(size for size in (VOCABULARY, 67, 71, 73) if size not in taken)
        return [TextShape(vocab_size=vocabulary, context=CONTEXT["text"])]
    make: Callable[[int], Shape]
    if record.modality == "video":
        base = VideoShape(context=CONTEXT["video"], channels=1, height=0, width=0)
        make = lambda side: replace(base, height=side, width=side)  # noqa: E731
    else:
        make = lambda side: ImageShape(1, side, side, train_timesteps=100)  # noqa: E731
    return [make(side) for side in SIDES]


def _dtype(model: Any) -> torch.dtype:
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


# --- comparing -------------------------------------------------------------------------------


class Recorded:
    """A noise source that counts what is drawn from it."""

    def __init__(self, noise: Noise) -> None:
        self.noise, self.draws = noise, 0

    def normal(self, rows: Tensor, shape: Sequence[int], **key: Any) -> Tensor:
        """As the source's, counted."""
        self.draws += 1
        return self.noise.normal(rows, shape, **key)

    def uniform(self, rows: Tensor, shape: Sequence[int], **key: Any) -> Tensor:
        """As the source's, counted."""
        self.draws += 1
        return self.noise.uniform(rows, shape, **key)


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest expected magnitude; infinite where shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    found, expected = found.detach().double(), expected.detach().double()
    scale = expected.abs().max().clamp(min=1e-12)
    return float((found - expected).abs().max() / scale)


def rows_of(batch: Any, rows: Any) -> Any:
    """The batch with only `rows` (an index or slice) of it."""
    parts = {name: value[rows] for name, value in vars(batch).items() if isinstance(value, Tensor)}
    return replace(batch, **parts)
