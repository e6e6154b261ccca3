"""The bidirectional image EBT behind the harness's contract: denoising by energy descent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.adapters import descending
from baselines.adapters.descending import Best, as_states, drawn_steps, stretched
from baselines.adapters.image import ImageAdapter
from baselines.descent import Entry, descend
from baselines.descent_plan import DescentPlan
from baselines.ebt_image import Context, ImageEnergy
from baselines.image_descent import image_move
from baselines.image_settings import EBTImageConfig, check, descent_plan
from baselines.training_descent import Steps, training_steps
from harness.protocol import (
    Descent,
    ImageBatch,
    ImageShape,
    Noise,
    NoisyBatch,
    OnState,
    ParamGroup,
    Passes,
    Prediction,
    State,
    StepOutput,
)


class EBTImage(ImageAdapter):
    """Image EBT trained at the highest noise level, from the noisy image or from random noise."""

    def __init__(self, config: EBTImageConfig, shape: ImageShape) -> None:
        super().__init__(shape)
        check(config, shape)
        self.config = config
        self.loss = {"smooth_l1": F.smooth_l1_loss, "mse": F.mse_loss}[config.loss]
        self.network = ImageEnergy(config, (shape.channels, shape.height, shape.width))

    def compile_body(self) -> None:
        """Compile the network's passes for training; predictions stay eager."""
        self.network.compile_body()

    def param_groups(self) -> list[ParamGroup]:
        """Weights, decayed; alpha apart, with its own learning rate and no decay."""
        return descending.param_groups(self.network, self.config)

    # --- training ----------------------------------------------------------------------------

    def training_loss(self, batch: ImageBatch, noise: Noise) -> StepOutput:
        """Mean error per image: over all steps' images, or the last one's (`loss_on`)."""
        recorded = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.set_grad_enabled(recorded):
            return self._training_loss(ImageBatch(_ordinary(batch.images), batch.rows), noise)

    def _training_loss(self, batch: ImageBatch, noise: Noise) -> StepOutput:
        images, rows, n = batch.images, _ordinary(batch.rows), len(batch.images)
        t = torch.full((n,), self.shape.train_timesteps - 1, device=images.device)
        noised, _ = self.noised(batch, t, noise)
        context = self.network.context(noised)
        given = _Given(noised, rows, noise)
        langevin = _Langevin(given, sample=0, std=self.config.langevin_noise)
        steps = Steps(
            self.work(batch, noise),
            self._training_step_size(rows, noise),
            langevin if langevin.std > 0 else None,
        )
        start = self._start(given, sample=0)
        move = image_move(lambda y: self.network.slope(y, context), steps.alpha)
        losses, energies = [], []
        for y, energy in training_steps(self.config, start, steps, move):
            losses.append(self.loss(y, images, reduction="none").flatten(1).mean(1).sum())
            energies.append(energy.sum())
        loss = losses[-1] if self.config.loss_on == "last" else torch.stack(losses).mean()
        metrics = {"energy_first": (energies[0], n), "energy_last": (energies[-1], n)}
        return StepOutput(loss, n, metrics)

    def work(self, batch: ImageBatch, noise: Noise) -> int:
        """Optimization steps of this training step: one draw, whatever the micro-batch."""
        return drawn_steps(self.config.step_counts, noise, batch.rows.device)

    def _training_step_size(self, rows: Tensor, noise: Noise) -> Tensor:
        """alpha, or alpha times each image's draw from [1 / f, f], (B, 1, 1, 1)."""
        alpha, widest = self.network.step_size(), self.config.random_step_size
        if widest == 1:
            return alpha
        drawn = noise.uniform(rows, (1, 1, 1), purpose="step size").to(alpha)
        return alpha * stretched(drawn, widest)

    def _start(self, given: _Given, *, sample: int) -> Tensor:
        noisy = given.noisy
        if self.config.start == "noisy":
            return noisy
        key = {"purpose": "start", "step": given.recursion, "sample": sample}
        return given.noise.normal(given.rows, noisy.shape[1:], **key).to(noisy)

    # --- prediction --------------------------------------------------------------------------

    def predict(
        self,
        batch: NoisyBatch,
        thinking: Descent,
        noise: Noise,
        on_state: OnState | None = None,
    ) -> Prediction:
        """Descend from each sample's start; of several samples keep one per image.

        Each further recursion descends from the result of the last one as its noisy image, and adds
        its passes and steps. `on_state` gets the steps of every sample, numbered on over
        recursions, each with its energy; only the first recursion reports its start, step 0. An
        image that stopped early repeats its last state. Energies read for the listener alone are
        outside `passes`.
        """
        plan = descent_plan(thinking, self.config)
        parts: list[Prediction] = []
        with torch.inference_mode(False), torch.no_grad():
            given = _Given(_ordinary(batch.noisy), _ordinary(batch.rows), noise)
            context = self.network.context(given.noisy)
            for recursion in range(plan.thinking.recursions):
                if parts:
                    given = replace(given, noisy=parts[-1].value, recursion=recursion)
                    context = self.network.observing(context, given.noisy)
                listener = on_state and _numbered_on(on_state, recursion * plan.last)
                parts.append(self._descended(given, context, plan, listener))
        return _chained(parts)

    def _descended(
        self, given: _Given, context: Context, plan: DescentPlan, on_state: OnState | None
    ) -> Prediction:
        """One recursion: the best of its samples."""
        thinking, size = plan.thinking, (len(given.rows), 1)
        best = Best(thinking.select)
        step_size = thinking.step_size or self.network.step_size()
        before = given.recursion * plan.last
        for sample in range(thinking.samples):
            start = self._start(given, sample=sample)
            draw = _Langevin(given, sample, plan.noise_std, before)
            landscapes = _Landscapes(self, context, step_size, draw)
            chunk = range(sample, sample + 1)
            listener = None if on_state is None else as_states(on_state, size, chunk)
            best.offer(descend(landscapes, plan, start, listener), size)
        return best.prediction(plan)

    @torch.no_grad()
    def features(self, batch: ImageBatch) -> Tensor:
        """The mean (B, D) of each clean image's tokens after the last block."""
        return self.network.tokens(batch.images).mean(1)

    def descent_energies(
        self, batch: NoisyBatch, noise: Noise, step_size: float
    ) -> tuple[Tensor, Tensor]:
        """Energies (B,) of the first sample's start, and of it after one noise-free step."""
        with torch.inference_mode(False), torch.no_grad():
            given = _Given(_ordinary(batch.noisy), _ordinary(batch.rows), noise)
            context = self.network.context(given.noisy)
            start = self._start(given, sample=0)
            slope, before = self.network.slope(start, context)
            return before, self.network(start - step_size * slope, context)


