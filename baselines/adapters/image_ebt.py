"""The bidirectional image EBT behind the harness's contract: denoising by energy descent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.adapters.image import ImageAdapter
from baselines.ebt_image import ImageEnergy
from baselines.image_descent import ImageDescent, chosen, gradient_and_energy, training_steps
from baselines.image_settings import EBTImageConfig, check, descent_plan
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

#: (images, context) -> the energy's gradient and the energies; what `compile_body` compiles.
_Body = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]


class EBTImage(ImageAdapter):
    """Image EBT trained at the highest noise level, from the noisy image or from random noise."""

    def __init__(self, config: EBTImageConfig, shape: ImageShape) -> None:
        super().__init__(shape)
        check(config, shape)
        self.config = config
        self.loss = {"smooth_l1": F.smooth_l1_loss, "mse": F.mse_loss}[config.loss]
        self.network = ImageEnergy(config, (shape.channels, shape.height, shape.width))
        self._train: _Body = self.body

    def body(self, images: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """The energy's gradient (B, C, H, W) and the energies (B,): one pass there and back."""
        return gradient_and_energy(lambda y: self.network(y, context), images)

    def compile_body(self) -> None:
        """Compile the energy and its gradient for training; predictions stay eager."""
        self._train = torch.compile(self.body, fullgraph=True, dynamic=False)

    def param_groups(self) -> list[ParamGroup]:
        """The network; a learned step size apart, at its own learning rate and not decayed."""
        alpha = self.network.alpha
        groups = [ParamGroup("network", [p for p in self.network.parameters() if p is not alpha])]
        if self.config.step_size_learned:
            multiplier = self.config.step_size_lr_multiplier
            assert multiplier is not None, "resolved by the config"
            groups.append(ParamGroup("step_size", [alpha], multiplier, weight_decay=False))
        return groups

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
        body = self._train if torch.is_grad_enabled() else self.body
        std = self.config.langevin_noise
        path = training_steps(
            lambda y: body(y, context),
            self._start(noised, rows, noise, sample=0),
            self.config,
            steps=self.work(batch, noise),
            step_size=self._training_step_size(rows, noise),
            noise=None if std == 0 else lambda k: std * _langevin(noised, rows, noise, step=k),
        )
        losses, energies = [], []
        for y, energy in path:
            losses.append(self.loss(y, images, reduction="none").flatten(1).mean(1).sum())
            energies.append(energy.sum())
        loss = losses[-1] if self.config.loss_on == "last" else torch.stack(losses).mean()
        metrics = {"energy_first": (energies[0], n), "energy_last": (energies[-1], n)}
        return StepOutput(loss, n, metrics)

    def work(self, batch: ImageBatch, noise: Noise) -> int:
        """Optimization steps of this training step: one draw, whatever the micro-batch."""
        counts = self.config.step_counts
        if len(counts) == 1:
            return counts[0]
        # One fixed row stands for the whole batch, so that all its parts agree.
        everyone = torch.zeros(1, dtype=torch.int64, device=batch.rows.device)
        draw = float(noise.uniform(everyone, (), purpose="steps"))
        return counts[min(int(draw * len(counts)), len(counts) - 1)]

    def _training_step_size(self, rows: Tensor, noise: Noise) -> Tensor:
        """alpha, or alpha times each image's draw from [1 / f, f], (B, 1, 1, 1)."""
        alpha, f = self.network.step_size(), self.config.random_step_size
        if f == 1:
            return alpha
        draw = noise.uniform(rows, (1, 1, 1), purpose="step_size").to(alpha)
        return alpha * (1 / f + (f - 1 / f) * draw)

    def _start(self, noisy: Tensor, rows: Tensor, noise: Noise, *, sample: int) -> Tensor:
        if self.config.start == "noisy":
            return noisy
        return noise.normal(rows, noisy.shape[1:], purpose="start", sample=sample).to(noisy)

    # --- prediction --------------------------------------------------------------------------

    def predict(
        self,
        batch: NoisyBatch,
        thinking: Descent,
        noise: Noise,
        on_state: OnState | None = None,
    ) -> Prediction:
        """Descend from each sample's start; of several samples keep one per image.

        `on_state` gets steps 0..steps of every sample, each with its energy; an image that stopped
        early repeats its last state. Energies read for the listener alone are outside `passes`.
        """
        plan = descent_plan(thinking, self.config)
        thinking = plan.thinking
        best = None
        with torch.inference_mode(False), torch.no_grad():
            noisy, rows = _ordinary(batch.noisy), _ordinary(batch.rows)
            context = self.network.context(noisy)
            step_size = thinking.step_size or self.network.step_size()
            for sample in range(thinking.samples):
                landscape = _Landscape(self, context, rows, noise, sample, plan.noise_std)
                on_point = None if on_state is None else _telling(on_state, sample)
                descent = ImageDescent(landscape, plan, step_size, on_point)
                one = descent.run(self._start(noisy, rows, noise, sample=sample))
                best = one if best is None else chosen(best, one, thinking.select)
        assert best is not None
        n = max(len(noisy), 1)
        return Prediction(
            best.value,
            best.energy if plan.decides(thinking.steps) else None,
            Passes(nfe=best.nfe / n, forward=best.forward / n, backward=best.backward / n),
            None if thinking.tolerance is None else best.steps,
        )

    def descent_energies(
        self, batch: NoisyBatch, noise: Noise, step_size: float
    ) -> tuple[Tensor, Tensor]:
        """Energies (B,) of the first sample's start, and of it after one noise-free step."""
        with torch.inference_mode(False), torch.no_grad():
            noisy, rows = _ordinary(batch.noisy), _ordinary(batch.rows)
            context = self.network.context(noisy)
            start = self._start(noisy, rows, noise, sample=0)
            slope, before = self.body(start, context)
            return before, self.network(start - step_size * slope, context)


@dataclass(frozen=True)
class _Landscape:
    """The energy over one sample of a batch (see `image_descent.Landscape`)."""

    adapter: EBTImage
    context: Tensor | None
    rows: Tensor
    source: Noise
    sample: int
    std: float

    def energy(self, images: Tensor, at: Tensor) -> Tensor:
        return self.adapter.network(images, self._seen(at))

    def gradient(self, images: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        return self.adapter.body(images, self._seen(at))

    def noise(self, step: int, images: Tensor, at: Tensor) -> Tensor:
        drawn = _langevin(images, self.rows[at], self.source, step=step, sample=self.sample)
        return self.std * drawn

    def _seen(self, at: Tensor) -> Tensor | None:
        if self.context is None or len(at) == len(self.context):
            return self.context
        return self.context[at]


def _langevin(images: Tensor, rows: Tensor, noise: Noise, *, step: int, sample: int = 0) -> Tensor:
    """Standard normal, of the shape and dtype of `images`."""
    drawn = noise.normal(rows, images.shape[1:], purpose="langevin", step=step, sample=sample)
    return drawn.to(images)


def _telling(on_state: OnState, sample: int) -> Callable[[int, Tensor, Tensor], None]:
    def on_point(step: int, value: Tensor, energy: Tensor) -> None:
        on_state(State(step, range(sample, sample + 1), value.unsqueeze(1), energy.unsqueeze(1)))

    return on_point


def _ordinary(x: Tensor) -> Tensor:
    """`x`, or a copy of it that autograd may save: a tensor made under inference mode may not."""
    return x.clone() if x.is_inference() else x
