"""The Diffusion Transformer behind the harness's contract: the baseline of image denoising."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from baselines.adapters.image import ImageAdapter
from baselines.compiling import compiled
from baselines.dit import DiT, noise_mse, variational_bound
from baselines.image_settings import DiTImageConfig, check, check_diffusion
from harness.protocol import (
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


class DiTImage(ImageAdapter):
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
        self._train: Callable[[Tensor, Tensor], Tensor] = self.network.forward

    def compile_body(self) -> None:
        """Compile the network for training; sampling stays eager."""
        # The method, not the module: a compiled module would be a second child of this one.
        self._train = compiled(self.network.forward)

    def param_groups(self) -> list[ParamGroup]:
        """One group: everything alike (the paper's weight decay for DiT is 0)."""
        return [ParamGroup("network", list(self.network.parameters()))]

    def training_loss(self, batch: ImageBatch, noise: Noise) -> StepOutput:
        """Noise MSE plus the unscaled variational bound of the learned variance, per image."""
        highest = self.shape.train_timesteps - 1
        draw = noise.uniform(batch.rows, (), purpose="timestep")  # (B,)
        t = (draw * self.shape.train_timesteps).long().clamp(max=highest)
        noised, drawn = self.noised(batch, t, noise)
        network = self._train if torch.is_grad_enabled() else self.network
        output = network(noised, t).to(noised.dtype)
        mse = noise_mse(output, drawn)  # (B,)
        bound = variational_bound(output, batch.images, noised, t, self.schedule(noised))  # (B,)
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