@dataclass(frozen=True)
class _Given:
    """The noisy images (B, C, H, W) of a recursion, from 0, and what its draws are keyed by."""

    noisy: Tensor
    rows: Tensor
    noise: Noise
    recursion: int = 0


@dataclass(frozen=True)
class _Langevin:
    """The noise of one sample's steps, in the shape and dtype of the images it is given.

    `before` steps were taken in earlier recursions.
    """

    given: _Given
    sample: int
    std: float
    before: int = 0

    def __call__(self, step: int, at: Tensor | None = None) -> Tensor:
        """What `step` adds to the images at the positions `at`."""
        images, rows = self.given.noisy, self.given.rows
        rows = rows if at is None else rows[at]
        key = {"purpose": "langevin", "step": self.before + step, "sample": self.sample}
        return self.std * self.given.noise.normal(rows, images.shape[1:], **key).to(images)


@dataclass(frozen=True)
class _Landscapes:
    """The one landscape over a batch of images (see `descent.Landscapes`)."""

    adapter: EBTImage
    context: Context
    step_size: Tensor | float
    noise: _Langevin

    def energy(self, value: Tensor, at: Tensor | None, landscape: int) -> Tensor:
        return self.adapter.network(value, self.context.at(at))

    def enter(
        self, value: Tensor, noise: Tensor | None, at: Tensor | None, landscape: int
    ) -> tuple[Entry, Tensor]:
        base = value if noise is None else value + noise
        slope, energy = self.adapter.network.slope(base, self.context.at(at))
        return Entry(base, slope), energy

    def step(self, entry: Entry, at: Tensor | None) -> Tensor:
        return entry.base - self.step_size * entry.slope


def _numbered_on(on_state: OnState, before: int) -> OnState:
    """`on_state` for the steps after `before` others, whose last state is this start."""

    def listen(state: State) -> None:
        if state.step > 0 or before == 0:
            on_state(replace(state, step=before + state.step))

    return listen


def _chained(parts: Sequence[Prediction]) -> Prediction:
    """The last recursion's prediction, with the passes and the steps of all of them."""
    if len(parts) == 1:
        return parts[0]
    each = [part.passes for part in parts]
    passes = Passes(
        nfe=sum(p.nfe for p in each),
        forward=sum(p.forward for p in each),
        backward=sum(p.backward for p in each),
    )
    steps = [part.steps for part in parts if part.steps is not None]
    total = torch.stack(steps).sum(0) if steps else None
    return replace(parts[-1], passes=passes, steps=total)


def _ordinary(x: Tensor) -> Tensor:
    """`x`, or a copy of it that autograd may save: a tensor made under inference mode may not."""
    return x.clone() if x.is_inference() else x
