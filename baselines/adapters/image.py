"""Image denoising adapters: DiT and the bidirectional EBT behind the harness's contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.descent import descend
from baselines.dit import DiT, Schedule, add_noise, linear_schedule, noise_mse, variational_bound
from baselines.ebt_image import ImageEnergy
from baselines.image_records import (
    DiTImageConfig,
    EBTImageConfig,
    check,
    check_descent,
    check_diffusion,
)
from harness.protocol import (
    Descent,
    Diffusion,
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

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler


def ddim_timesteps(start: int, steps: int) -> list[int]:
    """`steps` evenly strided timesteps from `start` downwards; the last leads to the clean image.

    With n = start + 1 levels, call i is at floor(n * (steps - i) / steps) - 1: all of them for
    steps = n, `start` alone for steps = 1.
    """
    levels = start + 1
    return [levels * (steps - i) // steps - 1 for i in range(steps)]


class _ImageAdapter(nn.Module):
    """The noise schedule and the noising that both adapters train with."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.shape = shape

    def _schedule(self, images: Tensor) -> Schedule:
        s = self.shape
        return linear_schedule(
            s.num_timesteps, s.beta_start, s.beta_end, images.device, images.dtype
        )

    def _noised(self, batch: ImageBatch, t: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        images = batch.images
        drawn = noise.normal(batch.rows, images.shape[1:], purpose="noising").to(images)
        return add_noise(images, drawn, t, self._schedule(images)), drawn


class DiTImage(_ImageAdapter):
    """DiT trained at t uniform below `train_timesteps`, predicting by deterministic DDIM."""

    def __init__(self, config: DiTImageConfig, shape: ImageShape) -> None:
        super().__init__(shape)
        check(config, shape)
        self.network = DiT(
            (shape.channels, shape.height, shape.width),
            config.patch_size,
            depth=config.depth,
            width=config.width,
            heads=config.heads,
            ffn_width=config.ffn_width,
        )

    def param_groups(self) -> list[ParamGroup]:
        """One group: everything alike (the paper's weight decay for DiT is 0)."""
        return [ParamGroup("network", list(self.network.parameters()))]

    def training_loss(self, batch: ImageBatch, noise: Noise) -> StepOutput:
        """Noise MSE plus the unscaled variational bound of the learned variance, per image."""
        highest = self.shape.train_timesteps - 1
        draw = noise.uniform(batch.rows, (), purpose="timestep")  # (B,)
        t = (draw * self.shape.train_timesteps).long().clamp(max=highest)
        noised, drawn = self._noised(batch, t, noise)
        output = self.network(noised, t).to(noised.dtype)
        mse = noise_mse(output, drawn)  # (B,)
        bound = variational_bound(output, batch.images, noised, t, self._schedule(noised))  # (B,)
        metrics = {"noise_mse": mse, "variational_bound": bound}
        n = len(mse)
        return StepOutput(
            (mse + bound).sum(), n, {k: (v.detach().sum(), n) for k, v in metrics.items()}
        )

    @torch.no_grad()
    def predict(
        self,
        batch: NoisyBatch,
        thinking: Diffusion,
        noise: Noise,
        on_state: OnState | None = None,
    ) -> Prediction:
        """DDIM from the noisy image, then from its own output; one State per recursion."""
        trained = isinstance(thinking, Diffusion) and thinking.start == "trained"
        start = self.shape.train_timesteps - 1 if trained else batch.timestep
        thinking = check_diffusion(thinking, start + 1)
        timesteps = ddim_timesteps(start, thinking.steps)
        sampler = self._sampler(timesteps)
        x = batch.noisy
        for recursion in range(1, thinking.recursions + 1):
            x = self._ddim(sampler, timesteps, x)
            if on_state is not None:
                on_state(State(recursion * thinking.steps, range(1), x.unsqueeze(1), None))
        nfe = thinking.steps * thinking.recursions
        return Prediction(x, None, Passes(nfe=nfe, forward=nfe, backward=0))

    def _ddim(self, sampler: DDIMScheduler, timesteps: list[int], x: Tensor) -> Tensor:
        for index, timestep in zip(sampler.timesteps.tolist(), timesteps, strict=True):
            t = torch.full((len(x),), timestep, device=x.device)
            predicted = self.network(x, t)[:, : self.shape.channels].to(x.dtype)
            x = sampler.step(predicted, index, x, use_clipped_model_output=True, return_dict=False)[
                0
            ]
        return x

    def _sampler(self, timesteps: list[int]) -> DDIMScheduler:
        """diffusers' DDIM over `timesteps` alone, so that each update's previous one is right.

        Its own `set_timesteps` steps back by a constant 1000 // steps, which fits no stride from
        t = 99. Here step index i of len(timesteps) stands for the i-th kept timestep.
        """
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler

        settings = {"beta_schedule": "linear", "clip_sample": True, "set_alpha_to_one": True}
        s = self.shape
        full = DDIMScheduler(s.num_timesteps, s.beta_start, s.beta_end, **settings)
        kept = DDIMScheduler(len(timesteps), s.beta_start, s.beta_end, **settings)
        kept.alphas_cumprod = full.alphas_cumprod[timesteps[::-1]]
        kept.set_timesteps(len(timesteps))
        return kept


class EBTImage(_ImageAdapter):
    """Image EBT: energy descent from the noisy image itself, trained at the highest noise level."""

    def __init__(self, config: EBTImageConfig, shape: ImageShape) -> None:
        super().__init__(shape)
        check(config, shape)
        self.steps = config.steps
        self.loss = {"smooth_l1": F.smooth_l1_loss, "mse": F.mse_loss}[config.loss]
        assert config.step_size_lr_multiplier is not None, "resolved by the config"
        self.lr_multiplier = config.step_size_lr_multiplier
        self.network = ImageEnergy(
            (shape.channels, shape.height, shape.width),
            config.patch_size,
            depth=config.depth,
            width=config.width,
            heads=config.heads,
            ffn_width=config.ffn_width,
            step_size=config.step_size,
        )

    def param_groups(self) -> list[ParamGroup]:
        """The network, and the step size with its own learning rate and no weight decay."""
        alpha = self.network.alpha
        rest = [p for p in self.network.parameters() if p is not alpha]
        return [
            ParamGroup("network", rest),
            ParamGroup("step_size", [alpha], self.lr_multiplier, weight_decay=False),
        ]

    def training_loss(self, batch: ImageBatch, noise: Noise) -> StepOutput:
        """Mean error of the image after each step, averaged over the steps (S1)."""
        images, n = batch.images, len(batch.images)
        t = torch.full((n,), self.shape.train_timesteps - 1, device=images.device)
        noised, _ = self._noised(batch, t, noise)
        path = descend(
            self.network,
            noised,
            self.steps,
            self.network.step_size(),
            create_graph=torch.is_grad_enabled(),
        )
        losses, energies = [], []
        for y, energy in path:
            losses.append(self.loss(y, images, reduction="none").flatten(1).mean(1).sum())
            energies.append(energy.detach().sum())
        metrics = {"energy_first": (energies[0], n), "energy_last": (energies[-1], n)}
        return StepOutput(torch.stack(losses).mean(), n, metrics)

    def predict(
        self,
        batch: NoisyBatch,
        thinking: Descent,
        noise: Noise,
        on_state: OnState | None = None,
    ) -> Prediction:
        """Descend from the noisy image; a State per step, its energy where the next step reads it.

        The energy of the last image would cost one more pass and nothing is selected by it: None.
        """
        thinking = check_descent(thinking)
        step_size = thinking.step_size or self.network.step_size().detach()
        y = batch.noisy
        path = descend(self.network.frozen(), y, thinking.steps, step_size)
        for k, (after, energy) in enumerate(path):
            if on_state is not None and k > 0:
                on_state(State(k, range(1), y.unsqueeze(1), energy.unsqueeze(1)))
            y = after
        if on_state is not None:
            on_state(State(thinking.steps, range(1), y.unsqueeze(1), None))
        k = thinking.steps
        return Prediction(y, None, Passes(nfe=k, forward=k, backward=k))
