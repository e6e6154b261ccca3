"""The bidirectional image EBT behind the harness's contract: denoising by energy descent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.adapters.image import ImageAdapter
from baselines.descent import Descended, Entry, descend, selection_score
from baselines.ebt_image import ImageEnergy
from baselines.image_descent import gradient_and_energy, training_steps
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
        langevin = _Langevin(noised, rows, noise, sample=0, std=self.config.langevin_noise)
        path = training_steps(
            lambda y: body(y, context),
            self._start(noised, rows, noise, sample=0),
            self.config,
            steps=self.work(batch, noise),
            step_size=self._training_step_size(rows, noise),
            noise=langevin if langevin.std > 0 else None,
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
        best, nfe, forward, backward = None, 0.0, 0.0, 0.0
        with torch.inference_mode(False), torch.no_grad():
            noisy, rows = _ordinary(batch.noisy), _ordinary(batch.rows)
            context = self.network.context(noisy)
            step_size = thinking.step_size or self.network.step_size()
            for sample in range(thinking.samples):
                start = self._start(noisy, rows, noise, sample=sample)
                draw = _Langevin(noisy, rows, noise, sample, plan.noise_std)
                landscapes = _Landscapes(self, context, step_size, draw)
                on_point = None if on_state is None else _telling(on_state, sample)
                one = descend(landscapes, plan, start, on_point)
                nfe += thinking.steps if one.steps is None else float(one.steps.double().mean())
                forward, backward = forward + one.forward, backward + one.backward
                best = one if best is None else _better(best, one, thinking.select)
        assert best is not None
        return Prediction(
            best.value,
            best.energy if plan.decides(thinking.steps) else None,
            Passes(nfe, forward, backward),
            best.steps,
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
class _Langevin:
    """The noise of one sample's steps, in the shape and dtype of `images` (B, C, H, W)."""

    images: Tensor
    rows: Tensor
    source: Noise
    sample: int
    std: float

    def __call__(self, step: int, at: Tensor | None = None) -> Tensor:
        """What `step` adds to the images at the positions `at`."""
        rows, shape = self.rows if at is None else self.rows[at], self.images.shape[1:]
        kind = {"purpose": "langevin", "step": step, "sample": self.sample}
        return self.std * self.source.normal(rows, shape, **kind).to(self.images)


@dataclass(frozen=True)
class _Landscapes:
    """The one landscape over a batch of images (see `descent.Landscapes`)."""

    adapter: EBTImage
    context: Tensor | None
    step_size: Tensor | float
    noise: _Langevin

    def energy(self, value: Tensor, at: Tensor | None, landscape: int) -> Tensor:
        return self.adapter.network(value, self._seen(at))

    def enter(
        self, value: Tensor, noise: Tensor | None, at: Tensor | None, landscape: int
    ) -> tuple[Entry, Tensor]:
        base = value if noise is None else value + noise
        slope, energy = self.adapter.body(base, self._seen(at))
        return Entry(base, slope), energy

    def step(self, entry: Entry, at: Tensor | None) -> Tensor:
        return entry.base - self.step_size * entry.slope

    def _seen(self, at: Tensor | None) -> Tensor | None:
        return self.context if self.context is None or at is None else self.context[at]


def _better(best: Descended, other: Descended, select: str) -> Descended:
    """Per image, the sample to keep; `best` on a tie. The passes are not added up."""
    scores = []
    for one in (best, other):
        assert one.energy is not None, "planned"
        scores.append(selection_score(select, one.energy, one.start_energy))
    take = scores[1] < scores[0]  # (B,)

    def pick(old: Tensor | None, new: Tensor | None) -> Tensor | None:
        if old is None or new is None:
            return None
        return torch.where(take.view(-1, *[1] * (new.dim() - 1)), new, old)

    parts = [pick(old, new) for old, new in zip(best[:4], other[:4], strict=True)]
    return Descended(*parts, best.forward, best.backward)


def _telling(on_state: OnState, sample: int) -> Callable[[int, Tensor, Tensor], None]:
    def on_point(step: int, value: Tensor, energy: Tensor) -> None:
        on_state(State(step, range(sample, sample + 1), value.unsqueeze(1), energy.unsqueeze(1)))

    return on_point


def _ordinary(x: Tensor) -> Tensor:
    """`x`, or a copy of it that autograd may save: a tensor made under inference mode may not."""
    return x.clone() if x.is_inference() else x
