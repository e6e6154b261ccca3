"""The Diffusion Transformer behind the harness's contract: the baseline of image denoising."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from baselines.adapters.image import ImageAdapter
from baselines.compiling import compiled
from baselines.dit import DiT, noise_mse, variational_bound
from baselines.image_settings import DiTImageConfig, check, check_diffusion
from baselines.samplers import ddim, ddpm, kept_timesteps
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


class DiTImage(ImageAdapter):
    """DiT trained at t uniform below `train_timesteps`, predicting by DDIM or DDPM."""

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
        """Sample from the noisy image, then from its own output; one State per recursion."""
        trained = isinstance(thinking, Diffusion) and thinking.start == "trained"
        start = self.shape.train_timesteps - 1 if trained else batch.timestep
        thinking = check_diffusion(thinking, start + 1)
        timesteps, x = kept_timesteps(start, thinking.steps), batch.noisy
        size, dtype = x.shape[1:], x.dtype

        def drawn(call: int) -> Tensor:
            return noise.normal(batch.rows, size, purpose="ddpm", step=call).to(dtype)

        if thinking.sampler == "ddpm":
            update = ddpm(self.shape, timesteps, drawn)
        else:
            update = ddim(self.shape, timesteps)
        calls = thinking.steps * thinking.recursions
        for call in range(calls):
            index = call % thinking.steps
            t = torch.full((len(x),), timesteps[index], device=x.device)
            x = update(call, self.network(x, t).to(dtype), x)
            if on_state is not None and index + 1 == thinking.steps:
                on_state(State(call + 1, range(1), x.unsqueeze(1), None))
        return Prediction(x, None, Passes(nfe=calls, forward=calls, backward=0))

    @torch.no_grad()
    def features(self, batch: ImageBatch) -> Tensor:
        """The mean (B, D) of each clean image's tokens after the last block, at t = 0."""
        t = torch.zeros(len(batch.images), dtype=torch.long, device=batch.images.device)
        return self.network.tokens(batch.images, self.network.t_embedder(t)).mean(1)
